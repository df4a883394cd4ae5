//! The signature's path: what is signed is accepted, what was not signed with one of the keys is not, whatever URL,
//! headers and body a stranger sends; and what explains a refusal gives no secret away.
//!
//! An input is lines: the signature header, the settings header, the URL, `Host`, `X-Forwarded-Host`,
//! `X-Forwarded-Port`, `X-Forwarded-Prefix`; the rest is the body.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use textledger::twilio::{
    Form,
    signature::{
        Algorithm, Content, KeyName, Keyring, Refusal, Request, SigningKey, Spelling, body_sha256_hex,
        doctor::{self, Hints, NamedKey, Owner, Refused},
        sign, verify,
    },
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SECONDARY: &str = "fedcba9876543210fedcba9876543210";
const SHARED: &str = "a shared secret";
const SHARED_ID: &str = "webhooks_sharedkey_1";
const STRANGER: &str = "00000000000000000000000000000000";

/// The path that the public URL has in front of ours.
const PREFIX: &str = "/textledger";

static OURS: LazyLock<Keyring> = LazyLock::new(|| keyring(TOKEN, SECONDARY, SHARED));
static STRANGERS: LazyLock<Keyring> = LazyLock::new(|| keyring(STRANGER, "1", "2"));

fn keyring(token: &str, secondary: &str, shared: &str) -> Keyring {
    let keyring = Keyring::new(&token.into()).with_secondary(&secondary.into());
    keyring.with_shared_key(SHARED_ID, &shared.into())
}

fn key(algorithm: Algorithm, secret: &str) -> SigningKey {
    SigningKey::from_bytes(algorithm, secret.as_bytes())
}

/// What a stranger sends.
struct Sent<'a> {
    signature: &'a str,
    settings: &'a str,
    url: &'a str,
    hints: Hints<'a>,
    body: &'a [u8],
}

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(8, |&byte| byte == b'\n');
    let head: [_; 7] = std::array::from_fn(|_| String::from_utf8_lossy(lines.next().unwrap_or_default()));
    let [signature, settings, url, host, forwarded_host, forwarded_port, forwarded_prefix] = &head;
    let given = |line: &'_ str| (!line.is_empty()).then_some(line.len());
    let hints = Hints {
        host: given(host).map(|_| &**host),
        forwarded_host: given(forwarded_host).map(|_| &**forwarded_host),
        forwarded_port: given(forwarded_port).map(|_| &**forwarded_port),
        forwarded_prefix: given(forwarded_prefix).map(|_| &**forwarded_prefix),
    };
    let sent = Sent { signature, settings, url, hints, body: lines.next().unwrap_or_default() };
    let form = Form::parse(sent.body);

    what_is_sent_is_no_strangers(&sent, &form);
    what_is_signed_is_accepted(&sent, &form);
    a_changed_value_is_refused(&sent, &form);
    a_changed_path_is_refused(&sent, &form);
    a_body_counts_by_its_hash(&sent);
    a_refusal_is_explained_without_secrets(&sent, &form);
});

fn contents<'a>(sent: &Sent<'a>, form: &'a Form<'a>) -> [Content<'a>; 3] {
    [Content::Nothing, Content::Form(form), Content::Body(sent.body)]
}

/// Whatever the headers say, two accounts that share no secret never both accept a request.
fn what_is_sent_is_no_strangers(sent: &Sent<'_>, form: &Form<'_>) {
    for content in contents(sent, form) {
        let request = Request { url: sent.url, content };
        let ours = OURS.verify(request, sent.signature, sent.settings);
        let strangers = STRANGERS.verify(request, sent.signature, sent.settings);
        assert!(ours.is_err() || strangers.is_err());
        if ours.is_ok() {
            assert!(verify(&[key(Algorithm::HmacSha1, STRANGER)], request, sent.signature).is_err());
        }
    }
}

fn what_is_signed_is_accepted(sent: &Sent<'_>, form: &Form<'_>) {
    let request = Request { url: sent.url, content: Content::Form(form) };
    let settings = format!("key={SHARED_ID},algorithm=HMAC_SHA256");
    for (secret, algorithm, settings, name) in [
        (TOKEN, Algorithm::HmacSha1, "", KeyName::AuthToken),
        (SECONDARY, Algorithm::HmacSha1, "", KeyName::AuthTokenSecondary),
        (SHARED, Algorithm::HmacSha256, &settings, KeyName::Shared(SHARED_ID.to_owned())),
    ] {
        let signature = sign(&key(algorithm, secret), sent.url, form);
        let (found, verified) = OURS.verify(request, &signature, settings).expect("it is signed");
        assert_eq!((found, verified.spelling), (name, Spelling::AS_GIVEN));
        assert_eq!(STRANGERS.verify(request, &signature, settings), Err(Refusal::Mismatch));
    }
    let signature = sign(&key(Algorithm::HmacSha1, TOKEN), sent.url, &Form::default());
    let get = Request { url: sent.url, content: Content::Nothing };
    assert!(OURS.verify(get, &signature, "").is_ok());
    // A fragment is never sent.
    let url = sent.url.split('#').next().unwrap_or_default();
    assert!(OURS.verify(Request { url, ..get }, &signature, "").is_ok());
    assert_eq!(
        OURS.clone().requiring_shared_key().verify(get, &signature, ""),
        Err(Refusal::SharedKeyRequired)
    );
}

/// A value with one other byte is refused. What is signed has no delimiters and holds a repeated pair once, so a few
/// changed forms are the same text to sign, and those are accepted.
fn a_changed_value_is_refused(sent: &Sent<'_>, form: &Form<'_>) {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = owned(form);
    let longest = pairs.iter().enumerate().max_by_key(|(_, (_, value))| value.len());
    let Some(index) = longest.map(|(index, _)| index).filter(|&index| !pairs[index].1.is_empty()) else {
        return;
    };
    let signed = text_to_sign(&pairs);
    let at = sent.url.len() % pairs[index].1.len();
    pairs[index].1[at] ^= 1;
    let changed = text_to_sign(&pairs);
    if changed.len() != signed.len() {
        // Shorter by a pair that is now a repetition: then a longer spelling of the URL could make up for it.
        return;
    }
    let signature = sign(&key(Algorithm::HmacSha1, TOKEN), sent.url, form);
    let form: Form<'_> = pairs.iter().map(|(name, value)| (name, value)).collect();
    let request = Request { url: sent.url, content: Content::Form(&form) };
    assert_eq!(OURS.verify(request, &signature, "").is_ok(), changed == signed);
}

fn owned(form: &Form<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    form.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Twilio's rule, written once more: each pair once, sorted by name and then by value.
fn text_to_sign(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let pairs: std::collections::BTreeSet<_> = pairs.iter().collect();
    pairs.into_iter().flat_map(|(name, value)| [name.as_slice(), value.as_slice()].concat()).collect()
}

/// A path with one other letter or digit is refused.
fn a_changed_path_is_refused(sent: &Sent<'_>, form: &Form<'_>) {
    let url = sent.url;
    let Some(authority) = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return;
    };
    let authority_at = url.len() - authority.len();
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let Some(path_at) = url.get(authority_at..end).and_then(|text| text.find('/')) else { return };
    let path_at = authority_at + path_at;
    let Some(at) = url[path_at..end].rfind(|character: char| character.is_ascii_alphanumeric()) else {
        return;
    };
    let at = path_at + at;
    let other = if url.as_bytes()[at] == b'a' { "b" } else { "a" };
    let changed = [&url[..at], other, &url[at + 1..]].concat();
    let signature = sign(&key(Algorithm::HmacSha1, TOKEN), url, form);
    let request = Request { url: &changed, content: Content::Form(form) };
    assert_eq!(OURS.verify(request, &signature, ""), Err(Refusal::Mismatch));
}

fn a_body_counts_by_its_hash(sent: &Sent<'_>) {
    let url = sent.url.split('#').next().unwrap_or_default();
    let query = url.split_once('?').map(|(_, query)| query);
    let separator = if query.is_some() { '&' } else { '?' };
    let hashed = format!("{url}{separator}bodySHA256={}", body_sha256_hex(sent.body));
    let signature = sign(&key(Algorithm::HmacSha1, TOKEN), &hashed, &Form::default());
    let check = |url: &str, body: &[u8]| {
        OURS.verify(Request { url, content: Content::Body(body) }, &signature, "").map(drop)
    };
    let hashes = Form::parse(query.unwrap_or_default().as_bytes());
    if hashes.iter().any(|(name, _)| name == b"bodySHA256") {
        assert_eq!(check(&hashed, sent.body), Err(Refusal::BodyHashRepeated));
        return;
    }
    assert_eq!(check(&hashed, sent.body), Ok(()));
    assert_eq!(check(&hashed, &[sent.body, b"x"].concat()), Err(Refusal::BodyHashMismatch));
    assert_eq!(check(url, sent.body), Err(Refusal::BodyHashMissing));
}

fn a_refusal_is_explained_without_secrets(sent: &Sent<'_>, form: &Form<'_>) {
    let named = |secret: &str, owner| NamedKey {
        key: key(Algorithm::HmacSha1, secret),
        name: KeyName::AuthToken,
        owner,
    };
    let keys = [named(TOKEN, Owner::Account), named(STRANGER, Owner::Other("AC2".to_owned()))];
    // Signed for what a proxy may have changed: the URL without its query, and without any parameter.
    let plain = sent.url.split(['?', '#']).next().unwrap_or_default();
    let signatures = [
        sent.signature.to_owned(),
        sign(&keys[0].key, plain, &Form::default()),
        sign(&keys[0].key, &format!("{plain}/"), form),
    ];
    for signature in &signatures {
        for content in contents(sent, form) {
            let refused = Refused { url: sent.url, prefix: PREFIX, hints: sent.hints, content, signature };
            if let Some(finding) = doctor::diagnose(&refused, &keys) {
                let shown = format!("{finding:?} {}", finding.cause);
                assert!(!shown.contains(TOKEN) || sent.url.contains(TOKEN) || hints_hold(sent, TOKEN));
                assert!(!shown.contains(signature.as_str()) || signature.is_empty());
            }
        }
    }
}

fn hints_hold(sent: &Sent<'_>, secret: &str) -> bool {
    let Hints { host, forwarded_host, forwarded_port, forwarded_prefix } = sent.hints;
    let all = [host, forwarded_host, forwarded_port, forwarded_prefix];
    all.into_iter().flatten().any(|hint| hint.contains(secret))
}
