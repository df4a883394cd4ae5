//! The body of a request as Twilio's libraries and `curl` send it: a form, in either of its two encodings.
//!
//! A page of another site can have a browser post any text, with the credentials that the browser remembers; so what is
//! not declared as a form is none.

use std::convert::Infallible;

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::CONTENT_TYPE,
    web::{self, Bytes},
};
use futures_util::{future::LocalBoxFuture, stream};
use sha2::{Digest, Sha256};

use super::errors::ApiError;
use crate::{
    http::{
        FORM_BYTES_MAX,
        verification::{BODY_TIME_MAX, FORM},
    },
    twilio::Form,
};

/// The media type of a form whose parts stand one after the other.
const MULTIPART: &str = "multipart/form-data";

/// The body of a request: a form, encoded as in a URL.
pub struct FormBody(Bytes);

impl FormBody {
    /// The pairs.
    pub fn form(&self) -> Form<'_> {
        Form::parse(&self.0)
    }

    /// Equal exactly if the body is.
    pub fn fingerprint(&self) -> String {
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
            let body = body.await.map_err(|_| ApiError::unreadable())?;
            let body = tokio::time::timeout(BODY_TIME_MAX, body.to_bytes_limited(FORM_BYTES_MAX));
            let body = body.await.map_err(|_| ApiError::too_slow())?.map_err(|_| ApiError::too_large())?;
            let body = body.map_err(|_| ApiError::unreadable())?;
            match encoding {
                Encoding::AsInUrl => Ok(Self(body)),
                Encoding::Undeclared if body.is_empty() => Ok(Self(body)),
                Encoding::Undeclared => Err(ApiError::unsupported_media_type()),
                Encoding::Multipart { boundary } => {
                    of_multipart(body, boundary).await.map(Self).ok_or_else(ApiError::unreadable)
                }
            }
        })
    }
}

/// How a form is written.
enum Encoding {
    AsInUrl,
    Multipart {
        boundary: String,
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
        if !essence.eq_ignore_ascii_case(MULTIPART) {
            return Err(ApiError::unsupported_media_type());
        }
        let boundary = multer::parse_boundary(content_type).map_err(|_| ApiError::unreadable())?;
        Ok(Self::Multipart { boundary })
    }
}

/// A form in parts, encoded as in a URL; `None` if it cannot be read, or a part has no name.
async fn of_multipart(body: Bytes, boundary: String) -> Option<Bytes> {
    let body = stream::once(async { Ok::<_, Infallible>(body) });
    let mut parts = multer::Multipart::new(body, boundary);
    let mut pairs = Vec::new();
    while let Some(part) = parts.next_field().await.ok()? {
        let name = part.name()?.to_owned();
        pairs.push((name, part.bytes().await.ok()?));
    }
    let form: Form = pairs.iter().map(|(name, value)| (name, value)).collect();
    Some(form.encode().into())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn read(body: &str) -> Option<Vec<u8>> {
        let read = of_multipart(body.to_owned().into(), "edge".to_owned());
        read.now_or_never().expect("all of it is there").map(|form| form.to_vec())
    }

    fn part(head: &str, value: &str) -> String {
        format!("--edge\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    }

    #[test]
    fn parts_are_the_pairs_of_a_form() {
        let parts = [
            part("name=\"To\"", "+14155550100"),
            part("name=\"Body\"", "a=b&c\r\nd é"),
            part("name=\"Body\"", ""),
        ];
        let read = read(&format!("{}--edge--\r\n", parts.concat())).unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), "To=%2B14155550100&Body=a%3Db%26c%0D%0Ad+%C3%A9&Body=");
        let nothing = Some(Vec::new());
        assert_eq!(super::tests::read("--edge--\r\n"), nothing);
    }

    #[test]
    fn parts_without_a_name_or_an_end_are_no_form() {
        for body in [
            String::new(),
            "To=1".to_owned(),
            format!("{}--edge--", part("filename=\"a\"", "1")),
            part("name=\"To\"", "1"),
            "--edge\r\nContent-Disposition: form-data; name=\"To\"".to_owned(),
            format!("--other\r\n{}", part("name=\"To\"", "1")),
        ] {
            assert_eq!(read(&body), None, "{body}");
        }
    }
}
