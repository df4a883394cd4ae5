//! What the document says of operations alike: what they are about, and how they fail.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder},
};

use crate::http::problem::Code;

/// The tag of every operation.
pub const TAG: &str = "SMS & WhatsApp";

macro_rules! subjects {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $description:literal;)+) => {
        $($(#[$doc])* pub const $constant: &str = $name;)+

        /// What operations are about, in the order in which a reader needs them.
        pub const SUBJECTS: &[(&str, &str)] = &[$(($name, $description)),+];
    };
}

subjects! {
    /// Sends.
    SENDING = "Sending", "One message, one to many, or a notice to users";
    /// Single messages.
    MESSAGES = "Messages", "What became of a message, and the history";
    /// Batches.
    BATCHES = "Batches", "How far a batch is, and calling it off";
    /// Events and numbers.
    EVENTS = "Events and statistics", "What happens, as it happens and in numbers";
    /// Consent.
    CONSENT = "Consent", "Who may be sent to, and how that came about";
    /// Preferences.
    PREFERENCES = "Preferences", "Which channels users want";
    /// Lookups.
    NUMBERS = "Numbers", "What a phone number is";
    /// Setup.
    SETUP = "Setup", "The account at Twilio, for administrators";
}

/// A failure: RFC 9457, with a stable code and what to do about it.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[allow(dead_code, reason = "it is read by its schema alone")]
pub struct ProblemDetails {
    #[schema(example = "about:blank")]
    r#type: String,
    title: String,
    status: u16,
    /// What happened.
    detail: String,
    /// The stable code.
    code: String,
    /// Twilio's code, where Twilio gave one.
    twilio_code: Option<u32>,
    /// What to do about it.
    mend: String,
    /// Each field that is wrong, with `validation_failed`.
    errors: Option<Vec<FieldFault>>,
}

/// What is wrong with one field.
#[derive(ToSchema)]
#[schema(as = FieldError)]
#[allow(dead_code, reason = "it is read by its schema alone")]
struct FieldFault {
    field: String,
    detail: String,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $statuses:expr;)+) => {
        $($(#[$doc])* pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                $statuses.iter().map(|status| (status.to_string(), problem(*status))).collect()
            }
        })+
    };
}

problems! {
    /// How a question can fail.
    ReadProblems = [401, 403, 404, 414, 422, 429, 503];
    /// How a change can fail.
    WriteProblems = [400, 401, 403, 404, 408, 409, 413, 414, 415, 422, 429, 503];
    /// How a send can fail.
    SendProblems = [400, 401, 403, 404, 408, 409, 413, 414, 415, 422, 429, 502, 503];
    /// How a question that needs an account at Twilio can fail.
    ConflictProblems = [409];
    /// How a question that goes on from a cursor can fail.
    GoneProblems = [410];
    /// How asking Twilio can fail.
    TwilioProblems = [409, 502, 503];
}

/// The answer of failures with `status`: which codes it can have.
fn problem(status: u16) -> RefOr<Response> {
    let of_status = Code::ALL.iter().filter(|code| code.status() == status);
    let codes: Vec<&str> = of_status.map(|code| code.as_str()).collect();
    let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new().description(codes.join(", "));
    response.content("application/problem+json", content).build().into()
}
