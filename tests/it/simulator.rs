//! The simulator from outside: over its HTTP, and by what it posts.

pub mod receiver;

use std::{sync::Arc, time::Duration};

use actix_web::HttpResponse;
use reqwest::{Client, Response, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use textledger::{
    simulator::{Config, Faults, Handle, Outcome, start},
    twilio::{
        AccountSid,
        signature::{Algorithm, SigningKey},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use self::receiver::Receiver;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const DEADLINE: Duration = Duration::from_secs(20);
const SENDER: &str = "+15005550006";
const PERSON: &str = "+14155550100";
const SERVICE: &str = "MGcccccccccccccccccccccccccccccccc";

fn account_sid() -> AccountSid {
    AccountSid::parse(&format!("AC{}", "a".repeat(32))).unwrap()
}

fn key() -> SigningKey {
    SigningKey::new(Algorithm::HmacSha1, &SecretString::from(TOKEN))
}

/// A simulator whose messages live as fast as they can, and a client of it.
struct Twilio {
    simulator: Handle,
    http: Client,
}

impl Twilio {
    async fn start() -> Self {
        let config = Config { seed: Some(1), ..Config::new(account_sid(), SecretString::from(TOKEN)) };
        let simulator = start(config).await.unwrap();
        simulator.set_faults(at_once());
        Self { simulator, http: Client::builder().no_proxy().build().unwrap() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.base_url())
    }

    fn messages_url(&self) -> String {
        self.url(&format!("/2010-04-01/Accounts/{}/Messages.json", account_sid()))
    }

    async fn post(&self, form: &[(&str, &str)]) -> Response {
        let request = self.http.post(self.messages_url()).form(form);
        request.basic_auth(account_sid(), Some(TOKEN)).send().await.unwrap()
    }

    async fn create(&self, form: &[(&str, &str)]) -> Value {
        let response = self.post(form).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        response.json().await.unwrap()
    }

    async fn refused(&self, form: &[(&str, &str)]) -> u64 {
        let response = self.post(form).await;
        let status = response.status().as_u16();
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["status"], status);
        error["code"].as_u64().unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).basic_auth(account_sid(), Some(TOKEN)).send().await.unwrap()
    }

    async fn control(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.http.post(self.url(path)).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    async fn text(&self, url: &str, body: &str) -> Value {
        let message = json!({ "from": PERSON, "to": SENDER, "body": body, "webhook_url": url });
        let (status, answer) = self.control("/simulator/inbound", &message).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn idle(&self) {
        self.simulator.wait_idle(DEADLINE).await.expect("the messages come to their end");
    }
}

fn at_once() -> Faults {
    Faults { delivery: Duration::ZERO, ..Faults::default() }
}

#[tokio::test]
async fn a_message_is_created_and_its_life_is_told_by_signed_callbacks() {
    let (twilio, receiver) = (Twilio::start().await, Receiver::start());
    let callback = receiver.url("/status?id=a%2fb+c&id=%27x%27#rc=2&rp=5xx");
    let message = twilio
        .create(&[("To", PERSON), ("From", SENDER), ("Body", "Hello"), ("StatusCallback", &callback)])
        .await;
    assert_eq!(message["status"], "queued");
    assert_eq!((&message["from"], &message["num_segments"]), (&json!(SENDER), &json!("1")));
    let sid = message["sid"].as_str().unwrap();
    let digits = sid.strip_prefix("SM").expect("it has no media");
    assert!(digits.len() == 32 && digits == digits.to_lowercase());

    twilio.idle().await;
    assert_eq!(receiver.statuses(), ["sent", "delivered"]);
    receiver.assert_signed(&key());
    for request in receiver.received() {
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", "/status?id=a%2fb+c&id=%27x%27")
        );
        assert_eq!(request.header("user-agent"), "TwilioProxy/1.1");
        assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded; charset=utf-8");
        assert_eq!(request.get("MessageSid").as_deref(), Some(sid));
        assert_eq!(request.get("RawDlrDoneDate").is_some(), request.status() == "delivered");
    }

    let fetched: Value = twilio.get(message["uri"].as_str().unwrap()).await.json().await.unwrap();
    assert_eq!(fetched["status"], "delivered");
    assert!(fetched["date_sent"].as_str().unwrap().ends_with(" +0000"));
    let control: Value = twilio.get("/simulator/messages").await.json().await.unwrap();
    let seen = &control["messages"][0];
    assert_eq!((&seen["sid"], &seen["status_callback"]), (&json!(sid), &json!(callback)));
    assert_eq!(seen["callbacks"][1]["status"], "delivered");
    assert_eq!(seen["callbacks"][1]["attempts"][0]["status"], 204);
}

#[tokio::test]
async fn a_services_message_is_queued_and_whatsapp_is_read() {
    let (twilio, receiver) = (Twilio::start().await, Receiver::start());
    let callback = receiver.url("/status");
    let person = format!("whatsapp:{PERSON}");
    let form =
        [("To", &*person), ("MessagingServiceSid", SERVICE), ("Body", "Hi"), ("StatusCallback", &callback)];
    let message = twilio.create(&form).await;
    assert_eq!(message["status"], "accepted");
    assert_eq!((&message["from"], &message["num_segments"]), (&Value::Null, &json!("0")));
    twilio.idle().await;
    assert_eq!(receiver.statuses(), ["queued", "sent", "delivered", "read"]);
    receiver.assert_signed(&key());
    let received = receiver.received();
    assert_eq!(received[3].get("EventType").as_deref(), Some("READ"));
    assert_eq!(received[3].get("ChannelToAddress").as_deref(), Some("+1415555XXXX"));
    assert_eq!(received[0].get("MessagingServiceSid").as_deref(), Some(SERVICE));
}

#[tokio::test]
async fn a_number_that_ends_in_a_code_is_undelivered_with_it() {
    let (twilio, receiver) = (Twilio::start().await, Receiver::start());
    let callback = receiver.url("/status");
    let form = [("To", "+14155530003"), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", &callback)];
    let message = twilio.create(&form).await;
    twilio.idle().await;
    assert_eq!(receiver.statuses(), ["sent", "undelivered"]);
    assert_eq!(receiver.received()[1].get("ErrorCode").as_deref(), Some("30003"));
    let fetched: Value = twilio.get(message["uri"].as_str().unwrap()).await.json().await.unwrap();
    assert_eq!((&fetched["status"], &fetched["error_code"]), (&json!("undelivered"), &json!(30003)));
    assert_eq!(fetched["error_message"], "Unreachable destination handset");
}

#[tokio::test]
async fn requests_that_are_wrong_get_twilios_errors() {
    let twilio = Twilio::start().await;
    for (to, code) in [("+15005550001", 21211), ("+15005550004", 21610), ("nobody", 21211)] {
        assert_eq!(twilio.refused(&[("To", to), ("From", SENDER), ("Body", "Hi")]).await, code, "{to}");
    }
    assert_eq!(twilio.refused(&[("To", PERSON), ("From", "+15005550007"), ("Body", "Hi")]).await, 21606);
    assert_eq!(twilio.refused(&[("From", SENDER), ("Body", "Hi")]).await, 21604);

    let response =
        twilio.http.get(twilio.messages_url()).basic_auth(account_sid(), Some("wrong")).send().await;
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"Twilio API\"");
    assert!(response.headers()["twilio-request-id"].to_str().unwrap().starts_with("RQ"));
    assert_eq!(response.headers()["twilio-concurrent-requests"], "1");
    assert!(response.headers().contains_key("twilio-request-duration"));
    let error: Value = response.json().await.unwrap();
    let expected = json!({
        "code": 20003, "message": "Authenticate", "more_info": "https://www.twilio.com/docs/errors/20003",
        "status": 401,
    });
    assert_eq!(error, expected);

    let other_account = format!("/2010-04-01/Accounts/AC{}/Messages.json", "b".repeat(32));
    assert_eq!(twilio.get(&other_account).await.status(), StatusCode::UNAUTHORIZED);
    let unknown = format!("/2010-04-01/Accounts/{}/Messages/SM{}.json", account_sid(), "0".repeat(32));
    for path in [unknown.as_str(), "/2010-04-01/Nothing", "/"] {
        let response = twilio.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["code"], 20404);
        assert_eq!(error["message"], format!("The requested resource {path} was not found"));
    }
    assert!(twilio.simulator.messages().is_empty());
}

#[tokio::test]
async fn the_account_can_be_fetched() {
    let twilio = Twilio::start().await;
    let response = twilio.get(&format!("/2010-04-01/Accounts/{}.json", account_sid())).await;
    let account: Value = response.json().await.unwrap();
    assert_eq!((&account["status"], &account["type"]), (&json!("active"), &json!("Full")));
    assert_eq!(account["sid"], account_sid().as_str());
}

#[tokio::test]
async fn stop_blocks_and_start_lifts_the_block() {
    let twilio = Twilio::start().await;
    let receiver =
        Receiver::answering(|_, _| async { HttpResponse::Ok().content_type("text/xml").body("<Response/>") });
    let send = [("To", PERSON), ("From", SENDER), ("Body", "Hi")];
    let answer = twilio.text(&receiver.url("/inbound"), "Stop").await;
    assert_eq!(answer, json!({ "status": 200, "content_type": "text/xml", "body": "<Response/>" }));
    assert_eq!(twilio.refused(&send).await, 21610);
    twilio.text(&receiver.url("/inbound"), "JOIN").await;
    assert_eq!(twilio.refused(&send).await, 21610);
    twilio.text(&receiver.url("/inbound"), "START").await;
    twilio.create(&send).await;

    receiver.assert_signed(&key());
    let request = &receiver.received()[0];
    let sid = request.get("MessageSid").unwrap();
    for (name, value) in [
        ("SmsSid", sid.as_str()),
        ("SmsMessageSid", &sid),
        ("AccountSid", account_sid().as_str()),
        ("From", PERSON),
        ("To", SENDER),
        ("Body", "Stop"),
        ("NumMedia", "0"),
        ("NumSegments", "1"),
        ("ApiVersion", "2010-04-01"),
        ("SmsStatus", "received"),
        ("FromCity", ""),
    ] {
        assert_eq!(request.get(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(request.get("OptOutType"), None);
}

#[tokio::test]
async fn what_the_webhook_answers_becomes_a_message() {
    let twilio = Twilio::start().await;
    let receiver = Receiver::answering(|_, request| async move {
        match request.target.as_str() {
            "/twiml" => HttpResponse::Ok()
                .content_type("text/xml")
                .body(r#"<Response><Message action="/status">You &amp; me</Message></Response>"#),
            "/plain" => HttpResponse::Ok().content_type("text/plain").body("OK"),
            _ => HttpResponse::NoContent().finish(),
        }
    });
    twilio.text(&receiver.url("/twiml"), "Hello").await;
    twilio.text(&receiver.url("/plain"), "Hello").await;
    let answer = twilio.text(&receiver.url("/silent"), "Hello").await;
    assert_eq!(answer, json!({ "status": 204, "content_type": null, "body": "" }));
    twilio.idle().await;

    let control: Value = twilio.get("/simulator/messages").await.json().await.unwrap();
    let replies: Vec<_> = control["messages"].as_array().unwrap().iter().collect();
    let bodies: Vec<_> = replies.iter().map(|reply| &reply["body"]).collect();
    assert_eq!(bodies, [&json!("You & me"), &json!("OK")]);
    for reply in &replies {
        assert_eq!((&reply["direction"], &reply["to"]), (&json!("outbound-reply"), &json!(PERSON)));
        assert_eq!(reply["status"], "delivered");
    }
    let statuses = receiver.received().into_iter().filter(|request| request.target == "/status");
    assert_eq!(statuses.map(|request| request.status()).collect::<Vec<_>>(), ["sent", "delivered"]);
    receiver.assert_signed(&key());
}

#[tokio::test]
async fn a_message_from_a_person_needs_a_webhook_that_answers() {
    let twilio = Twilio::start().await;
    let message = json!({ "from": PERSON, "to": SENDER, "body": "Hi" });
    let (status, error) = twilio.control("/simulator/inbound", &message).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("webhook_url"), "{error}");
    let (status, error) = twilio.control("/simulator/inbound", &json!({ "from": PERSON })).await;
    assert!(status == 400 && error["message"] == "to is missing", "{error}");

    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    twilio.simulator.set_webhook_url(&closed);
    let (status, error) = twilio.control("/simulator/inbound", &message).await;
    assert!(status == 502 && error["code"] == 11200, "{error}");
}

#[tokio::test]
async fn whatsapp_messages_carry_the_persons_name_and_id_and_whatever_is_given() {
    let (twilio, receiver) = (Twilio::start().await, Receiver::start());
    twilio.simulator.set_webhook_url(&receiver.url("/inbound"));
    let message = json!({
        "from": format!("whatsapp:{PERSON}"), "to": format!("whatsapp:{SENDER}"), "body": "STOP", "NumMedia": 1,
        "MediaUrl0": "https://a.example/1", "ProfileName": "Zoë",
    });
    let (status, answer) = twilio.control("/simulator/inbound", &message).await;
    assert_eq!((status, &answer["status"]), (200, &json!(204)));
    let request = &receiver.received()[0];
    for (name, value) in
        [("WaId", "14155550100"), ("ProfileName", "Zoë"), ("MediaUrl0", "https://a.example/1")]
    {
        assert_eq!(request.get(name).as_deref(), Some(value));
    }
    assert!(request.get("MessageSid").unwrap().starts_with("MM"));
    receiver.assert_signed(&key());
    // Keywords do nothing on WhatsApp.
    let (person, sender) = (format!("whatsapp:{PERSON}"), format!("whatsapp:{SENDER}"));
    twilio.create(&[("To", &*person), ("From", &*sender), ("Body", "Hi")]).await;
}

#[tokio::test]
async fn a_failed_callback_is_posted_again_only_if_the_url_asks_for_it() {
    let twilio = Twilio::start().await;
    let receiver = Receiver::answering(|_, request| async move {
        let fails = request.status() == "sent";
        if fails { HttpResponse::InternalServerError() } else { HttpResponse::NoContent() }.finish()
    });
    for (fragment, posts) in [("", 1), ("#rc=2&rp=5xx", 3), ("#rc=2&rp=4xx,ct,rt", 1), ("#rc=0&rp=all", 1)] {
        let before = receiver.received().len();
        let callback = receiver.url(&format!("/status{fragment}"));
        let form = [("To", PERSON), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", &callback)];
        twilio.create(&form).await;
        twilio.idle().await;
        let mut received = receiver.received().split_off(before);
        assert_eq!(received.pop().unwrap().status(), "delivered");
        let mut tokens: Vec<_> =
            received.iter().map(|request| request.header("I-Twilio-Idempotency-Token").to_owned()).collect();
        assert_eq!(tokens.len(), posts, "{fragment}");
        tokens.dedup();
        assert_eq!(tokens.len(), 1, "{fragment}");
    }
    receiver.assert_signed(&key());
}

#[tokio::test]
async fn a_callback_that_times_out_is_posted_again_if_the_url_asks_for_it() {
    let twilio = Twilio::start().await;
    let receiver = Receiver::answering(|index, _| async move {
        if index == 0 {
            std::future::pending::<()>().await;
        }
        HttpResponse::NoContent().finish()
    });
    let callback = receiver.url("/status#rc=1&rp=rt&rt=100");
    twilio.create(&[("To", PERSON), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", &callback)]).await;
    twilio.idle().await;
    assert_eq!(receiver.statuses(), ["sent", "sent", "delivered"]);
    let messages = twilio.simulator.messages();
    let outcomes: Vec<_> = messages[0].callbacks[0].attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::TimedOut, Outcome::Answered(204)]);
}

#[tokio::test]
async fn a_slow_receiver_of_one_message_does_not_hold_up_others() {
    let twilio = Twilio::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let of_receiver = gate.clone();
    let receiver = Receiver::answering(move |_, request| {
        let gate = of_receiver.clone();
        async move {
            if request.target == "/slow" {
                gate.acquire().await.unwrap().forget();
            }
            HttpResponse::NoContent().finish()
        }
    });
    for path in ["/slow", "/fast"] {
        let callback = receiver.url(path);
        twilio
            .create(&[("To", PERSON), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", &callback)])
            .await;
    }
    let fast_is_through = |messages: &[textledger::simulator::Message]| messages[1].callbacks.len() == 2;
    twilio.simulator.wait_until(DEADLINE, fast_is_through).await.unwrap();
    assert!(twilio.simulator.messages()[0].callbacks.is_empty());
    gate.add_permits(2);
    twilio.idle().await;
    assert_eq!(twilio.simulator.messages()[0].callbacks.len(), 2);
}

#[tokio::test]
async fn callbacks_can_be_lost_duplicated_and_reordered() {
    let (twilio, receiver) = (Twilio::start().await, Receiver::start());
    let callback = receiver.url("/status");
    let form =
        [("To", PERSON), ("MessagingServiceSid", SERVICE), ("Body", "Hi"), ("StatusCallback", &callback)];
    for (faults, expected) in [
        (Faults { lose_callback: 1.0, ..at_once() }, &[][..]),
        (
            Faults { duplicate_callback: 1.0, ..at_once() },
            &["queued", "queued", "sent", "sent", "delivered", "delivered"],
        ),
        (Faults { reorder_callbacks: 1.0, ..at_once() }, &["delivered", "queued", "sent"]),
    ] {
        let before = receiver.received().len();
        twilio.simulator.set_faults(faults);
        twilio.create(&form).await;
        twilio.idle().await;
        assert_eq!(receiver.statuses()[before..], *expected);
    }
    let lost = &twilio.simulator.messages()[0].callbacks;
    assert!(lost.len() == 3 && lost.iter().all(|callback| callback.idempotency_token.is_none()));
}

#[tokio::test]
async fn requests_can_fail_without_effect() {
    let twilio = Twilio::start().await;
    let send = [("To", PERSON), ("From", SENDER), ("Body", "Hi")];
    for (fault, http_status, code) in [("rate_limit", 429, 20429), ("server_error", 500, 20500)] {
        let (status, _) = twilio.control("/simulator/faults", &json!({ fault: 1, "seed": 3 })).await;
        assert_eq!(status, 204);
        assert_eq!(twilio.refused(&send).await, code);
        assert_eq!(
            twilio.get(&format!("/2010-04-01/Accounts/{}.json", account_sid())).await.status(),
            http_status
        );
    }
    assert!(twilio.simulator.messages().is_empty());
    // All faults are replaced.
    twilio.control("/simulator/faults", &json!({})).await;
    twilio.create(&send).await;
    for (faults, name) in
        [(json!({ "rate_limits": 1 }), "rate_limits"), (json!({ "rate_limit": 2 }), "rate_limit")]
    {
        let (status, error) = twilio.control("/simulator/faults", &faults).await;
        assert!(status == 400 && error["message"].as_str().unwrap().contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_response_can_be_dropped_after_the_message_was_accepted() {
    let (twilio, receiver) = (Twilio::start().await, Receiver::start());
    twilio.simulator.set_faults(Faults { accept_then_drop_response: 1.0, ..at_once() });
    let callback = receiver.url("/status");
    let form = [("To", PERSON), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", &*callback)];

    let body = serde_urlencoded::to_string(form).unwrap();
    let credentials = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("{}:{TOKEN}", account_sid()),
    );
    let request = format!(
        "POST /2010-04-01/Accounts/{}/Messages.json HTTP/1.1\r\nHost: api.twilio.com\r\n\
         Authorization: Basic {credentials}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        account_sid(),
        body.len(),
    );
    let mut connection = TcpStream::connect(twilio.simulator.address()).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, connection.read_to_end(&mut answer)).await;
    read.expect("the connection is closed").ok();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));

    twilio.idle().await;
    assert_eq!(receiver.statuses(), ["sent", "delivered"]);
    assert_eq!(twilio.simulator.messages().len(), 1);
    let request = twilio.http.post(twilio.messages_url()).form(&form).basic_auth(account_sid(), Some(TOKEN));
    assert!(request.send().await.is_err());
}

#[tokio::test]
async fn an_answer_can_be_late_so_that_callbacks_overtake_it() {
    let (twilio, receiver) = (Twilio::start().await, Receiver::start());
    twilio.simulator.set_faults(Faults { latency: DEADLINE, ..at_once() });
    let callback = receiver.url("/status");
    let form = [("To", PERSON), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", &*callback)];
    let create = twilio.post(&form);
    let told = twilio.simulator.wait_until(DEADLINE, |messages| {
        messages.first().is_some_and(|message| message.callbacks.len() == 2)
    });
    tokio::select! {
        _ = create => panic!("the answer came first"),
        told = told => told.unwrap(),
    }
    assert_eq!(receiver.statuses(), ["sent", "delivered"]);
}

#[tokio::test]
async fn the_list_is_read_page_by_page() {
    let twilio = Twilio::start().await;
    for _ in 0..5 {
        twilio.create(&[("To", PERSON), ("From", SENDER), ("Body", "Hi")]).await;
    }
    let mut path =
        format!("/2010-04-01/Accounts/{}/Messages.json?PageSize=2&To=%2B14155550100", account_sid());
    let mut sids = Vec::new();
    loop {
        let page: Value = twilio.get(&path).await.json().await.unwrap();
        let messages = page["messages"].as_array().unwrap();
        sids.extend(messages.iter().map(|message| message["sid"].as_str().unwrap().to_owned()));
        match page["next_page_uri"].as_str() {
            Some(next) => path = next.to_owned(),
            None => break,
        }
    }
    let expected: Vec<_> =
        twilio.simulator.messages().iter().rev().map(|message| message.sid.to_string()).collect();
    assert_eq!(sids, expected);
}

#[tokio::test]
async fn starting_over_forgets_everything_and_ends_what_is_on_its_way() {
    let (twilio, receiver) = (Twilio::start().await, Receiver::start());
    twilio.simulator.set_faults(Faults { delivery: DEADLINE, rate_limit: 0.0, ..Faults::default() });
    let callback = receiver.url("/status");
    let form = [("To", PERSON), ("From", SENDER), ("Body", "Hi"), ("StatusCallback", &*callback)];
    twilio.create(&form).await;
    twilio.text(&receiver.url("/inbound"), "STOP").await;
    let response = twilio.http.delete(twilio.url("/simulator")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(twilio.simulator.messages().is_empty());
    twilio.idle().await;
    twilio.create(&form).await;
    twilio.idle().await;
    assert_eq!(twilio.simulator.messages().len(), 1);
    twilio.simulator.stop().await;
}
