//! Bearer tokens: whatever stands behind `Bearer` panics nowhere, and signs nobody in but by the token and the key that
//! are good; whatever claims are signed with the service's own secret, they are taken exactly if they hold.

#![no_main]

use std::{sync::LazyLock, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use textledger::{
    domain::{ApiKey, KeySid, Organization, Role, SecretHash, UnixMs},
    http::auth::{Authenticator, Claims, PublicKeys, TokenRules, mint},
};

/// Signs the good token.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The good key.
const KEY: &str = "the key of the configuration";

const NOW: UnixMs = UnixMs::new(1_800_000_000_000);

/// Public keys of RFC 7515 and RFC 8037, whose private ones are not used here.
const JWKS: &str = r#"{"keys":[
    {"kty":"EC","crv":"P-256","kid":"ec","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// What one of the two doors demands besides.
const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "textledger";
const MAX_AGE_S: u64 = 3_600;

/// Seconds by which clocks may differ, characters that a user's name may have, and the first `exp` that is taken for no end
/// at all: those of the contract.
const SKEW_S: u64 = 5;
const USER_CHARACTERS_MAX: usize = 255;
const EXP_END_S: u64 = 253_402_300_800;

/// What is signed, at most: so much that a token of it is not too long by itself.
const PAYLOAD_BYTES_MAX: usize = 8 * 1_024;

struct Door {
    authenticator: Authenticator,
    token: String,
}

/// A door that demands more of a token.
static STRICT: LazyLock<Authenticator> = LazyLock::new(|| {
    let rules = TokenRules {
        issuer: Some(ISSUER.to_owned()),
        audience: Some(AUDIENCE.to_owned()),
        requires_org: true,
        max_age: Some(Duration::from_secs(MAX_AGE_S)),
    };
    Authenticator::new(&SECRET.into(), rules, PublicKeys::default(), Vec::new())
});

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let key = format!("app:viewer:{}", String::from(SecretHash::of(KEY)));
    let keys = vec![ApiKey::parse(&key).expect("a key of the configuration")];
    let public_keys = PublicKeys::parse(JWKS).expect("keys of the RFCs");
    let authenticator = Authenticator::new(&SECRET.into(), TokenRules::default(), public_keys, keys);
    let claims = Claims::new("ada", Role::Viewer, Organization::default(), NOW.as_secs() + 60);
    Door { authenticator, token: mint(&SECRET.into(), &claims) }
});

fuzz_target!(|data: &[u8]| {
    signs_in_only_if_good(&String::from_utf8_lossy(data));
    signs_in_only_if_good(&String::from_utf8_lossy(&changed(&DOOR.token, data)));
    is_read_as_keys_or_not(&String::from_utf8_lossy(data));
    claims_are_taken_exactly_if_they_hold(data);
});

fn signs_in_only_if_good(bearer: &str) {
    let is_good = bearer == DOOR.token || bearer == KEY;
    assert_eq!(DOOR.authenticator.authenticate(bearer, NOW).is_ok(), is_good, "{bearer:?}");
    if let Some(sid) = KeySid::in_secret(bearer) {
        assert_eq!(KeySid::parse(sid.as_str()).as_ref(), Ok(&sid));
        assert!(bearer.contains(&sid.as_str()["SK".len()..]));
    }
}

/// The good token with the bytes changed that `edits` names, each by its place and its new value.
fn changed(token: &str, edits: &[u8]) -> Vec<u8> {
    let mut changed = token.as_bytes().to_vec();
    for edit in edits.chunks_exact(3) {
        let place = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % changed.len();
        changed[place] = edit[2];
    }
    changed
}

/// A set of keys that is taken signs nobody in by the token that none of them has signed.
fn is_read_as_keys_or_not(text: &str) {
    if let Ok(keys) = PublicKeys::parse(text) {
        let secret = "another secret, as long as it must be".into();
        let other = Authenticator::new(&secret, TokenRules::default(), keys, Vec::new());
        assert!(other.authenticate(&DOOR.token, NOW).is_err());
    }
}

/// Signs `payload`, and the same with each claim once, and looks who comes in by it.
fn claims_are_taken_exactly_if_they_hold(payload: &[u8]) {
    let payload = &payload[..payload.len().min(PAYLOAD_BYTES_MAX)];
    let claims: Option<Map<String, Value>> = serde_json::from_slice(payload).ok();
    let holds = claims.as_ref().is_some_and(hold);
    let is_strict = holds && claims.as_ref().is_some_and(hold_where_more_is_demanded);
    // A claim that is there twice may be a reason to refuse all of them.
    let once = serde_json::to_vec(&claims).expect("claims are JSON");
    let (token, token_of_each_once) = (signed(payload), signed(&once));
    for (authenticator, is_good) in [(&DOOR.authenticator, holds), (&*STRICT, is_strict)] {
        let is_in = |token| authenticator.authenticate(token, NOW).is_ok();
        assert!(is_good || !is_in(&token), "{claims:?}");
        assert_eq!(is_in(&token_of_each_once), is_good, "{claims:?}");
    }
    if let (Ok(caller), Some(claims)) = (DOOR.authenticator.authenticate(&token_of_each_once, NOW), &claims) {
        assert_eq!(Some(caller.role.as_str()), claims["role"].as_str());
        let organization = claims.get("org").and_then(Value::as_str).unwrap_or("default");
        assert_eq!(caller.organization.as_str(), organization);
        assert!(caller.expires_at.is_some_and(|end| end > NOW));
    }
}

/// A token of `payload` by the service's own secret.
fn signed(payload: &[u8]) -> String {
    let signed = [&br#"{"alg":"HS256"}"#[..], payload].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).expect("a secret signs");
    format!("{signed}.{signature}")
}

/// Whether claims name a user, a role and an organization, and are in force at [`NOW`].
fn hold(claims: &Map<String, Value>) -> bool {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let is_user = text("sub").is_some_and(|sub| {
        (1..=USER_CHARACTERS_MAX).contains(&sub.chars().count()) && !sub.chars().any(char::is_control)
    });
    let is_role = text("role").is_some_and(|role| Role::ALL.iter().any(|known| known.as_str() == role));
    let is_organization = match claims.get("org") {
        None | Some(Value::Null) => true,
        Some(organization) => organization.as_str().is_some_and(|name| Organization::parse(name).is_ok()),
    };
    let now_s = NOW.as_secs();
    let is_time_or_none = |name: &str| claims.get(name).is_none_or(|at| at.is_null() || at.is_u64());
    let has_begun = claims.get("nbf").and_then(Value::as_u64).is_none_or(|begins| begins <= now_s + SKEW_S);
    let goes_on =
        claims.get("exp").and_then(Value::as_u64).is_some_and(|exp| exp < EXP_END_S && exp + SKEW_S > now_s);
    let are_times = is_time_or_none("nbf") && is_time_or_none("iat") && has_begun && goes_on;
    is_user && is_role && is_organization && are_times
}

/// Whether claims that [`hold`] are for this service and of a short life, too.
fn hold_where_more_is_demanded(claims: &Map<String, Value>) -> bool {
    let is_audience = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|one| one == AUDIENCE),
        audience => audience.is_some_and(|one| one == AUDIENCE),
    };
    let is_for_us = is_audience && claims.get("iss").is_some_and(|issuer| issuer == ISSUER);
    let names_organization = claims.get("org").is_some_and(Value::is_string);
    let (now_s, longest_s) = (NOW.as_secs(), MAX_AGE_S + SKEW_S);
    let issued = claims.get("iat").and_then(Value::as_u64).unwrap_or(now_s);
    let exp = claims.get("exp").and_then(Value::as_u64).unwrap_or_default();
    let is_young = issued <= now_s + SKEW_S && exp.saturating_sub(issued.min(now_s)) <= longest_s;
    is_for_us && names_organization && is_young
}
