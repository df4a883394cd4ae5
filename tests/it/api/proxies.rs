//! What stands between the service and Twilio may answer in Twilio's place: nothing that it says is Twilio's word that an
//! account's token is right or wrong.

use std::sync::{Arc, Mutex};

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::{
    on_both_stores,
    settings::{NO_ACCOUNT, SETTINGS, account, webhook},
};
use crate::{
    simulator::receiver::Receiver,
    support::{
        eventually,
        service::{ACCOUNT_SID, AUTH_TOKEN, On, PUBLIC_URL, TestService},
    },
};

on_both_stores! {
    what_is_answered_in_twilios_place_says_nothing_of_an_account
    a_proxy_of_the_environment_says_nothing_of_an_account
}

const SID: &str = "SM00000000000000000000000000000001";

/// A page as gateways have them.
const PAGE: &str = "<html><h1>Authorization required</h1></html>";

/// Where Twilio would be, unless the environment names a proxy.
const NOWHERE: &str = "http://api.twilio.example";

/// Stands in Twilio's place, and answers everything with the same.
struct Gateway {
    answer: Arc<Mutex<(u16, String)>>,
    receiver: Receiver,
}

impl Gateway {
    fn start() -> Self {
        let answer = Arc::new(Mutex::new((502, PAGE.to_owned())));
        let receiver = Receiver::answering({
            let answer = answer.clone();
            move |_, _| {
                let (status, body) = answer.lock().unwrap().clone();
                let mut response = HttpResponse::build(status.try_into().unwrap());
                response.insert_header(("location", "/elsewhere")).insert_header(("retry-after", "1"));
                async move { response.body(body) }
            }
        });
        Self { answer, receiver }
    }

    fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }
}

/// What Twilio itself answers.
fn twilios(account_sid: &str) -> String {
    json!({ "sid": account_sid, "friendly_name": "ACME", "status": "active", "type": "Full" }).to_string()
}

async fn save(service: &TestService) -> (u16, Value) {
    service.post_in("default", SETTINGS, &account(ACCOUNT_SID, AUTH_TOKEN)).await
}

async fn what_is_answered_in_twilios_place_says_nothing_of_an_account(on: On) {
    let gateway = Gateway::start();
    let base_url = gateway.receiver.url("");
    let settings = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL), ("TWILIO_API_BASE_URL", base_url.as_str())];
    let service = TestService::start_with(on, &[&NO_ACCOUNT[..], &settings].concat()).await;
    let other_account = twilios("ACffffffffffffffffffffffffffffffff");
    for (status, body) in [
        (401, PAGE),
        (401, ""),
        (401, "{}"),
        (401, r#"{"code":401,"message":"Unauthorized"}"#),
        (403, PAGE),
        (404, PAGE),
        (404, r#"{"code":404}"#),
        (407, PAGE),
        (302, PAGE),
        (429, PAGE),
        (502, PAGE),
        (200, PAGE),
        (200, ""),
        (200, "{}"),
        (200, "[]"),
        (200, &other_account),
    ] {
        gateway.answers(status, body);
        let (saved, settings) = save(&service).await;
        assert_eq!(
            (saved, &settings["verification"]),
            (200, &json!("unverified")),
            "{status} {body}: {settings}"
        );
        assert_eq!(webhook(&service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 403, "{status} {body}");
    }
    // Nor does it once it is asked again, be that as often as it may.
    gateway.answers(401, PAGE);
    let before = gateway.receiver.received().len();
    let asked = async || (gateway.receiver.received().len() >= before + 2).then_some(());
    eventually("it is asked again", asked).await;
    let (_, settings) = service.get_in("default", SETTINGS).await;
    assert_eq!(settings["verification"], "unverified", "{settings}");

    // Twilio's own words count.
    gateway.answers(200, &twilios(ACCOUNT_SID));
    eventually("the account is verified", async || {
        let (_, settings) = service.get_in("default", SETTINGS).await;
        (settings["verification"] == "verified").then_some(())
    })
    .await;
    eventually("its webhooks are taken", async || {
        (webhook(&service, ACCOUNT_SID, AUTH_TOKEN, SID).await == 204).then_some(())
    })
    .await;
    gateway.answers(401, r#"{"code":20003,"message":"Authenticate","status":401}"#);
    let refused = account(ACCOUNT_SID, "ffffffffffffffffffffffffffffffff");
    let (status, problem) = service.post_in("acme", SETTINGS, &refused).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("auth_token")), "{problem}");
}

async fn a_proxy_of_the_environment_says_nothing_of_an_account(on: On) {
    let proxy = Gateway::start();
    let url = proxy.receiver.url("");
    let settings = [
        ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL),
        ("TWILIO_API_BASE_URL", NOWHERE),
        ("http_proxy", url.as_str()),
    ];
    let service = TestService::start_with(on, &[&NO_ACCOUNT[..], &settings].concat()).await;
    for status in [401, 403, 407, 502] {
        proxy.answers(status, PAGE);
        let (saved, settings) = save(&service).await;
        assert_eq!((saved, &settings["verification"]), (200, &json!("unverified")), "{status}: {settings}");
    }
    assert!(proxy.receiver.received().len() >= 4, "it goes past the proxy");
    proxy.answers(200, &twilios(ACCOUNT_SID));
    let (saved, settings) = save(&service).await;
    assert_eq!((saved, &settings["verification"]), (200, &json!("verified")), "{settings}");
    assert_eq!(webhook(&service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
}
