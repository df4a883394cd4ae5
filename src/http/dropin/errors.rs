//! How the drop-in says no: as Twilio does, so that Twilio's libraries raise the exception that they raise there.
//!
//! Sources: <https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions>,
//! <https://www.twilio.com/docs/api/errors>.

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::{Value, json};

use crate::{
    app::outgoing::send::SendError,
    domain::{Refusal, Role},
    http::{
        FORM_BYTES_MAX,
        idempotency::Failure,
        problem::{Code, Problem},
        time,
    },
    store,
    twilio::{client, raw::Raw},
};

/// What Twilio's general codes are above the HTTP status that they stand for: 404 is 20404.
const GENERAL_CODES: u32 = 20_000;

/// A refusal in Twilio's words.
#[derive(Debug, Clone)]
pub struct ApiError {
    http_status: u16,
    code: u32,
    message: String,
    retry_after: Option<Duration>,
    is_of_store: bool,
    /// Twilio's own JSON, if it is Twilio who refuses.
    raw: Option<Raw>,
}

impl ApiError {
    fn new(http_status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { http_status, code, message: message.into(), retry_after: None, is_of_store: false, raw: None }
    }

    /// A failure of which Twilio has no code but that of its HTTP status.
    fn general(http_status: u16, message: impl Into<String>) -> Self {
        Self::new(http_status, GENERAL_CODES + u32::from(http_status), message)
    }

    /// A parameter is wrong.
    pub fn bad_request(code: u32, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// The credentials are missing, wrong, or another account's.
    pub fn not_authenticated() -> Self {
        Self::new(401, 20003, "Authenticate")
    }

    /// The role is not enough.
    pub fn forbidden(role: Role) -> Self {
        Self::new(403, 20003, format!("Permission denied: the role {} may not do this", role.as_str()))
    }

    /// Whether it is the role of the caller that was not enough, and not Twilio who refuses.
    pub fn is_of_role(&self) -> bool {
        self.http_status == 403 && self.raw.is_none()
    }

    /// There is nothing at `path`.
    pub fn not_found(path: &str) -> Self {
        Self::general(404, format!("The requested resource {path} was not found"))
    }

    /// The path does not take this method.
    pub fn method_not_allowed() -> Self {
        Self::new(405, 20004, "Method not allowed")
    }

    /// The message cannot be called off any more.
    pub fn not_cancelable() -> Self {
        Self::new(409, 30409, "Message is not in a cancelable state")
    }

    /// What only a message at its end allows.
    pub fn not_finished() -> Self {
        Self::new(409, 20009, "The message has not come to its end yet")
    }

    /// The body took too long.
    pub fn too_slow() -> Self {
        Self::general(408, "The body did not arrive in time")
    }

    /// The body is too long.
    pub fn too_large() -> Self {
        Self::general(413, format!("The body is longer than {FORM_BYTES_MAX} bytes"))
    }

    /// The body is not declared as a form.
    pub fn unsupported_media_type() -> Self {
        let types = "application/x-www-form-urlencoded or multipart/form-data";
        Self::general(415, format!("The body must be declared as {types}"))
    }

    /// A page of another site asks.
    pub fn cross_origin() -> Self {
        Self::general(403, "Pages in a browser may not call this")
    }

    /// The URL is too long.
    pub fn uri_too_long(message: &str) -> Self {
        Self::general(414, message)
    }

    /// The body broke off.
    pub fn unreadable() -> Self {
        Self::general(400, "The body could not be read")
    }

    fn unavailable(message: &str) -> Self {
        Self::general(503, message)
    }

    fn body(&self) -> Value {
        match &self.raw {
            Some(raw) if raw.0.is_object() => raw.0.clone(),
            _ => json!({
                "code": self.code,
                "message": self.message,
                "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
                "status": self.http_status,
            }),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {})", self.code, self.http_status)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.http_status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.http_status == 401 {
            response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"Twilio API\""));
        }
        if let Some(wait) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, wait.as_secs().max(1)));
        }
        response.json(self.body())
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, "the store failed");
        Self {
            is_of_store: true,
            ..Self::unavailable("The store did not answer; repeat the request with its key")
        }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        match problem.code() {
            Code::Unauthorized => Self::not_authenticated(),
            code => {
                let (retry_after, is_of_store) = (problem.retry_after(), problem.is_of_store());
                Self { retry_after, is_of_store, ..Self::general(code.status(), problem.detail()) }
            }
        }
    }
}

impl Failure for ApiError {
    fn is_of_store(&self) -> bool {
        self.is_of_store
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        let text = error.to_string();
        match error {
            SendError::NotConfigured => Self::not_authenticated(),
            SendError::NoSender(_) => Self::bad_request(21603, "A 'From' phone number is required."),
            SendError::NoConsent { reason, twilio_code, .. } => {
                Self::of_refusal(reason.into(), twilio_code, &text)
            }
            SendError::CoolingDown { until } => {
                Self::general(429, format!("Too Many Requests: {text}; send it again at {}", time(until)))
            }
            SendError::DailyLimit { .. } => {
                Self::general(429, format!("Too Many Requests: {text}; send the rest tomorrow (UTC)"))
            }
            SendError::Refused { code, twilio_code, .. } => Self::of_refusal(code, twilio_code, &text),
            SendError::CatchingUp => Self::unavailable("The store was away; nothing was sent"),
            SendError::WordPutAside => {
                Self::unavailable("What this person said last cannot be stored; nothing was sent")
            }
            SendError::Store(error) => error.into(),
            SendError::Twilio(error) => error.into(),
        }
    }
}

impl ApiError {
    /// What Twilio says where we refuse: with `twilio_code`, if it was Twilio who refused.
    fn of_refusal(refusal: Refusal, twilio_code: Option<u32>, text: &str) -> Self {
        match refusal {
            Refusal::RecipientOptedOut | Refusal::OptInRequired => {
                let code = twilio_code.or(refusal.twilio_code()).unwrap_or(GENERAL_CODES);
                Self::bad_request(code, "Attempt to send to unsubscribed recipient")
            }
            Refusal::DailyLimitReached
            | Refusal::RecipientCoolingDown
            | Refusal::SuspiciousTraffic
            | Refusal::QueueFull => Self::general(429, format!("Too Many Requests: {text}")),
            Refusal::CountryNotAllowed | Refusal::NumberTypeNotAllowed | Refusal::RecipientUnreachable => {
                Self::bad_request(refusal.twilio_code().unwrap_or(GENERAL_CODES), text)
            }
            Refusal::NotAccepted
            | Refusal::TwilioUnreachable
            | Refusal::RateLimitedByTwilio
            | Refusal::TwilioCredentialsRejected
            | Refusal::TwilioRefused => match twilio_code {
                Some(code) => Self::bad_request(code, text),
                None => Self::unavailable(text),
            },
        }
    }
}

impl From<client::Error> for ApiError {
    fn from(error: client::Error) -> Self {
        match error.refusal() {
            // Status, code and words are Twilio's own.
            Some(refusal) => {
                let general = GENERAL_CODES + u32::from(refusal.http_status);
                let message = refusal.message.clone().unwrap_or_else(|| error.to_string());
                Self {
                    retry_after: refusal.retry_after,
                    raw: Some(Raw::clone(&refusal.raw)),
                    ..Self::new(refusal.http_status, refusal.code.unwrap_or(general), message)
                }
            }
            None => Self::unavailable(&error.to_string()),
        }
    }
}
