//! The body of a request: one JSON object.

use std::fmt;

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::CONTENT_TYPE, web};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, future::LocalBoxFuture};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Context, Declared, Read, faults::Faults, given::Given};
use crate::http::{
    problem::{Code, Problem},
    verification::BODY_TIME_MAX,
};

/// The longest body that says one thing of one person, in bytes.
pub const SMALL_BYTES_MAX: usize = 16 * 1024;

/// The longest body that holds texts of messages, in bytes: room for each of their characters to be escaped.
pub const TEXTS_BYTES_MAX: usize = 64 * 1024;

/// The longest body that names many people, in bytes.
pub const MANY_BYTES_MAX: usize = 1024 * 1024;

/// A JSON object that was sent, of at most `BYTES_MAX` bytes. What a request may cost is decided by its handler's type:
/// a body is small unless its handler asks for more.
#[derive(Debug)]
pub struct Body<const BYTES_MAX: usize = SMALL_BYTES_MAX>(Given);

impl<const BYTES_MAX: usize> Body<BYTES_MAX> {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn parse(body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body).map_err(|error| {
            if error.is_data() {
                return Problem::new(Code::BadRequest, "the body is not a JSON object", "send a JSON object");
            }
            Problem::new(
                Code::BadRequest,
                format!("the body is not JSON: line {}, column {}", error.line(), error.column()),
                "send a JSON object in UTF-8",
            )
        })
    }

    /// Equal exactly for equal bodies, however they are spaced and in which order their fields come.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.0.to_json()))
    }

    /// Reads a `T`, or answers with everything that is wrong with it.
    pub fn read<T: Declared>(self, context: &Context) -> Result<T, Problem> {
        self.0.read_whole(context)
    }

    /// Reads a `T`, and gathers what is wrong with it.
    pub fn read_with_faults<T: Declared>(self, context: &Context) -> (Read<T>, Faults) {
        self.0.read(context)
    }
}

impl<'de, const BYTES_MAX: usize> Deserialize<'de> for Body<BYTES_MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Given;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
                let mut given = Given::object(Map::new());
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    given.add(name, value);
                }
                Ok(given)
            }
        }

        deserializer.deserialize_map(Object).map(Body)
    }
}

impl<const BYTES_MAX: usize> FromRequest for Body<BYTES_MAX> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read_json(request, payload, BYTES_MAX);
        Box::pin(async move { Self::parse(&body.await?) })
    }
}

/// A body of at most [`MANY_BYTES_MAX`] bytes that is not parsed yet: that is heavy, and done when it is known whose it is.
#[derive(Debug)]
pub struct LargeBody(Bytes);

impl LargeBody {
    /// How long it is, in bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// The object that it is.
    pub fn parse(self) -> Result<Body<MANY_BYTES_MAX>, Problem> {
        Body::parse(&self.0)
    }
}

impl FromRequest for LargeBody {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read_json(request, payload, MANY_BYTES_MAX);
        Box::pin(async move { Ok(Self(body.await?)) })
    }
}

/// Reads what is declared as JSON, of at most `bytes_max` bytes.
fn read_json(
    request: &HttpRequest,
    payload: &mut Payload,
    bytes_max: usize,
) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let essence = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = essence.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json");
    let body = web::Payload::from_request(request, payload);
    async move {
        if !is_json {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "the body is not declared as JSON",
                "send Content-Type: application/json",
            ));
        }
        let body = body.await.map_err(|_| unreadable())?;
        let body = tokio::time::timeout(BODY_TIME_MAX, read_within(body, bytes_max));
        body.await.map_err(|_| too_slow())?
    }
}

/// How much of a body that is too long is read and thrown away, in bytes: a client that is still writing when the connection
/// ends sees no answer.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;

/// Reads a body of at most `bytes_max` bytes.
async fn read_within(mut body: web::Payload, bytes_max: usize) -> Result<Bytes, Problem> {
    let (mut read, mut discarded) = (BytesMut::new(), 0);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| unreadable())?;
        if discarded == 0 && read.len() + chunk.len() <= bytes_max {
            read.extend_from_slice(&chunk);
        } else {
            discarded += chunk.len();
            if discarded > DISCARDED_BYTES_MAX {
                break;
            }
        }
    }
    if discarded == 0 { Ok(read.freeze()) } else { Err(too_large(bytes_max)) }
}

/// 400 for a body that broke off.
fn unreadable() -> Problem {
    Problem::new(Code::BadRequest, "the body could not be read", "send it again")
}

/// 408 for a body that took longer than [`BODY_TIME_MAX`].
fn too_slow() -> Problem {
    let detail = format!("the body took longer than {} s", BODY_TIME_MAX.as_secs());
    Problem::new(Code::RequestTimeout, detail, "send it again, without pauses")
}

/// 413 for a body over `max` bytes.
pub fn too_large(max: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body is longer than {max} bytes"), "send less")
}
