//! A platform that issues tokens: the keys that sign them, and the URL at which it publishes the public ones.

use std::sync::{Arc, Mutex};

use actix_web::HttpResponse;
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use textledger::{
    domain::{Organization, Role},
    http::auth::Claims,
};

use super::service::TOKEN_EXP_S;
use crate::simulator::receiver::Receiver;

/// A private key, and the public one as a set has it.
pub struct Pair {
    id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
    pub public: Value,
    /// The public key in every other form in which it can be had.
    pub other_forms: Vec<Vec<u8>>,
}

impl Pair {
    pub fn rsa(id: &'static str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let private = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let forms = vec![
            pair.public_key().as_ref().to_vec(),
            spki.as_ref().to_vec(),
            pem("PUBLIC KEY", spki.as_ref()).into_bytes(),
            pem("PUBLIC KEY", spki.as_ref()).trim_end().as_bytes().to_vec(),
        ];
        Self { other_forms: forms, ..Self::new(id, Algorithm::RS256, private) }
    }

    pub fn p256(id: &'static str) -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self::new(id, Algorithm::ES256, EncodingKey::from_ec_der(document.as_ref()))
    }

    pub fn ed25519(id: &'static str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        Self::new(id, Algorithm::EdDSA, EncodingKey::from_ed_der(document.as_ref()))
    }

    fn new(id: &'static str, algorithm: Algorithm, private: EncodingKey) -> Self {
        let mut public = serde_json::to_value(Jwk::from_encoding_key(&private, algorithm).unwrap()).unwrap();
        public["kid"] = id.into();
        Self { id, algorithm, private, public, other_forms: Vec::new() }
    }

    /// The public key with other members.
    pub fn but(&self, members: &Value) -> Value {
        let mut public = self.public.clone();
        public.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        public
    }

    /// The header of a token that this key signs, by its name.
    pub fn header(&self) -> Header {
        Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) }
    }

    /// A token that it signs, by its name.
    pub fn token(&self) -> String {
        self.sign(&self.header())
    }

    /// A token that it signs, with this header.
    pub fn sign(&self, header: &Header) -> String {
        jsonwebtoken::encode(header, &claims(), &self.private).unwrap()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// What every token of the platform says.
pub fn claims() -> Claims {
    Claims::new("ada", Role::Viewer, Organization::default(), TOKEN_EXP_S)
}

/// A set of these keys.
pub fn set(keys: &[&Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// What is answered at the URL of the keys.
#[derive(Clone)]
pub enum Published {
    /// This.
    Answer { status: u16, body: String },
    /// A redirect to a page that has the keys, in an answer that has them too.
    Moved(String),
    /// Nothing, until something else is to be answered.
    Nothing,
}

impl Published {
    /// These keys, as it should be.
    pub fn keys(keys: &[&Value]) -> Self {
        Self::Answer { status: 200, body: set(keys) }
    }
}

/// Where the platform publishes its keys.
pub struct Platform {
    published: Arc<Mutex<Published>>,
    receiver: Receiver,
}

impl Platform {
    /// Publishes `published`.
    pub fn start(published: Published) -> Self {
        let published = Arc::new(Mutex::new(published));
        let receiver = Receiver::answering({
            let published = published.clone();
            move |_, request| {
                let (published, is_elsewhere) = (published.clone(), request.target == "/elsewhere");
                async move { answer(&published, is_elsewhere).await }
            }
        });
        Self { published, receiver }
    }

    pub fn url(&self) -> String {
        self.receiver.url("/keys")
    }

    /// Publishes something else from now on.
    pub fn publish(&self, published: Published) {
        *self.published.lock().unwrap() = published;
    }

    /// How often it has been asked so far.
    pub fn asked(&self) -> usize {
        self.receiver.received().len()
    }
}

async fn answer(published: &Mutex<Published>, is_elsewhere: bool) -> HttpResponse {
    loop {
        let published = published.lock().unwrap().clone();
        match published {
            Published::Answer { status, body } => {
                return HttpResponse::build(status.try_into().unwrap()).body(body);
            }
            Published::Moved(body) if is_elsewhere => return HttpResponse::Ok().body(body),
            Published::Moved(body) => {
                return HttpResponse::Found().insert_header(("location", "/elsewhere")).body(body);
            }
            Published::Nothing => tokio::time::sleep(super::POLL_INTERVAL).await,
        }
    }
}
