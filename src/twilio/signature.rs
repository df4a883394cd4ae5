//! `X-Twilio-Signature`: what Twilio signs, how it is computed, and whether a request carries it.
//!
//! The signature is the base64 of an HMAC over the URL that was configured at Twilio and, for a form, every parameter
//! sorted by name. A body that is no form is covered by its SHA-256 in the URL's query (`bodySHA256`). There is no
//! timestamp in it: a captured request verifies for ever, so what a request does must be safe to do twice. There are
//! no delimiters in it either: whoever holds one signed request can move the border between a name and its value, so
//! it is asked afterwards whether the request can be read as another person's ([`ambiguous_parameter`]), and required
//! parameters are checked for their shape ([`super::webhook`]).
//!
//! Sources: <https://www.twilio.com/docs/usage/security#validating-requests>,
//! <https://www.twilio.com/docs/usage/webhooks/webhooks-security>,
//! <https://www.twilio.com/docs/usage/webhooks/webhook-shared-keys>.

mod borders;
pub mod doctor;
mod keyring;
mod spelling;

use std::{cell::OnceCell, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub use self::borders::ambiguous_parameter;
pub use self::keyring::{KeyName, Keyring, SETTINGS_HEADER};
use self::spelling::Url;
pub use self::spelling::{Port, Query, Spelling, Userinfo};
use super::form::Form;

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "X-Twilio-Signature";

/// The parameter of the query that carries the hash of a body that is no form.
pub const BODY_SHA256: &str = "bodySHA256";

/// The longest MAC, in bytes: that of [`Algorithm::HmacSha256`].
const MAC_BYTES_MAX: usize = 32;

/// How a signature is made. The auth token signs with [`Algorithm::HmacSha1`]; a shared key names its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
}

impl Algorithm {
    /// Reads `HMAC_SHA1` or `HMAC_SHA256`, in any letter case.
    pub fn parse(text: &str) -> Option<Self> {
        [Algorithm::HmacSha1, Algorithm::HmacSha256]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
    }

    /// The algorithm in Twilio's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::HmacSha1 => "HMAC_SHA1",
            Algorithm::HmacSha256 => "HMAC_SHA256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A secret that signs, made ready: the HMAC has taken its key already, so that a signature costs its message alone.
///
/// `Debug` shows the algorithm only.
#[derive(Clone)]
pub struct SigningKey {
    keyed: Keyed,
}

#[derive(Clone)]
enum Keyed {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
}

impl SigningKey {
    /// The key that is `secret`'s text, byte for byte: an auth token is not decoded from its hexadecimal digits.
    pub fn new(algorithm: Algorithm, secret: &SecretString) -> Self {
        Self::from_bytes(algorithm, secret.expose_secret().as_bytes())
    }

    /// The key that is `secret`.
    pub fn from_bytes(algorithm: Algorithm, secret: &[u8]) -> Self {
        let any_length = "HMAC takes a key of any length";
        Self {
            keyed: match algorithm {
                Algorithm::HmacSha1 => Keyed::Sha1(Hmac::new_from_slice(secret).expect(any_length)),
                Algorithm::HmacSha256 => Keyed::Sha256(Hmac::new_from_slice(secret).expect(any_length)),
            },
        }
    }

    fn mac_bytes(&self) -> usize {
        match self.keyed {
            Keyed::Sha1(_) => <Sha1 as Digest>::output_size(),
            Keyed::Sha256(_) => <Sha256 as Digest>::output_size(),
        }
    }

    /// How this key signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.keyed {
            Keyed::Sha1(_) => Algorithm::HmacSha1,
            Keyed::Sha256(_) => Algorithm::HmacSha256,
        }
    }

    fn sign(&self, url: &[&str], parameters: &[u8]) -> Signature {
        fn mac<M: Mac + Clone>(keyed: &M, url: &[&str], parameters: &[u8]) -> Signature {
            let mut mac = keyed.clone();
            for piece in url {
                mac.update(piece.as_bytes());
            }
            mac.update(parameters);
            Signature::of(&mac.finalize().into_bytes())
        }
        match &self.keyed {
            Keyed::Sha1(keyed) => mac(keyed, url, parameters),
            Keyed::Sha256(keyed) => mac(keyed, url, parameters),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm())
    }
}

/// A MAC's bytes, on the stack.
struct Signature {
    bytes: [u8; MAC_BYTES_MAX],
    len: usize,
}

impl Signature {
    fn of(mac: &[u8]) -> Self {
        let mut bytes = [0; MAC_BYTES_MAX];
        bytes[..mac.len()].copy_from_slice(mac);
        Self { bytes, len: mac.len() }
    }

    /// Reads the header's value: standard base64 with its padding, of as many bytes as one of `keys` signs with.
    fn parse(text: &str, keys: &[SigningKey]) -> Result<Self, Refusal> {
        let mut bytes = [0; MAC_BYTES_MAX + 1];
        let len = STANDARD.decode_slice(text, &mut bytes).map_err(|_| Refusal::Malformed)?;
        if keys.iter().any(|key| key.mac_bytes() == len) {
            Ok(Self::of(&bytes[..len]))
        } else {
            Err(Refusal::Malformed)
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Signs a request for `url` that carries `form`, as Twilio does: the value of [`SIGNATURE_HEADER`].
///
/// A GET and a body that is no form are signed with an empty form, the latter with its [`body_sha256_hex`] in the
/// URL's query.
pub fn sign(key: &SigningKey, url: &str, form: &Form<'_>) -> String {
    let url = Url::split(url).spelled(Userinfo::AsGiven, Port::AsGiven);
    STANDARD.encode(key.sign(&url, &signed_parameters(form)).as_bytes())
}

/// Signs a request for `url` that carries `form`, as Twilio does for messaging: a user name in the URL is used to
/// authenticate, and is not signed.
pub fn sign_for_messaging(key: &SigningKey, url: &str, form: &Form<'_>) -> String {
    let url = Url::split(url).spelled(Userinfo::Dropped, Port::AsGiven);
    STANDARD.encode(key.sign(&url, &signed_parameters(form)).as_bytes())
}

/// The hash of a body that is no form, as Twilio writes it: SHA-256 in lower-case hexadecimal.
pub fn body_sha256_hex(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// What is signed of a request. It has no `Debug`: URLs hold passwords and bodies hold messages.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The whole URL as configured at Twilio, scheme to query, as raw text: a configured base URL with the request
    /// target's bytes behind it. A fragment is not signed and may stay.
    pub url: &'a str,
    /// What came with it.
    pub content: Content<'a>,
}

/// What a request carries besides its URL.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Nothing: a GET, whose parameters are in its URL, or a WebSocket's upgrade.
    Nothing,
    /// An `application/x-www-form-urlencoded` body.
    Form(&'a Form<'a>),
    /// Any other body, JSON for example, as received.
    Body(&'a [u8]),
}

/// How a request was found to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Which of the keys signed it.
    pub key_index: usize,
    /// Which spelling of the URL was signed.
    pub spelling: Spelling,
}

/// Why a request does not count as signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The header is absent or empty.
    #[error("the request has no {SIGNATURE_HEADER}")]
    Missing,
    /// The header is not the base64 of a MAC of one of the keys' lengths.
    #[error("the {SIGNATURE_HEADER} is not the base64 of a signature")]
    Malformed,
    /// There is no key to verify with.
    #[error("there is no key to verify the signature with")]
    NoKey,
    /// The settings header names an algorithm that is not known.
    #[error("the {SETTINGS_HEADER} names an unknown algorithm")]
    UnknownAlgorithm,
    /// The settings header names a shared key that is not configured, or none.
    #[error("the {SETTINGS_HEADER} names no shared key that is configured")]
    UnknownKey,
    /// The auth token signed, and the account accepts shared keys only.
    #[error("the account requires a shared key, and the request names none")]
    SharedKeyRequired,
    /// No key gives this signature for any spelling of the URL.
    #[error("the signature is not the one of this URL and these parameters")]
    Mismatch,
    /// The body is no form and the URL has no `bodySHA256`.
    #[error("the body is no form and the URL has no {BODY_SHA256}")]
    BodyHashMissing,
    /// The URL has more than one `bodySHA256`; which of them counts, Twilio's own libraries disagree on.
    #[error("the URL has more than one {BODY_SHA256}")]
    BodyHashRepeated,
    /// The URL is signed, and its `bodySHA256` is that of another body.
    #[error("the {BODY_SHA256} is not the one of this body")]
    BodyHashMismatch,
}

/// Decides whether one of `keys` signed `request` with what its [`SIGNATURE_HEADER`] says.
///
/// The URL is taken as given first and then in the other [`Spelling`]s in which Twilio may have signed it, at most
/// sixteen; the signatures are compared in constant time. A body that is no form is hashed only once its URL has
/// proved to be signed.
pub fn verify(keys: &[SigningKey], request: Request<'_>, signature: &str) -> Result<Verified, Refusal> {
    Prepared::new(request).verify(keys, signature)
}

/// A request, ready to be verified with the keys of one account after the other. What does not depend on the keys is done
/// once, and only when it is needed: the form is sorted, the query spelled in its other ways.
pub struct Prepared<'a> {
    url: Url<'a>,
    content: Content<'a>,
    parameters: OnceCell<Vec<u8>>,
    body_hash: OnceCell<Result<Vec<u8>, Refusal>>,
    respelled: OnceCell<Vec<(Query, String)>>,
}

impl<'a> Prepared<'a> {
    /// `request`, in every spelling.
    pub fn new(request: Request<'a>) -> Self {
        Self {
            url: Url::split(request.url),
            content: request.content,
            parameters: OnceCell::new(),
            body_hash: OnceCell::new(),
            respelled: OnceCell::new(),
        }
    }

    /// `request`, with its query only as it is given: how nearly all are signed, at a quarter of the work.
    pub fn with_query_as_given(request: Request<'a>) -> Self {
        Self { respelled: OnceCell::from(Vec::new()), ..Self::new(request) }
    }

    /// See [`verify`].
    pub fn verify(&self, keys: &[SigningKey], signature: &str) -> Result<Verified, Refusal> {
        if keys.is_empty() {
            return Err(Refusal::NoKey);
        }
        if signature.is_empty() {
            return Err(Refusal::Missing);
        }
        let signature = Signature::parse(signature, keys)?;
        match self.content {
            Content::Nothing => self.find(keys, &[], &signature),
            Content::Form(form) => {
                let parameters = self.parameters.get_or_init(|| signed_parameters(form));
                self.find(keys, parameters, &signature)
            }
            Content::Body(body) => {
                let hash = self.body_hash.get_or_init(|| body_hash_of(self.url)).as_ref();
                let hash = hash.map_err(|refusal| *refusal)?;
                let verified = self.find(keys, &[], &signature)?;
                let same = body_sha256_hex(body).as_bytes().ct_eq(hash);
                if same.into() { Ok(verified) } else { Err(Refusal::BodyHashMismatch) }
            }
        }
    }

    fn find(
        &self,
        keys: &[SigningKey],
        parameters: &[u8],
        expected: &Signature,
    ) -> Result<Verified, Refusal> {
        let find_with = |query: Query, url: Url<'_>| {
            url.authorities().find_map(|(userinfo, port)| {
                let spelled = url.spelled(userinfo, port);
                let signs = |key: &SigningKey| -> bool {
                    key.sign(&spelled, parameters).as_bytes().ct_eq(expected.as_bytes()).into()
                };
                let key_index = keys.iter().position(signs)?;
                Some(Verified { key_index, spelling: Spelling { userinfo, port, query } })
            })
        };
        find_with(Query::AsGiven, self.url)
            .or_else(|| {
                let respelled = self.respelled.get_or_init(|| self.url.respelled_queries());
                respelled.iter().find_map(|(query, text)| find_with(*query, self.url.with_query(text)))
            })
            .ok_or(Refusal::Mismatch)
    }
}

/// The one `bodySHA256` of the query.
fn body_hash_of(url: Url<'_>) -> Result<Vec<u8>, Refusal> {
    let query = Form::parse(url.query().as_bytes());
    let mut hashes = query.iter().filter(|(name, _)| *name == BODY_SHA256.as_bytes());
    match (hashes.next(), hashes.next()) {
        (None, _) => Err(Refusal::BodyHashMissing),
        (Some((_, hash)), None) => Ok(hash.to_vec()),
        (Some(_), Some(_)) => Err(Refusal::BodyHashRepeated),
    }
}

/// What is signed of a form: each name and value without anything between, sorted by name and then by value, bytewise,
/// a repeated pair once.
///
/// Names are compared as such and not with their values behind them: `Reason` sorts before `ReasonConferenceEnded`
/// whatever its value. Repeated names follow Twilio's libraries for Python, Node and PHP; the others differ.
fn signed_parameters(form: &Form<'_>) -> Vec<u8> {
    let pairs = sorted_pairs(form);
    let len = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    let mut parameters = Vec::with_capacity(len);
    for (name, value) in pairs {
        parameters.extend_from_slice(name);
        parameters.extend_from_slice(value);
    }
    parameters
}

/// A form's pairs as they are signed: see [`signed_parameters`].
fn sorted_pairs<'a>(form: &'a Form<'_>) -> Vec<(&'a [u8], &'a [u8])> {
    let mut pairs: Vec<_> = form.iter().collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWILIO_DOCS_URL: &str = "https://example.com/myapp.php?foo=1&bar=2";
    const TWILIO_DOCS_SIGNATURE: &str = "L/OH5YylLD5NRKLltdqwSvS0BnU=";

    fn twilio_docs_form() -> Form<'static> {
        Form::from_iter([
            ("Digits", "1234"),
            ("To", "+18005551212"),
            ("From", "+14158675310"),
            ("Caller", "+14158675310"),
            ("CallSid", "CA1234567890ABCDE"),
        ])
    }

    fn key(secret: &str) -> SigningKey {
        SigningKey::new(Algorithm::HmacSha1, &SecretString::from(secret))
    }

    fn verify_docs(keys: &[SigningKey], signature: &str) -> Result<Verified, Refusal> {
        let form = twilio_docs_form();
        verify(keys, Request { url: TWILIO_DOCS_URL, content: Content::Form(&form) }, signature)
    }

    #[test]
    fn the_example_of_twilios_documentation_is_signed_and_verified() {
        let key = key("12345");
        assert_eq!(sign(&key, TWILIO_DOCS_URL, &twilio_docs_form()), TWILIO_DOCS_SIGNATURE);
        let verified = verify_docs(&[key], TWILIO_DOCS_SIGNATURE).unwrap();
        assert_eq!(verified, Verified { key_index: 0, spelling: Spelling::AS_GIVEN });
    }

    #[test]
    fn any_of_the_keys_may_have_signed() {
        let keys = [key("old"), SigningKey::from_bytes(Algorithm::HmacSha256, b"12345"), key("12345")];
        assert_eq!(verify_docs(&keys, TWILIO_DOCS_SIGNATURE).unwrap().key_index, 2);
        let sha256 = sign(&keys[1], TWILIO_DOCS_URL, &twilio_docs_form());
        assert_eq!(verify_docs(&keys, &sha256).unwrap().key_index, 1);
    }

    #[test]
    fn what_is_no_signature_is_told_from_a_wrong_one() {
        let keys = [key("12345")];
        let sha256 = STANDARD.encode([0; 32]);
        let truncated = STANDARD.encode([0; 10]);
        for (signature, refusal) in [
            ("", Refusal::Missing),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", Refusal::Mismatch),
            ("L/OH5YylLD5NRKLltdqwSvS0BnU", Refusal::Malformed),
            ("L/OH5YylLD5NRKLltdqwSvS0BnV=", Refusal::Malformed),
            ("L_OH5YylLD5NRKLltdqwSvS0BnU=", Refusal::Malformed),
            (" L/OH5YylLD5NRKLltdqwSvS0BnU=", Refusal::Malformed),
            (&truncated, Refusal::Malformed),
            (&sha256, Refusal::Malformed),
            (&"A".repeat(4096), Refusal::Malformed),
        ] {
            assert_eq!(verify_docs(&keys, signature), Err(refusal), "{signature}");
        }
        assert_eq!(verify_docs(&[], TWILIO_DOCS_SIGNATURE), Err(Refusal::NoKey));
    }

    #[test]
    fn a_body_that_is_no_form_needs_its_one_hash_in_the_signed_url() {
        let keys = [key("12345")];
        let (body, hash) = (b"{}", body_sha256_hex(b"{}"));
        let check = |url: &str| {
            let signature = sign(&keys[0], url, &Form::default());
            verify(&keys, Request { url, content: Content::Body(body) }, &signature).map(|_| ())
        };
        let base = "https://example.com/events";
        assert_eq!(check(&format!("{base}?bodySHA256={hash}")), Ok(()));
        assert_eq!(check(&format!("{base}?a=1&bodySHA256={hash}&b")), Ok(()));
        assert_eq!(check(base), Err(Refusal::BodyHashMissing));
        assert_eq!(check(&format!("{base}?bodysha256={hash}")), Err(Refusal::BodyHashMissing));
        assert_eq!(
            check(&format!("{base}?bodySHA256={hash}&body%53HA256={hash}")),
            Err(Refusal::BodyHashRepeated)
        );
        assert_eq!(
            check(&format!("{base}?bodySHA256={}", body_sha256_hex(b"[]"))),
            Err(Refusal::BodyHashMismatch)
        );
        assert_eq!(check(&format!("{base}?bodySHA256=")), Err(Refusal::BodyHashMismatch));
        let url = format!("{base}?bodySHA256={hash}");
        let unsigned = STANDARD.encode([0; 20]);
        assert_eq!(
            verify(&keys, Request { url: &url, content: Content::Body(body) }, &unsigned),
            Err(Refusal::Mismatch)
        );
    }

    #[test]
    fn an_algorithm_reads_in_any_case_and_a_key_shows_nothing_but_it() {
        assert_eq!(Algorithm::parse("hmac_sha256"), Some(Algorithm::HmacSha256));
        assert_eq!(Algorithm::parse("HMAC_SHA1"), Some(Algorithm::HmacSha1));
        assert_eq!(Algorithm::parse("HMAC_MD5"), None);
        assert_eq!(format!("{:?}", key("12345")), "SigningKey(HMAC_SHA1)");
    }
}
