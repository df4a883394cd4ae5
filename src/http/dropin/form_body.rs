//! The body of a request as Twilio's libraries and `curl` send it: a form, in either of its two encodings.
//!
//! A page of another site can have a browser post any text, with the credentials that the browser remembers; so what is
//! not declared as a form is none.

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::CONTENT_TYPE,
    web::{self, Bytes},
};
use futures_util::future::LocalBoxFuture;
use sha2::{Digest, Sha256};

use super::errors::ApiError;
use crate::{
    http::{
        FORM_BYTES_MAX,
        verification::{BODY_TIME_MAX, FORM},
    },
    twilio::{Form, multipart},
};

/// The body of a request: a form, encoded as in a URL.
pub struct FormBody(Bytes);

impl FormBody {
    /// The pairs.
    pub fn form(&self) -> Form<'_> {
        Form::parse(&self.0)
    }

    /// Equal exactly if the body is.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.0))
    }
}

impl FromRequest for FormBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let encoding = Encoding::of(request);
        let body = web::Payload::from_request(request, payload);
        Box::pin(async move {
            let encoding = encoding?;
            let body = read(body.await.map_err(|_| ApiError::unreadable())?).await?;
            match encoding {
                Encoding::AsInUrl => Ok(Self(body)),
                Encoding::Undeclared if body.is_empty() => Ok(Self(body)),
                Encoding::Undeclared => Err(ApiError::unsupported_media_type()),
                Encoding::Multipart { content_type } => {
                    let form = multipart::to_url_encoded(&content_type, body);
                    form.map(|form| Self(form.into())).ok_or_else(ApiError::unreadable)
                }
            }
        })
    }
}

/// The body of a request that is handed on unread.
#[derive(Default)]
pub struct RawBody(pub Bytes);

impl FromRequest for RawBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = web::Payload::from_request(request, payload);
        Box::pin(async move { read(body.await.map_err(|_| ApiError::unreadable())?).await.map(Self) })
    }
}

/// Reads a body within its bounds.
async fn read(body: web::Payload) -> Result<Bytes, ApiError> {
    let body = tokio::time::timeout(BODY_TIME_MAX, body.to_bytes_limited(FORM_BYTES_MAX));
    let body = body.await.map_err(|_| ApiError::too_slow())?.map_err(|_| ApiError::too_large())?;
    body.map_err(|_| ApiError::unreadable())
}

/// How a form is written.
enum Encoding {
    AsInUrl,
    Multipart {
        content_type: String,
    },
    /// Nothing is said, which is right where there is no body.
    Undeclared,
}

impl Encoding {
    fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let Some(content_type) = request.headers().get(CONTENT_TYPE) else { return Ok(Self::Undeclared) };
        let content_type = content_type.to_str().unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(FORM) {
            return Ok(Self::AsInUrl);
        }
        if essence.eq_ignore_ascii_case(multipart::MEDIA_TYPE) {
            return Ok(Self::Multipart { content_type: content_type.to_owned() });
        }
        Err(ApiError::unsupported_media_type())
    }
}
