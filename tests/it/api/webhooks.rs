//! What Twilio posts, and what others post in its name.

use serde_json::json;
use textledger::twilio::{Form, signature};

use super::on_both_stores;
use crate::support::eventually;
use crate::support::service::{
    ACCOUNT_SID, AUTH_TOKEN, On, PERSON, PUBLIC_URL, TestService, callback, reply,
};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";
const SID: &str = "SM00000000000000000000000000000001";

on_both_stores! {
    callbacks_in_any_order_and_twice_end_in_the_same_state
    an_unknown_status_and_parameter_are_kept
    what_is_not_signed_leaves_no_trace
    what_is_signed_and_unreadable_is_a_400
    a_body_that_is_no_form_or_too_long_is_refused
    a_get_is_verified_over_its_query
    a_reply_is_answered_with_twiml_once
    errors_that_mean_opted_out_are_opt_outs
    a_webhook_at_the_others_url_is_taken_as_what_it_is_and_told
    a_signed_request_at_a_path_where_nothing_is_taken_is_told
    a_signed_request_that_is_cut_in_another_way_takes_nobodys_no_back
}

async fn callbacks_in_any_order_and_twice_end_in_the_same_state(on: On) {
    let service = TestService::start(on).await;
    for status in ["delivered", "sent", "delivered", "queued", "sent"] {
        let answer = service.webhook(STATUS, &callback(SID, status)).await;
        assert_eq!(answer.status(), 204);
        assert!(answer.bytes().await.unwrap().is_empty());
    }
    let (status, message) = service.message_status(SID).await;
    assert_eq!(status, 200);
    assert_eq!(message["status"], "delivered");
    assert_eq!((&message["final"], &message["id"]), (&json!(true), &json!(null)));
    assert_eq!((&message["to"], &message["from"]), (&json!("+14155550100"), &json!("+15005550006")));
    assert_eq!(message["times"].as_object().unwrap().len(), 3);
    assert_eq!(message["delivered_at"], message["times"]["delivered"]);
    let timeline = message["timeline"].as_array().unwrap();
    let told: Vec<_> = timeline
        .iter()
        .map(|entry| (entry["status"].as_str().unwrap(), entry["late"].as_bool().unwrap()))
        .collect();
    assert_eq!(told, [("delivered", false), ("sent", true), ("queued", true)]);
    assert_eq!(service.events().await.len(), 3);
}

async fn an_unknown_status_and_parameter_are_kept(on: On) {
    let service = TestService::start(on).await;
    let mut form = callback(SID, "teleported");
    form.push(("NewIn2027", "a&b=ç"));
    assert_eq!(service.webhook(STATUS, &form).await.status(), 204);
    let events = service.events().await;
    assert_eq!((&events[0]["status"], &events[0]["late"]), (&json!("teleported"), &json!(true)));
    assert_eq!(events[0]["raw"], json!({ "NewIn2027": "a&b=ç" }));
}

async fn what_is_not_signed_leaves_no_trace(on: On) {
    let service = TestService::start(on).await;
    let form = callback(SID, "delivered");
    let stranger = "AC0123456789abcdef0123456789abcdef";
    let other_account: Vec<_> = form
        .iter()
        .map(|(name, value)| (*name, if *name == "AccountSid" { stranger } else { value }))
        .collect();
    let encoded = || form.iter().copied().collect::<Form>().encode().into_bytes();
    let good = sign(&service, STATUS, &form);
    for (what, answer) in [
        ("another token", service.webhook_signed_with("wrong", STATUS, &form).await),
        ("another account", service.webhook(STATUS, &other_account).await),
        ("no signature", service.raw_webhook(STATUS, None, encoded()).await),
        ("an empty signature", service.raw_webhook(STATUS, Some(""), encoded()).await),
        ("a truncated signature", service.raw_webhook(STATUS, Some(&good[..27]), encoded()).await),
        ("no base64", service.raw_webhook(STATUS, Some("signature"), encoded()).await),
        ("another URL", service.raw_webhook("/webhooks/twilio/status?id=x", Some(&good), encoded()).await),
        ("a parameter more", {
            let body = [encoded(), b"&X=1".to_vec()].concat();
            service.raw_webhook(STATUS, Some(&good), body).await
        }),
        ("no form at all", service.raw_webhook(STATUS, Some(&good), b"%%%&&==\xff".to_vec()).await),
        (
            "an incoming message",
            service.webhook_signed_with("wrong", INBOUND, &reply(SID, "+14155550100", "STOP")).await,
        ),
    ] {
        assert_eq!(answer.status(), 403, "{what}");
        assert!(answer.bytes().await.unwrap().is_empty(), "{what} is told why");
    }
    assert_eq!(service.message_status(SID).await.0, 404);
    assert!(service.events().await.is_empty());
    // Refusals are looked into beside the requests.
    let refused = || service.log().matches("webhook refused").count();
    eventually("every refusal is logged", async || (refused() == 10).then_some(())).await;
    let log = service.log();
    assert!(log.contains("unknown AccountSid"), "{log}");
    assert!(!log.contains(AUTH_TOKEN) && !log.contains("+14155550100"), "{log}");
}

async fn what_is_signed_and_unreadable_is_a_400(on: On) {
    let service = TestService::start(on).await;
    let account = ("AccountSid", ACCOUNT_SID);
    let many: Vec<String> = (0..9_000).map(|number| format!("p{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    for (what, form) in [
        ("no message", vec![account, ("MessageStatus", "sent")]),
        ("no status", vec![account, ("MessageSid", SID)]),
        ("a strange SID", vec![account, ("MessageSid", "../../etc"), ("MessageStatus", "sent")]),
        ("thousands of parameters", [&[account], many.as_slice()].concat()),
    ] {
        assert_eq!(service.webhook(STATUS, &form).await.status(), 400, "{what}");
        assert_eq!(service.webhook(INBOUND, &form).await.status(), 400, "{what}");
    }
    // Not UTF-8, but signed over its bytes as they are: the message is not lost for an odd letter.
    let body = b"AccountSid=ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&MessageSid=SM00000000000000000000000000000001\
        &MessageStatus=sent&Odd=%ff%fe";
    let form = Form::parse(body);
    let signed = signature::sign(&signing_key(), &format!("{}{STATUS}", service.public_url), &form);
    assert_eq!(service.raw_webhook(STATUS, Some(&signed), body.to_vec()).await.status(), 204);
    assert_eq!(service.events().await.len(), 1);
}

async fn a_body_that_is_no_form_or_too_long_is_refused(on: On) {
    let service = TestService::start(on).await;
    for path in [STATUS, INBOUND] {
        let post = || service.anonymous(reqwest::Method::POST, path);
        let json = post().json(&json!({ "MessageSid": SID })).send().await.unwrap();
        assert_eq!(json.status(), 415);
        let untyped = post().body("MessageSid=1").send().await.unwrap();
        assert_eq!(untyped.status(), 415);
        let long = service.raw_webhook(path, Some("x"), vec![b'a'; 64 * 1024 + 1]).await;
        assert_eq!(long.status(), 413);
        let full = service.raw_webhook(path, Some("x"), vec![b'a'; 64 * 1024]).await;
        assert_eq!(full.status(), 403);
        let put = service.anonymous(reqwest::Method::PUT, path).send().await.unwrap();
        assert_eq!(put.status(), 405);
    }
}

async fn a_get_is_verified_over_its_query(on: On) {
    let service = TestService::start(on).await;
    let query = callback(SID, "sent").iter().copied().collect::<Form>().encode();
    let target = format!("{STATUS}?{query}");
    let signed =
        signature::sign(&signing_key(), &format!("{}{target}", service.public_url), &Form::default());
    let get = |target: String, signature: String| {
        service.anonymous(reqwest::Method::GET, &target).header(signature::SIGNATURE_HEADER, signature).send()
    };
    assert_eq!(get(format!("{target}x"), signed.clone()).await.unwrap().status(), 403);
    assert_eq!(get(target, signed).await.unwrap().status(), 204);
    assert_eq!(service.message_status(SID).await.1["status"], "sent");
}

async fn a_reply_is_answered_with_twiml_once(on: On) {
    let service = TestService::start(on).await;
    let cases = [
        ("1", "+14155550101", "STOP", ""),
        ("2", "+14155550101", "START", ""),
        ("3", "+14155550102", "JOIN", "<Message>"),
        ("4", "whatsapp:+14155550103", "stop", "<Message>"),
        // The same message again gets the same answer, although nothing changes any more.
        ("4", "whatsapp:+14155550103", "stop", "<Message>"),
        ("5", "whatsapp:+14155550103", "Stop!", ""),
        ("6", "whatsapp:+14155550103", "help", "<Message>"),
        ("7", "+14155550104", "See you at 5 & thanks <3", ""),
    ];
    for (number, from, body, said) in cases {
        let sid = format!("SM{number:0>32}");
        let answer = service.webhook(INBOUND, &reply(&sid, from, body)).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/xml"));
        let twiml = answer.text().await.unwrap();
        assert!(twiml.contains("<Response"), "{twiml}");
        assert_eq!(twiml.contains("<Message>"), !said.is_empty(), "{body} from {from}: {twiml}");
    }
    let events = service.events().await;
    let inbound = events.iter().filter(|event| event["type"] == "inbound").count();
    assert_eq!(inbound, 7);
    let consents: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "consent")
        .map(|event| (event["channel"].as_str().unwrap(), event["state"].as_str().unwrap()))
        .collect();
    assert_eq!(
        consents,
        [
            ("sms", "opted_out"),
            ("sms", "opted_in"),
            ("sms", "opted_in"),
            ("whatsapp", "opted_out"),
            ("whatsapp", "opted_out")
        ]
    );
    assert!(!service.log().contains("See you"), "message text is never logged");
}

async fn errors_that_mean_opted_out_are_opt_outs(on: On) {
    let service = TestService::start(on).await;
    let mut form = callback(SID, "failed");
    form.push(("ErrorCode", "21610"));
    for _ in 0..2 {
        assert_eq!(service.webhook(STATUS, &form).await.status(), 204);
    }
    let consents: Vec<_> =
        service.events().await.into_iter().filter(|event| event["type"] == "consent").collect();
    assert_eq!(consents.len(), 1);
    assert_eq!(consents[0]["source"], "twilio_21610");
    let (status, problem) = service.send("+14155550100", "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
}

async fn a_webhook_at_the_others_url_is_taken_as_what_it_is_and_told(on: On) {
    let service = TestService::start(on).await;
    let received = SID.replace('1', "2");
    let mut stop = reply(&received, "whatsapp:+14155550100", "STOP");
    stop.push(("SmsStatus", "received"));
    for _ in 0..2 {
        let answer = service.webhook(STATUS, &stop).await;
        assert_eq!(answer.status(), 200);
        let said = answer.text().await.unwrap();
        assert!(said.contains("<Message>"), "the person gets the confirmation: {said}");
        assert_eq!(service.webhook(INBOUND, &callback(SID, "delivered")).await.status(), 204);
    }
    assert_eq!(service.message_status(SID).await.1["status"], "delivered");
    assert_eq!(service.message_status(&received).await.0, 404);
    let kinds: Vec<_> = service.events().await.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds.len(), 3, "{kinds:?}");

    let told = service.refusals().await;
    assert_eq!(told.len(), 2, "each mistake once: {told:?}");
    for (told, path, right) in [(&told[0], INBOUND, STATUS), (&told[1], STATUS, INBOUND)] {
        assert_eq!((&told["cause"], &told["path"]), (&json!("wrong_url"), &json!(path)));
        let right = format!("{}{right}", service.public_url);
        assert!(told["mend"].as_str().unwrap().contains(&right), "{told}");
    }
    let metric = async |mistake: &str| {
        let sample = format!("textledger_misdirected_webhooks_total{{mistake=\"{mistake}\"}}");
        service.metric(&sample).await
    };
    assert_eq!((metric("incoming_message").await, metric("status_callback").await), (2, 2));
    let log = service.log();
    assert_eq!(log.matches("webhook misdirected").count(), 2, "{log}");
    assert!(!log.contains("+14155550100"), "{log}");
}

async fn a_signed_request_at_a_path_where_nothing_is_taken_is_told(on: On) {
    let service = TestService::start(on).await;
    let form = reply(SID, "+14155550100", "STOP");
    for path in ["/webhooks/twilio/inbound/", "/webhooks/twilio/inbound/", "/webhooks/sms"] {
        assert_eq!(service.webhook(path, &form).await.status(), 404, "{path}");
        assert_eq!(service.webhook_signed_with("wrong", path, &form).await.status(), 404, "{path}");
        assert_eq!(service.raw_webhook(path, None, Vec::new()).await.status(), 404, "{path}");
    }
    let told = service.refusals().await;
    let paths: Vec<_> = told.iter().map(|told| told["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/webhooks/sms", "/webhooks/twilio/inbound/"], "each once, and nothing unsigned");
    assert!(told[0]["mend"].as_str().unwrap().contains("/webhooks/twilio/inbound for incoming"), "{told:?}");
    assert_eq!(service.metric(r#"textledger_misdirected_webhooks_total{mistake="unknown_path"}"#).await, 3);
    assert!(service.events().await.is_empty());
}

fn signing_key() -> signature::SigningKey {
    signature::SigningKey::new(signature::Algorithm::HmacSha1, &AUTH_TOKEN.into())
}

fn sign(service: &TestService, target: &str, form: &[(&str, &str)]) -> String {
    let form: Form = form.iter().copied().collect();
    signature::sign(&signing_key(), &format!("{}{target}", service.public_url), &form)
}

/// Twilio signs names and values without anything between them: what somebody writes may read as a parameter.
async fn a_signed_request_that_is_cut_in_another_way_takes_nobodys_no_back(on: On) {
    let settings = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL), ("TEXTLEDGER_PARTITIONS", "16")];
    let service =
        TestService::start_with(on, if matches!(on, On::Redis) { &settings } else { &settings[..1] }).await;
    let stop = reply("SM00000000000000000000000000000011", PERSON, "STOP");
    assert_eq!(service.webhook(INBOUND, &stop).await.status(), 200);
    let mut others = 0;
    for (word, other_sid) in [("START", 12), ("JOIN", 13), ("UNSTOP", 14)] {
        let sid = format!("SM{other_sid:032x}");
        let written = format!("{word}From{PERSON}FromA");
        let as_written = reply(&sid, "+14155550666", &written);
        let mut cut = reply(&sid, PERSON, word);
        cut.push(("FromA", "From+14155550666"));
        let signed_text = |form: &[(&str, &str)]| {
            let mut form = form.to_vec();
            form.sort_unstable();
            form.iter().map(|(name, value)| format!("{name}{value}")).collect::<String>()
        };
        assert_eq!(signed_text(&as_written), signed_text(&cut), "one signature is good for both");
        for form in [&as_written, &cut] {
            assert_eq!(service.webhook(INBOUND, form).await.status(), 400);
            others += 1;
        }
        let (status, problem) = service.send(PERSON, "hello").await;
        assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")), "{word}");
    }
    let events = service.events().await;
    assert_eq!(events.iter().filter(|event| event["type"] == "inbound").count(), 1, "{events:?}");
    let refused = r#"textledger_webhook_requests_total{route="inbound",result="invalid"}"#;
    assert_eq!(service.metric(refused).await, others);
}
