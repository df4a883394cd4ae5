//! What can still be done to a message: cancel it while it is scheduled, take its text away, delete it.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource#update-a-message-resource>.

use super::errors::ApiError;
use crate::twilio::Form;

/// What a request to update a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Not to send it.
    Cancel,
    /// To forget its text.
    Redact,
    /// Nothing: the message is answered as it is.
    Nothing,
}

impl Change {
    /// Reads the parameters of a request.
    pub fn read(form: &Form<'_>) -> Result<Self, ApiError> {
        let invalid = |reason: &str| ApiError::bad_request(20422, reason);
        match (form.get("Status").as_deref(), form.get("Body").as_deref()) {
            (Some("canceled"), None) => Ok(Change::Cancel),
            (Some("canceled"), Some(_)) => Err(invalid("'Status' and 'Body' cannot be changed together")),
            (Some(_), _) => Err(invalid("'Status' can only be changed to 'canceled'")),
            (None, Some("")) => Ok(Change::Redact),
            (None, Some(_)) => Err(invalid("'Body' can only be changed to an empty text")),
            (None, None) => Ok(Change::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_can_be_canceled_or_redacted_and_nothing_else() {
        let read = |form: &str| Change::read(&Form::parse(form.as_bytes())).map_err(|error| error.code);
        for (form, expected) in [
            ("", Ok(Change::Nothing)),
            ("Status=canceled", Ok(Change::Cancel)),
            ("Body=", Ok(Change::Redact)),
            ("Body=other", Err(20422)),
            ("Status=sent", Err(20422)),
            ("Status=canceled&Body=", Err(20422)),
        ] {
            assert_eq!(read(form), expected, "{form}");
        }
    }
}
