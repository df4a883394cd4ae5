//! Tokens of a platform that publishes its public keys at a URL: which are good, and what the URL may answer.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;
use tokio::task::JoinSet;

use super::on_both_stores;
use crate::support::{
    DEADLINE, eventually, eventually_within,
    platform::{Pair, Platform, Published, claims, set},
    service::{On, TestService, answer, token},
};

on_both_stores! {
    a_token_is_good_that_a_published_key_of_any_kind_has_signed
    a_key_that_is_not_for_signatures_lets_nobody_in
    no_public_key_is_a_secret_and_no_token_brings_its_own_key
    a_new_key_is_found_by_the_token_that_names_it_and_made_up_names_cost_one_fetch
    whatever_the_url_answers_the_keys_known_before_stay_in_use
    a_start_without_any_keys_is_told_and_made_up_for
}

const EVENTS: &str = "/api/sms/events";

/// The shortest `TEXTLEDGER_JWKS_REFRESH` there may be.
const REFRESH: Duration = Duration::from_secs(30);

/// Long enough for an answer that does not wait for something.
const AT_ONCE: Duration = Duration::from_millis(300);

async fn start(on: On, platform: &Platform) -> TestService {
    TestService::start_with(on, &[("TEXTLEDGER_JWKS_URL", &platform.url())]).await
}

/// The status of a request for events with `token`.
async fn read_with(service: &TestService, token: &str) -> u16 {
    answer(service.anonymous(Method::GET, EVENTS).bearer_auth(token)).await.0
}

async fn a_token_is_good_that_a_published_key_of_any_kind_has_signed(on: On) {
    let pairs = [Pair::rsa("rsa"), Pair::p256("p256"), Pair::ed25519("ed25519")];
    let (unlisted, twin) = (Pair::p256("unlisted"), Pair::rsa("rsa"));
    let platform = Platform::start(Published::keys(&pairs.each_ref().map(|pair| &pair.public)));
    let service = start(on, &platform).await;
    for pair in &pairs {
        assert_eq!(read_with(&service, &pair.token()).await, 200, "{}", pair.public);
        let nameless = Header { kid: None, ..pair.header() };
        assert_eq!(read_with(&service, &pair.sign(&nameless)).await, 200, "{}", pair.public);
        let other_name = Header { kid: Some("other".to_owned()), ..pair.header() };
        assert_eq!(read_with(&service, &pair.sign(&other_name)).await, 401, "{}", pair.public);
    }
    // Another key, also by the name of one that is listed, and another algorithm of the same key.
    for wrong in [
        unlisted.token(),
        twin.token(),
        unlisted.sign(&Header { kid: Some("p256".to_owned()), ..unlisted.header() }),
        unlisted.sign(&Header { kid: None, ..unlisted.header() }),
        pairs[0].sign(&Header { alg: Algorithm::RS512, ..pairs[0].header() }),
        pairs[0].sign(&Header { alg: Algorithm::PS256, ..pairs[0].header() }),
    ] {
        assert_eq!(read_with(&service, &wrong).await, 401, "{wrong}");
    }
    // Tokens of the service's own secret stay good beside them.
    assert_eq!(read_with(&service, &token(Role::Viewer)).await, 200);
}

async fn a_key_that_is_not_for_signatures_lets_nobody_in(on: On) {
    let (rsa, p256, good) = (Pair::rsa("rsa"), Pair::p256("p256"), Pair::ed25519("good"));
    let mut tried = 0;
    for wrong in [
        json!({ "use": "enc" }),
        json!({ "key_ops": ["encrypt", "wrapKey"] }),
        json!({ "alg": "RS512" }),
        json!({ "alg": "HS256" }),
    ] {
        let keys = [rsa.but(&wrong), p256.but(&wrong), good.public.clone()];
        let platform = Platform::start(Published::keys(&keys.each_ref()));
        let service = start(on, &platform).await;
        assert_eq!(read_with(&service, &good.token()).await, 200, "{wrong}");
        for pair in [&rsa, &p256] {
            assert_eq!(read_with(&service, &pair.token()).await, 401, "{wrong}");
            let nameless = Header { kid: None, ..pair.header() };
            assert_eq!(read_with(&service, &pair.sign(&nameless)).await, 401, "{wrong}");
        }
        tried += service.log().matches("a key of the JSON Web Key Set is not used").count();
    }
    assert!(tried >= 8, "{tried}");
}

async fn no_public_key_is_a_secret_and_no_token_brings_its_own_key(on: On) {
    let (rsa, forger) = (Pair::rsa("rsa"), Pair::rsa("forger"));
    let platform = Platform::start(Published::keys(&[&rsa.public]));
    let service = start(on, &platform).await;
    assert_eq!(read_with(&service, &rsa.token()).await, 200);

    let mut forged = Vec::new();
    let modulus = rsa.public["n"].as_str().unwrap();
    let texts = [
        String::new(),
        modulus.to_owned(),
        rsa.public.to_string(),
        set(&[&rsa.public]),
        serde_json::to_string_pretty(&rsa.public).unwrap(),
    ];
    let texts = texts.into_iter().map(String::into_bytes);
    let secrets = texts.chain([URL_SAFE_NO_PAD.decode(modulus).unwrap()]).chain(rsa.other_forms.clone());
    for secret in secrets {
        for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { alg, ..rsa.header() };
            let secret = EncodingKey::from_secret(&secret);
            forged.push(jsonwebtoken::encode(&header, &claims(), &secret).unwrap());
        }
    }
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let said = encoded(&serde_json::to_value(claims()).unwrap());
    for none in ["none", "None", "NONE", "nOnE", ""] {
        for header in [json!({ "alg": none, "kid": "rsa" }), json!({ "alg": none, "typ": "JWT" })] {
            forged.push(format!("{}.{said}.", encoded(&header)));
            forged.push(format!("{}.{said}.{}", encoded(&header), rsa.token().rsplit_once('.').unwrap().1));
        }
    }
    // A key, a place of keys and a certificate that the token itself names.
    let own = serde_json::from_value(forger.public.clone()).unwrap();
    let named = Header { kid: Some("rsa".to_owned()), ..forger.header() };
    let place = Platform::start(Published::keys(&[&forger.public]));
    forged.push(forger.sign(&Header { jwk: Some(own), ..named.clone() }));
    forged.push(forger.sign(&Header { jku: Some(place.url()), ..named.clone() }));
    forged.push(forger.sign(&Header { x5u: Some(place.url()), ..named.clone() }));
    forged.push(forger.sign(&Header { x5c: Some(vec!["AAAA".to_owned()]), ..named }));
    for token in forged {
        assert_eq!(read_with(&service, &token).await, 401, "{token}");
    }
    assert_eq!(place.asked(), 0);
    assert_eq!(read_with(&service, &rsa.token()).await, 200);
}

async fn a_new_key_is_found_by_the_token_that_names_it_and_made_up_names_cost_one_fetch(on: On) {
    let (first, second, third) = (Pair::p256("first"), Pair::p256("second"), Pair::p256("third"));
    let platform = Platform::start(Published::keys(&[&first.public]));
    let service = start(on, &platform).await;
    assert_eq!((read_with(&service, &first.token()).await, platform.asked()), (200, 1));
    // Nor does a token that names a known key ask for others, be it ever so wrong.
    let wrong = second.sign(&Header { kid: Some("first".to_owned()), ..second.header() });
    assert_eq!((read_with(&service, &wrong).await, platform.asked()), (401, 1));

    // Whoever comes with the new key while it is fetched waits for it, and is not turned away.
    platform.publish(Published::Nothing);
    let mut waiting = JoinSet::new();
    let read = || service.anonymous(Method::GET, EVENTS).bearer_auth(second.token()).send();
    waiting.spawn(read());
    eventually("the keys are fetched", async || (platform.asked() == 2).then_some(())).await;
    for _ in 0..9 {
        waiting.spawn(read());
    }
    assert!(tokio::time::timeout(AT_ONCE, waiting.join_next()).await.is_err(), "nobody is answered yet");
    // Nobody else waits for it.
    let known = tokio::time::timeout(AT_ONCE, read_with(&service, &first.token())).await;
    assert_eq!(known, Ok(200));
    platform.publish(Published::keys(&[&second.public, &first.public]));
    while let Some(answered) = waiting.join_next().await {
        assert_eq!(answered.unwrap().unwrap().status(), 200);
    }

    platform.publish(Published::keys(&[&second.public, &third.public]));
    let mut guesses = JoinSet::new();
    for number in 0..100 {
        let header = Header { kid: Some(format!("guess {number}")), ..third.header() };
        let guess = service.anonymous(Method::GET, EVENTS).bearer_auth(third.sign(&header));
        guesses.spawn(async { answer(guess).await.0 });
    }
    assert_eq!(guesses.join_all().await, [401; 100]);
    assert_eq!(platform.asked(), 2, "made-up names are worth no further fetch for a while");
    assert_eq!(read_with(&service, &second.token()).await, 200);
}

async fn whatever_the_url_answers_the_keys_known_before_stay_in_use(on: On) {
    let (known, next) = (Pair::rsa("known"), Pair::p256("next"));
    let new = set(&[&next.public]);
    let answers = |status: u16, body: &str| Published::Answer { status, body: body.to_owned() };
    for (published, told) in [
        (answers(500, &new), "500"),
        (answers(404, &new), "404"),
        (answers(203, &new), "203"),
        (answers(200, &new[..new.len() - 1]), "JSON Web Key Set"),
        (answers(200, "<html>Service unavailable</html>"), "JSON Web Key Set"),
        (answers(200, ""), "JSON Web Key Set"),
        (answers(200, r#"{"keys":[]}"#), "it has none"),
        (answers(200, &format!("{new}{}", " ".repeat(256 * 1024))), "262144 bytes"),
        (Published::Moved(new.clone()), "302"),
        (Published::Nothing, "within 5 s"),
    ] {
        let platform = Platform::start(Published::keys(&[&known.public]));
        let service = start(on, &platform).await;
        assert_eq!(read_with(&service, &known.token()).await, 200, "{told}");
        platform.publish(published);
        assert_eq!(read_with(&service, &next.token()).await, 401, "{told}");
        assert_eq!(platform.asked(), 2, "{told}");
        assert_eq!(read_with(&service, &known.token()).await, 200, "{told}");
        let log = service.log();
        let line = log.lines().find(|line| line.contains("those fetched last stay in use"));
        let line: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("{told}: {log}"))).unwrap();
        let error = line["error"].as_str().unwrap_or_else(|| panic!("{line}"));
        assert!(error.contains("TEXTLEDGER_JWKS_URL") && error.contains(told), "{told}: {error}");
        assert!(line["age_s"].is_u64(), "{line}");
        assert!(!log.contains(&platform.url()), "{log}");
    }
}

async fn a_start_without_any_keys_is_told_and_made_up_for(on: On) {
    let pair = Pair::ed25519("one");
    let nameless = pair.sign(&Header { kid: None, ..pair.header() });
    let platform = Platform::start(Published::Answer { status: 503, body: String::new() });
    let service = start(on, &platform).await;
    let log = service.log();
    let line = log.lines().find(|line| line.contains("none of its tokens is taken until they are"));
    let line: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("{log}"))).unwrap();
    assert!(line["level"] == "ERROR" && line.to_string().contains("503"), "{line}");
    assert!(!log.contains("those fetched last stay in use"), "{log}");
    let checked = service.run(&["check"], &[]).await;
    let checked = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.contains("FAILED   public keys: TEXTLEDGER_JWKS_URL: 503"), "{checked}");
    // The service is there for everybody else.
    assert_eq!(service.ready().await, 200);
    assert_eq!(read_with(&service, &token(Role::Viewer)).await, 200);
    assert_eq!(read_with(&service, &nameless).await, 401);
    platform.publish(Published::keys(&[&pair.public]));
    // A token that names no key causes no fetch; the keys come long before the next refresh all the same.
    let good = async || (read_with(&service, &nameless).await == 200).then_some(());
    eventually("the keys are fetched", good).await;

    // One that names its key does not have to wait for that.
    let platform = Platform::start(Published::Answer { status: 503, body: String::new() });
    let service = start(on, &platform).await;
    platform.publish(Published::keys(&[&pair.public]));
    assert_eq!(read_with(&service, &pair.token()).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_back_is_refused_from_the_next_refresh_on() {
    let (leaked, other) = (Pair::p256("leaked"), Pair::rsa("other"));
    let platform = Platform::start(Published::keys(&[&leaked.public, &other.public]));
    let settings = [("TEXTLEDGER_JWKS_URL", platform.url()), ("TEXTLEDGER_JWKS_REFRESH", "30s".to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let service = TestService::start_with(On::Embedded, &settings).await;
    assert_eq!(read_with(&service, &leaked.token()).await, 200);
    let stream = service.anonymous(Method::GET, EVENTS).bearer_auth(leaked.token());
    let stream = stream.header("Accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.status(), 200);
    platform.publish(Published::keys(&[&other.public]));
    let refused = async || (read_with(&service, &leaked.token()).await == 401).then_some(());
    eventually_within(REFRESH + Duration::from_secs(3), "the key is refused", refused).await;
    assert_eq!(read_with(&service, &other.token()).await, 200);
    // Asked once by the clock, and once more because of the token that names it.
    assert!(platform.asked() <= 3, "{}", platform.asked());
    // What was open is not a way around it.
    let rest = tokio::time::timeout(DEADLINE, stream.bytes()).await.expect("the stream ends").unwrap();
    assert!(rest.ends_with(b": the token has ended\n\n"), "{rest:?}");
}
