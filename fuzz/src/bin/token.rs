//! Bearer tokens: whatever stands behind `Bearer` panics nowhere, and signs nobody in but by the token and the key that
//! are good.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
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

struct Door {
    authenticator: Authenticator,
    token: String,
}

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
