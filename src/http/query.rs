//! Reads the query of a URL. What is wrong with it names its field.

use actix_web::HttpRequest;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::{
    domain::UnixMs,
    phone,
    twilio::{BareAddress, address::InvalidAddress},
};

/// The query of `request`.
pub fn read<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let pairs = form_urlencoded::parse(request.query_string().as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let path = error.path().to_string();
        // A name is the caller's own text; a long one is not repeated. One that is given twice has no path.
        let field: String = if path == "." { "query".to_owned() } else { path.chars().take(64).collect() };
        Problem::invalid_field(&field, error.into_inner().to_string())
    })
}

/// How many entries a page may have: `given`, from 1 to `max`.
pub fn limit(given: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    let limit = given.unwrap_or(default);
    if (1..=max).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::invalid_field("limit", format!("must be a whole number from 1 to {max}")))
    }
}

/// A time in RFC 3339.
pub fn time(field: &str, text: &str) -> Result<UnixMs, Problem> {
    let time = text.parse::<jiff::Timestamp>().ok();
    time.and_then(UnixMs::from_timestamp).ok_or_else(|| {
        Problem::invalid_field(field, "must be a time in RFC 3339, such as 2026-01-31T09:00:00Z")
    })
}

/// A recipient as messages name it: a number in E.164, else the address as it was given.
pub fn person(typed: &str, region: Option<phone::Region>) -> Result<BareAddress, Problem> {
    // A form-encoded query turns a `+` that is not escaped into a blank.
    let bare = typed.strip_prefix("whatsapp:").unwrap_or(typed);
    let plus = bare.strip_prefix(' ').map(|digits| format!("+{digits}"));
    let bare = plus.as_deref().unwrap_or(bare);
    phone::normalize(bare, region)
        .or_else(|_| bare.parse())
        .map_err(|error: InvalidAddress| Problem::invalid_field("to", error.to_string()))
}
