//! People: what they consented to, what they prefer, and what they are told.

use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    eventually,
    service::{On, TestService, answer, token, token_of},
    twilio::World,
};

on_both_stores! {
    consent_is_recorded_told_and_never_rewritten
    consent_moves_as_csv_and_back
    a_colleague_does_not_take_back_what_a_person_said
    an_import_tells_bad_lines_and_does_not_undo_a_stop
    a_stop_and_a_start_change_preferences
    turning_a_channel_off_is_an_opt_out
    a_number_is_confirmed_by_the_code_that_it_was_sent
    a_code_that_is_held_back_is_good_once_it_has_left
    a_code_is_not_guessed_and_nobody_is_pestered_with_codes
    a_number_belongs_to_one_user
    users_are_told_where_they_want_it
    a_fallback_that_is_held_asks_again_before_it_leaves
    a_fallback_follows_only_a_message_that_does_not_arrive
    the_last_hour_is_told_in_numbers
    a_number_is_looked_up
}

const FAST: (&str, &str) = ("TEXTLEDGER_MPS", "2000");

fn person(number: usize) -> String {
    format!("+1415555{number:04}")
}

async fn get(service: &TestService, role: Role, path: &str) -> Value {
    let (status, body) = answer(service.get(role, path)).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn put(service: &TestService, role: Role, path: &str, body: &Value) -> (u16, Value) {
    answer(service.anonymous(Method::PUT, path).bearer_auth(token(role)).json(body)).await
}

/// A change of the own preferences of whose `token` it is.
async fn put_own(service: &TestService, token: &str, body: &Value) -> (u16, Value) {
    answer(service.anonymous(Method::PUT, "/api/sms/preferences").bearer_auth(token).json(body)).await
}

async fn confirm(service: &TestService, token: &str, code: &str) -> (u16, Value) {
    let request = service.anonymous(Method::POST, "/api/sms/preferences/confirm").bearer_auth(token);
    answer(request.json(&json!({ "code": code }))).await
}

/// The code in the last message to `phone`.
fn code_for(world: &World, phone: &str) -> String {
    world.bodies_for(phone).last().unwrap()[..6].to_owned()
}

async fn consent(service: &TestService, number: usize) -> Value {
    let path = format!("/api/sms/consent/%2B{}", &person(number)[1..]);
    get(service, Role::Viewer, &path).await["channels"].clone()
}

async fn import(service: &TestService, file: &str) -> (u16, Value) {
    let request = service.anonymous(Method::POST, "/api/sms/consent/import").bearer_auth(token(Role::Admin));
    answer(request.header("Content-Type", "text/csv").body(file.to_owned())).await
}

async fn export(service: &TestService) -> String {
    let response = service.get(Role::Admin, "/api/sms/consent/export").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/csv"));
    response.text().await.unwrap()
}

async fn consent_is_recorded_told_and_never_rewritten(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    assert_eq!(consent(service, 1).await["sms"]["state"], "unknown");
    let record = async |role: Role, state: &str, channel: &str| {
        let body = json!({
            "phone_number": "+1 (415) 555-0001", "channel": channel, "state": state, "source": "api",
            "evidence": "said so on the phone",
        });
        answer(service.post(role, "/api/sms/consent", &body)).await
    };
    assert_eq!(record(Role::Viewer, "opted_out", "all").await.0, 403);
    let (status, recorded) = record(Role::Sender, "opted_out", "all").await;
    assert_eq!((status, &recorded["phone_number"]), (200, &json!(person(1))));
    for channel in ["sms", "whatsapp"] {
        assert_eq!(recorded["channels"][channel]["state"], "opted_out");
        assert_eq!(recorded["channels"][channel]["source"], "api");
        assert_eq!(recorded["channels"][channel]["twilio_block"], false);
    }
    assert_eq!(service.send(&person(1), "hello").await.1["code"], "recipient_opted_out");
    assert_eq!(record(Role::Admin, "opted_in", "sms").await.0, 200);
    assert_eq!(service.send(&person(1), "hello").await.0, 201);
    // A person's own STOP, and an administrator's word against Twilio's block.
    world.write(&person(1), "STOP").await;
    let known = consent(service, 1).await;
    assert_eq!((&known["sms"]["state"], &known["sms"]["twilio_block"]), (&json!("opted_out"), &json!(true)));
    assert!(known["sms"]["message_sid"].is_string() && known["sms"]["at"].is_string());
    assert_eq!(record(Role::Admin, "opted_in", "sms").await.0, 200);
    let (status, problem) = service.send(&person(1), "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    assert!(problem["mend"].as_str().unwrap().contains("START"), "{problem}");

    let path = format!("/api/sms/consent/{}/history?limit=3", person(1).replace('+', "%2B"));
    let first = get(service, Role::Viewer, &path).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = get(service, Role::Viewer, &format!("{path}&cursor={cursor}")).await;
    assert_eq!(rest["next_cursor"], Value::Null);
    let changes: Vec<_> =
        [&first, &rest].iter().flat_map(|page| page["changes"].as_array().unwrap()).collect();
    let told: Vec<_> = changes
        .iter()
        .map(|change| ["channel", "state", "source"].map(|name| change[name].as_str().unwrap()))
        .collect();
    let expected = [
        ["all", "opted_out", "api"],
        ["sms", "opted_in", "api"],
        ["sms", "opted_out", "keyword"],
        ["sms", "opted_in", "api"],
    ];
    assert_eq!(told, expected);
    assert_eq!(
        (&changes[0]["actor"], &changes[0]["evidence"]),
        (&json!("tester"), &json!("said so on the phone"))
    );
    assert_eq!((&changes[2]["actor"], &changes[2]["evidence"]), (&Value::Null, &Value::Null));
    let wrong = json!({ "phone_number": "+14155550001", "channel": "fax", "source": "keyword", "x": 1 });
    let (status, problem) = answer(service.post(Role::Admin, "/api/sms/consent", &wrong)).await;
    let fields: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    assert_eq!(
        (status, fields),
        (422, ["channel", "state", "source", "x"].map(Value::from).iter().collect())
    );
    assert!(service.log().contains("consent.change") && !service.log().contains(&person(1)));
}

async fn a_colleague_does_not_take_back_what_a_person_said(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    world.write(&format!("whatsapp:{}", person(1)), "STOP").await;
    let record = async |role: Role, state: &str, channel: &str, evidence: Option<&str>| {
        let body = json!({
            "phone_number": person(1), "channel": channel, "state": state, "evidence": evidence,
        });
        let (status, body) = answer(service.post(role, "/api/sms/consent", &body)).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned(), body)
    };
    for (role, channel, evidence) in [
        (Role::Sender, "whatsapp", None),
        (Role::Sender, "whatsapp", Some("said so")),
        (Role::Sender, "all", Some("said so")),
        (Role::Admin, "whatsapp", None),
        (Role::Admin, "all", Some(" ")),
    ] {
        let (status, code, problem) = record(role, "opted_in", channel, evidence).await;
        assert_eq!((status, code.as_str()), (409, "opted_out_by_person"), "{role:?} {channel}: {problem}");
        assert!(problem["mend"].as_str().unwrap().contains("evidence"), "{problem}");
    }
    // Another record of the same wish must not make it one that others may take back.
    let (status, _, known) = record(Role::Sender, "opted_out", "all", None).await;
    assert_eq!((status, &known["channels"]["sms"]["source"]), (200, &json!("api")));
    assert_eq!(known["channels"]["whatsapp"]["source"], "keyword");
    assert_eq!(record(Role::Sender, "opted_in", "whatsapp", None).await.0, 409);
    assert_eq!(record(Role::Sender, "opted_in", "sms", None).await.0, 200);
    let (status, problem) = answer(service.post(
        Role::Sender,
        "/api/sms/whatsapp/send",
        &json!({ "to_number": person(1), "message": "hello" }),
    ))
    .await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    let (status, _, known) = record(Role::Admin, "opted_in", "whatsapp", Some("form of today")).await;
    assert_eq!((status, &known["channels"]["whatsapp"]["state"]), (200, &json!("opted_in")));
    let path = format!("/api/sms/consent/%2B{}/history", &person(1)[1..]);
    let history = get(service, Role::Viewer, &path).await;
    let told: Vec<_> = history["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| ["channel", "state", "source"].map(|name| change[name].as_str().unwrap()))
        .collect();
    let expected = [
        ["whatsapp", "opted_out", "keyword"],
        ["sms", "opted_out", "api"],
        ["sms", "opted_in", "api"],
        ["whatsapp", "opted_in", "api"],
    ];
    assert_eq!(told, expected);
}

async fn consent_moves_as_csv_and_back(on: On) {
    let from = World::start(on).await;
    for number in 0..6 {
        let body = json!({
            "phone_number": person(number), "channel": (["sms", "whatsapp", "all"][number % 3]),
            "state": (["opted_in", "opted_out"][number % 2]), "evidence": format!("form \"{number}\", signed"),
        });
        assert_eq!(answer(from.service.post(Role::Admin, "/api/sms/consent", &body)).await.0, 200);
    }
    from.write(&person(2), "STOP").await;
    let file = export(&from.service).await;
    assert!(file.starts_with("phone_number,channel,state,source,at,evidence\n"), "{file}");
    assert_eq!(file.lines().count(), 1 + 8);
    let to = World::start(on).await;
    let (status, done) = import(&to.service, &file).await;
    assert_eq!((status, &done["imported"], &done["errors"]), (200, &json!(8), &json!([])));
    for number in 0..6 {
        for channel in ["sms", "whatsapp"] {
            let [before, after] = [consent(&from.service, number).await, consent(&to.service, number).await];
            assert_eq!(before[channel]["state"], after[channel]["state"]);
            assert_eq!(before[channel]["at"], after[channel]["at"]);
        }
    }
    let (_, again) = import(&to.service, &file).await;
    assert_eq!((&again["imported"], &again["unchanged"]), (&json!(0), &json!(8)));
    for (role, expected) in [(Role::Sender, 403), (Role::Viewer, 403), (Role::Developer, 200)] {
        assert_eq!(answer(to.service.get(role, "/api/sms/consent/export")).await.0, expected);
    }
}

async fn an_import_tells_bad_lines_and_does_not_undo_a_stop(on: On) {
    let world = World::start(on).await;
    world.write(&person(1), "STOP").await;
    world.write(&person(4), "please stop texting me").await;
    let file = format!(
        "phone_number,channel,state,source,at\r\n\
         {one},sms,opted_in,,\r\n\
         {one},sms,opted_in,keyword,2020-01-01T00:00:00Z\r\n\
         nobody,sms,opted_in,,\r\n\
         \r\n\
         {two},fax,opted_in,,\r\n\
         {three},all,opted_out,,\r\n\
         {four},all,opted_in,import,2020-01-01T00:00:00Z\r\n\
         {one},sms,opted_out,,\r\n",
        one = person(1),
        two = person(2),
        three = person(3),
        four = person(4)
    );
    let (status, done) = import(&world.service, &file).await;
    let counts = ["imported", "unchanged", "rejected", "kept"].map(|name| done[name].as_u64().unwrap());
    assert_eq!((status, counts), (200, [1, 1, 2, 3]), "{done}");
    let lines_of = |list: &str| -> Vec<u64> {
        done[list].as_array().unwrap().iter().map(|line| line["line"].as_u64().unwrap()).collect()
    };
    assert_eq!((lines_of("errors"), lines_of("kept_opt_out")), (vec![4, 6], vec![2, 3, 8]));
    assert_eq!(consent(&world.service, 1).await["sms"]["source"], "keyword");
    for number in [1, 3, 4] {
        assert_eq!(world.service.send(&person(number), "hello").await.1["code"], "recipient_opted_out");
    }
    for (file, status) in [("", 422), ("a,b\n", 422)] {
        assert_eq!(import(&world.service, file).await.0, status);
    }
    let json = answer(world.service.post(Role::Admin, "/api/sms/consent/import", &json!({}))).await;
    assert_eq!(json.0, 415);
}

async fn a_stop_and_a_start_change_preferences(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    let own = "/api/sms/preferences";
    let default = get(service, Role::User, own).await;
    assert_eq!((&default["user_id"], &default["phone_number"]), (&json!("tester"), &Value::Null));
    assert_eq!((&default["sms_enabled"], &default["whatsapp_enabled"]), (&json!(true), &json!(false)));
    let request = json!({ "phone_number": "+1 415 555 0001", "whatsapp_enabled": true });
    let (status, changed) = put_own(service, &token_of("tester", Some(&person(1))), &request).await;
    assert_eq!(
        (status, &changed["phone_number"], &changed["whatsapp_enabled"]),
        (200, &json!(person(1)), &json!(true))
    );
    assert_eq!(changed["sms_enabled"], true);
    world.write(&person(1), "STOP").await;
    let stopped = get(service, Role::User, own).await;
    assert_eq!((&stopped["sms_enabled"], &stopped["whatsapp_enabled"]), (&json!(false), &json!(true)));
    assert_eq!(stopped["consent"]["sms"], "opted_out");
    let (status, problem) = put(service, Role::User, own, &json!({ "sms_enabled": true })).await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    assert!(problem["mend"].as_str().unwrap().contains("START"));
    assert_eq!(get(service, Role::User, own).await, stopped);
    world.write(&person(1), "START").await;
    assert_eq!(get(service, Role::User, own).await["sms_enabled"], true);
    for (body, field) in [(json!({ "sms_enabled": "yes" }), "sms_enabled"), (json!({ "x": 1 }), "x")] {
        let (status, problem) = put(service, Role::User, own, &body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)));
    }
    let (status, problem) = put(service, Role::User, own, &json!({ "phone_number": "12" })).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_phone_number")));
    assert_eq!(answer(service.get(Role::User, "/api/sms/preferences/ada")).await.0, 403);
    assert_eq!(put(service, Role::Sender, "/api/sms/preferences/ada", &json!({})).await.0, 403);
    assert_eq!(get(service, Role::Admin, "/api/sms/preferences/tester").await["sms_enabled"], true);
}

async fn turning_a_channel_off_is_an_opt_out(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    let own = "/api/sms/preferences";
    let token = token_of("tester", Some(&person(1)));
    put_own(service, &token, &json!({ "phone_number": person(1) })).await;
    put(service, Role::User, own, &json!({ "sms_enabled": false })).await;
    let known = consent(service, 1).await;
    assert_eq!(
        (&known["sms"]["state"], &known["sms"]["source"]),
        (&json!("opted_out"), &json!("preferences"))
    );
    assert_eq!(service.send(&person(1), "hello").await.1["code"], "recipient_opted_out");
    let (status, on_again) = put(service, Role::User, own, &json!({ "sms_enabled": true })).await;
    assert_eq!((status, &on_again["sms_enabled"]), (200, &json!(true)));
    assert_eq!(consent(service, 1).await["sms"]["state"], "opted_in");
    assert_eq!(service.send(&person(1), "hello").await.0, 201);
    // What an administrator has recorded, perhaps from a list of STOPs, is not for users to take back.
    let recorded = json!({
        "phone_number": person(1), "channel": "sms", "state": "opted_out", "source": "import",
    });
    assert_eq!(answer(service.post(Role::Admin, "/api/sms/consent", &recorded)).await.0, 200);
    let (status, problem) = put(service, Role::User, own, &json!({ "sms_enabled": true })).await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    assert_eq!(consent(service, 1).await["sms"]["state"], "opted_out");
}

async fn a_number_is_confirmed_by_the_code_that_it_was_sent(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    let (ada, path) = (token_of("ada", Some("+14155559999")), "/api/sms/preferences/ada");
    let change = json!({ "phone_number": person(1), "sms_enabled": false });
    let (status, asked) = put_own(service, &ada, &change).await;
    assert_eq!(
        (status, &asked["confirmation"], &asked["phone_number"]),
        (202, &json!("sent"), &json!(person(1)))
    );
    assert!(asked["expires_at"].is_string() && asked["held_until"].is_null(), "{asked}");
    // A stranger who types somebody's number changes nothing for them.
    assert_eq!(get(service, Role::Admin, path).await["phone_number"], Value::Null);
    assert_eq!(consent(service, 1).await["sms"]["state"], "unknown");
    let code = code_for(&world, &person(1));
    assert_eq!(confirm(service, &token_of("ben", None), &code).await.1["code"], "number_not_confirmed");
    let (status, changed) = confirm(service, &ada, &code).await;
    assert_eq!(
        (status, &changed["phone_number"], &changed["sms_enabled"]),
        (200, &json!(person(1)), &json!(false))
    );
    let known = consent(service, 1).await;
    assert_eq!(
        (&known["sms"]["state"], &known["sms"]["source"]),
        (&json!("opted_out"), &json!("preferences"))
    );
    assert_eq!(confirm(service, &ada, &code).await.0, 422, "a code is good once");
    // The number that is the user's already, and none, need no code.
    assert_eq!(put_own(service, &ada, &json!({ "phone_number": person(1) })).await.0, 200);
    assert_eq!(put_own(service, &ada, &json!({ "phone_number": null })).await.0, 200);
    // Whoever has opted out is sent no code either.
    world.write(&person(2), "STOP").await;
    let (status, problem) = put_own(service, &ada, &json!({ "phone_number": person(2) })).await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    assert!(!service.log().contains(&code));
}

async fn a_code_that_is_held_back_is_good_once_it_has_left(on: On) {
    let world = World::start_with(on, &[FAST, ("TEXTLEDGER_RECIPIENT_COOLDOWN", "3s")]).await;
    let service = &world.service;
    assert_eq!(service.send(&person(1), "hello").await.0, 201);
    let ada = token_of("ada", None);
    let (status, asked) = put_own(service, &ada, &json!({ "phone_number": person(1) })).await;
    assert_eq!((status, &asked["confirmation"]), (202, &json!("held")));
    assert!(asked["held_until"].as_str() < asked["expires_at"].as_str(), "{asked}");
    eventually("the code arrives", async || (world.accepted_for(&person(1)) == 2).then_some(())).await;
    assert_eq!(confirm(service, &ada, &code_for(&world, &person(1))).await.0, 200);
}

async fn a_code_is_not_guessed_and_nobody_is_pestered_with_codes(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    let (ada, ben) = (token_of("ada", None), token_of("ben", None));
    let ask = async |token: &str, number: usize| {
        put_own(service, token, &json!({ "phone_number": person(number) })).await
    };
    assert_eq!(ask(&ada, 1).await.0, 202);
    let first = code_for(&world, &person(1));
    assert_eq!(ask(&ada, 1).await.0, 202);
    let second = code_for(&world, &person(1));
    let wrong = |code: &str| if code == "000000" { "000001" } else { "000000" };
    if first != second {
        let (status, problem) = confirm(service, &ada, &first).await;
        assert_eq!((status, &problem["code"]), (422, &json!("number_not_confirmed")));
    } else {
        confirm(service, &ada, wrong(&first)).await;
    }
    // All at once is no way to try more often.
    let guesses = (0..8).map(|_| confirm(service, &ada, wrong(&second)));
    for (status, problem) in futures_util::future::join_all(guesses).await {
        assert_eq!((status, &problem["code"]), (422, &json!("number_not_confirmed")));
    }
    assert_eq!(confirm(service, &ada, &second).await.0, 422, "five tries, and the sixth is the right one");
    assert_eq!(ask(&ada, 1).await.0, 202);
    let (status, problem) = ask(&ada, 2).await;
    assert_eq!((status, &problem["code"]), (429, &json!("rate_limited")));
    assert_eq!(ask(&ben, 1).await.0, 429, "three codes an hour to one number, whoever asks");
    assert_eq!(world.accepted_for(&person(1)), 3);
    assert_eq!(confirm(service, &ada, "12").await.1["code"], "validation_failed");
    let third = code_for(&world, &person(1));
    assert_eq!(confirm(service, &ada, &third).await.0, 200);
}

async fn a_number_belongs_to_one_user(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    let number = json!({ "phone_number": person(1) });
    assert_eq!(put_own(service, &token_of("ada", Some(&person(1))), &number).await.0, 200);
    let (status, problem) = put_own(service, &token_of("ben", Some(&person(1))), &number).await;
    assert_eq!((status, &problem["code"]), (409, &json!("phone_number_taken")));
    let (status, problem) = put(service, Role::Admin, "/api/sms/preferences/ben", &number).await;
    assert_eq!((status, &problem["code"]), (409, &json!("phone_number_taken")));
    // Between the question and the answer the number may become another's.
    let other = json!({ "phone_number": person(2) });
    let ben = token_of("ben", None);
    assert_eq!(put_own(service, &ben, &other).await.0, 202);
    prefer(service, "cyd", other).await;
    let (status, problem) = confirm(service, &ben, &code_for(&world, &person(2))).await;
    assert_eq!((status, &problem["code"]), (409, &json!("phone_number_taken")));
    // Who takes another number, or none, leaves the former one to others.
    prefer(service, "ada", json!({ "phone_number": person(3) })).await;
    prefer(service, "ben", number).await;
    prefer(service, "ben", json!({ "phone_number": null })).await;
    prefer(service, "cyd", json!({ "phone_number": person(1) })).await;
    // Of many at once, one gets it.
    let claims = (0..6).map(async |user| {
        let path = format!("/api/sms/preferences/user-{user}");
        put(service, Role::Admin, &path, &json!({ "phone_number": person(4) })).await.0
    });
    let mut statuses = futures_util::future::join_all(claims).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409]);
}

async fn prefer(service: &TestService, user: &str, preferences: Value) {
    let (status, body) =
        put(service, Role::Admin, &format!("/api/sms/preferences/{user}"), &preferences).await;
    assert_eq!(status, 200, "{body}");
}

async fn notify(service: &TestService, body: &Value) -> Vec<Value> {
    let (status, answer) = answer(service.post(Role::Sender, "/api/sms/notify", body)).await;
    assert_eq!(status, 202, "{answer}");
    answer["results"].as_array().unwrap().clone()
}

async fn users_are_told_where_they_want_it(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    let service = &world.service;
    prefer(service, "sms-only", json!({ "phone_number": person(1) })).await;
    prefer(service, "both", json!({ "phone_number": person(2), "whatsapp_enabled": true })).await;
    prefer(service, "stopped", json!({ "phone_number": person(3), "whatsapp_enabled": true })).await;
    prefer(service, "off", json!({ "phone_number": person(4), "sms_enabled": false })).await;
    world.write(&person(3), "STOP").await;
    let users = ["sms-only", "both", "stopped", "off", "nobody", "both"];
    let body = json!({ "user_ids": users, "message": "please approve", "category": "workflow_approval" });
    let results = notify(service, &body).await;
    let told: Vec<_> = results
        .iter()
        .map(|user| {
            let of = |list: &str, name: &str| -> Vec<String> {
                user[list]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|entry| entry[name].as_str().unwrap().to_owned())
                    .collect()
            };
            (user["user_id"].as_str().unwrap(), of("queued", "channel"), of("skipped", "code"))
        })
        .collect();
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let expected = [
        ("sms-only", texts(&["sms"]), texts(&["channel_disabled"])),
        ("both", texts(&["whatsapp", "sms"]), texts(&[])),
        ("stopped", texts(&["whatsapp"]), texts(&["recipient_opted_out"])),
        ("off", texts(&[]), texts(&["channel_disabled", "recipient_opted_out"])),
        ("nobody", texts(&[]), texts(&["no_phone_number", "no_phone_number"])),
    ];
    assert_eq!(told, expected);
    let id = results[0]["queued"][0]["id"].as_str().unwrap();
    let delivered = async || (service.message_status(id).await.1["status"] == "delivered").then_some(());
    eventually("the notice is delivered", delivered).await;
    let (_, message) = service.message_status(id).await;
    assert_eq!(
        (&message["user_id"], &message["category"]),
        (&json!("sms-only"), &json!("workflow_approval"))
    );
    for wrong in [
        json!({ "user_ids": [], "message": "x", "category": "general" }),
        json!({ "user_ids": ["a"], "message": "x", "category": "gossip" }),
        json!({ "user_ids": ["a"], "category": "general" }),
        json!({ "user_ids": ["a"], "message": "x", "category": "general", "fallback": { "channel": "fax", "after_s": 1 } }),
        json!({ "user_ids": ["a"], "message": "x", "category": "general", "fallback": { "channel": "sms", "x": 1 } }),
    ] {
        let (status, problem) = answer(service.post(Role::Sender, "/api/sms/notify", &wrong)).await;
        assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")), "{wrong}");
    }
}

async fn a_fallback_that_is_held_asks_again_before_it_leaves(on: On) {
    let world = World::start_with(on, &[FAST, ("TEXTLEDGER_RECIPIENT_COOLDOWN", "4s")]).await;
    let service = &world.service;
    prefer(service, "ada", json!({ "phone_number": person(1), "whatsapp_enabled": true })).await;
    world.fault(json!({ "delivery_ms": 2_000 })).await;
    let notice = json!({
        "user_ids": ["ada"], "message": "hello", "category": "general",
        "fallback": { "channel": "sms", "after_s": 1 },
    });
    let results = notify(service, &notice).await;
    let id = results[0]["queued"][1]["id"].as_str().unwrap();
    // After a second it is due, and the recipient's pause holds it. Meanwhile the first arrives.
    let is = async |status: &str| {
        let of = async || (service.message_status(id).await.1["status"] == status).then_some(());
        eventually(status, of).await;
    };
    is("held").await;
    is("canceled").await;
    assert_eq!(world.accepted_for(&person(1)), 0, "the SMS must not follow");
}

async fn a_fallback_follows_only_a_message_that_does_not_arrive(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    let service = &world.service;
    let both = |phone: &str| json!({ "phone_number": phone, "whatsapp_enabled": true });
    prefer(service, "reached", both(&person(1))).await;
    // The simulator lets a recipient fail whose number ends in an error's code: not on WhatsApp.
    prefer(service, "not-on-whatsapp", both("+14155563003")).await;
    prefer(service, "sms-only", json!({ "phone_number": person(3) })).await;
    let fallback = |after_s: u32| {
        json!({
            "user_ids": ["reached", "not-on-whatsapp", "sms-only"], "message": "hello", "category": "general",
            "fallback": { "channel": "sms", "after_s": after_s },
        })
    };
    let results = notify(service, &fallback(600)).await;
    let queued: Vec<_> =
        results[0]["queued"].as_array().unwrap().iter().map(|queued| &queued["fallback"]).collect();
    assert_eq!(queued, [false, true]);
    let ids: Vec<&str> = results[..2].iter().map(|user| user["queued"][1]["id"].as_str().unwrap()).collect();
    // Failed there: the SMS follows at once, although ten minutes were allowed.
    let sms_sent = async || (world.accepted_for("+14155563003") == 1).then_some(());
    eventually("the SMS follows", sms_sent).await;
    eventually("the other is told at once", async || (world.accepted_for(&person(3)) == 1).then_some(()))
        .await;
    let read = async || {
        (service.message_status(results[0]["queued"][0]["id"].as_str().unwrap()).await.1["status"] == "read")
            .then_some(())
    };
    eventually("the WhatsApp message is read", read).await;
    assert_eq!(service.message_status(ids[0]).await.1["status"], "waiting");

    // In time: nothing follows. Not in time: one SMS.
    world.fault(json!({ "delivery_ms": 100 })).await;
    let in_time = notify(
        service,
        &json!({
            "user_ids": ["reached"], "message": "hello", "category": "general",
            "fallback": { "channel": "sms", "after_s": 1 },
        }),
    )
    .await;
    let id = in_time[0]["queued"][1]["id"].as_str().unwrap();
    let canceled = async || (service.message_status(id).await.1["status"] == "canceled").then_some(());
    eventually("the fallback is needless", canceled).await;
    world.fault(json!({ "delivery_ms": 600_000 })).await;
    prefer(service, "slow", both(&person(9))).await;
    notify(
        service,
        &json!({
            "user_ids": ["slow"], "message": "hello", "category": "general",
            "fallback": { "channel": "sms", "after_s": 1 },
        }),
    )
    .await;
    eventually("the SMS follows", async || (world.accepted_for(&person(9)) == 1).then_some(())).await;
    assert_eq!(world.accepted_for(&person(1)), 0);
    assert_eq!(world.accepted_for("+14155563003"), 1);
}

async fn the_last_hour_is_told_in_numbers(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    let service = &world.service;
    let empty = get(service, Role::Viewer, "/api/sms/stats").await;
    assert_eq!((&empty["delivery_rate"], &empty["time_to_delivery_ms"]["p50"]), (&Value::Null, &Value::Null));
    assert_eq!(empty["series"].as_array().unwrap().len(), 60);
    for number in 0..3 {
        assert_eq!(service.send(&person(number), "hello").await.0, 201);
    }
    assert_eq!(service.send("+14155530003", "fails").await.0, 201);
    world.settle().await;
    world.write(&person(1), "STOP").await;
    world.write(&person(1), "START").await;
    let stats = get(service, Role::Viewer, "/api/sms/stats?window=2h&bucket=5m").await;
    assert_eq!((&stats["totals"]["delivered"], &stats["totals"]["undelivered"]), (&json!(3), &json!(1)));
    assert_eq!(stats["channels"]["sms"]["delivered"], 3);
    assert_eq!(
        (&stats["delivery_rate"], &stats["opt_outs"], &stats["opt_ins"]),
        (&json!(0.75), &json!(1), &json!(1))
    );
    assert_eq!((&stats["errors"][0]["code"], &stats["errors"][0]["count"]), (&json!(30_003), &json!(1)));
    assert!(stats["errors"][0]["mend"].is_string());
    let p50 = stats["time_to_delivery_ms"]["p50"].as_u64().unwrap();
    assert!((50..5_000).contains(&p50), "{stats}");
    let series = stats["series"].as_array().unwrap();
    let delivered: u64 = series.iter().filter_map(|part| part["counts"]["delivered"].as_u64()).sum();
    assert_eq!((series.len(), delivered), (24, 3));
    let days = get(service, Role::Viewer, "/api/sms/stats?window=7d&bucket=1h").await;
    assert_eq!((days["series"].as_array().unwrap().len(), &days["totals"]["delivered"]), (168, &json!(3)));
    let weeks = get(service, Role::Viewer, "/api/sms/stats?window=28d&bucket=168h").await;
    assert_eq!([&stats["bucket"], &days["bucket"], &weeks["bucket"]], ["5m", "1h", "7d"]);
    for wrong in
        ["window=0s", "window=31d", "window=x", "bucket=30s", "bucket=2h", "window=24h&bucket=7s", "x=1"]
    {
        let (status, problem) = answer(service.get(Role::Viewer, &format!("/api/sms/stats?{wrong}"))).await;
        assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")), "{wrong}");
    }
}

async fn a_number_is_looked_up(on: On) {
    let world = World::start_with(on, &[("TEXTLEDGER_DEFAULT_REGION", "US")]).await;
    let service = &world.service;
    let number = get(service, Role::Viewer, "/api/sms/lookup/(415)%20555-2671").await;
    assert_eq!((&number["phone_number"], &number["country"]), (&json!("+14155552671"), &json!("US")));
    assert_eq!((&number["calling_code"], &number["national_format"]), (&json!(1), &json!("(415) 555-2671")));
    assert_eq!((&number["valid"], &number["carrier"]), (&json!(true), &Value::Null));
    let path = "/api/sms/lookup/%2B14155552671?carrier=true";
    assert_eq!(answer(service.get(Role::Viewer, path)).await.0, 403);
    let asked = get(service, Role::Sender, path).await;
    assert!(asked["carrier"]["type"].is_string(), "{asked}");
    assert_eq!(asked["type"], asked["carrier"]["type"]);
    let (status, problem) = answer(service.get(Role::Viewer, "/api/sms/lookup/nobody")).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_phone_number")));
}
