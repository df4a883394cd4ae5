//! Bursts of first messages to neighbouring numbers: who is held, and what an administrator decides.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use textledger::{
    clock::SystemClock,
    domain::{
        Organization, Principal, Role, UnixMs,
        pumping::{Decision, Verdict},
    },
    startup,
    store::Kind,
};

use super::on_both_stores;
use crate::support::{
    eventually, later,
    leftovers::config,
    now,
    redis_server::RedisServer,
    service::{On, TestService, answer, token},
    twilio::World,
};

on_both_stores! {
    what_is_held_is_shown_by_block_with_who_asked_and_released_at_once
    a_refused_block_gets_nothing_from_strangers_until_the_decision_ends
    batches_and_notices_to_strangers_are_held_like_single_messages
    a_whatsapp_message_makes_nobody_known_to_the_guard
    what_is_scheduled_is_judged_when_it_would_leave
    a_burst_that_is_spread_over_a_range_is_held_too
    what_is_held_of_a_near_block_holds_nobody_else_of_the_range
    a_decision_moves_what_is_held_to_its_numbers_and_nothing_that_another_decides_on
    of_decisions_at_once_each_message_is_moved_by_one
    a_message_that_cannot_be_read_hides_no_other_and_keeps_none_from_being_moved
    what_is_refused_is_so_at_home_and_with_the_guard_off
    a_decision_that_cannot_be_read_stops_no_message_and_the_next_one_takes_it_away
    what_is_judged_while_a_decision_is_stored_is_moved_by_it
    who_has_become_known_while_a_message_is_held_is_not_concerned_by_a_refusal
    what_was_released_by_mistake_is_refused_as_far_as_it_has_not_left
    what_twilio_was_called_with_before_a_refusal_is_not_tried_again
    only_so_many_decisions_are_in_force_and_each_fault_is_named
}

const TRAFFIC: &str = "/api/sms/suspicious-traffic";

/// So fast that no test waits for it.
const FAST: (&str, &str) = ("TEXTLEDGER_MPS", "2000");

const GUARD: (&str, &str) = ("TEXTLEDGER_PUMPING_GUARD", "2/24h");

fn person(number: usize) -> String {
    format!("+1415555{number:04}")
}

async fn traffic(service: &TestService) -> Value {
    let (status, traffic) = answer(service.get(Role::Admin, TRAFFIC)).await;
    assert_eq!(status, 200, "{traffic}");
    traffic
}

async fn decide(service: &TestService, prefix: &str, body: Value) -> (u16, Value) {
    answer(service.post(Role::Admin, &format!("{TRAFFIC}/{prefix}"), &body)).await
}

/// Fills the block of the first thousand persons, so that the next stranger's message is one of a burst.
async fn fill(world: &World) {
    for number in [900, 901] {
        assert_eq!(world.service.send(&person(number), "code").await.0, 201);
    }
}

/// Sends a message that is held, and returns its id.
async fn held(world: &World, number: usize) -> String {
    let (status, held) = world.service.send(&person(number), "code").await;
    assert_eq!((status, &held["reason"]), (202, &json!("suspicious_traffic")), "{held}");
    held["id"].as_str().unwrap().to_owned()
}

/// Stores what a later version, or a fault, has left of the decisions, while the service is stopped.
async fn store_decisions(world: &World, text: &str) {
    let store = startup::open_store(&config(world.service.settings()), Arc::new(SystemClock)).await.unwrap();
    let (organization, kind) = (Organization::default(), Kind::TrafficDecisions);
    let before = store.document(&organization, kind, "all").await.unwrap();
    let changed = store.change_document(&organization, kind, "all", before.as_deref(), Some(text), None);
    assert!(changed.await.unwrap());
}

/// Starts the service again; what it answers of the traffic.
async fn start_again(world: &mut World) -> Value {
    world.service.start_again();
    eventually("the service is back", async || {
        let (status, traffic) = answer(world.service.get(Role::Admin, TRAFFIC)).await;
        (status == 200).then_some(traffic)
    })
    .await
}

fn refusal_of(prefix: &str) -> Decision {
    let now = UnixMs::new(now().as_millisecond() as u64);
    Decision {
        prefix: prefix.parse().unwrap(),
        verdict: Verdict::Refuse,
        until: now + Duration::from_secs(3_600),
        by: Principal::user("ada"),
        at: now,
    }
}

async fn becomes(world: &World, id: &str, status: &str) {
    let is = async || (world.service.message_status(id).await.1["status"] == status).then_some(());
    eventually(&format!("the message is {status}"), is).await;
}

async fn what_is_held_is_shown_by_block_with_who_asked_and_released_at_once(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    let service = &world.service;
    assert_eq!(traffic(service).await, json!({ "blocks": [], "is_complete": true, "decisions": [] }));
    fill(&world).await;
    let ids = [held(&world, 1).await, held(&world, 2).await, held(&world, 3).await];
    let canceled = held(&world, 4).await;
    // A block of its own, of which less is held.
    for number in [5_001, 5_002] {
        assert_eq!(service.send(&person(number), "code").await.0, 201);
    }
    let other = held(&world, 5_003).await;
    world.write(&person(4), "STOP").await;
    becomes(&world, &canceled, "refused").await;

    let shown = traffic(service).await;
    let block = &shown["blocks"][0];
    assert_eq!((&block["prefix"], &block["held"]), (&json!("+14155550"), &json!(3)), "{shown}");
    assert_eq!(block["actors"], json!([{ "actor": "user:tester", "held": 3 }]));
    assert!(block["since"].as_str() <= block["last_held_at"].as_str(), "{block}");
    assert_eq!(
        (&shown["blocks"][1]["prefix"], &shown["blocks"][1]["held"]),
        (&json!("+14155555"), &json!(1))
    );
    assert_eq!(service.get_in("other", TRAFFIC).await.1["blocks"], json!([]));

    let (status, decided) = decide(service, "+14155550", json!({ "decision": "release" })).await;
    assert_eq!((status, decided), (200, json!({ "moved": 3 })));
    for id in &ids {
        becomes(&world, id, "delivered").await;
    }
    // New ones pass, and nothing else is let go.
    assert_eq!(service.send(&person(6), "code").await.0, 201);
    let shown = traffic(service).await;
    assert_eq!(shown["blocks"].as_array().unwrap().len(), 1, "{shown}");
    let decision = &shown["decisions"][0];
    let expected = (&json!("+14155550"), &json!("release"), &json!("user:tester"));
    assert_eq!((&decision["prefix"], &decision["decision"], &decision["actor"]), expected);
    assert_eq!(service.message_status(&other).await.1["status"], "held");
    // Once it has ended, they are judged as all others.
    let (status, decided) = decide(service, "+14155550", json!({ "decision": "judge" })).await;
    assert_eq!((status, decided), (200, json!({ "moved": 0 })));
    held(&world, 7).await;
    assert_eq!(traffic(service).await["decisions"], json!([]));
}

async fn a_refused_block_gets_nothing_from_strangers_until_the_decision_ends(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    let service = &world.service;
    fill(&world).await;
    let id = held(&world, 1).await;
    // Of all numbers that begin so, however many more digits of them are known.
    let (status, decided) = decide(service, "+1415", json!({ "decision": "refuse", "for_s": 600 })).await;
    assert_eq!((status, decided), (200, json!({ "moved": 1 })));
    assert_eq!(service.message_status(&id).await.1["status"], "refused");
    // No burst is needed.
    for number in [2, 5_000] {
        let (status, problem) = service.send(&person(number), "code").await;
        assert_eq!((status, &problem["code"]), (429, &json!("suspicious_traffic")), "{problem}");
        assert!(problem["mend"].as_str().unwrap().contains(TRAFFIC), "{problem}");
    }
    let bulk = json!({ "phone_numbers": [person(3)], "message": "hello" });
    let (_, batch) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
    let path = format!("/api/sms/batches/{}", batch["batch_id"].as_str().unwrap());
    eventually("the batch is refused", async || {
        (answer(service.get(Role::Viewer, &path)).await.1["counts"]["refused"] == 1).then_some(())
    })
    .await;
    // Who is known is not concerned, nor is a block of which something else was decided.
    assert_eq!(service.send(&person(900), "again").await.0, 201);
    assert_eq!(decide(service, "+14155550", json!({ "decision": "release" })).await.0, 200);
    assert_eq!(service.send(&person(2), "code").await.0, 201);
    assert_eq!(service.send(&person(5_000), "code").await.0, 429);
    assert_eq!(decide(service, "+1415", json!({ "decision": "judge" })).await.0, 200);
    assert_eq!(service.send(&person(5_000), "code").await.0, 201);
    assert_eq!(world.accepted_for(&person(1)) + world.accepted_for(&person(3)), 0);
}

async fn batches_and_notices_to_strangers_are_held_like_single_messages(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    let service = &world.service;
    world.write(&person(8), "START").await;
    let bulk =
        json!({ "phone_numbers": (0..5).map(person).chain([person(8)]).collect::<Vec<_>>(), "message": "x" });
    let (_, batch) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
    let path = format!("/api/sms/batches/{}", batch["batch_id"].as_str().unwrap());
    let counts = async || answer(service.get(Role::Viewer, &path)).await.1["counts"].clone();
    eventually("the rest of the batch is held", async || (counts().await["held"] == 3).then_some(())).await;
    let delivered = async || (counts().await["delivered"] == 3).then_some(());
    eventually("two strangers and who has opted in are told", delivered).await;
    assert_eq!(world.accepted_for(&person(8)), 1);

    let preferences = json!({ "phone_number": person(6), "sms_enabled": true });
    let request = service.anonymous(Method::PUT, "/api/sms/preferences/ada").bearer_auth(token(Role::Admin));
    assert_eq!(answer(request.json(&preferences)).await.0, 200);
    let notice = json!({ "user_ids": ["ada"], "message": "x", "category": "general" });
    let (_, told) = answer(service.post(Role::Sender, "/api/sms/notify", &notice)).await;
    becomes(&world, told["results"][0]["queued"][0]["id"].as_str().unwrap(), "held").await;

    assert_eq!(traffic(service).await["blocks"][0]["held"], 4);
    assert_eq!(decide(service, "+1415555", json!({ "decision": "release" })).await.1, json!({ "moved": 4 }));
    eventually("the batch leaves", async || (counts().await["delivered"] == 6).then_some(())).await;
    eventually("the notice, too", async || (world.accepted_for(&person(6)) == 1).then_some(())).await;
}

async fn a_whatsapp_message_makes_nobody_known_to_the_guard(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    let service = &world.service;
    fill(&world).await;
    let whatsapp = json!({ "to_number": person(1), "message": "hello" });
    let (status, _) = answer(service.post(Role::Sender, "/api/sms/whatsapp/send", &whatsapp)).await;
    assert_eq!(status, 201);
    held(&world, 1).await;
    // The simulator lets a recipient fail whose number ends in an error's code: not on WhatsApp.
    let (near, unreachable) = (["+14155563900", "+14155563901"], "+14155563003");
    for number in near {
        assert_eq!(service.send(number, "code").await.0, 201);
    }
    let preferences = json!({ "phone_number": unreachable, "whatsapp_enabled": true });
    let request = service.anonymous(Method::PUT, "/api/sms/preferences/ada").bearer_auth(token(Role::Admin));
    assert_eq!(answer(request.json(&preferences)).await.0, 200);
    let notice = json!({
        "user_ids": ["ada"], "message": "x", "category": "general",
        "fallback": { "channel": "sms", "after_s": 600 },
    });
    let (_, told) = answer(service.post(Role::Sender, "/api/sms/notify", &notice)).await;
    let second = told["results"][0]["queued"][1]["id"].as_str().unwrap();
    becomes(&world, second, "held").await;
    assert_eq!(service.message_status(second).await.1["reason"], "suspicious_traffic");
}

async fn what_is_scheduled_is_judged_when_it_would_leave(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    let service = &world.service;
    let later = (crate::support::now() + jiff::SignedDuration::from_hours(48)).to_string();
    for number in 0..5 {
        let body = json!({ "to_number": person(number), "message": "hello", "send_at": later });
        let (status, message) = answer(service.post(Role::Sender, "/api/sms/send", &body)).await;
        assert_eq!((status, &message["status"]), (202, &json!("scheduled")));
    }
    // None of them has used up what may leave now.
    fill(&world).await;
    held(&world, 6).await;
}

async fn a_burst_that_is_spread_over_a_range_is_held_too(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    for number in 0..10 {
        let (status, sent) = world.service.send(&person(number % 5 * 1_000 + number), "code").await;
        assert_eq!(status, 201, "{sent}");
    }
    held(&world, 5_000).await;
    assert_eq!(traffic(&world.service).await["blocks"][0]["prefix"], "+141555");
}

async fn what_is_held_of_a_near_block_holds_nobody_else_of_the_range(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    fill(&world).await;
    // With these, more are asked for than may leave to the whole range.
    for number in 0..10 {
        held(&world, number).await;
    }
    let (status, sent) = world.service.send(&person(5_000), "code").await;
    assert_eq!(status, 201, "{sent}");
    assert_eq!(traffic(&world.service).await["blocks"][0]["prefix"], "+14155550");
}

async fn a_decision_moves_what_is_held_to_its_numbers_and_nothing_that_another_decides_on(on: On) {
    let mut world = World::start_with(on, &[FAST, GUARD]).await;
    fill(&world).await;
    let [near, far, alone] = [held(&world, 1).await, held(&world, 21).await, held(&world, 211).await];
    let service = &world.service;
    // More digits than the block has for which they are held.
    let (status, decided) = decide(service, "+14155550211", json!({ "decision": "release" })).await;
    assert_eq!((status, decided), (200, json!({ "moved": 1 })));
    becomes(&world, &alone, "delivered").await;
    for id in [&near, &far] {
        assert_eq!(world.service.message_status(id).await.1["status"], "held");
    }
    // A crash has cut short what was decided on a few of them.
    world.service.stop().await;
    store_decisions(&world, &json!([refusal_of("+1415555000")]).to_string()).await;
    start_again(&mut world).await;
    let decided = decide(&world.service, "+14155550", json!({ "decision": "release" })).await;
    assert_eq!(decided, (200, json!({ "moved": 1 })));
    becomes(&world, &far, "delivered").await;
    assert_eq!(world.service.message_status(&near).await.1["status"], "held");
    let (status, decided) = decide(&world.service, "+1415555000", json!({ "decision": "refuse" })).await;
    assert_eq!((status, decided), (200, json!({ "moved": 1 })));
    assert_eq!(world.service.message_status(&near).await.1["status"], "refused");
}

async fn of_decisions_at_once_each_message_is_moved_by_one(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    fill(&world).await;
    for number in 0..40 {
        held(&world, number).await;
    }
    let decided = (0..4).map(async |_| {
        let (status, decided) = decide(&world.service, "+14155550", json!({ "decision": "release" })).await;
        assert_eq!(status, 200, "{decided}");
        decided["moved"].as_u64().unwrap()
    });
    assert_eq!(join_all(decided).await.iter().sum::<u64>(), 40);
}

async fn a_message_that_cannot_be_read_hides_no_other_and_keeps_none_from_being_moved(on: On) {
    let mut world = World::start_with(on, &[FAST, GUARD]).await;
    fill(&world).await;
    let ids = [held(&world, 1).await, held(&world, 2).await, held(&world, 3).await];
    world.service.stop().await;
    match on {
        On::Embedded => later::hold_in_file(&world.service.folder().join("data"), &ids[1]),
        On::Redis => {
            let prefix = world.service.setting("TEXTLEDGER_KEY_PREFIX");
            later::hold_in_redis(&RedisServer::shared().url(), prefix, &ids[1]);
        }
    }
    let shown = start_again(&mut world).await;
    assert_eq!((&shown["blocks"][0]["held"], &shown["is_complete"]), (&json!(2), &json!(false)), "{shown}");
    let (status, decided) = decide(&world.service, "+14155550", json!({ "decision": "release" })).await;
    assert_eq!((status, decided), (200, json!({ "moved": 2 })));
    for id in [&ids[0], &ids[2]] {
        becomes(&world, id, "delivered").await;
    }
    assert!(world.service.log().contains("a record cannot be read"));
}

async fn what_is_refused_is_so_at_home_and_with_the_guard_off(on: On) {
    for guard in [&[][..], &[("TEXTLEDGER_PUMPING_GUARD", "off")]] {
        let world = World::start_with(on, guard).await;
        let service = &world.service;
        assert_eq!(service.send(&person(1), "code").await.0, 201);
        assert_eq!(decide(service, "+1415", json!({ "decision": "refuse" })).await.0, 200);
        let (status, problem) = service.send(&person(2), "code").await;
        assert_eq!((status, &problem["code"]), (429, &json!("suspicious_traffic")), "{problem}");
        // Who is known is not concerned, nor is an emergency, nor what another decision lets go.
        assert_eq!(service.send(&person(1), "again").await.0, 201);
        world.write(&person(3), "START").await;
        assert_eq!(service.send(&person(3), "hello").await.0, 201);
        let emergency = json!({ "to_number": person(4), "message": "fire", "category": "emergency" });
        assert_eq!(answer(service.post(Role::Sender, "/api/sms/send", &emergency)).await.0, 201);
        assert_eq!(decide(service, "+14155555", json!({ "decision": "release" })).await.0, 200);
        assert_eq!(service.send(&person(5_000), "code").await.0, 201);
        assert_eq!(decide(service, "+1415", json!({ "decision": "judge" })).await.0, 200);
        assert_eq!(service.send(&person(2), "code").await.0, 201);
        if matches!(on, On::Redis) {
            // What another process has decided is known here a moment later.
            let output = service.run(&["traffic", "refuse", "+1415"], &[]).await;
            assert!(output.status.success(), "{output:?}");
            let mut number = 6;
            eventually("it is refused", async || {
                number += 1;
                (service.send(&person(number), "code").await.0 == 429).then_some(())
            })
            .await;
        }
    }
}

async fn a_decision_that_cannot_be_read_stops_no_message_and_the_next_one_takes_it_away(on: On) {
    let mut world = World::start_with(on, &[FAST, GUARD]).await;
    world.service.stop().await;
    let mut later = json!(refusal_of("+14155556"));
    later["verdict"] = json!("delay");
    store_decisions(&world, &json!([later, refusal_of("+14155550")]).to_string()).await;
    let shown = start_again(&mut world).await;
    let decided = shown["decisions"].as_array().unwrap();
    assert_eq!((decided.len(), &shown["is_complete"]), (1, &json!(false)), "{shown}");
    let send = async |world: &World, number| world.service.send(&person(number), "code").await.0;
    assert_eq!((send(&world, 1).await, send(&world, 6_000).await), (429, 201));
    assert!(world.service.log().contains("decision 1 on traffic"), "the operator is told");
    world.service.stop().await;
    store_decisions(&world, "no list").await;
    let shown = start_again(&mut world).await;
    assert_eq!((&shown["decisions"], &shown["is_complete"]), (&json!([]), &json!(false)), "{shown}");
    assert_eq!(send(&world, 1).await, 201);
    assert_eq!(decide(&world.service, "+1415", json!({ "decision": "refuse" })).await.0, 200);
    assert_eq!(send(&world, 2).await, 429);
    assert_eq!(traffic(&world.service).await["is_complete"], true);
}

async fn what_is_judged_while_a_decision_is_stored_is_moved_by_it(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    let send = |number| {
        let world = &world;
        async move { world.service.send(&person(number), "code").await }
    };
    for (round, decision) in
        ["release", "refuse", "release", "refuse", "release", "refuse"].iter().enumerate()
    {
        let (first, body) = (round * 1_000, json!({ "decision": decision }));
        join_all((first..first + 8 * round).map(send)).await;
        let prefix = format!("+1415555{round}");
        let (_, decided) = tokio::join!(
            join_all((first + 100..first + 140).map(send)),
            decide(&world.service, &prefix, body)
        );
        assert_eq!(decided.0, 200);
        assert_eq!(traffic(&world.service).await["blocks"], json!([]), "{decision} {round}");
    }
}

async fn who_has_become_known_while_a_message_is_held_is_not_concerned_by_a_refusal(on: On) {
    let world = World::start_with(on, &[FAST, GUARD]).await;
    fill(&world).await;
    let (known, stranger) = (held(&world, 1).await, held(&world, 2).await);
    world.write(&person(1), "START").await;
    let decided = decide(&world.service, "+14155550", json!({ "decision": "refuse" })).await;
    assert_eq!(decided, (200, json!({ "moved": 2 })));
    assert_eq!(world.service.message_status(&stranger).await.1["status"], "refused");
    becomes(&world, &known, "delivered").await;
}

async fn what_was_released_by_mistake_is_refused_as_far_as_it_has_not_left(on: On) {
    // One of them leaves in a second.
    let world = World::start_with(on, &[("TEXTLEDGER_MPS", "1"), GUARD]).await;
    let service = &world.service;
    fill(&world).await;
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.push(held(&world, number).await);
    }
    let release = json!({ "decision": "release" });
    assert_eq!(decide(service, "+14155550", release).await, (200, json!({ "moved": 8 })));
    assert_eq!(decide(service, "+14155550", json!({ "decision": "refuse" })).await.0, 200);
    let mut refused = 0;
    for id in &ids {
        let end = eventually("the message comes to an end", async || {
            let (_, message) = service.message_status(id).await;
            let status = message["status"].as_str()?.to_owned();
            ["delivered", "refused"].contains(&status.as_str()).then_some(status)
        })
        .await;
        refused += usize::from(end == "refused");
    }
    // What had left before had left.
    assert!(refused >= 4, "{refused} of {} were refused", ids.len());
}

async fn what_twilio_was_called_with_before_a_refusal_is_not_tried_again(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    let service = &world.service;
    world.fault(json!({ "rate_limit": 1.0 })).await;
    let bulk = json!({ "phone_numbers": [person(1)], "message": "to many" });
    let (_, batch) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
    let path = format!("/api/sms/batches/{}/messages", batch["batch_id"].as_str().unwrap());
    let queued = async || answer(service.get(Role::Viewer, &path)).await.1["messages"][0].clone();
    eventually("it was tried", async || (queued().await["reason"] == "retry").then_some(())).await;
    let body = json!({ "to_number": person(2), "message": "code" });
    let under_way = tokio::spawn(answer(service.post(Role::Sender, "/api/sms/send", &body)));
    eventually("the request calls Twilio", async || {
        let (_, page) = answer(service.get(Role::Viewer, "/api/sms/messages")).await;
        let messages = page["messages"].as_array()?;
        messages.iter().any(|message| message["status"] == "sending").then_some(())
    })
    .await;
    assert_eq!(decide(service, "+1415", json!({ "decision": "refuse" })).await.0, 200);
    let (status, problem) = under_way.await.unwrap();
    assert_eq!((status, &problem["code"]), (429, &json!("suspicious_traffic")), "{problem}");
    world.fault(json!({})).await;
    eventually("it is refused", async || (queued().await["status"] == "refused").then_some(())).await;
    assert_eq!(world.accepted_for(&person(1)) + world.accepted_for(&person(2)), 0);
}

async fn only_so_many_decisions_are_in_force_and_each_fault_is_named(on: On) {
    let service = TestService::start(on).await;
    let wrong = [
        ("+1415", json!({}), "decision"),
        ("+1415", json!({ "decision": "forgive" }), "decision"),
        ("+1415", json!({ "decision": "release", "for_s": 0 }), "for_s"),
        ("+1415", json!({ "decision": "release", "for_s": 2_592_001 }), "for_s"),
        ("1415", json!({ "decision": "release" }), "prefix"),
        ("+123456789012345", json!({ "decision": "release" }), "prefix"),
    ];
    for (prefix, body, field) in wrong {
        let (status, problem) = decide(&service, prefix, body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{problem}");
    }
    for number in 100..200 {
        let (status, decided) =
            decide(&service, &format!("+1{number}"), json!({ "decision": "refuse" })).await;
        assert_eq!(status, 200, "{decided}");
    }
    let (status, problem) = decide(&service, "+1200", json!({ "decision": "refuse" })).await;
    assert_eq!((status, &problem["code"]), (409, &json!("too_many_traffic_decisions")), "{problem}");
    assert_eq!(decide(&service, "+1100", json!({ "decision": "release" })).await.0, 200);
    assert_eq!(decide(&service, "+1101", json!({ "decision": "judge" })).await.0, 200);
    assert_eq!(decide(&service, "+1200", json!({ "decision": "refuse" })).await.0, 200);
}
