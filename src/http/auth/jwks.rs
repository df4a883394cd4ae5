//! The public keys of the platform that issues tokens: a JSON Web Key Set (RFC 7517).

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{
        AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse, ThumbprintHash,
    },
};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of a set: a platform has one or two, and some more while it changes them.
const KEYS_MAX: usize = 64;

/// How many keys a token is tried against: several only if it names none, or one that several are called.
const CANDIDATES_MAX: usize = 4;

/// A set of keys that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a JSON Web Key Set with RSA, P-256 or Ed25519 public keys for signatures: {0}")]
pub struct InvalidJwks(String);

/// The public keys that sign tokens.
#[derive(Default)]
pub struct PublicKeys(Vec<PublicKey>);

/// One of them.
pub(super) struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    pub(super) key: DecodingKey,
    /// What tells it from every other key, whatever they are called (RFC 7638).
    pub(super) thumbprint: String,
}

/// A key of a set, as an operator is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// Its `kid`.
    pub id: Option<String>,
    /// With which algorithm it checks signatures, or why it checks none.
    pub usage: Result<Algorithm, &'static str>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// A key's `kid`, and the key or why it signs no tokens here.
type ReadKey = (Option<String>, Result<PublicKey, &'static str>);

impl PublicKeys {
    /// Reads a JSON Web Key Set. Keys that sign no tokens here are skipped; one at least must.
    pub fn parse(text: &str) -> Result<Self, InvalidJwks> {
        let mut keys = Vec::new();
        for (id, key) in read_set(text)? {
            match key {
                Ok(key) => keys.push(key),
                Err(reason) => tracing::warn!(kid = id, reason, "a key of the JSON Web Key Set is not used"),
            }
        }
        if keys.is_empty() { Err(InvalidJwks("it has none".to_owned())) } else { Ok(Self(keys)) }
    }

    /// Every key of a JSON Web Key Set, those too that sign no tokens here.
    pub fn summaries(text: &str) -> Result<Vec<KeySummary>, InvalidJwks> {
        let summary = |(id, key): ReadKey| KeySummary { id, usage: key.map(|key| key.algorithm) };
        Ok(read_set(text)?.into_iter().map(summary).collect())
    }

    /// Whether a key is called `id`.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Whether the key of this thumbprint is among them.
    pub(super) fn hold(&self, thumbprint: &str) -> bool {
        self.0.iter().any(|key| key.thumbprint == thumbprint)
    }

    /// The keys that may have made a signature with `algorithm`: those called `id`, or any if the token names none.
    pub(super) fn candidates(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> impl Iterator<Item = &PublicKey> {
        self.0
            .iter()
            .filter(move |key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id))
            .take(CANDIDATES_MAX)
    }
}

fn read_set(text: &str) -> Result<Vec<ReadKey>, InvalidJwks> {
    let set: KeySet = serde_json::from_str(text).map_err(|error| InvalidJwks(error.to_string()))?;
    if set.keys.len() > KEYS_MAX {
        return Err(InvalidJwks(format!("it has more than {KEYS_MAX} keys")));
    }
    Ok(set.keys.into_iter().map(|key| (key["kid"].as_str().map(str::to_owned), read(key))).collect())
}

/// A key that signs tokens, or why this one does not.
fn read(key: Value) -> Result<PublicKey, &'static str> {
    let jwk: Jwk = serde_json::from_value(key).map_err(|_| "it cannot be read")?;
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return Err("its use is not sig");
    }
    let operations = jwk.common.key_operations.as_ref();
    if operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return Err("its key_ops do not hold verify");
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return Err("it is neither RSA nor P-256 nor Ed25519"),
    };
    if jwk.common.key_algorithm.is_some_and(|of_key| of_key != named) {
        return Err("its alg is none that is taken here");
    }
    let unreadable = "its numbers cannot be read";
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| unreadable)?;
    let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| unreadable)?;
    Ok(PublicKey { id: jwk.common.key_id, algorithm, key, thumbprint })
}

#[cfg(test)]
pub(super) mod tests {
    use std::slice;

    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
    };
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;
    use crate::{
        domain::{Organization, Role, UnixMs},
        http::auth::{Authenticator, Caller, Claims, TokenRules},
        metrics::SignInRefusal,
    };

    const NOW: UnixMs = UnixMs::new(1_800_000_000_000);

    /// A private key, and the public one as a set has it.
    pub struct Pair {
        algorithm: Algorithm,
        private: EncodingKey,
        pub public: Value,
    }

    impl Pair {
        pub fn p256(id: &str) -> Self {
            let document =
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
            Self::new(id, Algorithm::ES256, EncodingKey::from_ec_der(document.as_ref()))
        }

        fn ed25519(id: &str) -> Self {
            let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
            Self::new(id, Algorithm::EdDSA, EncodingKey::from_ed_der(document.as_ref()))
        }

        fn new(id: &str, algorithm: Algorithm, private: EncodingKey) -> Self {
            let public = Jwk::from_encoding_key(&private, algorithm).unwrap();
            let mut public = serde_json::to_value(public).unwrap();
            public["kid"] = id.into();
            Self { algorithm, private, public }
        }

        /// The public key with other members.
        fn but(&self, members: Value) -> Value {
            let mut public = self.public.clone();
            public.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            public
        }

        /// A token that it signs, by the name of `id`.
        pub fn token(&self, id: Option<&str>) -> String {
            let header = Header { kid: id.map(str::to_owned), ..Header::new(self.algorithm) };
            let claims = Claims::new("ada", Role::Viewer, Organization::default(), NOW.as_secs() + 60);
            jsonwebtoken::encode(&header, &claims, &self.private).unwrap()
        }
    }

    fn set(keys: &[Value]) -> String {
        json!({ "keys": keys }).to_string()
    }

    fn authenticate(keys: &[Value], token: &str) -> Result<Caller, SignInRefusal> {
        let keys = PublicKeys::parse(&set(keys)).unwrap();
        let secret = "0123456789abcdef0123456789abcdef".into();
        Authenticator::new(&secret, TokenRules::default(), keys, Vec::new()).authenticate(token, NOW)
    }

    #[test]
    fn a_token_is_checked_by_the_key_that_it_names_or_by_any_if_it_names_none() {
        let (one, two, three) = (Pair::p256("one"), Pair::p256("two"), Pair::ed25519("three"));
        let keys = [&one, &two, &three].map(|pair| pair.public.clone());
        for (pair, id) in [(&one, "one"), (&two, "two"), (&three, "three")] {
            assert!(authenticate(&keys, &pair.token(Some(id))).is_ok(), "{id}");
            assert!(authenticate(&keys, &pair.token(None)).is_ok(), "{id}");
            assert_eq!(authenticate(&keys, &pair.token(Some("other"))), Err(SignInRefusal::BadToken));
        }
        assert!(authenticate(&keys, &one.token(Some("two"))).is_err());
        assert!(authenticate(&keys, &Pair::p256("one").token(Some("one"))).is_err());
        // Two keys of one name are both tried.
        let twins = [one.public.clone(), two.but(json!({ "kid": "one" }))];
        assert!(authenticate(&twins, &one.token(Some("one"))).is_ok());
        assert!(authenticate(&twins, &two.token(Some("one"))).is_ok());
        // A token without a name is not tried against any number of keys.
        let many: Vec<Value> = (0..10)
            .map(|number| Pair::p256(&number.to_string()).public)
            .chain([one.public.clone()])
            .collect();
        assert!(authenticate(&many, &one.token(None)).is_err());
        assert!(authenticate(&many, &one.token(Some("one"))).is_ok());
    }

    #[test]
    fn a_key_that_is_not_for_signatures_checks_none() {
        let (pair, other) = (Pair::p256("one"), Pair::p256("other"));
        let token = pair.token(Some("one"));
        for good in [
            json!({ "use": "sig" }),
            json!({ "key_ops": ["verify"] }),
            json!({ "alg": "ES256" }),
            json!({ "use": null, "key_ops": null, "alg": null }),
            json!({ "further": 1 }),
        ] {
            assert!(authenticate(&[pair.but(good.clone())], &token).is_ok(), "{good}");
        }
        for wrong in [
            json!({ "use": "enc" }),
            json!({ "use": "other" }),
            json!({ "key_ops": ["encrypt"] }),
            json!({ "key_ops": [] }),
            json!({ "alg": "RS256" }),
            json!({ "alg": "ES384" }),
            json!({ "alg": "HS256" }),
            json!({ "kty": "other" }),
            json!({ "crv": "P-384" }),
            json!({ "x": "!" }),
        ] {
            let key = pair.but(wrong.clone());
            let refused = authenticate(&[key.clone(), other.public.clone()], &token);
            assert_eq!(refused, Err(SignInRefusal::BadToken), "{wrong}");
            // A set of such keys alone is a mistake.
            assert!(PublicKeys::parse(&set(&[key])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_public_key_is_used_as_a_secret() {
        let pair = Pair::p256("one");
        let claims = Claims::new("eve", Role::Admin, Organization::default(), NOW.as_secs() + 60);
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
        let public = pair.public.to_string();
        let x = pair.public["x"].as_str().unwrap();
        for secret in ["", public.as_str(), x, set(slice::from_ref(&pair.public)).as_str()] {
            let secret = EncodingKey::from_secret(secret.as_bytes());
            let forged = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
            assert_eq!(authenticate(slice::from_ref(&pair.public), &forged), Err(SignInRefusal::BadToken));
        }
        // Nor is a secret in a set: whoever reads it could sign.
        let octets = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "one" });
        assert!(PublicKeys::parse(&set(&[octets])).is_err());
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let many = vec![Pair::p256("one").public; KEYS_MAX + 1];
        for wrong in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[1]}"#, &set(&many)] {
            assert!(PublicKeys::parse(wrong).is_err(), "{wrong}");
        }
    }
}
