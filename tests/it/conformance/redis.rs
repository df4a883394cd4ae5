//! The suite on a real Redis, and what only Redis promises: the streams as other clients read them.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use textledger::{
    clock::{Clock as _, SystemClock},
    domain::{
        EventId, HistoryId, MessageId, MessageRef, Organization, Outbound, OutboundState, StatusChange,
        delivery::Recorded, outgoing,
    },
    store::{
        Counted, Counts as _, Deliveries as _, DocumentChange, Error, Events as _, Gate, Kind, NewOutbound,
        Passed, Queued, Step, Store,
        redis::{OpenError, RedisStore},
    },
    twilio::MessageSid,
};

use super::{
    outbox::that_waits,
    suite::{AT, Harness, PERSON, being_sent, ms, outbound, sid, status, whose},
};
use crate::support::{
    DEADLINE, eventually_ok,
    flows::{self, due_flows},
    former::Former,
    later,
    redis_cluster::RedisCluster,
    redis_server::{MovingAddress, RedisServer},
    service::master_keys,
};

struct Redis {
    url: String,
    prefix: String,
    partitions: u16,
}

#[async_trait]
impl Harness for Redis {
    async fn open(&self) -> Arc<dyn Store> {
        let store = RedisStore::open(&self.url, &self.prefix, self.partitions).await.unwrap();
        Arc::new(store.sealed_with(master_keys()))
    }

    fn write(&self, former: &Former) {
        former.write_to_redis(&self.url, &self.prefix, self.partitions);
    }

    fn write_entry(&self, stored: &str) {
        later::add_entry_to_redis(&self.url, &self.prefix, stored);
    }

    fn histories(&self) -> u32 {
        // On a cluster a page waits until clocks cannot differ by more.
        if self.url.starts_with("redis-cluster://") { 2 } else { 24 }
    }
}

async fn fresh(partitions: u16) -> Redis {
    fresh_at(RedisServer::shared().url(), partitions)
}

async fn fresh_on_cluster() -> Redis {
    fresh_at(RedisCluster::shared().url(), 16)
}

fn fresh_at(url: String, partitions: u16) -> Redis {
    static USED: AtomicU32 = AtomicU32::new(0);
    Redis { url, prefix: format!("t{}", USED.fetch_add(1, Ordering::Relaxed)), partitions }
}

mod one_partition {
    super::super::conformance!(super::fresh(1));
}

mod sixteen_partitions {
    super::super::conformance!(super::fresh(16));
}

mod on_a_cluster {
    super::super::conformance!(super::fresh_on_cluster());
}

mod as_a_user_with_the_rights_of_the_documents_at_a_socket {
    super::super::conformance!(super::fresh_as_user());
}

/// As a user of Redis's that has the rights which docs/operations.md gives, and no other.
async fn fresh_as_user() -> Redis {
    static SERVER: tokio::sync::OnceCell<(RedisServer, String)> = tokio::sync::OnceCell::const_new();
    let (_, url) = SERVER.get_or_init(start_for_user).await;
    let redis = fresh_at(url.clone(), 16);
    Redis { prefix: format!("tl:{}", redis.prefix), ..redis }
}

async fn start_for_user() -> (RedisServer, String) {
    // It stays, like the server: both are for all tests.
    let socket = tempfile::tempdir().unwrap().keep().join("redis.sock");
    let server = RedisServer::start_with(&["--unixsocket", socket.to_str().unwrap()]);
    let pages = include_str!("../../../docs/operations.md").replace("\\\n", " ");
    let line = pages.lines().find(|line| line.starts_with("redis-cli ACL SETUSER textledger ")).unwrap();
    let mut command = redis::cmd("ACL");
    for word in line.split_whitespace().skip(2) {
        command.arg(word.trim_matches('\''));
    }
    server.ask(&command).await;
    server.ask(redis::cmd("ACL").arg("SETUSER").arg("default").arg("nocommands").arg("+info")).await;
    let url = format!("redis+unix://{}?user=textledger&pass=a-long-password", socket.display());
    (server, url)
}

/// The streams' keys and fields are the contract's, for clients that know nothing of textledger.
#[tokio::test]
async fn a_redis_client_reads_the_streams_of_the_contract() {
    let redis = fresh(1).await;
    let store = redis.open().await;
    store.record_status(&Organization::default(), status("abc", "queued")).await.unwrap();
    store.record_status(&Organization::default(), status("abc", "delivered")).await.unwrap();
    let mut connection = RedisServer::shared().connect().await;
    let key = format!("{}:{{default:0}}:deliveries", redis.prefix);
    let entries: Vec<(String, Vec<(String, String)>)> =
        redis::cmd("XRANGE").arg(key).arg("-").arg("+").query_async(&mut connection).await.unwrap();
    let wanted = [
        ("sid", sid("abc").to_string()),
        ("id", String::new()),
        ("status", "delivered".to_owned()),
        ("previous", "queued".to_owned()),
        ("late", "0".to_owned()),
        ("channel", "sms".to_owned()),
        ("to", "+14155550100".to_owned()),
        ("from", "+15005550006".to_owned()),
        ("error_code", String::new()),
        ("batch", String::new()),
        ("source", "callback".to_owned()),
        ("at", "1764000000000".to_owned()),
    ];
    let wanted: Vec<_> = wanted.map(|(name, value)| (name.to_owned(), value)).into();
    assert_eq!(entries[1].1, wanted);
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_taught_again() {
    // A server of its own, since its scripts are flushed.
    let server = RedisServer::start();
    let store = RedisStore::open(&server.url(), "tl", 1).await.unwrap().sealed_with(master_keys());
    let organization = Organization::default();
    store.record_status(&organization, status("a", "queued")).await.unwrap();
    let mut connection = server.connect().await;
    redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut connection).await.unwrap();
    store.record_status(&organization, status("a", "sent")).await.unwrap();
    assert_eq!(store.events(&organization, EventId::START, 10).await.unwrap().len(), 2);
}

/// As when Redis closes a connection between doing what it was asked and saying so. Whoever asked gets the answer, to what was
/// done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_and_not_answered_is_repeated_and_done_once() {
    let server = RedisServer::start();
    let address = MovingAddress::of(&server).await;
    let store = RedisStore::open(&address.url(), "tl", 1).await.unwrap().sealed_with(master_keys());
    let organization = Organization::default();
    // First with every answer: that to a script which the server does not know yet says that nothing is done.
    for (turn, loses, recorded) in [(1, false, Recorded::Moved), (2, true, Recorded::Duplicate)] {
        let lose = || loses.then(|| address.lose_an_answer());
        lose();
        let counted = store.count_many(&organization, "c", 2, 9, ms(60_000)).await.unwrap();
        assert_eq!((counted, address.has_lost_it()), (Counted::Yes(2 * turn), true));
        lose();
        super::audit::add(&store).await;
        assert!(address.has_lost_it());
        assert_eq!(super::audit::added(&store).await, turn);
        lose();
        let told = store.record_status(&organization, status(&turn.to_string(), "sent")).await.unwrap();
        assert_eq!((told.recorded, address.has_lost_it()), (recorded, true));
        let events = store.events(&organization, EventId::START, 10).await.unwrap();
        assert_eq!(events.len() as u64, turn);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_replica_holds_does_not_count_when_it_is_repeated() {
    let server = RedisServer::start();
    let replica = RedisServer::start_replica_of(server.port()).await;
    server.followed().await;
    let open = async || {
        RedisStore::open(&server.url(), "tl", 1).await.unwrap().sealed_with(master_keys()).held_by(1)
    };
    let organization = Organization::default();
    let told = async |store: &RedisStore| store.record_status(&organization, status("a", "sent")).await;
    let store = open().await;
    replica.pause();
    // It is there with the first, and the others find it.
    for store in [&store, &store, &open().await] {
        let told = told(store).await;
        assert!(matches!(told, Err(Error::Unavailable(_))), "{told:?}");
    }
    replica.resume();
    let told = eventually_ok(DEADLINE, "the replica holds it", async || told(&store).await).await;
    assert_eq!(told.recorded, Recorded::Duplicate);
}

/// The same of each node of a cluster: a write counts once a replica of the node holds it that has taken it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_replica_of_its_node_holds_does_not_count_on_a_cluster() {
    let cluster = RedisCluster::start_replicated();
    let store =
        RedisStore::open(&cluster.url(), "tl", 16).await.unwrap().sealed_with(master_keys()).held_by(1);
    let organization = Organization::default();
    let tails = || (0..32).map(|number| format!("{number:x}"));
    let record = async |tail: &str, name: &str| store.record_status(&organization, status(tail, name)).await;
    for tail in tails() {
        assert_eq!(record(&tail, "queued").await.unwrap().recorded, Recorded::Moved);
    }
    let masters = cluster.masters();
    let replicas: Vec<usize> = cluster.places().filter(|place| !masters.contains(place)).collect();
    replicas.iter().for_each(|place| cluster.node(*place).pause());
    for tail in tails().take(4) {
        let told = record(&tail, "sent").await;
        assert!(matches!(told, Err(Error::Unavailable(_))), "{told:?}");
    }
    replicas.iter().for_each(|place| cluster.resume(*place));
    for tail in tails().take(4) {
        let told =
            eventually_ok(DEADLINE, "the replica holds it", async || record(&tail, "sent").await).await;
        assert_eq!(told.recorded, Recorded::Duplicate);
    }
}

/// What takes two steps, in the partitions of a message and of its recipient, and what is given away once: each is done again
/// after its answer was lost, and is done whole, and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_repeated_is_done_whole_in_both_partitions_and_once() {
    let server = RedisServer::start();
    let address = MovingAddress::of(&server).await;
    let store: Arc<dyn Store> =
        Arc::new(RedisStore::open(&address.url(), "tl", 16).await.unwrap().sealed_with(master_keys()));
    let organization = Organization::default();
    let person = whose(PERSON);
    let home = store.partition(&person);
    let listed = async || {
        let listed = store.history(&organization, Some(&person), HistoryId::END, 99).await.unwrap();
        listed.into_iter().map(|(_, message)| message).collect::<Vec<_>>()
    };
    let consent = store.consent(&organization, &person).await.unwrap().version;
    let now = SystemClock.now_ms();
    // First with every answer, so that the server knows the scripts.
    let mut wanted = Vec::new();
    for (turn, loses) in [(0_u64, false), (1, true)] {
        let lose = || loses.then(|| address.lose_an_answer());
        let is_lost = || assert!(address.has_lost_it());

        // A message that Twilio tells of, whose recipient is elsewhere.
        let mut tails = (1..).map(|number| format!("{turn}{number:x}"));
        let tail = tails.find(|tail| partition_of(&sid(tail)) != home).unwrap();
        lose();
        store.record_status(&organization, status(&tail, "sent")).await.unwrap();
        is_lost();
        wanted.push(MessageRef::Sid(sid(&tail)));

        // One of ours that has waited under another partition, and begins to leave.
        let id = MessageId::new((home + 1) % 16, (turn + 7).into());
        let new = being_sent(&Outbound { id, ..outbound(store.as_ref(), 1) });
        let gate =
            Gate { consent: consent.clone(), cooldown: ms(60_000), now: now + ms(90_000) * turn as u32 };
        lose();
        assert_eq!(store.create_outbound(&organization, &new, Some(&gate)).await.unwrap(), Passed::Yes);
        is_lost();
        wanted.push(MessageRef::Id(id));
        let gate = Gate { now: gate.now + ms(1), ..gate };
        let again = being_sent(&Outbound {
            id: MessageId::new((home + 1) % 16, (turn + 99).into()),
            ..outbound(store.as_ref(), 1)
        });
        let cooling = store.create_outbound(&organization, &again, Some(&gate)).await.unwrap();
        assert!(matches!(cooling, Passed::CoolingDown { .. }), "{cooling:?}");

        // And one that is created where it is.
        let id = MessageId::new(home, (turn + 7).into());
        let new = being_sent(&Outbound { id, ..outbound(store.as_ref(), 1) });
        lose();
        assert_eq!(store.create_outbound(&organization, &new, None).await.unwrap(), Passed::Yes);
        is_lost();
        wanted.push(MessageRef::Id(id));
        let taken = being_sent(&Outbound { id, ..outbound(store.as_ref(), 2) });
        let taken = store.create_outbound(&organization, &taken, None).await.unwrap();
        assert_eq!(taken, Passed::StateChanged, "another call with the same id");

        // The time of a sender.
        let sender = "+15005550006".parse().unwrap();
        lose();
        let starts_at = store.reserve_pace(&organization, &sender, now, ms(1_000)).await.unwrap();
        is_lost();
        assert_eq!(starts_at, now + ms(1_000) * turn as u32);

        let mut found = listed().await;
        found.sort_by_key(ToString::to_string);
        wanted.sort_by_key(ToString::to_string);
        assert_eq!(found, wanted);
    }

    // As after a crash between the two steps: the callback comes again, later.
    let mut tails = (1..).map(|number| format!("f{number:x}"));
    let tail = tails.find(|tail| partition_of(&sid(tail)) != home).unwrap();
    let record = async |change| store.record_status(&organization, change).await.unwrap().recorded;
    assert_eq!(record(status(&tail, "sent")).await, Recorded::Moved);
    let key = format!("tl:{{default:{home}}}:history:*");
    let mut connection = server.connect().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg(key).query_async(&mut connection).await.unwrap();
    let emptied = redis::cmd("DEL").arg(keys).to_owned();
    emptied.query_async::<()>(&mut connection).await.unwrap();
    assert_eq!(record(status(&tail, "delivered")).await, Recorded::Moved);
    assert_eq!(listed().await, []);
    for _ in 0..2 {
        let late = StatusChange { at: AT + ms(5_000), ..status(&tail, "sent") };
        assert_eq!(record(late).await, Recorded::Duplicate);
        assert_eq!(listed().await, [MessageRef::Sid(sid(&tail))]);
    }
}

/// The partition of a message, of 16.
fn partition_of(sid: &MessageSid) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(sid.as_str().as_bytes()) % 16
}

/// What is refused says what to do, and shows no password.
#[tokio::test]
async fn a_redis_that_refuses_us_is_told_with_the_mend() {
    let server = RedisServer::start();
    for rule in
        ["ada on >s3cret ~tl:* +@all", "eve on >s3cret ~tl:* +@all -set", "zoe on >s3cret ~other:* +@all"]
    {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(rule.split(' ').collect::<Vec<_>>());
        server.ask(&command).await;
    }
    server.ask(redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("hunter2")).await;
    let place = format!("127.0.0.1:{}", server.port());
    for (login, says) in [
        ("", "a password is asked for"),
        (":hunter3@", "the user or the password in TEXTLEDGER_STORE is not taken"),
        ("ada:hunter2@", "the user or the password in TEXTLEDGER_STORE is not taken"),
        ("eve:s3cret@", "'set' command"),
        ("zoe:s3cret@", "docs/operations.md"),
    ] {
        let Err(error) = RedisStore::open(&format!("redis://{login}{place}"), "tl", 1).await else {
            panic!("{login} is taken");
        };
        let told = error.to_string();
        assert!(matches!(error, OpenError::Refused(_)) && told.contains(says), "{login}: {told}");
        assert!(!told.contains("hunter") && !told.contains("s3cret"), "{told}");
    }
    for login in [":hunter2@", "ada:s3cret@"] {
        RedisStore::open(&format!("redis://{login}{place}/1"), "tl", 1).await.unwrap();
    }
    // Each is in the database that its URL names.
    let other = RedisStore::open(&format!("redis://ada:s3cret@{place}/2"), "tl", 2).await;
    assert!(other.is_ok(), "the number of partitions is another one there");
}

#[tokio::test]
async fn the_number_of_partitions_is_fixed_by_the_first_start() {
    let redis = fresh(4).await;
    drop(redis.open().await);
    let again = RedisStore::open(&RedisServer::shared().url(), &redis.prefix, 5).await;
    assert!(matches!(again, Err(OpenError::Partitions { configured: 5, .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_instances_write_down_at_once_is_neither_lost_nor_told_twice() {
    for redis in [fresh(1).await, fresh(16).await, fresh_on_cluster().await] {
        super::audit::written_at_once(vec![redis.open().await, redis.open().await]).await;
    }
}

/// Version 0.1.0 kept a document in the partition of its name, whatever its kind.
#[tokio::test]
async fn what_version_0_1_0_saved_for_the_installation_is_found_and_changed() {
    let redis = fresh(16).await;
    let store = redis.open().await;
    let installation = Organization::installation();
    let mut connection = RedisServer::shared().connect().await;
    let names: Vec<String> = (0..20).map(|number| format!("org-{number}")).collect();
    for name in &names {
        let partition = crc16::State::<crc16::XMODEM>::calculate(name.as_bytes()) % 16;
        let key = |rest: &str| format!("{}:{{*:{partition}}}:{rest}", redis.prefix);
        let document = key(&format!("doc:settings:{name}"));
        redis::cmd("SET").arg(document).arg("old").query_async::<()>(&mut connection).await.unwrap();
        let listed = redis::cmd("ZADD").arg(key("docs:settings")).arg(0).arg(name).to_owned();
        listed.query_async::<()>(&mut connection).await.unwrap();
    }
    let listed = store.documents(&installation, Kind::Settings, None, 50).await.unwrap();
    assert_eq!(listed.len(), names.len());
    assert!(listed.iter().all(|(_, text)| text == "old"), "{listed:?}");
    let changes: Vec<_> = names
        .iter()
        .map(|name| DocumentChange {
            kind: Kind::Settings,
            name,
            before: Some("old"),
            after: Some("new").filter(|_| name != "org-3"),
        })
        .collect();
    assert!(store.change_documents(&installation, &changes).await.unwrap());
    let listed = store.documents(&installation, Kind::Settings, None, 50).await.unwrap();
    assert_eq!(listed.len(), names.len() - 1);
    assert!(listed.iter().all(|(name, text)| text == "new" && name != "org-3"), "{listed:?}");
    assert_eq!(store.document(&installation, Kind::Settings, "org-3").await.unwrap(), None);
}

/// Redis forgets what has ended, and nobody tells the list that names it.
#[tokio::test]
async fn the_names_of_documents_that_have_ended_are_taken_out_of_their_list() {
    let redis = fresh(1).await;
    let (store, organization) = (redis.open().await, Organization::default());
    for (name, keep) in [("+1415/a", 1), ("+1416/b", 3_600_000)] {
        let keep = Some(ms(keep));
        let put = store.change_document(&organization, Kind::HeldTraffic, name, None, Some("x"), keep).await;
        assert!(put.unwrap());
    }
    let batch = store.change_document(&organization, Kind::Batch, "b1", None, Some("x"), Some(ms(60_000)));
    assert!(batch.await.unwrap());
    let mut connection = RedisServer::shared().connect().await;
    let mut listed = async |kind: &str| -> Vec<String> {
        let key = format!("{}:{{default:0}}:docs:{kind}", redis.prefix);
        redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).query_async(&mut connection).await.unwrap()
    };
    assert_eq!(listed("held_traffic").await, ["+1415/a", "+1416/b"]);
    // Nobody lists batches.
    assert!(listed("batch").await.is_empty());
    crate::support::eventually("it ends", async || {
        store.document(&organization, Kind::HeldTraffic, "+1415/a").await.unwrap().is_none().then_some(())
    })
    .await;
    let found = store.documents(&organization, Kind::HeldTraffic, None, 9).await.unwrap();
    assert_eq!(found, [("+1416/b".to_owned(), "x".to_owned())]);
    assert_eq!(listed("held_traffic").await, ["+1416/b"]);
}

/// A document may be stored again between the look that found it ended and the script.
#[tokio::test]
async fn the_name_of_a_document_that_is_there_again_stays_in_its_list() {
    let mut connection = RedisServer::shared().connect().await;
    let redis = fresh(1).await;
    let tag = format!("{}:{{default:0}}", redis.prefix);
    let (names, [ended, again]) =
        (format!("{tag}:docs:x"), ["a", "b"].map(|name| format!("{tag}:doc:x:{name}")));
    let listed = redis::cmd("ZADD").arg(&names).arg(0).arg("a").arg(0).arg("b").clone();
    let _: u64 = listed.query_async(&mut connection).await.unwrap();
    let _: () = redis::cmd("SET").arg(&again).arg("x").query_async(&mut connection).await.unwrap();
    let script = include_str!("../../../src/store/redis/lua/forget_names.lua");
    let mut forget = redis::cmd("EVAL");
    forget.arg(script).arg(3).arg(&names).arg(ended).arg(again).arg("a").arg("b");
    assert_eq!(forget.query_async::<u64>(&mut connection).await.unwrap(), 1);
    let mut left = redis::cmd("ZRANGE");
    left.arg(&names).arg(0).arg(-1);
    assert_eq!(left.query_async::<Vec<String>>(&mut connection).await.unwrap(), ["b"]);
}

/// None of them is absent: what is absent is taken out of its queue.
#[tokio::test]
async fn a_message_of_which_a_part_is_missing_or_no_text_is_one_that_cannot_be_read() {
    let redis = fresh(1).await;
    let (store, organization) = (redis.open().await, Organization::default());
    let new = [1, 2, 3, 4, 5].map(|number| that_waits(outbound(store.as_ref(), number), AT));
    store.enqueue(&organization, &new).await.unwrap();
    let flow = new[0].outbound.flow();
    let ids = new.map(|new| new.outbound.id);
    let mut connection = RedisServer::shared().connect().await;
    let out = |index: usize| format!("{}:{{default:0}}:out:{}", redis.prefix, ids[index]);
    let no_text = b"\xff".as_slice();
    let mut queue = redis::cmd("ZADD");
    queue.arg(format!("{}:{{default:0}}:queue:{flow}", redis.prefix)).arg(AT.get() - 1).arg(no_text);
    for command in [
        redis::cmd("HDEL").arg(out(0)).arg("state"),
        redis::cmd("HDEL").arg(out(1)).arg("outbound"),
        redis::cmd("HSET").arg(out(2)).arg("outbound").arg(no_text),
        redis::cmd("SET").arg(out(3)).arg("no hash"),
        &mut queue,
    ] {
        command.query_async::<redis::Value>(&mut connection).await.unwrap();
    }
    let rows = store.outbound_rows(&organization, &ids).await.unwrap();
    let is_read = rows.iter().map(|row| row.as_ref().is_ok_and(Option::is_some));
    assert_eq!(is_read.collect::<Vec<_>>(), [false, false, false, false, true], "{rows:?}");
    assert!(rows[..4].iter().all(Result::is_err), "{rows:?}");
    let claimed = store.claim_outbounds(&organization, &flow, AT, AT + ms(9), 9).await.unwrap();
    assert_eq!(claimed.len(), 6);
    assert!(claimed[0].is_err(), "{claimed:?}");
    assert!(claimed[1..].iter().flatten().all(|id| ids.contains(id)), "{claimed:?}");
}

/// Version 0.1.0 lists flows by name, and notes nowhere when they are due.
#[tokio::test]
async fn messages_that_version_0_1_0_queues_are_found_when_they_are_due() {
    let redis = fresh(1).await;
    let store = redis.open().await;
    let organization = Organization::default();
    let waiting = that_waits(outbound(store.as_ref(), 1), AT);
    let (flow, id) = (waiting.outbound.flow(), waiting.outbound.id);
    store.create_outbound(&organization, &waiting, None).await.unwrap();
    let mut connection = RedisServer::shared().connect().await;
    let key = |rest: &str| format!("{}:{{default:0}}:{rest}", redis.prefix);
    // As if that version had queued it, for either time.
    for due in [AT, AT + ms(1_000)] {
        redis::cmd("DEL").arg(key("due")).query_async::<()>(&mut connection).await.unwrap();
        let flow = flow.to_string();
        let queue = key(&format!("queue:{flow}"));
        redis::cmd("SADD").arg(key("flows")).arg(&flow).query_async::<()>(&mut connection).await.unwrap();
        let queued = redis::cmd("ZADD").arg(queue).arg(due.get()).arg(id.as_str()).to_owned();
        queued.query_async::<()>(&mut connection).await.unwrap();
        assert_eq!(due_flows(store.as_ref(), &organization, due - ms(1)).await, []);
        assert_eq!(due_flows(store.as_ref(), &organization, due).await, [flow.parse().unwrap()]);
        let left: bool = redis::cmd("EXISTS").arg(key("flows")).query_async(&mut connection).await.unwrap();
        assert!(!left);
    }
    // One that was put off meanwhile is looked for once, and not again.
    let until = AT + ms(5_000);
    let taken =
        redis::cmd("ZADD").arg(key(&format!("queue:{flow}"))).arg(until.get()).arg(id.as_str()).to_owned();
    taken.query_async::<()>(&mut connection).await.unwrap();
    let now = AT + ms(1_000);
    assert_eq!(flows::claim(store.as_ref(), &organization, &flow, now, until, 10).await, []);
    assert_eq!(due_flows(store.as_ref(), &organization, now).await, []);
    assert_eq!(due_flows(store.as_ref(), &organization, until).await, [flow]);
}

/// Beside names of flows and ids that are none.
#[tokio::test]
async fn a_queue_goes_on_beside_names_that_cannot_be_read() {
    let redis = fresh(1).await;
    let store = redis.open().await;
    let organization = Organization::default();
    let waiting = that_waits(outbound(store.as_ref(), 1), AT);
    let flow = waiting.outbound.flow();
    store.create_outbound(&organization, &waiting, None).await.unwrap();
    let mut connection = RedisServer::shared().connect().await;
    let queue = format!("queue:{flow}");
    for (sorted_set, member) in [("due", "whatsapp:"), (queue.as_str(), "no id")] {
        let key = format!("{}:{{default:0}}:{sorted_set}", redis.prefix);
        let add = redis::cmd("ZADD").arg(key).arg((AT - ms(1)).get()).arg(member).to_owned();
        add.query_async::<()>(&mut connection).await.unwrap();
    }
    let due = store.due_flows(&organization, AT, false, 0).await.unwrap();
    assert_eq!((due.flows, due.unreadable.len()), (vec![flow.clone()], 1));
    let claim = async || store.claim_outbounds(&organization, &flow, AT, AT + ms(9), 10).await.unwrap();
    let claimed = claim().await;
    assert_eq!((claimed.len(), &claimed[1]), (2, &Ok(waiting.outbound.id)));
    assert!(claimed[0].as_ref().unwrap_err().record.contains("no id"));
    assert_eq!(claim().await, []);
}

/// As a copy that was restored in parts may leave it: a flow is noted or listed, its messages are gone and counted still. As
/// nothing leaves then, nothing but a look at the flow can set the count right; and a full queue takes nothing.
#[tokio::test]
async fn what_is_counted_of_a_queue_that_is_empty_is_forgotten_when_the_queue_is_looked_at() {
    let redis = fresh(1).await;
    let store = redis.open().await;
    let organization = Organization::default();
    let mut connection = RedisServer::shared().connect().await;
    let key = |rest: &str| format!("{}:{{default:0}}:{rest}", redis.prefix);
    let flow = outbound(store.as_ref(), 1).flow();
    let mut count = redis::cmd("HSET");
    count.arg(key("queued")).arg("messages").arg(3).arg("bytes").arg(300);
    for is_listed in [false, true] {
        count.query_async::<()>(&mut connection).await.unwrap();
        let mut noted = if is_listed { redis::cmd("SADD") } else { redis::cmd("ZADD") };
        match is_listed {
            true => noted.arg(key("flows")).arg(flow.to_string()),
            false => noted.arg(key("due")).arg(AT.get()).arg(flow.to_string()),
        };
        noted.query_async::<()>(&mut connection).await.unwrap();
        assert_eq!(store.queued(&organization).await.unwrap(), Queued { messages: 3, bytes: 300 });
        for due in due_flows(store.as_ref(), &organization, AT).await {
            assert_eq!(flows::claim(store.as_ref(), &organization, &due, AT, AT + ms(9), 10).await, []);
        }
        assert_eq!(store.queued(&organization).await.unwrap(), Queued::default(), "listed: {is_listed}");
    }
}

#[tokio::test]
async fn messages_share_packed_hashes() {
    let redis = fresh(1).await;
    let store = redis.open().await;
    for status_name in ["queued", "sent", "delivered", "read"] {
        store.record_status(&Organization::default(), status("abc", status_name)).await.unwrap();
    }
    let mut connection = RedisServer::shared().connect().await;
    let key = format!("{}:{{default:0}}:msg:abc", redis.prefix);
    let encoding: String =
        redis::cmd("OBJECT").arg("ENCODING").arg(key).query_async(&mut connection).await.unwrap();
    assert_eq!(encoding, "listpack");
}

/// A counter that was put wrong (by hand, or by a copy that was restored in parts) never tells of less than nothing, and is
/// right again once nothing waits.
#[tokio::test]
async fn a_count_of_what_is_queued_that_was_put_wrong_is_never_below_nothing() {
    let redis = fresh(1).await;
    let store = redis.open().await;
    let organization = Organization::default();
    let new: Vec<NewOutbound> = (1..=3)
        .map(|number| NewOutbound { bytes: 100, ..that_waits(outbound(store.as_ref(), number), AT) })
        .collect();
    store.enqueue(&organization, &new).await.unwrap();
    let mut connection = RedisServer::shared().connect().await;
    let key = format!("{}:{{default:0}}:queued", redis.prefix);
    let mut wrong = redis::cmd("HSET");
    wrong.arg(&key).arg("messages").arg(1).arg("bytes").arg(10);
    wrong.query_async::<()>(&mut connection).await.unwrap();
    let ends = async |new: &NewOutbound| {
        let to = OutboundState::Canceled { at: AT };
        let ends = Step { from: new.state.clone(), to, due: None, gate: None, entry: None };
        store.step_outbound(&organization, &new.outbound, &ends).await.unwrap();
    };
    ends(&new[0]).await;
    ends(&new[1]).await;
    assert_eq!(store.queued(&organization).await.unwrap(), Queued::default());
    // The same of one that a callback has brought to its end.
    wrong.query_async::<()>(&mut connection).await.unwrap();
    let (id, flow) = (&new[2].outbound.id, new[2].outbound.flow());
    let last = that_waits(outbound(store.as_ref(), 4), AT);
    store.enqueue(&organization, std::slice::from_ref(&last)).await.unwrap();
    wrong.query_async::<()>(&mut connection).await.unwrap();
    store.resolve_outbound(&organization, id, &outgoing::rule::proven(sid("9"), AT)).await.unwrap();
    store.dequeue(&organization, &flow, id).await.unwrap();
    assert_eq!(store.queued(&organization).await.unwrap(), Queued::default());
    ends(&last).await;
    assert_eq!(store.queued(&organization).await.unwrap(), Queued::default());
    store
        .enqueue(&organization, &[NewOutbound { bytes: 7, ..that_waits(outbound(store.as_ref(), 5), AT) }])
        .await
        .unwrap();
    assert_eq!(store.queued(&organization).await.unwrap(), Queued { messages: 1, bytes: 7 });
}
