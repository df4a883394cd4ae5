//! Another server is made the master under load, by sentinels or by a cluster: service and sends come back by themselves, and
//! nothing is lost that was acknowledged.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use crate::support::{
    DEADLINE, eventually_within,
    redis_cluster::RedisCluster,
    redis_sentinels::RedisSentinels,
    service::{On, callback},
    twilio::World,
};

const STATUS: &str = "/webhooks/twilio/status";

/// How long the service may take to be back once there is a master again.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Callbacks that are under way at once.
const AT_ONCE: usize = 4;

/// What the load has had acknowledged, and what it goes on with.
#[derive(Default)]
struct Load {
    number: AtomicU32,
    acknowledged: Mutex<HashSet<String>>,
}

impl Load {
    /// Posts callbacks until it is dropped.
    async fn run(&self, world: &World) {
        let one_after_the_other = async || loop {
            let sid = format!("SM{:032x}", self.number.fetch_add(1, Ordering::Relaxed));
            if world.service.try_webhook(STATUS, &callback(&sid, "sent")).await == Some(204) {
                self.acknowledged.lock().unwrap().insert(sid);
            }
        };
        join_all((0..AT_ONCE).map(|_| one_after_the_other())).await;
    }

    /// Waits until callbacks are stored and messages leave again.
    async fn is_back(&self, world: &World, what: &str) {
        let began = Instant::now();
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        eventually_within(BACK_WITHIN, what, async || {
            if world.service.ready().await != 200 {
                return None;
            }
            let (status, _) = world.service.send(&format!("+1415{number:07}"), "hello").await;
            (status == 201).then_some(())
        })
        .await;
        println!("{what}: back after {:?}", began.elapsed());
    }

    /// Everything that was acknowledged is there, once nothing is spooled any more.
    async fn is_all_there(&self, world: &World) {
        eventually_within(BACK_WITHIN, "nothing is spooled", async || {
            (world.service.ready().await == 200).then_some(())
        })
        .await;
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        assert!(acknowledged.len() > 100, "there was no load: {}", acknowledged.len());
        let events = world.service.all_events().await;
        let stored: HashSet<&str> = events
            .iter()
            .filter_map(|event| event["message_sid"].as_str().or(event["sid"].as_str()))
            .collect();
        let lost: Vec<&String> = acknowledged.iter().filter(|sid| !stored.contains(sid.as_str())).collect();
        println!("{} acknowledged, {} lost", acknowledged.len(), lost.len());
        assert!(lost.is_empty(), "{} of {} acknowledged are lost", lost.len(), acknowledged.len());
    }
}

/// Runs `story` under the load, until it is told.
async fn under(load: &Load, world: &World, story: impl Future<Output = ()>) {
    tokio::select! {
        () = load.run(world) => {}
        () = story => {}
    }
}

async fn start(url: &str, replicas: &str) -> World {
    let settings =
        [("TEXTLEDGER_STORE", url), ("TEXTLEDGER_REPLICAS_ACK", replicas), ("TEXTLEDGER_LOG", "info")];
    World::start_with(On::Redis, &settings).await
}

async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    eventually_within(2 * DEADLINE, what, async || {
        let holds = tokio::task::block_in_place(&holds);
        tokio::time::sleep(Duration::from_millis(50)).await;
        holds.then_some(())
    })
    .await;
}

/// A planned failover, a master that is killed, and one that hangs and comes back writable: the old one is never written to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_followed_to_each_master_that_they_name() {
    let mut group = RedisSentinels::start().await;
    let (world, load) = (start(&group.url(), "1").await, Load::default());
    let story = async {
        let former = group.master();
        group.fail_over().await;
        wait_for("another is named", || group.master() != former).await;
        load.is_back(&world, "a planned failover").await;
        wait_for("all follow", || group.is_whole()).await;

        let former = group.master();
        group.end(former);
        wait_for("another is named", || group.master() != former).await;
        load.is_back(&world, "a master that was killed").await;
        group.start_again(former);
        wait_for("all follow", || group.is_whole()).await;

        let former = group.master();
        group.server(former).pause();
        wait_for("another is named", || group.master() != former).await;
        load.is_back(&world, "a master that hangs").await;
        group.server(former).resume();
        wait_for("all follow", || group.is_whole()).await;
        load.is_back(&world, "a master that came back").await;

        // Two of three sentinels do, and one of them hangs.
        group.end_a_sentinel();
        group.pause_a_sentinel();
        load.is_back(&world, "a sentinel that hangs").await;
    };
    under(&load, &world, story).await;
    load.is_all_there(&world).await;
}

/// Without replicas that hold each write, nothing that a former master takes after its time is acknowledged either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_master_that_comes_back_writable_is_not_written_to() {
    let group = RedisSentinels::start().await;
    let (world, load) = (start(&group.url(), "0").await, Load::default());
    load.is_back(&world, "the start").await;
    let former = group.master();
    group.server(former).pause();
    wait_for("another is named", || group.master() != former).await;
    // Nobody has asked for anything meanwhile: the connections to the former one stand. It comes back as a master, until the
    // sentinels look at it.
    group.server(former).resume();
    let story = async {
        wait_for("all follow", || group.is_whole()).await;
        load.is_back(&world, "a master that came back").await;
    };
    under(&load, &world, story).await;
    load.is_all_there(&world).await;
}

/// Kills masters one after the other, each the next time that it has a replica which holds everything.
async fn masters_are_killed(times: usize) {
    let mut cluster = RedisCluster::start_replicated();
    let (world, load) = (start(&cluster.url(), "1").await, Load::default());
    load.is_back(&world, "the start").await;
    let story = async {
        for turn in 0..times {
            let killed = cluster.end_a_master(turn);
            wait_for("its replica takes its place", || cluster.masters().len() == 3).await;
            cluster.start_again(killed);
            wait_for("every master has a replica", || cluster.is_whole()).await;
            load.is_back(&world, &format!("kill {turn}")).await;
        }
    };
    under(&load, &world, story).await;
    load.is_all_there(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_of_a_cluster_that_are_killed_under_load_lose_nothing_that_replicas_held() {
    masters_are_killed(2).await;
}

#[ignore = "takes some minutes: cargo test --test it ten_masters -- --ignored"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_masters_of_a_cluster_that_are_killed_under_load_lose_nothing_that_replicas_held() {
    masters_are_killed(10).await;
}

/// A node that takes connections and answers nothing: whoever waits is let go in time, the connection to the cluster is thrown
/// away, and another one is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_under_load_is_left() {
    let cluster = RedisCluster::start_replicated();
    let (world, load) = (start(&cluster.url(), "1").await, Load::default());
    load.is_back(&world, "the start").await;
    let story = async {
        let hung = cluster.pause_a_master(0);
        wait_for("its replica takes its place", || cluster.masters().len() == 3).await;
        cluster.resume(hung);
        wait_for("every master has a replica", || cluster.is_whole()).await;
        load.is_back(&world, "a node that hung").await;
    };
    under(&load, &world, story).await;
    load.is_all_there(&world).await;
}
