//! Every way in which a request can fail: code, status, text, mend. The one place that knows which HTTP status a
//! failure has.
//!
//! The body is `application/problem+json` (RFC 9457) with `code`, `twilio_code` and `mend` besides.

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::json;

use crate::{
    app::{
        accounts::{
            AccountError,
            change::Fault,
            saved::{ReadError, SaveError},
            stored::Unopened,
        },
        api_keys::KeyError,
        consents::{
            own_page::NoPageUrl,
            preferences::{ChangeError, OWN_CHANGES_PERIOD},
            record::RecordError,
            reviews::ReviewError,
        },
        outgoing::{
            number_code::{CodeError, ConfirmError, SENT_PERIOD},
            send::SendError,
            traffic_decisions::TrafficError,
        },
    },
    domain::{Refusal, Role, Sender, consent::NoConsent},
    phone::InvalidPhoneNumber,
    store,
    twilio::{Channel, client, error_code::ErrorCode},
};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)+) => {
        /// A kind of failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];

            /// The stable code, in snake case.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)+ }
            }

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)+ }
            }

            /// What the kind is called.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)+ }
            }
        }
    };
}

codes! {
    /// The request is no HTTP request of ours.
    BadRequest = "bad_request", 400, "The request cannot be read";
    /// No valid token.
    Unauthorized = "unauthorized", 401, "A valid token is needed";
    /// The role is not enough.
    Forbidden = "forbidden", 403, "The role is not enough";
    /// A page of another site asks.
    CrossOrigin = "cross_origin", 403, "Pages of other sites may not ask";
    /// Nothing is there.
    NotFound = "not_found", 404, "There is no such thing";
    /// No such reply was put under review.
    ReviewNotFound = "review_not_found", 404, "There is no such review";
    /// Another method is meant.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here";
    /// The body took too long.
    RequestTimeout = "request_timeout", 408, "The body did not arrive in time";
    /// No account at Twilio.
    TwilioNotConfigured = "twilio_not_configured", 409, "Twilio is not configured";
    /// No public URL.
    PublicUrlNotConfigured = "public_url_not_configured", 409, "The public URL is not configured";
    /// Another organization has the account.
    AccountInUse = "account_in_use", 409, "The account belongs to another organization";
    /// The organization has as many API keys as it may.
    TooManyApiKeys = "too_many_api_keys", 409, "There are too many API keys";
    /// As many decisions on blocks of numbers are in force as may.
    TooManyTrafficDecisions = "too_many_traffic_decisions", 409, "There are too many decisions on blocks of numbers";
    /// The person does not want messages.
    RecipientOptedOut = "recipient_opted_out", 409, "The recipient has opted out";
    /// The person has said no, and the caller may not take that back.
    OptedOutByPerson = "opted_out_by_person", 409, "The person has opted out in their own words";
    /// Something else was decided on the reply.
    ReviewDecided = "review_decided", 409, "The review is over";
    /// Another user has the number.
    PhoneNumberTaken = "phone_number_taken", 409, "The number belongs to another user";
    /// The person has not opted in, and the message needs that.
    OptInRequired = "opt_in_required", 409, "The recipient has not opted in";
    /// The first request with this `Idempotency-Key` is not done yet.
    IdempotencyInProgress = "idempotency_in_progress", 409, "An equal request is being done";
    /// The body is too long.
    PayloadTooLarge = "payload_too_large", 413, "The body is too long";
    /// The URL is too long.
    UriTooLong = "uri_too_long", 414, "The URL is too long";
    /// Another content type is meant.
    UnsupportedMediaType = "unsupported_media_type", 415, "The content type is not supported";
    /// Fields are missing, unknown or wrong.
    ValidationFailed = "validation_failed", 422, "The request has invalid fields";
    /// The `Idempotency-Key` belongs to another body.
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The idempotency key was used for another request";
    /// No phone number.
    InvalidPhoneNumber = "invalid_phone_number", 422, "This is not a phone number";
    /// A code that is wrong, or that nobody waits for.
    NumberNotConfirmed = "number_not_confirmed", 422, "The number is not confirmed";
    /// Messages to the number fail, several in a row.
    RecipientUnreachable = "recipient_unreachable", 422, "The number takes no messages";
    /// 21608.
    UnverifiedNumber = "unverified_number", 422, "Twilio knows this number as unverified";
    /// 21408.
    GeoPermission = "geo_permission", 422, "Twilio may not send to this country";
    /// 63015.
    WhatsappNotJoined = "whatsapp_not_joined", 422, "The recipient has not joined the WhatsApp sandbox";
    /// 63016.
    WhatsappWindowClosed = "whatsapp_window_closed", 422, "The WhatsApp conversation window is closed";
    /// Another refusal of Twilio's.
    TwilioRefused = "twilio_refused", 422, "Twilio refused the message";
    /// 20003.
    TwilioCredentialsRejected = "twilio_credentials_rejected", 502, "Twilio rejected the credentials";
    /// No connection.
    TwilioUnreachable = "twilio_unreachable", 502, "Twilio cannot be reached";
    /// 21408, by our own list.
    CountryNotAllowed = "country_not_allowed", 422, "Nothing is sent to this country";
    /// Premium rate, satellite and the like.
    NumberTypeNotAllowed = "number_type_not_allowed", 422, "Nothing is sent to numbers of this kind";
    /// As much waits as may.
    QueueFull = "queue_full", 429, "The queue is full";
    /// One of a burst of first messages to neighbouring numbers.
    SuspiciousTraffic = "suspicious_traffic", 429, "The message is one of a suspicious burst";
    /// The day's limit.
    DailyLimitReached = "daily_limit_reached", 429, "The limit of messages per day is reached";
    /// The recipient was sent to a short time ago.
    RecipientCoolingDown = "recipient_cooling_down", 429, "The recipient was sent to a short time ago";
    /// Events behind the cursor have been taken away.
    HistoryLost = "history_lost", 410, "Events have been removed";
    /// Too many requests of one caller.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// As many live streams as there may be.
    TooManyStreams = "too_many_streams", 429, "Too many live streams are open";
    /// 429, and for too long.
    RateLimitedByTwilio = "rate_limited_by_twilio", 503, "Twilio limits the rate of requests";
    /// Saved with a master key that is not there any more.
    SettingsUnreadable = "settings_unreadable", 503, "The saved settings cannot be opened";
    /// No store.
    StoreUnavailable = "store_unavailable", 503, "The store is unavailable";
    /// Another store than the one that was known, or one that has lost changes of consent.
    StoreNotKnown = "store_not_known", 503, "The store is not the known one";
}

/// A failure, as it is answered.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: String,
    mend: String,
    twilio_code: Option<u32>,
    retry_after_s: Option<u64>,
    errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Problem {
    /// A failure of kind `code`, with what happened and what to do about it.
    pub fn new(code: Code, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            mend: mend.into(),
            twilio_code: None,
            retry_after_s: None,
            errors: Vec::new(),
        }
    }

    /// The kind.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What happened.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When it may be tried again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_s.map(Duration::from_secs)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(
            Code::Unauthorized,
            "the request has no valid bearer token",
            "send Authorization: Bearer TOKEN; textledger token --role sender prints one",
        )
    }

    /// 403.
    pub fn forbidden(role: Role) -> Self {
        Self::new(
            Code::Forbidden,
            format!("the role {} may not do this", role.as_str()),
            "use a token with a role that may: sender to send, viewer to read, admin to administer",
        )
    }

    /// 404.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            Code::NotFound,
            format!("{what} is not known"),
            "check the address, and that the token is for the right organization",
        )
    }

    /// 422 with each field that is wrong.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let names: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let detail = format!("invalid fields: {}", names.join(", "));
        Self { errors, ..Self::new(Code::ValidationFailed, detail, "correct the fields listed in errors") }
    }

    /// 422 with the first of many fields that are wrong.
    pub fn the_first_invalid_fields(errors: Vec<FieldError>) -> Self {
        let problem = Self::invalid_fields(errors);
        Self { detail: format!("{} and further ones", problem.detail), ..problem }
    }

    /// 422 with the one field that is wrong.
    pub fn invalid_field(field: &str, detail: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError { field: field.to_owned(), detail: detail.into() }])
    }

    /// 422 for a text that is no phone number.
    pub fn invalid_phone_number(error: InvalidPhoneNumber) -> Self {
        Self::new(
            Code::InvalidPhoneNumber,
            error.to_string(),
            "give the number in E.164 form: +, country code and number, such as +14155552671; \
             or set TEXTLEDGER_DEFAULT_REGION",
        )
    }

    /// The same, with the time after which it may be tried again, in whole seconds.
    pub fn retry_in(self, wait: Duration) -> Self {
        Self { retry_after_s: Some(wait.as_secs_f64().ceil().max(1.0) as u64), ..self }
    }

    fn twilio(self, twilio_code: Option<u32>) -> Self {
        Self { twilio_code, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).expect("the catalogue holds valid statuses")
    }

    fn error_response(&self) -> HttpResponse {
        let mut body = json!({
            "type": "about:blank",
            "title": self.code.title(),
            "status": self.code.status(),
            "detail": self.detail,
            "code": self.code.as_str(),
            "twilio_code": self.twilio_code,
            "mend": self.mend,
        });
        if !self.errors.is_empty() {
            body["errors"] = json!(self.errors);
        }
        let mut response = HttpResponse::build(self.status_code());
        if self.code == Code::Unauthorized {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        response.content_type("application/problem+json").body(body.to_string())
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        if let store::Error::NotKnown(_) = error {
            // The log tells when that begins and ends.
            let detail =
                "the store is not the one that this installation knew; /readyz tells what is another";
            let mend = "have the operator put the right store back, or run textledger store accept to use this one; until then \
                        nothing is sent, since it may not know who has opted out";
            return Self::new(Code::StoreNotKnown, detail, mend);
        }
        // The cause is for the operator; the caller learns only that trying again may help.
        tracing::error!(%error, "the store failed");
        let (detail, mend) = match error {
            store::Error::Unavailable(_) | store::Error::NotKnown(_) => {
                ("the store did not answer", "try again in a moment; the operator finds the cause in the log")
            }
            store::Error::Unreadable(_) => (
                "what is stored cannot be read",
                "have the operator look for the cause in the log: most often a master key is missing. What sends is asked for \
                 again with the same Idempotency-Key: with another one it would be sent twice",
            ),
        };
        Self::new(Code::StoreUnavailable, detail, mend)
    }
}

/// How a number is confirmed.
const CONFIRM_NUMBER: &str = "send the code that the number was sent to POST /api/sms/preferences/confirm; PUT \
                              /api/sms/preferences with phone_number sends a new one";

/// What to do about a person who has opted out.
const OPT_IN_AGAIN: &str = "do not send; the recipient can opt in again by writing START to the sender";

/// What to do about a person who has not opted in, where that is needed.
const OPT_IN_FIRST: &str = "do not send; the recipient can opt in by writing JOIN or START, or an administrator records \
    their opt-in with POST /api/sms/consent; which messages need one is set by TEXTLEDGER_REQUIRE_OPT_IN";

/// 409 for a person who must not be sent to on `channel`, by `sender` if one is named.
pub fn no_consent(reason: NoConsent, channel: Channel, sender: Option<&Sender>) -> Problem {
    match reason {
        NoConsent::OptedOut => {
            let detail = format!("the recipient has opted out of {channel}");
            Problem::new(Code::RecipientOptedOut, detail, OPT_IN_AGAIN)
        }
        NoConsent::NotOptedIn => {
            let detail = format!("the recipient has not opted in to {channel}, which this message needs");
            Problem::new(Code::OptInRequired, detail, OPT_IN_FIRST)
        }
        NoConsent::BlockedByTwilio => {
            let sender = sender.map_or_else(|| "the sender".to_owned(), Sender::to_twilio);
            let detail = format!(
                "Twilio blocks {channel} messages from {sender} to the recipient, who sent STOP to it"
            );
            let mend = format!(
                "send from another sender, or do not send; the recipient must text START to {sender}, since nobody else \
                 can lift Twilio's block"
            );
            Problem::new(Code::RecipientOptedOut, detail, mend)
        }
    }
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        let detail = error.to_string();
        match error {
            RecordError::OptedOutByPerson(_) => Self::new(
                Code::OptedOutByPerson,
                detail,
                "have the person write START or JOIN to the sender; or have an administrator record the opt-in with \
                 evidence, which says how the person agreed since",
            ),
            RecordError::Store(error) => error.into(),
        }
    }
}

impl From<NoPageUrl> for Problem {
    fn from(error: NoPageUrl) -> Self {
        Self::new(
            Code::PublicUrlNotConfigured,
            error.to_string(),
            "have the operator set TEXTLEDGER_PUBLIC_URL to the URL at which people's browsers reach the service",
        )
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let detail = error.to_string();
        match error {
            KeyError::Unknown => {
                Self::new(Code::NotFound, detail, "list the API keys with GET /api/sms/api-keys")
            }
            KeyError::TooMany => Self::new(
                Code::TooManyApiKeys,
                detail,
                "revoke those that are not used any more: GET /api/sms/api-keys tells when each was used last",
            ),
            KeyError::Store(error) => error.into(),
        }
    }
}

impl From<TrafficError> for Problem {
    fn from(error: TrafficError) -> Self {
        match error {
            TrafficError::TooMany(error) => Self::new(
                Code::TooManyTrafficDecisions,
                error.to_string(),
                "decide on a shorter prefix, or end those that are not needed: GET /api/sms/suspicious-traffic lists them",
            ),
            TrafficError::Store(error) => error.into(),
        }
    }
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        let detail = error.to_string();
        match error {
            ReviewError::Unknown => Self::new(
                Code::ReviewNotFound,
                detail,
                "list the open reviews with GET /api/sms/consent/reviews",
            ),
            ReviewError::Over(_) => Self::new(
                Code::ReviewDecided,
                detail,
                "see what is known of the person with GET /api/sms/consent/{phone}; to change it, POST /api/sms/consent",
            ),
            ReviewError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::NoConsent { reason, channel } => no_consent(reason, channel, None),
            ChangeError::NumberTaken => Self::new(
                Code::PhoneNumberTaken,
                detail,
                "give another number, or have an administrator take it out of the other user's preferences",
            ),
            ChangeError::NumberUnconfirmed => Self::new(Code::NumberNotConfirmed, detail, CONFIRM_NUMBER),
            ChangeError::TooOften => {
                let mend = "turning a channel off always works; for anything else come back a day later, or ask an administrator";
                Self::new(Code::RateLimited, detail, mend).retry_in(OWN_CHANGES_PERIOD)
            }
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<CodeError> for Problem {
    fn from(error: CodeError) -> Self {
        let detail = error.to_string();
        match error {
            CodeError::TooMany => {
                let mend = "use the last code, or ask for another one an hour later";
                Self::new(Code::RateLimited, detail, mend).retry_in(SENT_PERIOD)
            }
            CodeError::Send(error) => error.into(),
            CodeError::Store(error) => error.into(),
        }
    }
}

impl From<ConfirmError> for Problem {
    fn from(error: ConfirmError) -> Self {
        let detail = error.to_string();
        match error {
            ConfirmError::NotExpected | ConfirmError::Wrong { .. } => {
                Self::new(Code::NumberNotConfirmed, detail, CONFIRM_NUMBER)
            }
            ConfirmError::Refused(error) => error.into(),
            ConfirmError::Store(error) => error.into(),
        }
    }
}

impl From<Unopened> for Problem {
    fn from(unopened: Unopened) -> Self {
        Self::new(
            Code::SettingsUnreadable,
            unopened.to_string(),
            "have the operator put the former key back into TEXTLEDGER_MASTER_KEY, behind the first; or save account_sid \
             and auth_token anew",
        )
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unopened(unopened) => unopened.into(),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<SaveError> for Problem {
    fn from(error: SaveError) -> Self {
        let detail = error.to_string();
        match error {
            SaveError::Invalid(faults) => Self::invalid_fields(
                faults.into_iter().map(|Fault { field, detail }| FieldError { field, detail }).collect(),
            ),
            SaveError::AccountInUse => Self::new(
                Code::AccountInUse,
                detail,
                "use an account or subaccount of your own, or have the other organization save another one first",
            ),
            SaveError::Unopened(unopened) => unopened.into(),
            SaveError::Store(error) => error.into(),
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::NotConfigured => Self::new(
                Code::TwilioNotConfigured,
                error.to_string(),
                "save the account with POST /api/sms/settings, or set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN and \
                 start the service again; settings that GET /api/sms/settings shows as unverified are used once Twilio has \
                 accepted their token",
            ),
            AccountError::Twilio(error) => Self::from_twilio(&error),
        }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        let detail = error.to_string();
        match error {
            SendError::NotConfigured => AccountError::NotConfigured.into(),
            SendError::NoSender(channel) => Self::new(
                Code::TwilioNotConfigured,
                detail,
                match channel {
                    Channel::Whatsapp => {
                        "save whatsapp_number with POST /api/sms/settings, or name from_number or messaging_service_sid"
                    }
                    Channel::Sms | Channel::Rcs => {
                        "save phone_number or messaging_service_sid with POST /api/sms/settings, or name one in the request"
                    }
                },
            ),
            SendError::NoConsent { reason, channel, sender, twilio_code } => {
                no_consent(reason, channel, sender.as_ref()).twilio(twilio_code)
            }
            SendError::DailyLimit { .. } => {
                Self::new(Code::DailyLimitReached, detail, mend(Code::DailyLimitReached))
            }
            SendError::CoolingDown { until } => Self::new(
                Code::RecipientCoolingDown,
                detail,
                format!("send it again at {}, or lower TEXTLEDGER_RECIPIENT_COOLDOWN", super::time(until)),
            ),
            SendError::CatchingUp => Self::new(
                Code::StoreUnavailable,
                detail,
                "try again in a moment; /readyz tells how much is still to be stored",
            ),
            SendError::WordPutAside => Self::new(
                Code::StoreUnavailable,
                detail,
                "have the operator look into the log for what is put aside, and try again then; others can be sent to",
            ),
            SendError::Store(error) => error.into(),
            SendError::Refused { code, twilio_code, .. } => {
                let code = Code::from(code);
                let described = twilio_code.and_then(|code| ErrorCode::new(code).describe());
                let mend = described.map_or_else(|| mend(code), |described| described.mend);
                Self::new(code, detail, mend).twilio(twilio_code)
            }
            SendError::Twilio(error) => AccountError::Twilio(error).into(),
        }
    }
}

impl Problem {
    fn from_twilio(error: &client::Error) -> Self {
        let code = match (error, error.twilio_code()) {
            (client::Error::Unreachable { .. }, _) => Code::TwilioUnreachable,
            (client::Error::RateLimited(_), _) => Code::RateLimitedByTwilio,
            (client::Error::Refused(_), _) if error.outcome() == client::Outcome::NotProcessed => {
                Code::RateLimitedByTwilio
            }
            (client::Error::CredentialsRejected(_), _) => Code::TwilioCredentialsRejected,
            (_, Some(21608)) => Code::UnverifiedNumber,
            (_, Some(21408)) => Code::GeoPermission,
            (_, Some(63015)) => Code::WhatsappNotJoined,
            (_, Some(63016)) => Code::WhatsappWindowClosed,
            (_, Some(21211 | 21614)) => Code::InvalidPhoneNumber,
            // A send never ends so: it is not known then whether the message goes out.
            (
                client::Error::Failed(_)
                | client::Error::TimedOut
                | client::Error::Interrupted { .. }
                | client::Error::Unreadable { .. },
                _,
            ) => Code::TwilioUnreachable,
            _ => Code::TwilioRefused,
        };
        let described = error.twilio_code().and_then(|code| ErrorCode::new(code).describe());
        let mend = described.map_or_else(|| mend(code), |described| described.mend);
        let problem = Self::new(code, error.to_string(), mend).twilio(error.twilio_code());
        match error.retry_after() {
            Some(wait) => problem.retry_in(wait),
            None => problem,
        }
    }
}

/// What to do about a call to Twilio that did not succeed.
pub fn mend_of(error: &client::Error) -> String {
    Problem::from_twilio(error).mend
}

/// What to do about a message that was refused before Twilio had it.
pub fn mend_of_refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotAccepted => "send it again",
        refusal => mend(Code::from(refusal)),
    }
}

impl From<Refusal> for Code {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::RecipientOptedOut => Code::RecipientOptedOut,
            Refusal::OptInRequired => Code::OptInRequired,
            Refusal::RecipientUnreachable => Code::RecipientUnreachable,
            Refusal::CountryNotAllowed => Code::CountryNotAllowed,
            Refusal::NumberTypeNotAllowed => Code::NumberTypeNotAllowed,
            Refusal::SuspiciousTraffic => Code::SuspiciousTraffic,
            Refusal::QueueFull => Code::QueueFull,
            Refusal::RecipientCoolingDown => Code::RecipientCoolingDown,
            Refusal::DailyLimitReached => Code::DailyLimitReached,
            Refusal::TwilioUnreachable => Code::TwilioUnreachable,
            Refusal::RateLimitedByTwilio => Code::RateLimitedByTwilio,
            Refusal::TwilioCredentialsRejected => Code::TwilioCredentialsRejected,
            Refusal::NotAccepted | Refusal::TwilioRefused => Code::TwilioRefused,
        }
    }
}

/// What to do about a failed call of which Twilio gave no code.
fn mend(code: Code) -> &'static str {
    match code {
        Code::TwilioUnreachable => "check the network, and TWILIO_API_BASE_URL, and try again",
        Code::RecipientOptedOut => OPT_IN_AGAIN,
        Code::OptInRequired => OPT_IN_FIRST,
        Code::RecipientUnreachable => {
            "ask the person for another number, or use another channel; GET /api/sms/suppressions tells what has failed, and DELETE \
             /api/sms/suppressions/{phone} lifts it if the number is good"
        }
        Code::CountryNotAllowed => {
            "have the operator list the country in TEXTLEDGER_COUNTRIES, such as US,CA,GB, or all; by default SMS goes to \
             the countries of the senders and of TEXTLEDGER_DEFAULT_REGION"
        }
        Code::NumberTypeNotAllowed => "give a number at which a person takes messages",
        Code::SuspiciousTraffic => {
            "look whether strangers ask for these messages; if they are good, have an administrator release the block with \
             POST /api/sms/suspicious-traffic/{prefix}, and send again"
        }
        Code::QueueFull => {
            "wait until something of the queue has left, call off batches that are not needed, or have the operator raise \
             TEXTLEDGER_QUEUE_MAX or TEXTLEDGER_QUEUE_BYTES_MAX"
        }
        Code::DailyLimitReached => {
            "send as many as are left, and the rest on another day (UTC); or raise TEXTLEDGER_DAILY_LIMIT, or for one caller \
             TEXTLEDGER_DAILY_LIMIT_PER_KEY or the daily_limit of its API key"
        }
        Code::RateLimitedByTwilio => "repeat the request after a pause, and send more slowly",
        Code::TwilioCredentialsRejected => {
            "compare the account SID, the token and the API key in /api/sms/settings with Twilio's console"
        }
        _ => "look the code up in Twilio's error dictionary",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_have_error_statuses() {
        let mut codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert!(codes.iter().all(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        assert!(Code::ALL.iter().all(|code| (400..600).contains(&code.status())));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Code::ALL.len());
    }
}
