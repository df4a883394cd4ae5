//! Signatures: Twilio's own vectors, those of its libraries, and what holds for every request.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::Deserialize;
use textledger::twilio::{
    Form,
    signature::{Algorithm, Content, Refusal, Request, SigningKey, Spelling, Verified, sign, verify},
};

const DOCUMENTED: &str = include_str!("../../fixtures/twilio/signature/vectors.json");
const PYTHON: &str = include_str!("../../fixtures/twilio/signature/sdk_python.json");
const NODE: &str = include_str!("../../fixtures/twilio/signature/sdk_node.json");

#[derive(Deserialize)]
struct Documented {
    vectors: Vec<Vector>,
    accepted_pairs: Vec<AcceptedPair>,
    refused_pairs: Vec<RefusedPair>,
}

#[derive(Deserialize)]
struct AcceptedPair {
    presented_url: String,
    accepts: String,
}

#[derive(Deserialize)]
struct RefusedPair {
    presented_url: String,
    refuses: String,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(alias = "number")]
    name: String,
    token: String,
    algorithm: String,
    url: String,
    presented_url: Option<String>,
    #[serde(flatten)]
    sent: Sent,
    signature: String,
    #[serde(default)]
    must_fail: bool,
    accepted: Option<bool>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Sent {
    Get,
    Form { params: Option<Vec<(String, String)>>, form_body: Option<String> },
    Body { body: String },
}

impl Vector {
    fn key(&self) -> SigningKey {
        let algorithm = Algorithm::parse(&self.algorithm).expect("an algorithm that is known");
        SigningKey::from_bytes(algorithm, self.token.as_bytes())
    }

    fn form(&self) -> Form<'_> {
        match &self.sent {
            Sent::Form { params: Some(params), .. } => {
                params.iter().map(|(name, value)| (name, value)).collect()
            }
            Sent::Form { form_body: Some(body), .. } => Form::parse(body.as_bytes()),
            _ => Form::default(),
        }
    }

    fn verify_at(&self, url: &str) -> Result<Verified, Refusal> {
        let body = self.form().encode();
        let form = Form::parse(body.as_bytes());
        let content = match &self.sent {
            Sent::Get => Content::Nothing,
            Sent::Form { .. } => Content::Form(&form),
            Sent::Body { body } => Content::Body(body.as_bytes()),
        };
        verify(&[self.key()], Request { url, content }, &self.signature)
    }

    fn check(&self) {
        let Vector { name, url, .. } = self;
        assert_ne!(self.accepted, Some(false), "{name}: its own library refuses it");
        let computed = sign(&self.key(), url, &self.form());
        if self.must_fail {
            assert_ne!(computed, self.signature, "{name}");
            assert_eq!(self.verify_at(url), Err(Refusal::Mismatch), "{name}");
            return;
        }
        assert_eq!(computed, self.signature, "{name}");
        let as_given = Verified { key_index: 0, spelling: Spelling::AS_GIVEN };
        assert_eq!(self.verify_at(url), Ok(as_given), "{name}");
        if let Some(presented_url) = &self.presented_url {
            assert!(self.verify_at(presented_url).is_ok(), "{name}: at {presented_url}");
        }
    }
}

fn documented() -> Documented {
    serde_json::from_str(DOCUMENTED).expect("vectors.json is well-formed")
}

#[test]
fn twilios_documented_vectors_hold() {
    let vectors = documented().vectors;
    assert_eq!(vectors.len(), 47);
    assert_eq!(vectors.iter().filter(|vector| vector.must_fail).count(), 1);
    vectors.iter().for_each(Vector::check);
}

#[test]
fn a_signature_holds_for_the_urls_that_twilio_may_mean_by_it_and_for_no_other() {
    let Documented { vectors, accepted_pairs, refused_pairs } = documented();
    let vector = |name: &str| vectors.iter().find(|vector| vector.name == name).expect("a vector's number");
    for AcceptedPair { presented_url, accepts } in &accepted_pairs {
        let verified = vector(accepts).verify_at(presented_url);
        assert!(verified.is_ok(), "{accepts} at {presented_url}: {verified:?}");
    }
    for RefusedPair { presented_url, refuses } in &refused_pairs {
        let verified = vector(refuses).verify_at(presented_url);
        assert_eq!(verified, Err(Refusal::Mismatch), "{refuses} at {presented_url}");
    }
}

#[test]
fn what_twilios_own_libraries_sign_and_accept_holds() {
    for text in [PYTHON, NODE] {
        let vectors: Vec<Vector> = serde_json::from_str(text).expect("the file is well-formed");
        assert!(vectors.len() > 50);
        assert!(vectors.iter().all(|vector| vector.accepted == Some(true)));
        vectors.iter().for_each(Vector::check);
    }
}

#[test]
fn a_border_that_moves_between_name_and_value_goes_unnoticed() {
    let key = SigningKey::from_bytes(Algorithm::HmacSha1, b"token");
    let signature = sign(&key, URL, &Form::parse(b"Sid=x&SidAccount=y"));
    let form = Form::parse(b"SidxSid=Accounty");
    let verified = verify(&[key], Request { url: URL, content: Content::Form(&form) }, &signature);
    assert!(
        verified.is_ok(),
        "what is read of a form must be checked for its shape, which the signature does not"
    );
}

/// What a request of 64 KiB may take, in a build that is not optimised, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn ten_thousand_parameters_are_verified_at_once() {
    let keys: Vec<_> =
        (0..4u8).map(|secret| SigningKey::from_bytes(Algorithm::HmacSha1, &[secret])).collect();
    let unsigned = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let url = "https://user@hooks.example.com/tw/status?a=it%27s+(so)";
    let numbered = |piece: fn(usize) -> String| (0..10_000).map(piece).collect::<Vec<_>>().join("&");
    for body in [
        numbered(|_| "a=b".to_owned()),
        numbered(|_| "a=%00".to_owned()),
        numbered(|number| format!("a={}", 10_000 - number)),
        numbered(|number| format!("{}=", 10_000 - number)),
        numbered(|_| String::new()),
        format!("{}=", "%41".repeat(21_845)),
    ] {
        let started = Instant::now();
        let form = Form::parse(body.as_bytes());
        let verified = verify(&keys, Request { url, content: Content::Form(&form) }, unsigned);
        assert_eq!(verified, Err(Refusal::Mismatch));
        assert!(started.elapsed() < PATIENCE, "{} bytes took {:?}", body.len(), started.elapsed());
    }
}

const URL: &str = "https://hooks.example.com/tw/status?job=42";

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Pairs of few letters, so that names repeat and are prefixes of each other.
fn any_pairs() -> impl Strategy<Value = Pairs> {
    let name = prop::collection::vec(prop::sample::select(b"Aab=&+% \xC3".to_vec()), 0..4);
    let value = prop::collection::vec(any::<u8>(), 0..8);
    prop::collection::vec((name, value), 0..12)
}

fn any_key() -> impl Strategy<Value = SigningKey> {
    let algorithm = prop::sample::select(vec![Algorithm::HmacSha1, Algorithm::HmacSha256]);
    (algorithm, any::<[u8; 16]>()).prop_map(|(algorithm, secret)| SigningKey::from_bytes(algorithm, &secret))
}

fn form_of(pairs: &Pairs) -> Form<'_> {
    pairs.iter().map(|(name, value)| (name, value)).collect()
}

fn pairs_of(form: &Form<'_>) -> Pairs {
    form.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// All that is signed of `pairs`: where it is the same for two forms, so is their signature.
fn signed_text(pairs: &Pairs) -> Vec<u8> {
    let mut sorted = pairs.clone();
    sorted.sort();
    sorted.dedup();
    sorted.into_iter().flat_map(|(name, value)| [name, value]).collect::<Vec<_>>().concat()
}

proptest! {
    #[test]
    fn what_is_signed_verifies_in_any_order(
        key in any_key(),
        (pairs, shuffled) in any_pairs().prop_flat_map(|pairs| (Just(pairs.clone()), Just(pairs).prop_shuffle())),
    ) {
        let signature = sign(&key, URL, &form_of(&pairs));
        let request = Request { url: URL, content: Content::Form(&form_of(&shuffled)) };
        let expected = Verified { key_index: 0, spelling: Spelling::AS_GIVEN };
        prop_assert_eq!(verify(&[key], request, &signature), Ok(expected));
    }

    #[test]
    fn a_changed_parameter_is_refused(
        key in any_key(),
        pairs in any_pairs(),
        pick: prop::sample::Index,
        flip in 1..=u8::MAX,
    ) {
        let mut changed = pairs.clone();
        let mut bytes: Vec<_> =
            changed.iter_mut().flat_map(|(name, value)| name.iter_mut().chain(value.iter_mut())).collect();
        prop_assume!(!bytes.is_empty());
        let at = pick.index(bytes.len());
        *bytes[at] ^= flip;
        prop_assume!(signed_text(&changed) != signed_text(&pairs));
        let signature = sign(&key, URL, &form_of(&pairs));
        let request = Request { url: URL, content: Content::Form(&form_of(&changed)) };
        prop_assert_eq!(verify(&[key], request, &signature), Err(Refusal::Mismatch));
    }

    #[test]
    fn a_changed_url_is_refused(key in any_key(), at in 0..URL.len(), byte in prop::sample::select(b"aZ0-".to_vec())) {
        let mut changed = URL.as_bytes().to_vec();
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        let changed = String::from_utf8(changed).expect("one ASCII character stands for another");
        let signature = sign(&key, URL, &Form::default());
        let request = Request { url: &changed, content: Content::Nothing };
        prop_assert_eq!(verify(&[key], request, &signature), Err(Refusal::Mismatch));
    }

    #[test]
    fn a_changed_signature_is_refused(key in any_key(), pick: prop::sample::Index, byte in 0..0x80u8) {
        let mut signature = sign(&key, URL, &Form::default()).into_bytes();
        let at = pick.index(signature.len());
        prop_assume!(signature[at] != byte);
        signature[at] = byte;
        let signature = String::from_utf8(signature).expect("one ASCII character stands for another");
        let refusal = verify(&[key], Request { url: URL, content: Content::Nothing }, &signature).unwrap_err();
        prop_assert!(matches!(refusal, Refusal::Mismatch | Refusal::Malformed), "{refusal}");
    }

    #[test]
    fn no_url_and_no_header_is_too_odd_to_answer(url in ".{0,40}", signature in ".{0,50}", body: Vec<u8>) {
        let keys = [SigningKey::from_bytes(Algorithm::HmacSha1, b"token")];
        for content in [Content::Nothing, Content::Form(&Form::parse(&body)), Content::Body(&body)] {
            let verified = verify(&keys, Request { url: &url, content }, &signature);
            prop_assert!(verified.is_err());
        }
    }

    #[test]
    fn what_is_encoded_reads_back(pairs in any_pairs()) {
        let body = form_of(&pairs).encode();
        prop_assert_eq!(pairs_of(&Form::parse(body.as_bytes())), pairs);
    }

    #[test]
    fn every_text_is_a_form_and_reads_as_elsewhere(body in prop::collection::vec(any_form_byte(), 0..64)) {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ours: Vec<_> = Form::parse(&body).iter().map(|(name, value)| (lossy(name), lossy(value))).collect();
        let theirs: Vec<(String, String)> = serde_urlencoded::from_bytes(&body).expect("every text is a form");
        prop_assert_eq!(ours, theirs);
    }
}

/// Any byte, but often one that means something in a form.
fn any_form_byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), prop::sample::select(b"&=+%%%0afAF9g".to_vec())]
}
