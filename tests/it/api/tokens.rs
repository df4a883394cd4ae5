//! What a token must say to be taken: on a route of the API, on the live stream and by a library of Twilio's.

use jsonwebtoken::{EncodingKey, Header};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::on_both_stores;
use crate::support::{
    now,
    service::{ACCOUNT_SID, JWT_SECRET, On, TestService, answer},
    twilio::World,
};

on_both_stores! {
    only_a_token_that_says_what_is_demanded_is_taken
}

const EVENTS: &str = "/api/sms/events";
const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "textledger";

/// Everything that can be demanded.
const DEMANDS: [(&str, &str); 4] = [
    ("TEXTLEDGER_JWT_ISSUER", ISSUER),
    ("TEXTLEDGER_JWT_AUDIENCE", AUDIENCE),
    ("TEXTLEDGER_JWT_REQUIRE_ORG", "true"),
    ("TEXTLEDGER_JWT_MAX_AGE", "2h"),
];

fn signed(header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).unwrap()
}

/// Makes tokens of which each differs in one thing from one that is right in all.
struct Tokens {
    now_s: i64,
}

impl Tokens {
    fn claims(&self) -> Value {
        json!({
            "sub": "ada", "role": "viewer", "org": "default", "iss": ISSUER, "aud": AUDIENCE,
            "iat": self.now_s - 10, "nbf": self.now_s - 10, "exp": self.now_s + 3_600,
        })
    }

    fn right(&self) -> String {
        signed(&Header::default(), &self.claims())
    }

    fn with(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims[claim] = value;
        signed(&Header::default(), &claims)
    }

    fn without(&self, claim: &str) -> String {
        let mut claims = self.claims();
        claims.as_object_mut().unwrap().remove(claim);
        signed(&Header::default(), &claims)
    }

    fn critical(&self, names: &[&str]) -> String {
        let crit = Some(names.iter().map(|name| (*name).to_owned()).collect());
        signed(&Header { crit, ..Header::default() }, &self.claims())
    }

    fn good(&self) -> Vec<String> {
        let header = Header { typ: None, ..Header::default() };
        vec![
            self.right(),
            signed(&header, &self.claims()),
            signed(&Header { typ: Some("at+jwt".to_owned()), ..header }, &self.claims()),
            self.without("iat"),
            self.without("nbf"),
            self.with("aud", json!(["other", AUDIENCE])),
            self.with("sub", json!("a".repeat(255))),
            self.with("sub", json!("Zoë 李")),
            self.with("further", json!({ "a": [1, null] })),
        ]
    }

    /// Tokens of our own secret, each wrong in one claim, by what is wrong.
    fn wrong_claims(&self) -> Vec<(String, String)> {
        let now_s = self.now_s;
        let wrong = [
            ("iss", vec![json!("https://other.example.com"), json!(format!("{ISSUER}/")), json!([ISSUER])]),
            ("aud", vec![json!("other"), json!(["other"]), json!([]), json!({ "0": AUDIENCE })]),
            ("org", vec![json!(""), json!("*"), json!("a b"), json!(["default"])]),
            (
                "exp",
                vec![
                    json!(now_s - 60),
                    json!(now_s + 2 * 3_600 + 60),
                    json!(253_402_300_800_u64),
                    json!(1_u64 << 63),
                    json!(u64::MAX),
                    json!(1e300),
                    json!((now_s + 3_600).to_string()),
                    json!(now_s as f64 + 3_600.5),
                    json!(-1),
                ],
            ),
            ("nbf", vec![json!(now_s + 60), json!(1_u64 << 63), json!("1"), json!(1.5), json!(-1)]),
            ("iat", vec![json!(now_s + 60), json!(now_s - 2 * 3_600), json!("1"), json!(1.5), json!(-1)]),
            ("role", vec![json!("king"), json!(""), json!("Admin"), json!(["admin"]), json!(1)]),
            (
                "sub",
                vec![
                    json!(""),
                    json!("a".repeat(256)),
                    json!("a\nb"),
                    json!("\u{0}"),
                    json!("a\u{9b}b"),
                    json!(7),
                ],
            ),
        ];
        let mut tokens = Vec::new();
        for (claim, values) in wrong {
            let values = values.into_iter().chain([Value::Null]);
            // Both may be left out, and null is as good as nothing.
            let values = values.filter(|value| !(value.is_null() && ["nbf", "iat"].contains(&claim)));
            tokens.extend(values.map(|value| (format!("{claim}: {value}"), self.with(claim, value))));
            if !["nbf", "iat"].contains(&claim) {
                tokens.push((format!("no {claim}"), self.without(claim)));
            }
        }
        tokens
    }

    /// What is no token of ours, or none at all.
    fn wrong_forms(&self) -> Vec<(String, String)> {
        let right = self.right();
        let [header, claims, signature] = right.split('.').collect::<Vec<_>>()[..] else { panic!("{right}") };
        let by_another = EncodingKey::from_secret(b"another secret, as long as ours is");
        let by_another = jsonwebtoken::encode(&Header::default(), &self.claims(), &by_another).unwrap();
        let forms = [
            ("another secret", by_another),
            ("crit", self.critical(&["exp"])),
            ("unknown crit", self.critical(&["b64"])),
            ("empty crit", self.critical(&[])),
            ("no object", signed(&Header::default(), &json!(["ada"]))),
            ("100 KB", self.with("further", json!("x".repeat(75_000)))),
            ("two dots too many", format!("{right}..")),
            ("a part too many", format!("{right}.{signature}")),
            ("a part too few", format!("{header}.{claims}")),
            ("no signature", format!("{header}.{claims}.")),
            ("no claims", format!("{header}..{signature}")),
            ("half a signature", format!("{header}.{claims}.{}", &signature[..20])),
            ("padding", format!("{right}=")),
            ("padding within", format!("{header}=.{claims}.{signature}")),
            ("a blank within", format!("{header}. {claims}.{signature}")),
            ("the other alphabet", format!("{header}.{claims}.{}+/", &signature[..41])),
            ("dots", "..".to_owned()),
        ];
        forms.into_iter().map(|(what, token)| (what.to_owned(), token)).collect()
    }
}

/// The three doors at which a token is shown.
fn doors(service: &TestService, token: &str) -> [RequestBuilder; 3] {
    let events = || service.anonymous(Method::GET, EVENTS).bearer_auth(token);
    let messages = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/SM{}.json", "0".repeat(32));
    [
        events(),
        events().header("Accept", "text/event-stream"),
        service.anonymous(Method::GET, &messages).basic_auth(ACCOUNT_SID, Some(token)),
    ]
}

async fn only_a_token_that_says_what_is_demanded_is_taken(on: On) {
    let world = World::start_with(on, &DEMANDS).await;
    let service = &world.service;
    let tokens = Tokens { now_s: now().as_second() };
    for token in tokens.good() {
        for (door, request) in doors(service, &token).into_iter().enumerate() {
            let status = request.send().await.unwrap().status();
            // There is no such message, which is more than a stranger learns.
            assert_eq!(status, if door == 2 { 404 } else { 200 }, "{door}: {token}");
        }
    }
    let refused = async || {
        let mut sum = 0;
        for cause in ["bad_token", "expired_token", "unknown_key"] {
            sum += service.metric(&format!("textledger_sign_ins_refused_total{{cause=\"{cause}\"}}")).await;
        }
        sum
    };
    assert_eq!(refused().await, 0);
    let wrong = [tokens.wrong_claims(), tokens.wrong_forms()].concat();
    for (what, token) in &wrong {
        for (door, request) in doors(service, token).into_iter().enumerate() {
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.text().await.unwrap();
            assert_eq!(status, 401, "{what} at {door}: {body}");
            let body: Value = serde_json::from_str(&body).unwrap();
            if door == 2 {
                assert_eq!(body["code"], 20003, "{what}: {body}");
                continue;
            }
            assert_eq!(headers["content-type"], "application/problem+json", "{what}");
            assert_eq!(
                (&body["code"], &headers["www-authenticate"]),
                (&json!("unauthorized"), &"Bearer".parse().unwrap())
            );
            assert!(body["mend"].as_str().unwrap().contains("Authorization: Bearer"), "{what}: {body}");
        }
    }
    assert_eq!(refused().await, 3 * wrong.len() as u64);
    // Each of them was refused for what is wrong with it, and not because there were many.
    assert_eq!(answer(doors(service, &tokens.right())[0].try_clone().unwrap()).await.0, 200);
    let log = service.log();
    assert!(wrong.iter().all(|(_, token)| !log.contains(token.as_str())), "a token is in the log");
}
