//! Whose block it is, who acts on a keyword, and which messages a person's word covers.

use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    service::{On, TestService, answer, callback},
    twilio::World,
};

on_both_stores! {
    a_block_is_of_the_sender_that_was_told_to_stop
    a_short_code_is_answered_by_us_and_is_not_blocked
    a_toll_free_number_is_opened_by_start_and_not_by_yes
    an_account_that_is_set_up_otherwise_is_told_in_a_setting
    whatsapps_stop_of_marketing_refuses_marketing
    an_opt_in_is_needed_where_the_setting_says_so
    a_program_that_asks_for_help_all_the_time_is_answered_three_times
}

const PERSON: &str = "+14155550123";
const OURS: &str = "+15005550006";
const OURS_TOO: &str = "+12025550111";
const SHORT_CODE: &str = "12345";
const TOLL_FREE: &str = "+18005550199";

/// What a send from `sender` is answered: its status, and the problem's code and mend.
async fn send_from(service: &TestService, sender: &str) -> (u16, String, String) {
    send_with(service, "/api/sms/send", json!({ "from_number": sender })).await
}

async fn send_with(service: &TestService, path: &str, options: Value) -> (u16, String, String) {
    let mut body = json!({ "to_number": PERSON, "message": "hello" });
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let (status, answer) = answer(service.post(Role::Sender, path, &body)).await;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("mend"))
}

async fn sms_consent(service: &TestService) -> Value {
    let path = format!("/api/sms/consent/%2B{}", &PERSON[1..]);
    let (status, consent) = answer(service.get(Role::Viewer, &path)).await;
    assert_eq!(status, 200, "{consent}");
    consent["channels"]["sms"].clone()
}

async fn a_block_is_of_the_sender_that_was_told_to_stop(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    world.write_to(OURS, PERSON, "STOP").await;
    assert_eq!(send_from(service, OURS).await.0, 409);
    assert_eq!(send_from(service, OURS_TOO).await.0, 409, "a STOP is a STOP to everybody");
    world.write_to(OURS_TOO, PERSON, "START").await;
    let (status, code, mend) = send_from(service, OURS).await;
    assert_eq!((status, code.as_str()), (409, "recipient_opted_out"));
    assert!(mend.contains(OURS) && mend.contains("START"), "{mend}");
    assert_eq!(send_from(service, OURS_TOO).await.0, 201);
    let known = sms_consent(service).await;
    assert_eq!((&known["state"], &known["twilio_block"]), (&json!("opted_in"), &json!(true)));
    assert_eq!(known["twilio_blocked_senders"], json!([OURS]));
    world.write_to(OURS, PERSON, "UNSTOP").await;
    assert_eq!(send_from(service, OURS).await.0, 201);
    assert_eq!(sms_consent(service).await["twilio_blocked_senders"], json!([]));
}

async fn a_short_code_is_answered_by_us_and_is_not_blocked(on: On) {
    let world = World::start(on).await;
    let (_, said) = world.write_to(SHORT_CODE, PERSON, "STOP").await;
    assert!(said.contains("<Message>"), "{said}");
    let (_, said) = world.write_to(SHORT_CODE, PERSON, "HELP").await;
    assert!(said.contains("<Message>"), "{said}");
    assert_eq!(sms_consent(&world.service).await["twilio_block"], false);
    let (_, said) = world.write_to(SHORT_CODE, PERSON, "JOIN").await;
    assert!(said.contains("<Message>"), "{said}");
    assert_eq!(send_from(&world.service, SHORT_CODE).await.0, 201);
}

async fn a_toll_free_number_is_opened_by_start_and_not_by_yes(on: On) {
    let world = World::start(on).await;
    for (word, status) in [("STOP", 409), ("YES", 409), ("START", 201), ("STOP", 409), ("UNSTOP", 201)] {
        let (_, said) = world.write_to(TOLL_FREE, PERSON, word).await;
        assert!(!said.contains("<Message>"), "the network answers {word}: {said}");
        assert_eq!(send_from(&world.service, TOLL_FREE).await.0, status, "after {word}");
    }
}

async fn an_account_that_is_set_up_otherwise_is_told_in_a_setting(on: On) {
    let setting = ("TEXTLEDGER_TWILIO_OPT_OUT", "12345=twilio, +15005550006=ours");
    let world = World::start_with(on, &[setting]).await;
    let (_, said) = world.write_to(SHORT_CODE, PERSON, "STOP").await;
    assert!(!said.contains("<Message>"), "{said}");
    assert_eq!(sms_consent(&world.service).await["twilio_blocked_senders"], json!([SHORT_CODE]));
    let (_, said) = world.write_to(OURS, PERSON, "JOIN").await;
    assert!(said.contains("<Message>"), "{said}");
    assert_eq!(send_from(&world.service, SHORT_CODE).await.0, 409);
    assert_eq!(send_from(&world.service, OURS).await.0, 201);
}

async fn whatsapps_stop_of_marketing_refuses_marketing(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    let sid = "SM00000000000000000000000000000001";
    let mut form = callback(sid, "failed");
    form.retain(|(name, _)| !["To", "From"].contains(name));
    let to = format!("whatsapp:{PERSON}");
    form.extend([("To", to.as_str()), ("From", "whatsapp:+15005550006"), ("ErrorCode", "63033")]);
    assert_eq!(service.webhook("/webhooks/twilio/status", &form).await.status(), 204);
    for (options, status) in [
        (json!({}), 409),
        (json!({ "category": "marketing" }), 409),
        (json!({ "category": "general" }), 409),
        (json!({ "category": "task_assignment" }), 201),
        (json!({ "category": "emergency" }), 201),
    ] {
        let (answered, code, _) = send_with(service, "/api/sms/whatsapp/send", options.clone()).await;
        assert_eq!(answered, status, "{options} {code}");
    }
    assert_eq!(send_from(service, OURS).await.0, 201, "SMS is another channel");
}

async fn an_opt_in_is_needed_where_the_setting_says_so(on: On) {
    for (required, refused, taken) in [
        (
            "marketing",
            vec![json!({ "category": "marketing" })],
            vec![json!({}), json!({ "category": "general" })],
        ),
        ("all", vec![json!({}), json!({ "category": "general" })], vec![json!({ "category": "emergency" })]),
    ] {
        let world = World::start_with(on, &[("TEXTLEDGER_REQUIRE_OPT_IN", required)]).await;
        let service = &world.service;
        for options in &refused {
            let (status, code, mend) = send_with(service, "/api/sms/send", options.clone()).await;
            assert_eq!((status, code.as_str()), (409, "opt_in_required"), "{required} {options}");
            assert!(mend.contains("JOIN"), "{mend}");
            let mut bulk = json!({ "phone_numbers": [PERSON], "message": "hello" });
            bulk.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
            let (status, bulk) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
            assert_eq!((status, &bulk["accepted"]), (202, &json!(0)), "{bulk}");
            assert_eq!(bulk["rejected"][0]["code"], "opt_in_required", "{bulk}");
        }
        for options in &taken {
            assert_eq!(
                send_with(service, "/api/sms/send", options.clone()).await.0,
                201,
                "{required} {options}"
            );
        }
        world.write(PERSON, "JOIN").await;
        for options in &refused {
            assert_eq!(
                send_with(service, "/api/sms/send", options.clone()).await.0,
                201,
                "{required} {options}"
            );
        }
    }
}

async fn a_program_that_asks_for_help_all_the_time_is_answered_three_times(on: On) {
    let world = World::start(on).await;
    let mut answers = 0;
    for _ in 0..30 {
        let (status, said) = world.write(&format!("whatsapp:{PERSON}"), "HELP").await;
        assert_eq!(status, 200);
        answers += usize::from(said.contains("<Message>"));
    }
    assert_eq!(answers, 3);
    let (_, said) = world.write("whatsapp:+14155550124", "HELP").await;
    assert!(said.contains("<Message>"), "another person is answered: {said}");
}
