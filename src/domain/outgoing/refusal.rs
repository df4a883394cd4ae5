//! Why a message is not sent.

use serde::{Deserialize, Serialize};

use crate::domain::consent::NoConsent;

/// Twilio's code for a send to somebody who has opted out, and the nearest one for a person who never opted in. Source: <https://www.twilio.com/docs/api/errors/21610>.
const CODE_OPTED_OUT: u32 = 21610;

/// Twilio's code for a send to a country that is not enabled. Source: <https://www.twilio.com/docs/api/errors/21408>.
const CODE_COUNTRY: u32 = 21408;

/// Twilio's code for a send to a number that takes no messages. Source: <https://www.twilio.com/docs/api/errors/21614>.
const CODE_NUMBER_TYPE: u32 = 21614;

/// Twilio's code for too many requests. Source: <https://www.twilio.com/docs/api/errors/20429>.
const CODE_TOO_MANY: u32 = 20429;

/// Why a message is not sent. It is stored by its word, so a word never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The recipient has opted out.
    RecipientOptedOut,
    /// The recipient has not opted in, and the message needs that.
    OptInRequired,
    /// The number takes no messages on this channel: several in a row have failed for that.
    RecipientUnreachable,
    /// The number is of a country that nothing is sent to.
    CountryNotAllowed,
    /// The number is of a kind that nothing is sent to: premium rate, satellite and the like.
    NumberTypeNotAllowed,
    /// It is one of a burst of first messages to neighbouring numbers, and was held for as long as such a message is.
    SuspiciousTraffic,
    /// As many messages wait as may.
    QueueFull,
    /// The recipient was sent to a short time ago, and the pause lasts longer than a message is held.
    RecipientCoolingDown,
    /// The organization has sent as many messages today as it may.
    DailyLimitReached,
    /// Its batch was never accepted whole.
    NotAccepted,
    /// Twilio could not be reached, or never answered.
    TwilioUnreachable,
    /// Twilio wants fewer requests, and wanted that for too long.
    RateLimitedByTwilio,
    /// Twilio rejected the account's credentials.
    TwilioCredentialsRejected,
    /// Twilio refused the message.
    TwilioRefused,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 14] = [
        Refusal::RecipientOptedOut,
        Refusal::OptInRequired,
        Refusal::RecipientUnreachable,
        Refusal::CountryNotAllowed,
        Refusal::NumberTypeNotAllowed,
        Refusal::SuspiciousTraffic,
        Refusal::QueueFull,
        Refusal::RecipientCoolingDown,
        Refusal::DailyLimitReached,
        Refusal::NotAccepted,
        Refusal::TwilioUnreachable,
        Refusal::RateLimitedByTwilio,
        Refusal::TwilioCredentialsRejected,
        Refusal::TwilioRefused,
    ];

    /// The stable word, in what is stored and in what is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::RecipientOptedOut => "recipient_opted_out",
            Refusal::OptInRequired => "opt_in_required",
            Refusal::RecipientUnreachable => "recipient_unreachable",
            Refusal::CountryNotAllowed => "country_not_allowed",
            Refusal::NumberTypeNotAllowed => "number_type_not_allowed",
            Refusal::SuspiciousTraffic => "suspicious_traffic",
            Refusal::QueueFull => "queue_full",
            Refusal::RecipientCoolingDown => "recipient_cooling_down",
            Refusal::DailyLimitReached => "daily_limit_reached",
            Refusal::NotAccepted => "not_accepted",
            Refusal::TwilioUnreachable => "twilio_unreachable",
            Refusal::RateLimitedByTwilio => "rate_limited_by_twilio",
            Refusal::TwilioCredentialsRejected => "twilio_credentials_rejected",
            Refusal::TwilioRefused => "twilio_refused",
        }
    }

    /// What is wrong, without numbers or text.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::RecipientOptedOut => "the recipient has opted out",
            Refusal::OptInRequired => "the recipient has not opted in",
            Refusal::RecipientUnreachable => {
                "the number takes no messages: several in a row have failed for that"
            }
            Refusal::CountryNotAllowed => "nothing is sent to the country of this number",
            Refusal::NumberTypeNotAllowed => {
                "nothing is sent to numbers of this kind: premium rate, shared cost, satellite, pager and the like"
            }
            Refusal::SuspiciousTraffic => "it was one of a burst of first messages to neighbouring numbers",
            Refusal::QueueFull => "as many messages wait as may",
            Refusal::RecipientCoolingDown => "the recipient was sent to a short time ago",
            Refusal::DailyLimitReached => "the limit of messages per day is reached",
            Refusal::NotAccepted => "it was never accepted: its batch was broken off",
            Refusal::TwilioUnreachable => "Twilio never answered, and does not have the message",
            Refusal::RateLimitedByTwilio => "Twilio limits the rate of requests",
            Refusal::TwilioCredentialsRejected => "Twilio rejects the credentials",
            Refusal::TwilioRefused => "Twilio refuses the message",
        }
    }

    /// The code that Twilio has for what we refuse ourselves; `None` where Twilio has none, or gives its own.
    pub fn twilio_code(self) -> Option<u32> {
        match self {
            Refusal::RecipientOptedOut | Refusal::OptInRequired => Some(CODE_OPTED_OUT),
            Refusal::CountryNotAllowed => Some(CODE_COUNTRY),
            Refusal::NumberTypeNotAllowed | Refusal::RecipientUnreachable => Some(CODE_NUMBER_TYPE),
            Refusal::RecipientCoolingDown
            | Refusal::DailyLimitReached
            | Refusal::SuspiciousTraffic
            | Refusal::QueueFull => Some(CODE_TOO_MANY),
            Refusal::NotAccepted
            | Refusal::TwilioUnreachable
            | Refusal::RateLimitedByTwilio
            | Refusal::TwilioCredentialsRejected
            | Refusal::TwilioRefused => None,
        }
    }
}

impl From<NoConsent> for Refusal {
    fn from(reason: NoConsent) -> Self {
        match reason {
            NoConsent::OptedOut | NoConsent::BlockedByTwilio => Refusal::RecipientOptedOut,
            NoConsent::NotOptedIn => Refusal::OptInRequired,
        }
    }
}

/// Why nothing is sent to a number, whoever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAllowed {
    /// Its country.
    Country,
    /// What kind of number it is.
    NumberType,
}

impl From<NotAllowed> for Refusal {
    fn from(reason: NotAllowed) -> Self {
        match reason {
            NotAllowed::Country => Refusal::CountryNotAllowed,
            NotAllowed::NumberType => Refusal::NumberTypeNotAllowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_stored_by_its_word() {
        for refusal in Refusal::ALL {
            let stored = serde_json::to_value(refusal).unwrap();
            assert_eq!(stored, refusal.as_str());
            assert_eq!(serde_json::from_value::<Refusal>(stored).unwrap(), refusal);
        }
    }
}
