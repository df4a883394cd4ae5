//! The store comes back empty, as it was a while ago, or as another one: nobody is sent to who may have said STOP there, and what
//! Twilio posts is kept, until the right store is back or this one is accepted.

use std::{collections::BTreeSet, fs, time::Duration};

use jiff::SignedDuration;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use textledger::{domain::Role, store::embedded::FILE_NAME};

use crate::support::{
    eventually_within, now,
    redis_server::RedisServer,
    service::{On, TestService, answer, callback, reply},
    twilio::World,
};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";

/// Who says STOP while all is well, and who while the store is not the known one.
const STOPPED: &str = "+14155550101";
const STOPPED_MEANWHILE: &str = "+14155550102";

/// How long it may take until messages are sent again.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// A service over `redis`, and one who has opted out.
async fn start(redis: &RedisServer) -> World {
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_STORE", &redis.url())]).await;
    stop_of(&world.service, STOPPED, 1).await;
    world
}

async fn stop_of(service: &TestService, person: &str, number: u32) {
    let reply = service.webhook(INBOUND, &reply(&format!("MM{number:032x}"), person, "STOP")).await;
    assert_eq!(reply.status(), 200);
}

/// Nothing is accepted, in whatever way it is to be sent.
async fn is_refused(world: &World) {
    let service = &world.service;
    for person in ["+14155550111", STOPPED] {
        let one = json!({ "to_number": person, "message": "hello" });
        let many = json!({ "phone_numbers": [person], "message": "hello" });
        for (path, body) in [("send", &one), ("whatsapp/send", &one), ("send-bulk", &many)] {
            let (status, problem) =
                answer(service.post(Role::Sender, &format!("/api/sms/{path}"), body)).await;
            assert_eq!((status, &problem["code"]), (503, &json!("store_not_known")), "{path}: {problem}");
            assert!(problem["mend"].as_str().unwrap().contains("textledger store accept"));
        }
        assert_eq!(world.accepted_for(person) + world.accepted_for(&format!("whatsapp:{person}")), 0);
    }
    let change =
        json!({ "phone_number": "+14155550111", "channel": "sms", "state": "opted_out", "source": "api" });
    let (status, problem) = answer(service.post(Role::Admin, "/api/sms/consent", &change)).await;
    assert_eq!((status, &problem["code"]), (503, &json!("store_not_known")), "{problem}");
}

/// What `/readyz` says of it, once it was found; webhooks are taken.
async fn found_not_to_be_known(service: &TestService) -> Value {
    eventually_within(BACK_WITHIN, "it is found", async || {
        let (status, ready) = service.readiness().await;
        assert_eq!((status, &ready["webhooks"]), (200, &json!("ok")));
        (ready["store"] == "not_known").then_some(())
    })
    .await;
    let (_, ready) = service.readiness().await;
    assert_eq!((&ready["sends"], service.ready().await), (&json!("refused"), 503));
    assert_eq!(service.metric("textledger_store_known").await, 0);
    ready["not_known"].clone()
}

/// Waits until messages are sent again, and to nobody of `stopped`.
async fn is_back(world: &World, stopped: &[&str]) {
    let service = &world.service;
    let ready = async || (service.ready().await == 200).then_some(());
    eventually_within(BACK_WITHIN, "messages can be sent", ready).await;
    assert_eq!(service.metric("textledger_store_known").await, 1);
    assert_eq!(service.readiness().await.1["not_known"], Value::Null);
    for person in stopped {
        let (status, problem) = service.send(person, "hello").await;
        assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")), "{person}");
        assert_eq!(world.accepted_for(person), 0);
    }
    let (status, sent) = service.send("+14155550112", "hello").await;
    assert_eq!(status, 201, "{sent}");
}

/// Waits until the data folder knows of so many changes of consent of the organization.
async fn is_written_down(service: &TestService, changes: u64) {
    let file = service.folder().join("data").join("known_store");
    eventually_within(BACK_WITHIN, "it is written down", async || {
        let known: Value = serde_json::from_slice(&fs::read(&file).ok()?).unwrap();
        (known["store"]["changes"]["default"]["0"] == changes).then_some(())
    })
    .await;
}

async fn accept(service: &TestService, further: &[&str]) -> (Option<i32>, String) {
    let output = service.run(&[&["store", "accept"], further].concat(), &[]).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_on_a_redis_that_was_emptied_until_it_is_accepted() {
    let redis = RedisServer::start();
    let mut world = start(&redis).await;
    redis.flush().await;
    // Nobody has looked at it since.
    let (status, problem) = world.service.send(STOPPED, "hello").await;
    assert_eq!((status, &problem["code"]), (503, &json!("store_not_known")), "{problem}");
    is_refused(&world).await;
    let why = found_not_to_be_known(&world.service).await;
    assert_eq!((&why["reason"], &why["known"]["changes"]), (&json!("no_identity"), &json!(1)));
    assert_eq!((&why["found"]["id"], &why["found"]["changes"]), (&Value::Null, &json!(0)));
    stop_of(&world.service, STOPPED_MEANWHILE, 2).await;
    let sid = format!("SM{:032x}", 3);
    assert_eq!(world.service.webhook(STATUS, &callback(&sid, "delivered")).await.status(), 204);
    for (key, ..) in redis.copy().await {
        let key = String::from_utf8(key).unwrap();
        assert!(key.ends_with(":ping"), "{key} was written into it");
    }

    is_written_down(&world.service, 1).await;
    world.service.kill();
    world.service.start_again();
    is_refused(&world).await;
    assert_eq!(found_not_to_be_known(&world.service).await, why);
    assert_eq!(world.service.readiness().await.1["spool"]["entries"], 2);

    let (code, said) = accept(&world.service, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(why["known"]["id"].as_str().unwrap()), "{said}");
    assert!(said.contains("changes of consent: 1 (default 1)") && said.contains("no identity"), "{said}");
    is_back(&world, &[STOPPED_MEANWHILE]).await;
    assert_eq!(world.service.message_status(&sid).await.1["status"], "delivered");
    let (code, said) = accept(&world.service, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("there is nothing to accept"), "{said}");

    world.service.kill();
    world.service.start_again();
    is_back(&world, &[STOPPED_MEANWHILE]).await;
    let log = world.service.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    // Once by each of the processes that came upon it.
    assert_eq!(lines("is not the one that this installation knew: nothing is sent"), 2, "{log}");
    assert_eq!(lines("it is used again"), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_is_not_sent_from_and_the_right_one_is_by_itself() {
    let redis = RedisServer::start();
    let world = start(&redis).await;
    let at = now() + SignedDuration::from_secs(2);
    let waits = json!({ "to_number": STOPPED_MEANWHILE, "message": "hello", "send_at": at.to_string() });
    let (status, waits) = answer(world.service.post(Role::Sender, "/api/sms/send", &waits)).await;
    assert_eq!(status, 202, "{waits}");
    let older = redis.copy().await;
    stop_of(&world.service, STOPPED_MEANWHILE, 2).await;
    let right = redis.copy().await;
    redis.put_back(&older).await;
    is_refused(&world).await;
    let why = found_not_to_be_known(&world.service).await;
    assert_eq!((&why["reason"], &why["known"]["changes"]), (&json!("fewer_changes"), &json!(2)));
    assert_eq!((&why["found"]["id"], &why["found"]["changes"]), (&why["known"]["id"], &json!(1)));
    let is_due = async || (now() > at).then_some(());
    eventually_within(BACK_WITHIN, "the message is due", is_due).await;
    stop_of(&world.service, "+14155550103", 3).await;
    assert_eq!(world.accepted_for(STOPPED_MEANWHILE), 0);

    redis.put_back(&right).await;
    is_back(&world, &[STOPPED, STOPPED_MEANWHILE, "+14155550103"]).await;
    let id = waits["id"].as_str().unwrap();
    let refused = async || (world.service.message_status(id).await.1["status"] == "refused").then_some(());
    eventually_within(BACK_WITHIN, "the message is refused", refused).await;
    assert_eq!(world.accepted_for(STOPPED_MEANWHILE), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_another_identity_is_accepted_on_another_machine_by_the_known_one() {
    let redis = RedisServer::start();
    let world = start(&redis).await;
    let identity = |why: &Value| why["known"]["id"].as_str().unwrap().to_owned();
    redis.flush().await;
    // One whose folder knows nothing takes it for new.
    let prefix = world.service.setting("TEXTLEDGER_KEY_PREFIX").to_owned();
    let settings = [("TEXTLEDGER_STORE", redis.url()), ("TEXTLEDGER_KEY_PREFIX", prefix)];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let other = World::start_with(On::Redis, &settings).await;
    stop_of(&other.service, STOPPED_MEANWHILE, 2).await;
    let why = found_not_to_be_known(&world.service).await;
    assert_eq!(why["reason"], "another_identity");
    is_refused(&world).await;

    let folder = tempfile::tempdir().unwrap();
    let elsewhere = [("TEXTLEDGER_DATA_DIR", folder.path().to_str().unwrap())];
    let output = world.service.run(&["store", "accept"], &elsewhere).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--known"));
    let known = identity(&why);
    let output = world.service.run(&["store", "accept", "--known", &known], &elsewhere).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for world in [&world, &other] {
        is_back(world, &[STOPPED_MEANWHILE]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_store_that_was_removed_is_not_sent_from_until_it_is_accepted() {
    let mut world = World::start(On::Embedded).await;
    stop_of(&world.service, STOPPED, 1).await;
    assert_eq!(world.service.stop().await, Some(0));
    fs::remove_file(world.service.folder().join("data").join(FILE_NAME)).unwrap();
    world.service.start_again();
    is_refused(&world).await;
    let why = found_not_to_be_known(&world.service).await;
    assert_eq!((&why["reason"], &why["known"]["changes"]), (&json!("no_identity"), &json!(1)));
    stop_of(&world.service, STOPPED_MEANWHILE, 2).await;
    let (code, said) = accept(&world.service, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("while no service runs"), "{said}");
    world.service.kill();
    world.service.start_again();
    is_refused(&world).await;

    assert_eq!(world.service.stop().await, Some(0));
    let (code, said) = accept(&world.service, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    world.service.start_again();
    is_back(&world, &[STOPPED_MEANWHILE]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_backup_is_not_sent_from_and_the_right_file_is_by_itself() {
    let mut world = World::start(On::Embedded).await;
    stop_of(&world.service, STOPPED, 1).await;
    let output = world.service.run(&["backup", "older"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    stop_of(&world.service, STOPPED_MEANWHILE, 2).await;
    assert_eq!(world.service.stop().await, Some(0));
    let (file, aside) =
        (world.service.folder().join("data").join(FILE_NAME), world.service.folder().join("aside"));
    fs::rename(&file, &aside).unwrap();
    let output = world.service.run(&["restore", "older"], &[]).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(
        errors.contains("changes of consent of default: 1") && errors.contains("store accept"),
        "{errors}"
    );

    world.service.start_again();
    is_refused(&world).await;
    let why = found_not_to_be_known(&world.service).await;
    assert_eq!((&why["reason"], &why["found"]["changes"]), (&json!("fewer_changes"), &json!(1)));
    stop_of(&world.service, "+14155550103", 3).await;
    assert_eq!(world.service.stop().await, Some(0));
    fs::rename(&aside, &file).unwrap();
    world.service.start_again();
    is_back(&world, &[STOPPED, STOPPED_MEANWHILE, "+14155550103"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_with_stores_of_their_own_share_a_spool_folder_and_mix_nothing() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let redis = [RedisServer::start_durable(data.path()), RedisServer::start()];
    let spool = folder.path().to_str().unwrap();
    let mut services = Vec::new();
    for redis in &redis {
        let settings = [("TEXTLEDGER_STORE", redis.url()), ("TEXTLEDGER_SPOOL_DIR", spool.to_owned())];
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        services.push(World::start_with(On::Redis, &settings).await);
    }
    let [first, second] = redis;
    let port = first.port();
    drop(first);
    let [one, other] = &mut services[..] else { unreachable!("two were started") };
    stop_of(&one.service, STOPPED_MEANWHILE, 1).await;
    one.service.kill();
    other.service.kill();
    other.service.start_again();
    assert_eq!(other.service.readiness().await.1["spool"]["entries"], 0);
    assert_eq!(other.service.events().await, Vec::<Value>::new());
    let (status, sent) = other.service.send(STOPPED_MEANWHILE, "hello").await;
    assert_eq!(status, 201, "{sent}");
    let _first = RedisServer::start_in_place_of(port, data.path());
    one.service.start_again();
    is_back(one, &[STOPPED_MEANWHILE]).await;
    drop(second);
}

/// Steps of a random history, and how many persons it is about.
const STEPS: usize = 60;
const PERSONS: u32 = 20;

/// STOP, sends, empty and older stores and the right one, in any order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_said_stop_is_sent_to_whatever_becomes_of_the_store() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let redis = RedisServer::start();
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_STORE", &redis.url())]).await;
    let service = &world.service;
    let person = |number: u32| format!("+1415555{:04}", 200 + number);
    let (mut stopped, mut copies) = (BTreeSet::new(), vec![(0, redis.copy().await)]);
    // What is to be put back, while another store is in its place.
    let mut right: Option<Vec<_>> = None;
    for step in 0..STEPS {
        let someone = random.random_range(0..PERSONS);
        match random.random_range(0..10) {
            0..=1 if !stopped.contains(&someone) => {
                stop_of(service, &person(someone), step as u32).await;
                stopped.insert(someone);
            }
            2..=6 => {
                let (status, answer) = service.send(&person(someone), "hello").await;
                assert!(matches!(status, 201 | 409 | 503), "seed {seed}, step {step}: {answer}");
                assert!(status != 201 || !stopped.contains(&someone), "seed {seed}, step {step}: {answer}");
                assert!(
                    right.is_some() || status != 409 || stopped.contains(&someone),
                    "seed {seed}, step {step}: {answer}"
                );
            }
            7 if right.is_none() => copies.push((stopped.len(), redis.copy().await)),
            8 if right.is_none() => {
                let now = redis.copy().await;
                let (known, copy) = &copies[random.random_range(0..copies.len())];
                let is_empty = random.random();
                if is_empty {
                    redis.flush().await;
                } else {
                    redis.put_back(copy).await;
                }
                // A copy that knows everybody who has said STOP is as good as what it takes the place of.
                let is_as_good = !is_empty && *known == stopped.len();
                right = (!is_as_good).then_some(now);
            }
            9 => {
                if let Some(right) = right.take() {
                    redis.put_back(&right).await;
                    let ready = async || (service.ready().await == 200).then_some(());
                    eventually_within(BACK_WITHIN, "messages can be sent", ready).await;
                }
            }
            _ => {}
        }
    }
}
