//! The limits of a message at Twilio.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource>.

use std::ops::RangeInclusive;

/// The most media files with one message.
pub const MEDIA_MAX: usize = 10;

/// How long a message may wait at Twilio, in seconds.
pub const VALIDITY_PERIOD_S: RangeInclusive<u32> = 1..=36_000;

/// The digits of a short code; how many it has depends on the country.
pub const SHORT_CODE_DIGITS: RangeInclusive<usize> = 3..=8;

/// The most characters of an alphanumeric sender. Source: <https://www.twilio.com/docs/glossary/what-alphanumeric-sender-id>.
pub const ALPHANUMERIC_SENDER_CHARACTERS_MAX: usize = 11;
