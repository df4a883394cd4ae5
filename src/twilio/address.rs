//! Who a message is from or to: a channel, and the address on it.
//!
//! Twilio writes the channel as a prefix (`whatsapp:+14155550100`, `rcs:brand_agent`); without one it is SMS or
//! MMS. What follows need not be a phone number: short codes, alphanumeric senders and WhatsApp business-scoped
//! user ids (`whatsapp:CO.899759302823042`) occur, and are kept as they are.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource>.

use std::{fmt, ops::Deref, str::FromStr};

use serde::{Deserialize, Serialize};

use super::limits::SHORT_CODE_DIGITS;

/// The longest address that is taken, in bytes: a WhatsApp user id has up to 128 letters after its country.
pub const ADDRESS_BYTES_MAX: usize = 160;

/// Where a message travels. MMS counts as [`Channel::Sms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// SMS and MMS.
    Sms,
    /// WhatsApp.
    Whatsapp,
    /// RCS.
    Rcs,
}

impl Channel {
    /// `sms`, `whatsapp` or `rcs`.
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Sms => "sms",
            Channel::Whatsapp => "whatsapp",
            Channel::Rcs => "rcs",
        }
    }

    /// Reads what [`Channel::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Channel::Sms, Channel::Whatsapp, Channel::Rcs].into_iter().find(|channel| channel.as_str() == text)
    }

    fn prefix(self) -> &'static str {
        match self {
            Channel::Sms => "",
            Channel::Whatsapp => "whatsapp:",
            Channel::Rcs => "rcs:",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An address without its channel's prefix: a phone number, a short code, a sender's name, or a WhatsApp user's id.
/// It reads as its text; `Debug` masks the middle of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BareAddress(String);

/// An address on a channel. `Display` masks the middle of it; [`Address::to_twilio`] writes it whole.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    channel: Channel,
    bare: BareAddress,
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Nothing stands after the channel's prefix.
    #[error("the address is empty")]
    Empty,
    /// Longer than [`ADDRESS_BYTES_MAX`].
    #[error("the address is longer than {ADDRESS_BYTES_MAX} bytes")]
    TooLong,
    /// It holds a control character.
    #[error("the address holds a control character")]
    ControlCharacter,
}

impl BareAddress {
    /// The address on `channel`.
    pub fn on(self, channel: Channel) -> Address {
        Address { channel, bare: self }
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for BareAddress {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for BareAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for BareAddress {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        if text.is_empty() {
            Err(InvalidAddress::Empty)
        } else if text.len() > ADDRESS_BYTES_MAX {
            Err(InvalidAddress::TooLong)
        } else if text.chars().any(char::is_control) {
            Err(InvalidAddress::ControlCharacter)
        } else {
            Ok(Self(text))
        }
    }
}

impl From<BareAddress> for String {
    fn from(address: BareAddress) -> String {
        address.0
    }
}

impl fmt::Debug for BareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(self))
    }
}

impl Address {
    /// Reads an address as Twilio writes it, prefix and all.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let (channel, bare) = match text.split_once(':') {
            Some(("whatsapp", bare)) => (Channel::Whatsapp, bare),
            Some(("rcs", bare)) => (Channel::Rcs, bare),
            _ => (Channel::Sms, text),
        };
        Self::new(channel, bare)
    }

    /// The address `bare` (without a prefix) on `channel`.
    pub fn new(channel: Channel, bare: &str) -> Result<Self, InvalidAddress> {
        Ok(bare.parse::<BareAddress>()?.on(channel))
    }

    /// The channel.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// The address without its channel's prefix.
    pub fn bare(&self) -> &BareAddress {
        &self.bare
    }

    /// The address as Twilio takes it, prefix and all.
    pub fn to_twilio(&self) -> String {
        format!("{}{}", self.channel.prefix(), self.bare.as_str())
    }

    /// Whether this is a phone number in E.164: `+`, then 7 to 15 digits of which the first is not 0.
    pub fn is_e164(&self) -> bool {
        is_e164(&self.bare)
    }
}

/// Whether `text` is a phone number in E.164 form: `^\+[1-9]\d{6,14}$`.
pub fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// What toll-free numbers of the United States and Canada begin with.
const TOLL_FREE: [&str; 7] = ["+1800", "+1833", "+1844", "+1855", "+1866", "+1877", "+1888"];

/// Whether `text` is a toll-free number of the United States or Canada, in E.164 form.
pub fn is_toll_free(text: &str) -> bool {
    text.len() == "+18005550100".len() && is_e164(text) && TOLL_FREE.iter().any(|area| text.starts_with(area))
}

/// Whether `text` is a short code: digits alone, as many as [`SHORT_CODE_DIGITS`] says.
pub fn is_short_code(text: &str) -> bool {
    SHORT_CODE_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `text` is WhatsApp's name for a user whose number is not shown: `CO.899759302823042`.
pub fn is_whatsapp_user_id(text: &str) -> bool {
    text.split_once('.').is_some_and(|(country, id)| {
        country.len() == 2
            && country.bytes().all(|byte| byte.is_ascii_uppercase())
            && !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
    })
}

/// `text` with its middle masked, for logs: `+1415***2671`. Three characters or more are hidden: of a number that is
/// all but written out, the rest is soon tried. Up to six characters are masked whole.
pub fn mask(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let (head, tail) = match characters.len() {
        0..=6 => (0, 0),
        7..=9 => (2, 2),
        10 => (4, 3),
        11 => (4, 4),
        _ => (5, 4),
    };
    let mut masked: String = characters[..head].iter().collect();
    masked.push_str("***");
    masked.extend(&characters[characters.len() - tail..]);
    masked
}

/// `text` with the middle of everything in it that looks like a phone number masked, for logs and errors.
///
/// That is seven digits or more in a row, with or without a `+`; up to two spaces, dashes, dots or brackets
/// between them do not hide them. Digits inside a longer word, such as a SID, are left alone.
pub fn mask_numbers(text: &str) -> String {
    const DIGITS_MIN: usize = 7;
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside_a_word = masked.ends_with(|before: char| before.is_alphabetic());
        let (number, length) = leading_number(rest);
        let digits = number.bytes().filter(u8::is_ascii_digit).count();
        if digits >= DIGITS_MIN && !(inside_a_word && first.is_ascii_digit()) {
            masked.push_str(&mask(&number));
            rest = &rest[length..];
        } else {
            // Step over a run of digits as a whole, so that its tail is not taken for a number of its own.
            let step = rest.bytes().take_while(u8::is_ascii_digit).count().max(first.len_utf8());
            masked.push_str(&rest[..step]);
            rest = &rest[step..];
        }
    }
    masked
}

/// The number `text` starts with, without what separates its digits, and its length in `text` in bytes.
fn leading_number(text: &str) -> (String, usize) {
    let mut number = String::new();
    let mut length = 0;
    for (at, character) in text.char_indices() {
        match character {
            '+' if at == 0 => number.push('+'),
            '0'..='9' => {
                number.push(character);
                length = at + 1;
            }
            ' ' | '-' | '.' | '(' | ')' if at > 0 && at < length + 2 => {}
            _ => break,
        }
    }
    (number, length)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.channel.prefix(), mask(&self.bare))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_the_channel_and_the_rest_is_kept() {
        for (text, channel, bare) in [
            ("+14155550100", Channel::Sms, "+14155550100"),
            ("whatsapp:+14155550100", Channel::Whatsapp, "+14155550100"),
            ("whatsapp:CO.899759302823042", Channel::Whatsapp, "CO.899759302823042"),
            ("rcs:brand_agent", Channel::Rcs, "brand_agent"),
            ("12345", Channel::Sms, "12345"),
            ("ACME Ltd", Channel::Sms, "ACME Ltd"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.channel(), address.bare().as_str()), (channel, bare));
            assert_eq!(address.to_twilio(), text);
        }
        assert_eq!(Address::parse("whatsapp:"), Err(InvalidAddress::Empty));
        assert_eq!(Address::parse("a\nb"), Err(InvalidAddress::ControlCharacter));
        assert_eq!(Address::parse(&"1".repeat(161)), Err(InvalidAddress::TooLong));
    }

    #[test]
    fn e164_is_a_plus_and_seven_to_fifteen_digits() {
        for (text, is) in [
            ("+14155550100", true),
            ("+1234567", true),
            ("+123456", false),
            ("+0123456789", false),
            ("14155550100", false),
            ("+1415555010x", false),
            ("+1234567890123456", false),
        ] {
            assert_eq!(is_e164(text), is, "{text}");
        }
    }

    #[test]
    fn toll_free_numbers_are_of_north_america() {
        for (text, is) in [
            ("+18005550199", true),
            ("+18885550199", true),
            ("+18105550199", false),
            ("+1800555019", false),
            ("+448005550199", false),
            ("18005550199", false),
        ] {
            assert_eq!(is_toll_free(text), is, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_masked() {
        let address = Address::parse("whatsapp:+14155552671").unwrap();
        assert_eq!(address.to_string(), "whatsapp:+1415***2671");
        assert_eq!(format!("{address:?}"), "whatsapp:+1415***2671");
        assert_eq!(mask("12345"), "***");
        assert_eq!(mask("é"), "***");
    }

    /// Found by the fuzz target `address`: of ten characters nine were shown.
    #[test]
    fn a_mask_hides_three_characters_or_more() {
        for (text, masked) in [
            ("123456", "***"),
            ("5552671", "55***71"),
            ("155526710", "15***10"),
            ("4155552671", "4155***671"),
            ("14155552671", "1415***2671"),
            ("+14155552671", "+1415***2671"),
            ("+491555526712", "+4915***6712"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    #[test]
    fn numbers_within_a_text_are_masked() {
        let sid = "SM01234567890123456789012345678901";
        for (text, masked) in [
            ("The 'To' number +14155552671 is not valid.", "The 'To' number +1415***2671 is not valid."),
            ("to 14155552671, from +15005550006", "to 1415***2671, from +1500***0006"),
            ("+1 (415) 555-2671", "+1415***2671"),
            ("415.555.2671!", "4155***671!"),
            ("whatsapp:+14155552671", "whatsapp:+1415***2671"),
            ("tel+14155552671", "tel+1415***2671"),
            ("5552671", "55***71"),
            ("see https://twilio.com/docs/errors/21211", "see https://twilio.com/docs/errors/21211"),
            (sid, sid),
            ("1600 characters, 160 each", "1600 characters, 160 each"),
            ("é +14155552671 é", "é +1415***2671 é"),
            ("", ""),
        ] {
            assert_eq!(mask_numbers(text), masked);
        }
    }
}
