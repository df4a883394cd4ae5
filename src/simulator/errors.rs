//! How the API says no: an HTTP status, Twilio's code and a text, as Twilio's JSON.
//!
//! Sources: <https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions>,
//! <https://www.twilio.com/docs/api/errors>.

use serde_json::{Value, json};

use crate::twilio::Address;

/// A refusal by the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status of the answer.
    pub http_status: u16,
    /// Twilio's error code.
    pub code: u32,
    /// What is wrong, in Twilio's words.
    pub message: String,
}

impl ApiError {
    /// The request is wrong: HTTP 400.
    pub fn bad_request(code: u32, message: impl Into<String>) -> Self {
        Self { http_status: 400, code, message: message.into() }
    }

    /// The credentials are missing, wrong, or another account's.
    pub fn not_authenticated() -> Self {
        Self { http_status: 401, code: 20003, message: "Authenticate".to_owned() }
    }

    /// There is nothing at `path`.
    pub fn not_found(path: &str) -> Self {
        let message = format!("The requested resource {path} was not found");
        Self { http_status: 404, code: 20404, message }
    }

    /// The path does not take this method.
    pub fn method_not_allowed() -> Self {
        Self { http_status: 405, code: 20004, message: "Method not allowed".to_owned() }
    }

    /// Too many requests at once, or no room for another message. Nothing was done.
    pub fn too_many_requests() -> Self {
        Self { http_status: 429, code: 20429, message: "Too Many Requests".to_owned() }
    }

    /// The account is not active.
    pub fn suspended() -> Self {
        Self { http_status: 403, code: 20005, message: "Account is not active".to_owned() }
    }

    /// As many messages wait for the sender as may.
    pub fn queue_full(from: &Address) -> Self {
        let reason = "has exceeded the maximum number of queued messages";
        Self::bad_request(21611, format!("This 'From' number {} {reason}", from.to_twilio()))
    }

    /// Twilio failed. Nothing was done, but a client can not know that.
    pub fn internal() -> Self {
        let message = "An internal server error has occurred".to_owned();
        Self { http_status: 500, code: 20500, message }
    }

    /// The body of the answer.
    pub fn to_json(&self) -> Value {
        json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.http_status,
        })
    }
}

/// What a message's `error_message` says of the code it ended with; `None` for a code without a text here.
pub fn delivery_error_text(code: u32) -> Option<&'static str> {
    Some(match code {
        21610 => "Attempt to send to unsubscribed recipient",
        30001 => "Queue overflow",
        30002 => "Account suspended",
        30003 => "Unreachable destination handset",
        30004 => "Message blocked",
        30005 => "Unknown destination handset",
        30006 => "Landline or unreachable carrier",
        30007 => "Message filtered",
        30008 => "Unknown error",
        30022 => "US A2P 10DLC - Rate Limits Exceeded",
        30032 => "Toll-Free Number Has Not Been Verified",
        30034 => "US A2P 10DLC - Message from an Unregistered Number",
        30036 => "Validity Period Expired",
        30410 => "Provider Timeout Error",
        30450 => "Message delivery blocked",
        30500 => "Twilio Internal Error",
        63003 => "Channel could not find To address",
        63007 => "Twilio could not find a Channel with the specified From address",
        63010 => "Channels - Twilio Internal error",
        63013 => "Message send failed due to violation of Channel provider's policy",
        63014 => "Message delivery failed because it was blocked by a user action",
        63015 => "Channel Sandbox can only send messages to phone numbers that have joined the Sandbox",
        63016 => "Failed to send freeform message because you are outside the allowed window",
        63018 => "Rate limit exceeded for Channel",
        63024 => "Invalid message recipient",
        63032 => "User's number is part of an experiment",
        63033 => "Recipient opted out of marketing messages",
        63049 => "Meta chose not to deliver this marketing message",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_twilios_four_fields_and_their_types() {
        assert_eq!(
            ApiError::not_authenticated().to_json(),
            json!({
                "code": 20003,
                "message": "Authenticate",
                "more_info": "https://www.twilio.com/docs/errors/20003",
                "status": 401,
            })
        );
    }
}
