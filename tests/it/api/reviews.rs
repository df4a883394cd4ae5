//! Replies that may be an opt-out: what they hold back, and what is decided.

use serde_json::{Value, json};
use textledger::domain::Role;
use tokio::task::JoinSet;

use super::on_both_stores;
use crate::support::{
    eventually,
    redis_server::RedisServer,
    service::{ACCOUNT_SID, On, PERSON, SENDER_KEY, TestService, answer, api_keys},
    twilio::World,
};

on_both_stores! {
    every_way_of_sending_is_held_until_the_reply_is_dismissed
    what_was_held_is_refused_once_the_reply_was_an_opt_out
    of_two_replies_both_have_to_be_dismissed
    the_persons_later_word_closes_the_review
    a_message_that_is_tried_again_is_held_too
    a_request_that_calls_again_is_answered_with_the_hold
    a_review_is_of_the_person_whichever_name_they_write_under
    reviews_are_listed_oldest_first_page_by_page
    a_reply_of_who_has_opted_out_needs_no_review
}

const FAST: (&str, &str) = ("TEXTLEDGER_MPS", "2000");

/// Words that may ask for an end, and that nobody may find in a log.
const WORDS: &str = "ok stop";

const REVIEWS: &str = "/api/sms/consent/reviews";

async fn post(service: &TestService, role: Role, path: &str, body: &Value) -> (u16, Value) {
    answer(service.post(role, path, body)).await
}

/// The open reviews.
async fn reviews(service: &TestService) -> Vec<Value> {
    let (status, page) = answer(service.get(Role::Viewer, REVIEWS)).await;
    assert_eq!((status, &page["next_cursor"]), (200, &Value::Null), "{page}");
    page["reviews"].as_array().unwrap().clone()
}

/// Has somebody write a doubtful reply, and returns its SID.
async fn doubt(world: &World, from: &str) -> String {
    assert_eq!(world.write(from, WORDS).await.0, 200);
    let reviews = reviews(&world.service).await;
    reviews.last().expect("the reply is under review")["message_sid"].as_str().unwrap().to_owned()
}

async fn decide(service: &TestService, role: Role, sid: &str, decision: &str) -> (u16, Value) {
    post(service, role, &format!("{REVIEWS}/{sid}"), &json!({ "decision": decision })).await
}

async fn becomes(service: &TestService, id: &str, status: &str) {
    eventually(&format!("{id} is {status}"), async || {
        (service.message_status(id).await.1["status"] == status).then_some(())
    })
    .await;
}

async fn held(service: &TestService) -> Vec<String> {
    let (_, page) = answer(service.get(Role::Viewer, "/api/sms/messages?limit=500")).await;
    let messages = page["messages"].as_array().unwrap().iter();
    let held = messages.filter(|message| message["status"] == "held");
    held.map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

async fn every_way_of_sending_is_held_until_the_reply_is_dismissed(on: On) {
    let keys = api_keys();
    let world = World::story(on, &[FAST, ("TEXTLEDGER_API_KEYS", keys.as_str())]).await;
    let service = &world.service;
    let path = "/api/sms/preferences/ada";
    let preferences = json!({ "phone_number": PERSON });
    let request = service.anonymous(reqwest::Method::PUT, path);
    let request = request.bearer_auth(crate::support::service::token(Role::Admin)).json(&preferences);
    assert_eq!(answer(request).await.0, 200);
    let sid = doubt(&world, PERSON).await;

    let listed = &reviews(service).await[0];
    assert_eq!((&listed["phone_number"], &listed["channel"]), (&json!(PERSON), &json!("sms")));
    assert_eq!((&listed["words"], &listed["language"]), (&json!(WORDS), &json!("en")), "{listed}");
    assert!(listed["rule"].is_string() && listed["at"].is_string(), "{listed}");

    let (status, sent) = service.send(PERSON, "hello").await;
    assert_eq!((status, &sent["status"], &sent["reason"]), (202, &json!("held"), &json!("review")), "{sent}");
    assert_eq!((&sent["held_until"], &sent["message_sid"]), (&listed["decide_by"], &Value::Null), "{sent}");
    let bulk = json!({ "phone_numbers": [PERSON], "message": "to many" });
    assert_eq!(post(service, Role::Sender, "/api/sms/send-bulk", &bulk).await.0, 202);
    let notice = json!({ "user_ids": ["ada"], "message": "notice", "category": "general" });
    assert_eq!(post(service, Role::Sender, "/api/sms/notify", &notice).await.0, 202);
    let call = service
        .anonymous(reqwest::Method::POST, &format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"))
        .basic_auth(ACCOUNT_SID, Some(SENDER_KEY))
        .form(&[("To", PERSON), ("Body", "as a library"), ("From", "+15005550006")]);
    let (status, created) = answer(call).await;
    assert_eq!((status, &created["status"]), (201, &json!("accepted")), "{created}");
    eventually("all four are held", async || (held(service).await.len() == 4).then_some(())).await;
    assert_eq!(world.accepted_for(PERSON), 0);

    // Danger and the other channel are not held back.
    let danger = json!({ "to_number": PERSON, "message": "leave the building", "category": "emergency" });
    assert_eq!(post(service, Role::Sender, "/api/sms/send", &danger).await.0, 201);
    let whatsapp = json!({ "to_number": PERSON, "message": "hello" });
    assert_eq!(post(service, Role::Sender, "/api/sms/whatsapp/send", &whatsapp).await.0, 201);

    assert_eq!(decide(service, Role::Viewer, &sid, "opt_out").await.0, 403);
    assert_eq!(decide(service, Role::Sender, &sid, "dismiss").await.0, 403);
    assert_eq!(decide(service, Role::Admin, &sid, "perhaps").await.0, 422);
    for unknown in ["SM00000000000000000000000000000000", "SM1"] {
        let (status, problem) = decide(service, Role::Admin, unknown, "dismiss").await;
        assert_eq!((status, &problem["code"]), (404, &json!("review_not_found")), "{problem}");
    }
    assert_eq!(held(service).await.len(), 4);
    let (status, consent) = decide(service, Role::Admin, &sid, "dismiss").await;
    assert_eq!((status, &consent["channels"]["sms"]["state"]), (200, &json!("unknown")), "{consent}");
    eventually("all leave", async || (world.accepted_for(PERSON) == 5).then_some(())).await;
    assert_eq!(reviews(service).await, Vec::<Value>::new());
    assert_eq!(service.send(PERSON, "again").await.0, 201);

    assert_eq!(decide(service, Role::Admin, &sid, "dismiss").await.0, 200, "the same again");
    let (status, problem) = decide(service, Role::Admin, &sid, "opt_out").await;
    assert_eq!((status, &problem["code"]), (409, &json!("review_decided")), "{problem}");
    let states: Vec<Value> =
        service.events().await.into_iter().filter(|event| event["type"] == "consent").collect();
    assert_eq!(states.iter().map(|event| &event["state"]).collect::<Vec<_>>(), ["review"]);
    for (result, count) in [("opened", 1), ("dismiss", 1), ("opt_out", 0)] {
        let sample = format!(r#"textledger_reviews_total{{result="{result}"}}"#);
        assert_eq!(service.metric(&sample).await, count, "{result}");
    }
    let log = service.log();
    assert!(log.contains("review.decide") && !log.contains(WORDS) && !log.contains(PERSON));
    world.finish(&[]).await;
}

async fn what_was_held_is_refused_once_the_reply_was_an_opt_out(on: On) {
    let world = World::story(on, &[]).await;
    let service = &world.service;
    let sid = doubt(&world, PERSON).await;
    let (_, sent) = service.send(PERSON, "hello").await;
    let (status, consent) = decide(service, Role::Sender, &sid, "opt_out").await;
    let sms = &consent["channels"]["sms"];
    assert_eq!((status, &sms["state"], &sms["source"]), (200, &json!("opted_out"), &json!("phrase")));
    assert_eq!(sms["message_sid"], sid.as_str());
    let id = sent["id"].as_str().unwrap();
    assert_eq!(service.message_status(id).await.1["status"], "refused");
    let (status, problem) = service.send(PERSON, "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    let (_, history) = answer(service.get(Role::Viewer, &format!("/api/sms/consent/{PERSON}/history"))).await;
    let change = &history["changes"][0];
    assert_eq!((&change["actor"], &change["message_sid"]), (&json!("tester"), &json!(sid)), "{history}");
    assert_eq!(history["changes"].as_array().unwrap().len(), 1);
    let last = service.events().await.pop().unwrap();
    assert_eq!((&last["type"], &last["state"]), (&json!("consent"), &json!("opted_out")), "{last}");

    assert_eq!(decide(service, Role::Sender, &sid, "opt_out").await.0, 200, "the same again");
    let (status, problem) = decide(service, Role::Admin, &sid, "dismiss").await;
    assert_eq!((status, &problem["code"]), (409, &json!("review_decided")), "{problem}");
    // It is the person's own word, which a colleague does not take back.
    let back = json!({ "phone_number": PERSON, "channel": "sms", "state": "opted_in" });
    assert_eq!(post(service, Role::Sender, "/api/sms/consent", &back).await.0, 409);
    world.finish(&[]).await;
}

async fn of_two_replies_both_have_to_be_dismissed(on: On) {
    let world = World::story(on, &[]).await;
    let service = &world.service;
    let first = doubt(&world, PERSON).await;
    let second = doubt(&world, PERSON).await;
    assert_ne!(first, second);
    let (_, sent) = service.send(PERSON, "hello").await;
    let id = sent["id"].as_str().unwrap();
    assert_eq!(decide(service, Role::Admin, &first, "dismiss").await.0, 200);
    assert_eq!(service.message_status(id).await.1["status"], "held");
    assert_eq!(service.send(PERSON, "hello").await.0, 202);
    assert_eq!(decide(service, Role::Admin, &second, "dismiss").await.0, 200);
    becomes(service, id, "delivered").await;
    world.finish(&[]).await;
}

async fn the_persons_later_word_closes_the_review(on: On) {
    let world = World::story(on, &[]).await;
    let service = &world.service;
    let (stopper, starter) = ("+14155550111", "+14155550112");
    let mut messages = Vec::new();
    for (person, word, becomes) in [(stopper, "STOP", "refused"), (starter, "START", "delivered")] {
        let sid = doubt(&world, person).await;
        let (_, sent) = service.send(person, "hello").await;
        world.write(person, word).await;
        assert_eq!(reviews(service).await, Vec::<Value>::new(), "{word}");
        let (status, problem) = decide(service, Role::Admin, &sid, "dismiss").await;
        assert_eq!((status, &problem["code"]), (409, &json!("review_decided")), "{word}");
        messages.push((sent["id"].as_str().unwrap().to_owned(), becomes));
    }
    for (id, status) in messages {
        becomes(service, &id, status).await;
    }
    world.finish(&[]).await;
}

async fn a_message_that_is_tried_again_is_held_too(on: On) {
    let world = World::story(on, &[FAST]).await;
    let service = &world.service;
    world.fault(json!({ "rate_limit": 1.0 })).await;
    let bulk = json!({ "phone_numbers": [PERSON], "message": "to many" });
    let (_, accepted) = post(service, Role::Sender, "/api/sms/send-bulk", &bulk).await;
    let path = format!("/api/sms/batches/{}/messages", accepted["batch_id"].as_str().unwrap());
    let message = async || answer(service.get(Role::Viewer, &path)).await.1["messages"][0].clone();
    eventually("it was tried", async || (message().await["reason"] == "retry").then_some(())).await;
    let sid = doubt(&world, PERSON).await;
    eventually("it is held", async || (message().await["reason"] == "review").then_some(())).await;
    world.fault(json!({})).await;
    assert_eq!(world.accepted_for(PERSON), 0);
    assert_eq!(decide(service, Role::Admin, &sid, "dismiss").await.0, 200);
    eventually("it leaves", async || (world.accepted_for(PERSON) == 1).then_some(())).await;
    world.finish(&[]).await;
}

async fn a_request_that_calls_again_is_answered_with_the_hold(on: On) {
    let world = World::story(on, &[FAST]).await;
    let service = &world.service;
    world.fault(json!({ "rate_limit": 1.0 })).await;
    let body = json!({ "to_number": PERSON, "message": "hello" });
    let under_way = tokio::spawn(answer(service.post(Role::Sender, "/api/sms/send", &body)));
    eventually("Twilio is called", async || {
        let (_, page) = answer(service.get(Role::Viewer, "/api/sms/messages")).await;
        (page["messages"][0]["status"] == "sending").then_some(())
    })
    .await;
    let sid = doubt(&world, PERSON).await;
    let (status, sent) = under_way.await.unwrap();
    assert_eq!((status, &sent["status"], &sent["reason"]), (202, &json!("held"), &json!("review")), "{sent}");
    world.fault(json!({})).await;
    assert_eq!(decide(service, Role::Admin, &sid, "dismiss").await.0, 200);
    becomes(service, sent["id"].as_str().unwrap(), "delivered").await;
    assert_eq!(world.accepted_for(PERSON), 1);
    world.finish(&[]).await;
}

async fn a_review_is_of_the_person_whichever_name_they_write_under(on: On) {
    let settings = [("TEXTLEDGER_PARTITIONS", "16"), FAST];
    let world = World::start_with(on, if matches!(on, On::Redis) { &settings } else { &settings[1..] }).await;
    let service = &world.service;
    let number = "+14155552703";
    let sid = doubt(&world, "whatsapp:US.444555666").await;
    let both = json!({
        "from": "whatsapp:US.444555666", "to": "whatsapp:+15005550006", "body": "hello", "WaId": &number[1..],
        "ExternalUserId": "whatsapp:US.444555666",
    });
    world.write_with(&both).await;
    let body = json!({ "to_number": number, "message": "hello" });
    let (status, sent) = post(service, Role::Sender, "/api/sms/whatsapp/send", &body).await;
    assert_eq!((status, &sent["reason"]), (202, &json!("review")), "{sent}");
    assert_eq!(service.send(number, "by SMS").await.0, 201, "a review of WhatsApp leaves SMS alone");
    assert_eq!(reviews(service).await.len(), 1);
    let (status, consent) = decide(service, Role::Sender, &sid, "opt_out").await;
    assert_eq!((status, &consent["channels"]["whatsapp"]["state"]), (200, &json!("opted_out")), "{consent}");
    becomes(service, sent["id"].as_str().unwrap(), "refused").await;
}

async fn reviews_are_listed_oldest_first_page_by_page(on: On) {
    let settings = [("TEXTLEDGER_PARTITIONS", "16")];
    let world = World::start_with(on, if matches!(on, On::Redis) { &settings } else { &[] }).await;
    let service = &world.service;
    let mut sids = Vec::new();
    for number in 0..5 {
        sids.push(doubt(&world, &format!("+1415555020{number}")).await);
    }
    assert_eq!(decide(service, Role::Admin, &sids.remove(1), "dismiss").await.0, 200);
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = answer(service.get(Role::Viewer, &format!("{REVIEWS}?limit=2{cursor}"))).await;
        assert_eq!(status, 200, "{page}");
        let reviews = page["reviews"].as_array().unwrap().iter();
        listed.extend(reviews.map(|review| review["message_sid"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, sids);
    assert_eq!(answer(service.get(Role::Viewer, &format!("{REVIEWS}?cursor=7"))).await.0, 422);
    assert_eq!(answer(service.get(Role::User, REVIEWS)).await.0, 403);
    let (_, elsewhere) = service.get_in("another", REVIEWS).await;
    assert_eq!(elsewhere["reviews"], json!([]));
    let (path, body) = (format!("{REVIEWS}/{}", sids[0]), json!({ "decision": "dismiss" }));
    assert_eq!(service.post_in("another", &path, &body).await.0, 404);
}

async fn a_reply_of_who_has_opted_out_needs_no_review(on: On) {
    let world = World::story(on, &[]).await;
    world.write(PERSON, "STOP").await;
    world.write(PERSON, WORDS).await;
    assert_eq!(reviews(&world.service).await, Vec::<Value>::new());
    let last = world.service.events().await.pop().unwrap();
    assert_eq!(last["state"], "review", "the stream tells of it: {last}");
    world.finish(&[]).await;
}

/// Whoever comes first decides, and the other is told so, whichever instance they ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_decide_at_once_at_two_instances_one_decides() {
    let redis = RedisServer::start();
    let url = redis.url();
    let shared = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_KEY_PREFIX", "both")];
    let world = World::start_with(On::Redis, &shared).await;
    let other = TestService::start_with(On::Redis, &shared).await;
    for number in 0..20 {
        let person = format!("+1415555030{number:02}");
        let sid = doubt(&world, &person).await;
        assert_eq!(answer(other.get(Role::Viewer, REVIEWS)).await.1["reviews"][0]["words"], WORDS);
        let mut both = JoinSet::new();
        for (service, decision) in [(&world.service, "opt_out"), (&other, "dismiss")] {
            let body = json!({ "decision": decision });
            let request = service.post(Role::Admin, &format!("{REVIEWS}/{sid}"), &body);
            both.spawn(async move { (decision, answer(request).await.0) });
        }
        let mut answers = both.join_all().await;
        answers.sort_by_key(|(_, status)| *status);
        let [(decided, 200), (_, 409)] = answers[..] else { panic!("{answers:?}") };
        let (_, known) = answer(other.get(Role::Viewer, &format!("/api/sms/consent/{person}"))).await;
        let state = if decided == "opt_out" { "opted_out" } else { "unknown" };
        assert_eq!(known["channels"]["sms"]["state"], state, "{decided}");
        assert_eq!(reviews(&other).await, Vec::<Value>::new());
    }
}
