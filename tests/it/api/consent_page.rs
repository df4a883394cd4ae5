//! The page that a link leads to, on which a person sees what they get and changes it.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, header::CONTENT_TYPE, redirect::Policy};
use serde_json::{Value, json};
use textledger::{
    app::consents::link::{LIFE_DEFAULT, Link},
    domain::{Organization, Role, UnixMs},
    sealing::MasterKeys,
    twilio::reply::Language,
};

use super::on_both_stores;
use crate::support::{
    eventually, now,
    redis_server::RedisServer,
    service::{MASTER_KEY, OUR_NUMBER, On, PERSON, PUBLIC_URL, TestService, answer, token},
    twilio::World,
};

on_both_stores! {
    a_link_is_made_for_one_person_and_shows_no_number
    a_link_needs_a_public_url
    looking_at_the_page_changes_nothing
    a_choice_on_the_page_is_the_persons_own_word
    an_opt_in_on_the_page_undoes_a_stop_and_leaves_twilios_block
    what_waits_for_a_person_who_stops_on_the_page_is_refused
    who_is_in_doubt_says_on_the_page_what_they_want
    who_is_known_by_a_user_id_has_a_page_about_whatsapp
    a_link_that_is_not_good_is_answered_kindly_in_the_readers_language
    a_link_is_for_one_organization
    a_link_outlives_a_rotation_of_keys
    a_form_that_is_not_the_pages_changes_nothing
    the_page_speaks_the_language_that_was_chosen
    the_page_names_who_sends_and_escapes_it
    a_page_that_is_opened_too_often_says_when_to_come_back
    a_button_that_is_pressed_many_times_at_once_counts_once
}

const LINKS: &str = "/api/sms/consent/links";

/// Another key, of bytes of one.
const NEW_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// The path of a link for `person`, as a service with [`MASTER_KEY`] makes it at `at`.
fn path_made_at(at: UnixMs, organization: &str, person: &str, language: Option<Language>) -> String {
    let keys = MasterKeys::parse(MASTER_KEY).unwrap();
    let organization = Organization::parse(organization).unwrap();
    Link::new(organization, person.parse().unwrap(), language, LIFE_DEFAULT, at).url("", &keys)
}

/// The path of a link for [`PERSON`].
fn path() -> String {
    path_made_at(UnixMs::from_timestamp(now()).unwrap(), "default", PERSON, None)
}

/// A browser that shows redirections.
fn browser() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

async fn open(service: &TestService, path: &str) -> (u16, String) {
    let response = service.anonymous(Method::GET, path).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// What pressing the button `choice` of the page at `path` sends.
fn press(service: &TestService, path: &str, choice: &str) -> RequestBuilder {
    browser().post(service.url(path)).form(&[("choice", choice)])
}

/// Presses a button and follows to the page that confirms it.
async fn pressed(service: &TestService, path: &str, choice: &str) -> String {
    let response = press(service, path, choice).send().await.unwrap();
    assert_eq!(response.status(), 303);
    let location = response.headers()["location"].to_str().unwrap();
    assert!(location.starts_with('?'), "{location}");
    let (before_query, _) = path.split_once('?').unwrap_or((path, ""));
    let (status, page) = open(service, &format!("{before_query}{location}")).await;
    assert_eq!(status, 200, "{page}");
    page
}

async fn consent_of(service: &TestService, person: &str) -> Value {
    let path = format!("/api/sms/consent/{}", person.replace('+', "%2B"));
    answer(service.get(Role::Viewer, &path)).await.1["channels"].clone()
}

async fn changes_of(service: &TestService, person: &str) -> Vec<Value> {
    let path = format!("/api/sms/consent/{}/history", person.replace('+', "%2B"));
    answer(service.get(Role::Viewer, &path)).await.1["changes"].as_array().unwrap().clone()
}

fn lang(page: &str) -> &str {
    page.split_once("<html lang=\"").unwrap().1.split('"').next().unwrap()
}

async fn a_link_is_made_for_one_person_and_shows_no_number(on: On) {
    let service = TestService::start(on).await;
    let make = |body: Value| answer(service.post(Role::Sender, LINKS, &body));
    let (status, link) = make(json!({ "phone_number": "+1 (415) 555-0100" })).await;
    assert_eq!(status, 201, "{link}");
    let url = link["url"].as_str().unwrap();
    let path = url.strip_prefix(PUBLIC_URL).unwrap();
    assert!(path.starts_with("/consent/") && !path.contains("5550100"), "{path}");
    let expires_at: jiff::Timestamp = link["expires_at"].as_str().unwrap().parse().unwrap();
    let life = Duration::try_from(expires_at.duration_since(now())).unwrap();
    assert!(life <= LIFE_DEFAULT + Duration::from_secs(60) && life > LIFE_DEFAULT - Duration::from_secs(60));
    // A proxy may leave the public URL's path on or take it off.
    for path in [path.to_owned(), format!("/textledger{path}")] {
        let (status, page) = open(&service, &path).await;
        assert_eq!((status, page.contains("ends in 0100")), (200, true), "{page}");
        assert!(!page.contains("4155550100"), "{page}");
    }
    let body = json!({ "phone_number": PERSON, "language": "de", "expires_in_s": 60 });
    let (status, link) = make(body).await;
    assert_eq!(status, 201);
    let (_, page) = open(&service, link["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap()).await;
    assert_eq!(lang(&page), "de");
    let wrong = json!({ "phone_number": PERSON, "language": "nl", "expires_in_s": 59, "x": 1 });
    let (status, problem) = make(wrong).await;
    let errors = problem["errors"].as_array().unwrap().iter();
    let fields: Vec<_> = errors.map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!((status, fields), (422, vec!["expires_in_s", "language", "x"]));
    assert_eq!(make(json!({ "phone_number": "nobody" })).await.1["code"], "invalid_phone_number");
    let log = service.log();
    assert!(log.contains("consent.link") && !log.contains("4155550100"), "{log}");
    assert!(!log.contains(path.trim_start_matches("/consent/")), "a link is not logged");
}

async fn a_link_needs_a_public_url(on: On) {
    let service = TestService::start_with(on, &[]).await;
    let (status, problem) =
        answer(service.post(Role::Admin, LINKS, &json!({ "phone_number": PERSON }))).await;
    assert_eq!((status, &problem["code"]), (409, &json!("public_url_not_configured")));
    assert!(problem["mend"].as_str().unwrap().contains("TEXTLEDGER_PUBLIC_URL"), "{problem}");
}

async fn looking_at_the_page_changes_nothing(on: On) {
    let service = TestService::start(on).await;
    let path = path();
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let response =
            service.anonymous(method.clone(), &format!("{path}?done=stop_all")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{method}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("x-robots-tag"), "noindex, nofollow");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("content-language"), "en");
        let policy = header("content-security-policy");
        for part in
            ["default-src 'none'", "style-src 'sha256-", "frame-ancestors 'none'", "form-action 'self'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        let page = response.text().await.unwrap();
        // Nobody has chosen what the URL claims.
        assert!(!page.contains("role=\"status\"") && !page.contains("<script"), "{page}");
    }
    assert_eq!(changes_of(&service, PERSON).await, Vec::<Value>::new());
    let other = service.anonymous(Method::PUT, &path).send().await.unwrap();
    assert_eq!(
        (other.status().as_u16(), &other.headers()["allow"]),
        (405, &"GET, HEAD, POST".parse().unwrap())
    );
}

async fn a_choice_on_the_page_is_the_persons_own_word(on: On) {
    let world = World::start(on).await;
    let (service, path) = (&world.service, path());
    let (_, page) = open(service, &path).await;
    assert!(page.contains("You get messages.") && page.contains("Stop text messages"), "{page}");
    assert!(page.contains(&format!("Your messages from {OUR_NUMBER}")), "{page}");

    let page = pressed(service, &path, "stop_sms").await;
    assert!(
        page.contains("role=\"status\"") && page.contains("Done. You get no more text messages."),
        "{page}"
    );
    assert!(page.contains("<title>Done.") && page.contains("You get no messages."), "{page}");
    assert!(page.contains("value=\"start_sms\"") && !page.contains("value=\"stop_sms\""), "{page}");
    let known = consent_of(service, PERSON).await;
    assert_eq!((&known["sms"]["state"], &known["sms"]["source"]), (&json!("opted_out"), &json!("link")));
    assert_eq!(known["whatsapp"]["state"], "unknown");
    assert_eq!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
    // Twice is once.
    pressed(service, &path, "stop_sms").await;
    let changes = changes_of(service, PERSON).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(
        [&changes[0]["source"], &changes[0]["actor"], &changes[0]["evidence"]],
        [&json!("link"), &Value::Null, &Value::Null]
    );

    // Nobody else takes it back, but an administrator with evidence.
    let file = format!("phone_number,channel,state\n{PERSON},sms,opted_in\n");
    let import = service.anonymous(Method::POST, "/api/sms/consent/import").bearer_auth(token(Role::Admin));
    let (_, imported) = answer(import.header("Content-Type", "text/csv").body(file)).await;
    assert_eq!((&imported["imported"], &imported["kept"]), (&json!(0), &json!(1)), "{imported}");
    let opt_in = json!({ "phone_number": PERSON, "channel": "sms", "state": "opted_in" });
    for role in [Role::Sender, Role::Admin] {
        let (status, problem) = answer(service.post(role, "/api/sms/consent", &opt_in)).await;
        assert_eq!((status, &problem["code"]), (409, &json!("opted_out_by_person")), "{role:?}");
    }
    // The person does.
    let page = pressed(service, &path, "start_sms").await;
    assert!(page.contains("Done. You agreed to get text messages."), "{page}");
    assert_eq!(service.send(PERSON, "hello").await.0, 201);
    assert_eq!(consent_of(service, PERSON).await["sms"]["source"], "link");

    let page = pressed(service, &path, "stop_all").await;
    assert!(page.contains("Done. You get no more messages.") && !page.contains("stop_all\""), "{page}");
    let known = consent_of(service, PERSON).await;
    assert_eq!(
        (&known["sms"]["state"], &known["whatsapp"]["state"]),
        (&json!("opted_out"), &json!("opted_out"))
    );
    let counted = r#"textledger_consent_link_changes_total{state="opted_out"}"#;
    assert_eq!(service.metric(counted).await, 2);
    let log = service.log();
    let audit = log.lines().find(|line| line.contains("\"actor\":\"person\"")).unwrap();
    assert!(audit.contains("stop") || audit.contains("opted_out"), "{audit}");
    assert!(!log.contains(PERSON), "{log}");
    let at_once = json!({ "evidence": "said so on the phone" });
    let mut with_evidence = opt_in.clone();
    with_evidence.as_object_mut().unwrap().extend(at_once.as_object().unwrap().clone());
    assert_eq!(answer(service.post(Role::Admin, "/api/sms/consent", &with_evidence)).await.0, 200);
}

async fn an_opt_in_on_the_page_undoes_a_stop_and_leaves_twilios_block(on: On) {
    let world = World::start(on).await;
    let (service, path) = (&world.service, path());
    world.write(PERSON, "STOP").await;
    let mend = format!("send START to {OUR_NUMBER}");
    let (_, page) = open(service, &path).await;
    assert!(page.contains("You get no messages.") && page.contains(&mend), "{page}");
    let page = pressed(service, &path, "start_sms").await;
    // They agreed, and nothing comes all the same until they text.
    assert!(page.contains("You agreed to get text messages.") && page.contains(&mend), "{page}");
    assert!(page.contains("You get no messages.") && !page.contains("start_sms"), "{page}");
    let known = consent_of(service, PERSON).await;
    assert_eq!((&known["sms"]["state"], &known["sms"]["twilio_block"]), (&json!("opted_in"), &json!(true)));
    world.write(PERSON, "START").await;
    let (_, page) = open(service, &path).await;
    assert!(!page.contains("You get no messages.") && !page.contains("send START"), "{page}");
    assert_eq!(service.send(PERSON, "hello").await.0, 201);
}

async fn what_waits_for_a_person_who_stops_on_the_page_is_refused(on: On) {
    let world = World::start(on).await;
    let (service, path) = (&world.service, path());
    let later = (now() + jiff::SignedDuration::from_hours(1)).to_string();
    let body = json!({ "to_number": PERSON, "message": "later", "send_at": later });
    let (status, waiting) = answer(service.post(Role::Sender, "/api/sms/send", &body)).await;
    assert_eq!(status, 202, "{waiting}");
    pressed(service, &path, "stop_sms").await;
    let (_, message) = service.message_status(waiting["id"].as_str().unwrap()).await;
    assert_eq!(message["status"], "refused", "{message}");
    assert_eq!(world.accepted_for(PERSON), 0);
}

async fn who_is_in_doubt_says_on_the_page_what_they_want(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    for (choice, sent) in [("start_sms", 1), ("stop_sms", 1)] {
        world.write(PERSON, "wrong number").await;
        let (_, page) = open(service, &path()).await;
        assert!(page.contains("You get no messages for now"), "{page}");
        assert!(page.contains("value=\"start_sms\"") && page.contains("value=\"stop_sms\""), "{page}");
        let (_, held) = service.send(PERSON, "hello").await;
        assert_eq!(held["reason"], "review");
        pressed(service, &path(), choice).await;
        let (_, reviews) = answer(service.get(Role::Viewer, "/api/sms/consent/reviews")).await;
        assert_eq!(reviews["reviews"], json!([]));
        let status = if choice == "start_sms" { "delivered" } else { "refused" };
        eventually("what was held has left or is refused", async || {
            let (_, message) = service.message_status(held["id"].as_str().unwrap()).await;
            (message["status"] == status).then_some(())
        })
        .await;
        assert_eq!(world.accepted_for(PERSON), sent, "after {choice}");
    }
}

async fn who_is_known_by_a_user_id_has_a_page_about_whatsapp(on: On) {
    let service = TestService::start(on).await;
    let user = "US.444555666";
    let (status, link) =
        answer(service.post(Role::Sender, LINKS, &json!({ "phone_number": format!("whatsapp:{user}") })))
            .await;
    assert_eq!(status, 201, "{link}");
    let path = link["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap();
    let (_, page) = open(&service, path).await;
    assert!(page.contains("value=\"stop_whatsapp\"") && !page.contains("_sms\""), "{page}");
    assert!(page.contains("the phone that the link was sent to") && !page.contains("5666"), "{page}");
    pressed(&service, path, "stop_whatsapp").await;
    let known = consent_of(&service, user).await;
    assert_eq!(
        (&known["whatsapp"]["state"], &known["sms"]["state"]),
        (&json!("opted_out"), &json!("unknown"))
    );
}

async fn a_link_that_is_not_good_is_answered_kindly_in_the_readers_language(on: On) {
    let service = TestService::start(on).await;
    let expired = path_made_at(UnixMs::new(1_700_000_000_000), "default", PERSON, None);
    let good = path();
    let other = if good.ends_with('A') { 'B' } else { 'A' };
    let changed = format!("{}{other}", &good[..good.len() - 1]);
    let cut_off = &good[..good.len() - 5];
    let nonsense = "/consent/v1.00000000.AAAA";
    for (path, status, said) in [
        (expired.as_str(), 410, "Ce lien a expiré"),
        (&changed, 404, "Ce lien ne fonctionne pas"),
        (cut_off, 404, "Ce lien ne fonctionne pas"),
        (nonsense, 404, "Ce lien ne fonctionne pas"),
        ("/consent/", 404, "Ce lien ne fonctionne pas"),
        ("/consent/%FF/%00?lang=fr", 404, "Ce lien ne fonctionne pas"),
    ] {
        for method in [Method::GET, Method::POST] {
            let request =
                service.anonymous(method.clone(), path).header("Accept-Language", "fr-CA, en;q=0.5");
            let response = request.form(&[("choice", "stop_all")]).send().await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers()["content-language"], "fr");
            assert_eq!(response.headers()["cache-control"], "no-store");
            let page = response.text().await.unwrap();
            assert!(page.contains(said) && page.contains("STOP") && lang(&page) == "fr", "{page}");
        }
    }
    assert_eq!(changes_of(&service, PERSON).await, Vec::<Value>::new());
    // A link at the end of a sentence is good.
    assert_eq!(open(&service, &format!("{good}).")).await.0, 200);
}

async fn a_link_is_for_one_organization(on: On) {
    let service = TestService::start(on).await;
    let (_, link) = service.post_in("acme", LINKS, &json!({ "phone_number": PERSON })).await;
    let path = link["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap();
    // An organization without an account has its people all the same.
    let page = pressed(&service, path, "stop_all").await;
    assert!(page.contains("<h1>Your messages</h1>"), "{page}");
    assert_eq!(consent_of(&service, PERSON).await["sms"]["state"], "unknown");
    let (_, known) = service.get_in("acme", "/api/sms/consent/%2B14155550100").await;
    assert_eq!(known["channels"]["sms"]["state"], "opted_out");
}

async fn a_link_outlives_a_rotation_of_keys(on: On) {
    let mut service = TestService::start(on).await;
    let path = path();
    service.set("TEXTLEDGER_MASTER_KEY", &format!("{NEW_KEY},{MASTER_KEY}"));
    service.stop().await;
    service.start_again();
    assert_eq!(open(&service, &path).await.0, 200);
    service.set("TEXTLEDGER_MASTER_KEY", NEW_KEY);
    service.stop().await;
    service.start_again();
    assert_eq!(open(&service, &path).await.0, 404);
}

async fn a_form_that_is_not_the_pages_changes_nothing(on: On) {
    let service = TestService::start(on).await;
    let path = path();
    let post = |kind: &'static str, body: String| {
        browser().post(service.url(&path)).header(CONTENT_TYPE, kind).body(body).send()
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    for (kind, body) in [
        (FORM, String::new()),
        (FORM, "choice=".to_owned()),
        (FORM, "choice=start_all".to_owned()),
        (FORM, "choice=STOP_ALL".to_owned()),
        (FORM, format!("pad={}&choice=stop_all", "x".repeat(1_024))),
        ("application/json", r#"{"choice":"stop_all"}"#.to_owned()),
        ("multipart/form-data; boundary=x", "choice=stop_all".to_owned()),
    ] {
        let response: Response = post(kind, body.clone()).await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
        assert!(response.text().await.unwrap().contains("That did not work"), "{body}");
    }
    assert_eq!(changes_of(&service, PERSON).await, Vec::<Value>::new());
    assert_eq!(post(FORM, "choice=stop_all".to_owned()).await.unwrap().status(), 303);
}

async fn the_page_speaks_the_language_that_was_chosen(on: On) {
    let service = TestService::start(on).await;
    let at = UnixMs::from_timestamp(now()).unwrap();
    let spanish = path_made_at(at, "default", PERSON, Some(Language::Spanish));
    let unwritten = path_made_at(at, "default", PERSON, Some(Language::Dutch));
    let shown = async |path: &str, accepted: &str| {
        let request = service.anonymous(Method::GET, path).header("Accept-Language", accepted);
        lang(&request.send().await.unwrap().text().await.unwrap()).to_owned()
    };
    for (path, accepted, expected) in [
        (path(), "de-AT", "de"),
        (path(), "nl", "en"),
        (spanish.clone(), "de-AT", "es"),
        (format!("{spanish}?lang=pt"), "de-AT", "pt"),
        (format!("{spanish}?lang=xx"), "de-AT", "es"),
        (unwritten, "fr", "fr"),
    ] {
        assert_eq!(shown(&path, accepted).await, expected, "{path} {accepted}");
    }
    // What was chosen stays chosen when a button is pressed.
    for (language, said) in [
        ("en", "Done. You get no more messages."),
        ("es", "Listo. Ya no recibirá mensajes."),
        ("fr", "C’est fait. Vous ne recevrez plus de messages."),
        ("pt", "Pronto. Você não receberá mais mensagens."),
        ("de", "Erledigt. Sie erhalten keine Nachrichten mehr."),
    ] {
        let page = pressed(&service, &format!("{spanish}?lang={language}"), "stop_all").await;
        assert_eq!(lang(&page), language);
        assert!(page.contains(said), "{page}");
        for other in ["en", "es", "fr", "pt", "de"] {
            assert_eq!(page.contains(&format!("href=\"?lang={other}\"")), other != language, "{page}");
        }
    }
}

async fn the_page_names_who_sends_and_escapes_it(on: On) {
    let settings = [
        ("TEXTLEDGER_SENDER_NAME", "<b>Acme</b> & \"Sons\""),
        ("TEXTLEDGER_HELP_CONTACT", "help@acme.example"),
        ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL),
    ];
    let service = TestService::start_with(on, &settings).await;
    let (_, page) = open(&service, &path()).await;
    assert!(
        page.contains("<h1>Your messages from &lt;b&gt;Acme&lt;/b&gt; &amp; &quot;Sons&quot;</h1>"),
        "{page}"
    );
    assert!(page.contains("help@acme.example"), "{page}");
}

async fn a_page_that_is_opened_too_often_says_when_to_come_back(on: On) {
    let service = TestService::start_with(on, &[("TEXTLEDGER_API_RATE", "1")]).await;
    let (own, nobodys) = (path(), "/consent/v1.00000000.AAAA");
    for (path, status) in [(own.as_str(), 200), (nobodys, 404)] {
        let mut refused = 0;
        for _ in 0..20 {
            let response = service.anonymous(Method::GET, path).send().await.unwrap();
            if response.status() == 429 {
                refused += 1;
                let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=2).contains(&wait), "{wait}");
                assert!(response.text().await.unwrap().contains("Please wait a moment"));
            } else {
                assert_eq!(response.status(), status);
            }
        }
        assert!((1..=15).contains(&refused), "{refused}");
    }
    // Whoever guesses at links shuts out nobody who has one.
    let other = path_made_at(UnixMs::from_timestamp(now()).unwrap(), "default", "+14155550101", None);
    assert_eq!(open(&service, &other).await.0, 200);
}

async fn a_button_that_is_pressed_many_times_at_once_counts_once(on: On) {
    let service = TestService::start(on).await;
    let path = path();
    let pressed = (0..6).map(|_| press(&service, &path, "stop_all").send());
    for response in futures_util::future::join_all(pressed).await {
        assert_eq!(response.unwrap().status(), 303);
    }
    assert_eq!(changes_of(&service, PERSON).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_store_is_away_asks_to_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let url = redis.url();
    let settings = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)];
    let service = TestService::start_with(On::Redis, &settings).await;
    let path = format!("{}?lang=de", path());
    assert_eq!(open(&service, &path).await.0, 200);
    drop(redis);
    for request in [service.anonymous(Method::GET, &path), press(&service, &path, "stop_all")] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
        assert!(response.text().await.unwrap().contains("Bitte versuchen Sie es noch einmal"));
    }
}
