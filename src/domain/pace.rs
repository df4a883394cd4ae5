//! How fast a sender may send. Twilio's limits count segments; what is sent faster waits at Twilio, where a STOP no
//! longer reaches it, or is refused.
//!
//! Source: <https://help.twilio.com/articles/115002943027> and the contract of this service.

use std::{str::FromStr, time::Duration};

use super::Sender;
use crate::twilio::{Channel, address::is_toll_free};

/// Segments per second of a sender with an ordinary number.
const LONG_CODE: f64 = 1.0;

/// Segments per second of a toll-free number of the United States and Canada.
const TOLL_FREE: f64 = 3.0;

/// Segments per second of a short code.
const SHORT_CODE: f64 = 100.0;

/// Segments per second of an alphanumeric sender.
const ALPHANUMERIC: f64 = 10.0;

/// Messages per second of a sender over WhatsApp.
const WHATSAPP: f64 = 80.0;

/// The slowest and the fastest pace that can be set.
const RANGE: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;

/// What stands for every sender over WhatsApp.
const ANY_WHATSAPP: &str = "whatsapp";

/// The pace of every sender: segments per second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pace {
    /// Of all that are not named.
    others: Option<f64>,
    /// By sender: a number, a messaging service, or `whatsapp`.
    named: Vec<(String, f64)>,
}

/// A text that names no pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("segments per second from 0.01 to 10000, such as 10, or a list such as +15005550006=10,whatsapp=80")]
pub struct InvalidPace;

impl FromStr for Pace {
    type Err = InvalidPace;

    fn from_str(text: &str) -> Result<Self, InvalidPace> {
        let mut pace = Pace::default();
        for entry in text.split(',').map(str::trim) {
            let (sender, rate) = match entry.split_once('=') {
                Some((sender, rate)) => (Some(sender.trim()).filter(|sender| !sender.is_empty()), rate),
                None => (None, entry),
            };
            let named = entry.contains('=');
            let rate: f64 = rate.trim().parse().map_err(|_| InvalidPace)?;
            if !RANGE.contains(&rate) || named != sender.is_some() {
                return Err(InvalidPace);
            }
            match sender {
                Some(sender) => pace.named.push((sender.to_owned(), rate)),
                None if pace.others.is_none() => pace.others = Some(rate),
                None => return Err(InvalidPace),
            }
        }
        Ok(pace)
    }
}

impl Pace {
    /// The time that one segment takes at `sender`; without one Twilio takes no message, and any pace will do.
    pub fn per_segment(&self, sender: Option<&Sender>) -> Duration {
        Duration::from_secs_f64(1.0 / sender.map_or(LONG_CODE, |sender| self.rate(sender)))
    }

    fn rate(&self, sender: &Sender) -> f64 {
        let named = |name: &str| self.named.iter().find(|(sender, _)| sender == name).map(|(_, rate)| *rate);
        let whatsapp = match sender {
            Sender::Address(address) if address.channel() == Channel::Whatsapp => Some(address.bare()),
            Sender::Address(_) | Sender::Service(_) => None,
        };
        named(&sender.to_twilio())
            .or_else(|| whatsapp.and_then(|number| named(number)))
            .or_else(|| whatsapp.and_then(|_| named(ANY_WHATSAPP)))
            .or(self.others)
            .unwrap_or_else(|| usual(sender))
    }
}

/// The pace of a sender of which nothing is set.
fn usual(sender: &Sender) -> f64 {
    let Sender::Address(address) = sender else { return LONG_CODE };
    let bare = address.bare();
    match address.channel() {
        Channel::Whatsapp => WHATSAPP,
        Channel::Rcs => LONG_CODE,
        Channel::Sms if is_toll_free(bare) => TOLL_FREE,
        Channel::Sms if bare.bytes().all(|byte| byte.is_ascii_digit()) => SHORT_CODE,
        Channel::Sms if bare.starts_with('+') || bare.contains(':') => LONG_CODE,
        Channel::Sms => ALPHANUMERIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_has_the_pace_of_its_kind_unless_one_is_set() {
        let ms = |pace: &str, sender: &str| {
            let pace: Pace = if pace.is_empty() { Pace::default() } else { pace.parse().unwrap() };
            pace.per_segment(Some(&sender.parse().unwrap())).as_micros() as f64 / 1_000.0
        };
        for (sender, expected) in [
            ("+15005550006", 1_000.0),
            ("+18005550100", 333.333),
            ("+4980012345", 1_000.0),
            ("12345", 10.0),
            ("ACME", 100.0),
            ("whatsapp:+15005550006", 12.5),
            ("MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1_000.0),
        ] {
            assert_eq!(ms("", sender), expected, "{sender}");
        }
        assert_eq!(ms("20", "+15005550006"), 50.0);
        assert_eq!(ms("20", "whatsapp:+15005550006"), 50.0);
        let list = "+15005550006=10, whatsapp=100, 4";
        assert_eq!(ms(list, "+15005550006"), 100.0);
        assert_eq!(ms(list, "whatsapp:+15005550001"), 10.0);
        assert_eq!(ms(list, "12345"), 250.0);
    }

    #[test]
    fn a_pace_that_is_none_is_refused() {
        for wrong in ["", "0", "-1", "x", "NaN", "inf", "1,2", "=3", "+1=", "1e9", "+1=0"] {
            assert!(wrong.parse::<Pace>().is_err(), "{wrong}");
        }
    }
}
