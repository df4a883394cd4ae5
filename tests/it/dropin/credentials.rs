//! Who signs in at the drop-in, and what they may have Twilio do: whoever has the account's own credentials changes the base URL
//! alone.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{SERVICE, call, create, fetch, schedule, story, world};
use crate::{
    api::on_both_stores,
    support::{
        eventually,
        service::{ACCOUNT_SID, AUTH_TOKEN, OUR_NUMBER, On, PERSON, SENDER_KEY, TestService, answer},
        twilio::{API_KEY_SECRET, API_KEY_SID, World},
    },
};

on_both_stores! {
    the_accounts_own_credentials_send_and_obey_consent
    what_programs_ask_besides_is_answered
    a_service_is_taken_as_from
}

/// Another account, with whose token nobody signs in here.
const OTHER_ACCOUNT: &str = "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn request(service: &TestService, method: Method, rest: &str, user: &str, password: &str) -> RequestBuilder {
    service.anonymous(method, &format!("/2010-04-01{rest}")).basic_auth(user, Some(password))
}

fn with_token(service: &TestService, method: Method, rest: &str) -> RequestBuilder {
    request(service, method, rest, ACCOUNT_SID, AUTH_TOKEN)
}

fn messages() -> String {
    format!("/Accounts/{ACCOUNT_SID}/Messages.json")
}

async fn the_accounts_own_credentials_send_and_obey_consent(on: On) {
    let world = story(on, &[]).await;
    let service = &world.service;
    let form = [("To", PERSON), ("From", OUR_NUMBER), ("Body", "hello")];
    for (user, password) in [(ACCOUNT_SID, AUTH_TOKEN)] {
        let (status, message) =
            answer(request(service, Method::POST, &messages(), user, password).form(&form)).await;
        assert_eq!((status, &message["status"]), (201, &json!("queued")), "{message}");
    }
    for (user, password) in [
        (ACCOUNT_SID, "wrong"),
        (OTHER_ACCOUNT, AUTH_TOKEN),
        ("", AUTH_TOKEN),
        (AUTH_TOKEN, ACCOUNT_SID),
        // Twilio would take it; but the account is not set up with it.
        (API_KEY_SID, API_KEY_SECRET),
    ] {
        let (status, error) =
            answer(request(service, Method::POST, &messages(), user, password).form(&form)).await;
        assert_eq!((status, &error["code"]), (401, &json!(20003)), "{user}");
    }
    let other = format!("/Accounts/{OTHER_ACCOUNT}/Messages.json");
    assert_eq!(answer(with_token(service, Method::POST, &other).form(&form)).await.0, 401);
    assert_eq!(world.write(PERSON, "STOP").await.0, 200);
    let (status, error) = answer(with_token(service, Method::POST, &messages()).form(&form)).await;
    assert_eq!((status, &error["code"]), (400, &json!(21610)));
    assert_eq!(world.accepted_for(PERSON), 1);
    let (_, audit) = service.get_in("default", "/api/sms/audit").await;
    assert_eq!(audit["entries"][0]["actor"], json!(format!("account:{ACCOUNT_SID}")), "{audit}");
    world.finish(&[]).await;
}

async fn what_programs_ask_besides_is_answered(on: On) {
    let world = story(on, &[]).await;
    let service = &world.service;
    let account = format!("/Accounts/{ACCOUNT_SID}.json");
    for password in [AUTH_TOKEN, SENDER_KEY] {
        let ask = |rest: &str| request(service, Method::GET, rest, ACCOUNT_SID, password);
        let (status, shown) = answer(ask(&account)).await;
        assert_eq!((status, &shown["sid"], &shown["status"]), (200, &json!(ACCOUNT_SID), &json!("active")));
        let (status, listed) = answer(ask("/Accounts.json")).await;
        assert_eq!((status, &listed["accounts"]), (200, &json!([shown])), "{listed}");
    }
    let media =
        [("From", OUR_NUMBER), ("MediaUrl", "https://a.example/1"), ("MediaUrl", "https://a.example/2")];
    let (_, message) = create(service, &media).await;
    let sid = message["sid"].as_str().unwrap();
    let list = message["subresource_uris"]["media"].as_str().unwrap().replace("/2010-04-01", "");
    for password in [AUTH_TOKEN, SENDER_KEY] {
        let ask = |method: Method, rest: &str| request(service, method, rest, ACCOUNT_SID, password);
        let (status, listed) = answer(ask(Method::GET, &list)).await;
        let files = listed["media_list"].as_array().unwrap();
        assert_eq!((status, &files[0]["parent_sid"]), (200, &json!(sid)), "{listed}");
        let uri = files[0]["uri"].as_str().unwrap().replace("/2010-04-01", "");
        assert_eq!(answer(ask(Method::GET, &uri)).await, (200, files[0].clone()));
        let file = ask(Method::GET, uri.trim_end_matches(".json")).send().await.unwrap();
        assert_eq!(
            (file.status().as_u16(), &file.headers()["content-type"].to_str().unwrap()),
            (200, &"image/png")
        );
        assert_eq!(answer(ask(Method::DELETE, &uri)).await.0, 204);
        assert_eq!(answer(ask(Method::GET, &uri)).await.0, 404);
    }
    // Of what waits here Twilio has no files yet, and afterwards the message keeps the name that the caller knows.
    let further = [("MediaUrl", "https://a.example/1")];
    let waiting = schedule(service, 1, &further).await;
    let list = format!("/Accounts/{ACCOUNT_SID}/Messages/{waiting}/Media.json");
    assert_eq!(answer(with_token(service, Method::GET, &list)).await.1["media_list"], json!([]));
    eventually("it has left", async || {
        (fetch(service, &waiting).await.1["status"] == "delivered").then_some(())
    })
    .await;
    let (_, listed) = answer(with_token(service, Method::GET, &list)).await;
    assert_eq!(listed["media_list"][0]["parent_sid"], json!(waiting), "{listed}");
    world.finish(&[]).await;
}

async fn a_service_is_taken_as_from(on: On) {
    let world = story(on, &[]).await;
    let (status, message) = create(&world.service, &[("From", SERVICE)]).await;
    assert_eq!((status, &message["messaging_service_sid"]), (201, &json!(SERVICE)), "{message}");
    world.fault(json!({ "accept_then_drop_response": 1, "lose_callback": 1 })).await;
    let (status, lost) = create(&world.service, &[("From", SERVICE), ("To", "+14155550177")]).await;
    assert_eq!((status, &lost["messaging_service_sid"]), (201, &json!(SERVICE)), "{lost}");
    world.fault(json!({})).await;
    let name = lost["sid"].as_str().unwrap();
    eventually("it is found", async || {
        (fetch(&world.service, name).await.1["status"] == "delivered").then_some(())
    })
    .await;
    let hour = jiff::SignedDuration::from_secs(3_600);
    let at = (super::now() + hour).to_string();
    let scheduled = [("From", SERVICE), ("ScheduleType", "fixed"), ("SendAt", at.as_str())];
    let (status, waiting) = create(&world.service, &scheduled).await;
    assert_eq!((status, &waiting["status"]), (201, &json!("scheduled")), "{waiting}");
    let waiting = waiting["sid"].as_str().unwrap();
    let cancel = call(&world.service, Method::POST, &format!("/{waiting}")).form(&[("Status", "canceled")]);
    assert_eq!(answer(cancel).await.0, 200);
    assert_eq!((world.accepted_for("+14155550177"), world.accepted_for(PERSON)), (1, 1));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_accounts_own_credentials_can_be_kept_out_and_its_api_key_signs_in() {
    let settings = [
        ("TWILIO_ACCOUNT_SID", ""),
        ("TWILIO_AUTH_TOKEN", ""),
        ("TWILIO_PHONE_NUMBER", ""),
        ("TWILIO_WHATSAPP_NUMBER", ""),
    ];
    let mut world = world(On::Embedded, &settings).await;
    let saved = json!({
        "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "phone_number": OUR_NUMBER,
        "api_key_sid": API_KEY_SID, "api_key_secret": API_KEY_SECRET,
    });
    assert_eq!(world.service.post_in("default", "/api/sms/settings", &saved).await.0, 200);
    let list = async |world: &World, user: &str, password: &str| {
        answer(request(&world.service, Method::GET, &messages(), user, password)).await.0
    };
    for (user, password) in
        [(ACCOUNT_SID, AUTH_TOKEN), (API_KEY_SID, API_KEY_SECRET), (ACCOUNT_SID, SENDER_KEY)]
    {
        assert_eq!(list(&world, user, password).await, 200, "{user}");
    }
    world.service.kill();
    world.service.set("TEXTLEDGER_DROPIN_AUTH_TOKEN", "false");
    world.service.start_again();
    eventually("the saved settings are read", async || {
        (list(&world, ACCOUNT_SID, SENDER_KEY).await == 200).then_some(())
    })
    .await;
    for (user, password) in [(ACCOUNT_SID, AUTH_TOKEN), (API_KEY_SID, API_KEY_SECRET)] {
        assert_eq!(list(&world, user, password).await, 401, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_about_something_else_goes_through_for_the_accounts_own_token_alone() {
    let world = world(On::Embedded, &[]).await;
    let service = &world.service;
    let numbers = format!("/Accounts/{ACCOUNT_SID}/IncomingPhoneNumbers.json?PageSize=1");
    let direct = reqwest::Client::new().get(format!("{}/2010-04-01{numbers}", world.twilio.base_url()));
    let direct = answer(direct.basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN))).await;
    assert_eq!((direct.0, &direct.1["page_size"]), (200, &json!(1)));
    let response = with_token(service, Method::GET, &numbers).send().await.unwrap();
    assert!(response.headers().contains_key("twilio-request-id"));
    assert_eq!((response.status().as_u16(), response.json::<Value>().await.unwrap()), direct);
    let by_key = answer(request(service, Method::GET, &numbers, ACCOUNT_SID, SENDER_KEY)).await;
    assert_eq!((by_key.0, &by_key.1["code"]), (404, &json!(20404)));
    assert_eq!(answer(service.anonymous(Method::GET, &format!("/2010-04-01{numbers}"))).await.0, 404);

    // What Twilio refuses is its refusal, whatever it is.
    let calls = format!("/Accounts/{ACCOUNT_SID}/Calls.json");
    let call = [("To", PERSON), ("From", OUR_NUMBER), ("Url", "https://a.example/")];
    let (status, error) = answer(with_token(service, Method::POST, &calls).form(&call)).await;
    assert_eq!((status, &error["code"]), (404, &json!(20404)), "{error}");
    let (_, audit) = service.get_in("default", "/api/sms/audit").await;
    let entry = &audit["entries"][0];
    assert_eq!(
        (&entry["action"], &entry["detail"]["resource"]),
        (&json!("twilio.call"), &json!("POST Calls")),
        "{audit}"
    );

    // Nothing is sent around consent, however the path is written. One that is decoded on the way is that of messages.
    assert_eq!(world.write(PERSON, "STOP").await.0, 200);
    let form = [("To", PERSON), ("From", OUR_NUMBER), ("Body", "around")];
    for path in [
        "Messages",
        "Messages.xml",
        "SMS/Messages.json",
        "%4dessages.json",
        "Messages%2ejson",
        "/Messages.json",
    ] {
        let path = format!("/Accounts/{ACCOUNT_SID}/{path}");
        let (status, _) = answer(with_token(service, Method::POST, &path).form(&form)).await;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    assert_eq!(world.accepted_for(PERSON), 0);
}
