//! What Twilio's errors lead to: to another try, to a queue that rests, to a number that nothing more is sent to.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::{
    simulator::receiver::Receiver,
    support::{
        eventually, eventually_within, now,
        service::{On, PERSON, TestService, answer, callback},
        twilio::World,
    },
};

on_both_stores! {
    what_is_refused_for_a_while_goes_out_in_the_end
    what_is_the_accounts_fault_stops_its_queue_and_spends_nothing
    a_sender_whose_messages_fail_rests_and_others_do_not
    a_message_that_is_not_found_once_is_asked_for_again
    the_channels_own_words_are_shown_with_the_error
    a_dead_number_is_not_sent_to_until_it_lives_again
    a_listed_message_is_found_however_late_and_sent_once
    who_stops_while_an_answer_is_lost_is_not_sent_to
}

/// Six numbers.
fn six() -> Vec<String> {
    (0..6).map(|number| format!("+1415555018{number}")).collect()
}

async fn bulk(service: &TestService, numbers: &[String]) -> Value {
    let body = json!({ "phone_numbers": numbers, "message": "hello" });
    let (status, accepted) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &body)).await;
    assert_eq!(status, 202, "{accepted}");
    accepted
}

/// How many messages are where, of the states in which there are any.
async fn counts(service: &TestService, batch: &Value) -> Value {
    let path = format!("/api/sms/batches/{}", batch["batch_id"].as_str().unwrap());
    let progress = answer(service.get(Role::Viewer, &path)).await.1;
    let counts = progress["counts"].as_object().unwrap().iter().filter(|(_, count)| **count != json!(0));
    counts.map(|(state, count)| (state.clone(), count.clone())).collect()
}

/// Waits until all six wait: between two tries, one is on its way for a moment.
async fn all_wait(service: &TestService, batch: &Value) {
    eventually("all wait", async || (counts(service, batch).await == json!({ "waiting": 6 })).then_some(()))
        .await;
}

fn each_has_one(world: &World, numbers: &[String]) -> bool {
    numbers.iter().all(|number| world.accepted_for(number) == 1)
}

async fn what_is_refused_for_a_while_goes_out_in_the_end(on: On) {
    let world = World::story(on, &[("TEXTLEDGER_MPS", "100")]).await;
    world.fault(json!({ "queue_full": 1 })).await;
    let batch = bulk(&world.service, &six()).await;
    eventually("Twilio has refused some", async || {
        let (_, page) = answer(world.service.get(
            Role::Viewer,
            &format!("/api/sms/batches/{}/messages", batch["batch_id"].as_str().unwrap()),
        ))
        .await;
        page["messages"].as_array().unwrap().iter().any(|message| message["reason"] == "retry").then_some(())
    })
    .await;
    all_wait(&world.service, &batch).await;
    world.fault(json!({})).await;
    eventually_within(Duration::from_secs(60), "all are sent", async || {
        (counts(&world.service, &batch).await == json!({ "delivered": 6 })).then_some(())
    })
    .await;
    assert!(each_has_one(&world, &six()));
    world.finish(&[]).await;
}

async fn what_is_the_accounts_fault_stops_its_queue_and_spends_nothing(on: On) {
    let world = World::story(on, &[("TEXTLEDGER_MPS", "100")]).await;
    world.fault(json!({ "suspended": 1 })).await;
    let batch = bulk(&world.service, &six()).await;
    let stops = "textledger_accounts_stopped_total";
    eventually("the queue stops", async || (world.service.metric(stops).await == 1).then_some(())).await;
    let test = async || world.service.post_in("default", "/api/sms/test-connection", &json!({})).await.1;
    // As long as the account is suspended, a test changes nothing.
    assert_eq!(test().await["account"]["status"], "suspended");
    let (status, problem) = world.service.send(PERSON, "hello").await;
    assert_eq!((status, &problem["twilio_code"]), (422, &json!(20005)), "{problem}");
    all_wait(&world.service, &batch).await;
    world.fault(json!({})).await;
    assert_eq!(test().await["account"]["status"], "active");
    eventually("all are sent", async || {
        (counts(&world.service, &batch).await == json!({ "delivered": 6 })).then_some(())
    })
    .await;
    assert!(each_has_one(&world, &six()));
    // It was told once, with what to do.
    let told = world.service.log().matches("account_stopped").count();
    assert_eq!((told, world.service.metric(stops).await), (1, 1));
    world.finish(&[]).await;
}

/// Nobody tests the connection: the service does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_queue_goes_on_by_itself() {
    let world = World::story(On::Embedded, &[("TEXTLEDGER_MPS", "100")]).await;
    world.fault(json!({ "suspended": 1 })).await;
    let batch = bulk(&world.service, &six()).await;
    let stops = "textledger_accounts_stopped_total";
    eventually("the queue stops", async || (world.service.metric(stops).await == 1).then_some(())).await;
    world.fault(json!({})).await;
    eventually_within(Duration::from_secs(60), "all are sent", async || {
        (counts(&world.service, &batch).await == json!({ "delivered": 6 })).then_some(())
    })
    .await;
    world.finish(&[]).await;
}

async fn a_sender_whose_messages_fail_rests_and_others_do_not(on: On) {
    let world = World::story(on, &[("TEXTLEDGER_MPS", "100")]).await;
    // The campaign of the number is suspended.
    let (_, sent) = world.service.send("+14155530033", "hello").await;
    world.settle().await;
    let status = world.service.message_status(sent["message_sid"].as_str().unwrap()).await.1;
    assert_eq!(status["error"]["code"], 30033, "{status}");
    let batch = bulk(&world.service, &six()).await;
    let other =
        json!({ "phone_numbers": ["+14155550190"], "message": "hello", "from_number": "+15005550010" });
    let (_, other) = answer(world.service.post(Role::Sender, "/api/sms/send-bulk", &other)).await;
    eventually("the other sender's has left", async || {
        (counts(&world.service, &other).await == json!({ "delivered": 1 })).then_some(())
    })
    .await;
    all_wait(&world.service, &batch).await;
    assert_eq!(world.service.metric("textledger_senders_paused_total").await, 1);
    // An administrator has mended it.
    world.service.post_in("default", "/api/sms/test-connection", &json!({})).await;
    eventually("all are sent", async || {
        (counts(&world.service, &batch).await == json!({ "delivered": 6 })).then_some(())
    })
    .await;
    world.finish(&[]).await;
}

async fn a_message_that_is_not_found_once_is_asked_for_again(on: On) {
    let world =
        World::start_with(on, &[("TEXTLEDGER_RECONCILE_AFTER", "1s,2s,3s,4s,5s,6s,7s,8s,9s,10s,1h")]).await;
    world.fault(json!({ "lose_callback": 1, "fetch_not_found": 1 })).await;
    let (_, sent) = world.service.send(PERSON, "hello").await;
    let gone = "textledger_polls_total{result=\"gone\"}";
    eventually("it is not found", async || (world.service.metric(gone).await >= 1).then_some(())).await;
    world.fault(json!({})).await;
    eventually("it is found", async || {
        let status = world.service.message_status(sent["id"].as_str().unwrap()).await.1;
        (status["status"] == "delivered").then_some(())
    })
    .await;
}

async fn the_channels_own_words_are_shown_with_the_error(on: On) {
    let world = World::start(on).await;
    let sid = format!("SM{}", "c".repeat(32));
    let words = [
        ("ErrorCode", "63023"),
        ("ErrorMessage", "Channel provider error"),
        ("ChannelStatusCode", "131026"),
        ("ChannelStatusMessage", "Receiver is incapable of receiving this message"),
    ];
    let form = [callback(&sid, "undelivered"), words.to_vec()].concat();
    assert_eq!(world.service.webhook("/webhooks/twilio/status", &form).await.status(), 204);
    let error = world.service.message_status(&sid).await.1["error"].clone();
    let shown =
        ["code", "error_message", "channel_status_code", "channel_status_message"].map(|name| &error[name]);
    let expected = words.map(|(_, text)| json!(text));
    assert_eq!(shown, [&json!(63023), &expected[1], &expected[2], &expected[3]], "{error}");
    let event = world.service.events().await.pop().unwrap();
    let raw = json!({ "ChannelStatusCode": words[2].1, "ChannelStatusMessage": words[3].1, "ErrorMessage": words[1].1 });
    assert_eq!(event["raw"], raw);
}

async fn a_dead_number_is_not_sent_to_until_it_lives_again(on: On) {
    let world = World::start_with(on, &[]).await;
    let service = &world.service;
    // Twilio's number for this ends undelivered with 30005.
    let dead = "+14155530005";
    let fail_once = async || {
        let (status, sent) = service.send(dead, "hello").await;
        assert_eq!(status, 201, "{sent}");
        let id = sent["id"].as_str().unwrap().to_owned();
        eventually("it fails", async || {
            (service.message_status(&id).await.1["error"]["code"] == 30005).then_some(())
        })
        .await;
    };
    let list = async || {
        let (status, listed) = answer(service.get(Role::Viewer, "/api/sms/suppressions")).await;
        assert_eq!((status, &listed["next_cursor"]), (200, &Value::Null));
        listed["suppressions"].as_array().unwrap().clone()
    };
    let is_refused = async || {
        let (status, problem) = service.send(dead, "hello").await;
        let code = problem["code"].as_str().unwrap_or_default().to_owned();
        assert!(status == 201 || (status, code.as_str()) == (422, "recipient_unreachable"), "{problem}");
        status == 422
    };
    for _ in 0..2 {
        fail_once().await;
    }
    assert!(list().await.is_empty());
    fail_once().await;
    let suppressed = eventually("it is suppressed", async || list().await.pop()).await;
    let told = ["phone_number", "channel", "code"].map(|name| &suppressed[name]);
    assert_eq!(told, [&json!(dead), &json!("sms"), &json!(30005)], "{suppressed}");
    assert_eq!(suppressed["failures"].as_array().unwrap().len(), 3);
    assert!(suppressed["mend"].is_string() && suppressed["since"].is_string());
    assert!(is_refused().await);
    let accepted = bulk(service, &[dead.to_owned(), PERSON.to_owned()]).await;
    let rejected = ["to_number", "code"].map(|name| &accepted["rejected"][0][name]);
    assert_eq!(rejected, [&json!(dead), &json!("recipient_unreachable")], "{accepted}");
    // The other channel is another matter.
    let body = json!({ "to_number": dead, "message": "hello" });
    assert_eq!(answer(service.post(Role::Sender, "/api/sms/whatsapp/send", &body)).await.0, 201);

    // Somebody lifts it.
    let lift = async || {
        let path = format!("/api/sms/suppressions/{}", dead.replace('+', "%2B"));
        let request = service.anonymous(Method::DELETE, &path);
        answer(request.bearer_auth(crate::support::service::token(Role::Sender))).await.0
    };
    assert_eq!((lift().await, lift().await), (204, 204));
    assert!(list().await.is_empty());
    for _ in 0..3 {
        fail_once().await;
    }
    eventually("it is suppressed again", async || list().await.pop()).await;

    // They write.
    assert_eq!(world.write(dead, "hello").await.0, 200);
    assert!(list().await.is_empty());
    for _ in 0..3 {
        fail_once().await;
    }
    eventually("it is suppressed once more", async || list().await.pop()).await;
    assert!(is_refused().await);

    // Something has arrived there that was sent elsewhere.
    let sid = format!("SM{}", "d".repeat(32));
    let mut form = callback(&sid, "delivered");
    form.iter_mut().filter(|(name, _)| *name == "To").for_each(|(_, to)| *to = dead);
    assert_eq!(service.webhook("/webhooks/twilio/status", &form).await.status(), 204);
    assert!(list().await.is_empty() && !is_refused().await);
}

/// Failures that say nothing of the number never suppress it, and a delivery in between begins the count anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_failures_in_a_row_that_are_the_numbers_own_fault_count() {
    let world = World::start_with(On::Embedded, &[("TEXTLEDGER_SUPPRESS_AFTER", "2")]).await;
    let service = &world.service;
    let post = async |number: usize, status: &str, code: Option<&str>| {
        let sid = format!("SM{number:032}");
        let form =
            [callback(&sid, status), code.map(|code| ("ErrorCode", code)).into_iter().collect()].concat();
        assert_eq!(service.webhook("/webhooks/twilio/status", &form).await.status(), 204);
    };
    for (number, code) in ["30003", "30008", "30004", "30005"].into_iter().enumerate() {
        post(number, "undelivered", Some(code)).await;
    }
    post(4, "delivered", None).await;
    post(5, "undelivered", Some("30005")).await;
    // Told again, it counts once.
    post(5, "undelivered", Some("30005")).await;
    post(5, "failed", Some("30005")).await;
    assert_eq!(service.send(PERSON, "hello").await.0, 201);
    post(6, "failed", Some("30006")).await;
    assert_eq!(service.send(PERSON, "hello").await.0, 422);
}

async fn a_listed_message_is_found_however_late_and_sent_once(on: On) {
    let world = World::story(on, &[("TEXTLEDGER_LOST_ANSWER_AFTER", "8s")]).await;
    world.fault(json!({ "accept_then_drop_response": 1, "lose_callback": 1, "list_lag_ms": 6_000 })).await;
    let (status, sent) = world.service.send(PERSON, "hello").await;
    assert_eq!((status, &sent["status"]), (202, &json!("unknown")));
    let id = sent["id"].as_str().unwrap();
    eventually("it is found", async || {
        (world.service.message_status(id).await.1["status"] == "delivered").then_some(())
    })
    .await;
    assert_eq!(world.accepted_for(PERSON), 1);
    world.fault(json!({})).await;
    world.finish(&[]).await;
}

async fn who_stops_while_an_answer_is_lost_is_not_sent_to(on: On) {
    let world = World::story(on, &[("TEXTLEDGER_LOST_ANSWER_AFTER", "4s")]).await;
    world.fault(json!({ "server_error": 1 })).await;
    let (status, sent) = world.service.send(PERSON, "hello").await;
    assert_eq!((status, &sent["status"]), (202, &json!("unknown")));
    world.fault(json!({})).await;
    assert_eq!(world.write(PERSON, "STOP").await.0, 200);
    let id = sent["id"].as_str().unwrap();
    let refused = eventually("it is refused", async || {
        let status = world.service.message_status(id).await.1;
        (status["status"] == "refused").then_some(status)
    })
    .await;
    assert_eq!(refused["error"]["title"], "recipient_opted_out", "{refused}");
    assert_eq!(world.accepted_for(PERSON), 0);
    world.finish(&[]).await;
}

/// What Twilio keeps waiting must not be delivered when it is quiet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_over_before_the_quiet_hours_ends_with_them() {
    let twilio = Receiver::answering(|_, _| async move {
        let message = json!({ "sid": format!("SM{}", "b".repeat(32)), "status": "queued", "to": PERSON });
        actix_web::HttpResponse::Created().json(message)
    });
    let berlin = |ahead: i64| {
        let at = now() + jiff::SignedDuration::from_secs(ahead);
        at.in_tz("Europe/Berlin").unwrap().strftime("%H:%M").to_string()
    };
    let (base_url, quiet) = (twilio.url(""), format!("{}-{}", berlin(5 * 60), berlin(3 * 60 * 60)));
    let settings = [
        ("TWILIO_API_BASE_URL", base_url.as_str()),
        ("TEXTLEDGER_PUBLIC_URL", "https://sms.example.com"),
        ("TEXTLEDGER_QUIET_HOURS", quiet.as_str()),
        ("TEXTLEDGER_COUNTRIES", "all"),
    ];
    let service = TestService::start_with(On::Embedded, &settings).await;
    let send = async |further: Value| {
        let mut body = json!({ "to_number": "+4915112345678", "message": "hello" });
        body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        let (status, sent) = answer(service.post(Role::Sender, "/api/sms/send", &body)).await;
        assert_eq!(status, 201, "{sent}");
        twilio.received().pop().unwrap().get("ValidityPeriod").map(|period| period.parse::<u32>().unwrap())
    };
    let period = send(json!({})).await.unwrap();
    assert!((200..=300).contains(&period), "{period}");
    assert_eq!(send(json!({ "validity_period": 60 })).await, Some(60));
    assert!(send(json!({ "validity_period": 3_600 })).await.unwrap() <= 300);
    assert_eq!(send(json!({ "category": "emergency" })).await, None);
}
