//! Redis closes connections, or another server takes its place: nobody restarts the service.

use std::time::Duration;

use textledger::domain::Role;

use crate::support::{
    eventually_within,
    redis_cluster::RedisCluster,
    redis_server::{MovingAddress, RedisServer},
    service::{On, TestService, callback},
    twilio::World,
};

const STATUS: &str = "/webhooks/twilio/status";

/// How long the service may take to be back after another server has taken over.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Callbacks one after the other, so that every thread has some.
const CALLBACKS: u32 = 40;

const SPOOLED: &str = r#"textledger_webhook_requests_total{route="status",result="spooled"}"#;

/// Posts callbacks of messages of their own, beginning with the one of `first`.
async fn post(service: &TestService, first: u32) {
    for number in first..first + CALLBACKS {
        let sid = format!("SM{number:032x}");
        assert_eq!(service.try_webhook(STATUS, &callback(&sid, "sent")).await, Some(204));
    }
}

/// Waits until all of some callbacks are stored at once, and messages leave.
async fn is_back(world: &World, number: u32) {
    let service = &world.service;
    let mut first = number;
    eventually_within(BACK_WITHIN, "callbacks are stored and nothing is spooled", async || {
        let before = service.metric(SPOOLED).await;
        first += CALLBACKS;
        post(service, first).await;
        (service.metric(SPOOLED).await == before && service.ready().await == 200).then_some(())
    })
    .await;
    let (status, sent) = service.send(&format!("+1415555{number:04}"), "hello").await;
    assert_eq!(status, 201, "{sent}");
}

/// As managed Redis fails over: the former master lives on as a replica, and keeps its connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_follows_the_name_of_redis_to_another_server() {
    let former = RedisServer::start();
    let next = RedisServer::start_replica_of(former.port()).await;
    let address = MovingAddress::of(&former).await;
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_STORE", &address.url())]).await;
    is_back(&world, 1_000).await;
    former.followed().await;
    next.lead().await;
    former.follow(next.port()).await;
    address.move_to(&next);
    is_back(&world, 2_000).await;
    let events = world.service.all_events().await;
    assert!(events.len() >= 2 * CALLBACKS as usize, "what was there has moved along: {}", events.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_redis_closes_cost_nobody_anything() {
    let redis = RedisServer::start();
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_STORE", &redis.url())]).await;
    is_back(&world, 1_000).await;
    let callbacks = async |first: u32| {
        post(&world.service, first).await;
        assert_eq!(world.service.metric(SPOOLED).await, 0, "{}", world.service.log());
    };
    let send = async |number: u32| {
        let body = serde_json::json!({ "to_number": format!("+1415555{number:04}"), "message": "hello" });
        let response = world.service.post(Role::Sender, "/api/sms/send", &body).send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", world.service.log());
    };
    for round in 2..8 {
        let number = round * 1_000;
        redis.close_connections().await;
        callbacks(number).await;
        redis.close_connections().await;
        send(number).await;
        redis.close_connections().await;
        send(number + 1).await;
        redis.close_connections().await;
        redis.close_connections().await;
        callbacks(number + 100).await;
    }
    assert_eq!(world.service.ready().await, 200);
}

/// Some of the callbacks in the seconds without a master are spooled; all threads find the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_master_is_killed_under_load_is_found_again() {
    let mut cluster = RedisCluster::start_with_replica();
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_STORE", &cluster.url())]).await;
    is_back(&world, 1_000).await;
    let load = async {
        for first in (100_000..).step_by(CALLBACKS as usize) {
            post(&world.service, first).await;
        }
    };
    let failover = async {
        cluster.end_master();
        is_back(&world, 3_000).await;
    };
    tokio::select! {
        () = load => {}
        () = failover => {}
    }
}
