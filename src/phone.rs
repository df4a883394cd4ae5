//! Phone numbers as people type them, read into E.164.

pub mod countries;

use std::{fmt, str::FromStr};

use crate::twilio::{
    Address, BareAddress, Channel,
    address::{is_e164, is_short_code, is_whatsapp_user_id},
    limits::ALPHANUMERIC_SENDER_CHARACTERS_MAX,
};

/// A country, by its two-letter ISO 3166 code, whose numbers may be typed without `+`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Region(phonenumber::country::Id);

/// A text that is no country's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a country: expected two letters of ISO 3166, for example US")]
pub struct InvalidRegion;

impl FromStr for Region {
    type Err = InvalidRegion;

    fn from_str(text: &str) -> Result<Self, InvalidRegion> {
        text.to_ascii_uppercase().parse().map(Self).map_err(|_| InvalidRegion)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref())
    }
}

/// Why a text is no phone number that can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPhoneNumber {
    /// It starts with `+` and is not E.164.
    #[error("not a phone number in E.164 form")]
    NotE164,
    /// It does not start with `+` and no region is configured.
    #[error("a phone number without + needs a default region, and none is configured")]
    NoRegion,
    /// It is no number of the default region.
    #[error("not a phone number of the region {0:?}")]
    NotOfRegion(Region),
}

/// What may stand before an address on WhatsApp.
const WHATSAPP: &str = "whatsapp:";

/// The longest text that is read as a phone number, in bytes.
const TYPED_BYTES_MAX: usize = 64;

/// Country codes of which numbers begin with a zero abroad too: Italy, San Marino and the Vatican; Ivory Coast, Gabon
/// and the Congo. Everywhere else a zero in brackets is there for callers within the country.
const ZERO_STAYS: [&str; 6] = ["39", "378", "379", "225", "241", "242"];

/// The most digits of a country's code.
const COUNTRY_CODE_DIGITS_MAX: usize = 3;

/// Reads a phone number into E.164.
///
/// What starts with `+` is taken as it is once spaces, dots, dashes and brackets are gone: Twilio has the last word.
/// What does not is a number of `region`. A zero in brackets behind the country's code is dropped, and so is what cannot
/// be seen: numbers are copied out of web pages and address books, and both come along.
pub fn normalize(typed: &str, region: Option<Region>) -> Result<BareAddress, InvalidPhoneNumber> {
    // `whatsapp:+1…` is an address, and no number to guess a region for.
    if typed.len() > TYPED_BYTES_MAX || typed.contains(':') {
        return Err(InvalidPhoneNumber::NotE164);
    }
    let visible = typed.replace(is_invisible, "");
    let typed = visible.trim();
    if typed.is_empty() {
        return Err(InvalidPhoneNumber::NotE164);
    }
    if typed.starts_with('+') {
        let number = without_trunk_zero(typed).replace(separates_digits, "");
        return e164(number).ok_or(InvalidPhoneNumber::NotE164);
    }
    let region = region.ok_or(InvalidPhoneNumber::NoRegion)?;
    let not_of_region = InvalidPhoneNumber::NotOfRegion(region);
    let number = phonenumber::parse(Some(region.0), typed).map_err(|_| not_of_region)?;
    // What is not known to be a number may be one with the code of a country in front, by another country's habit.
    if !phonenumber::is_valid(&number) {
        return Err(not_of_region);
    }
    e164(number.format().mode(phonenumber::Mode::E164).to_string()).ok_or(not_of_region)
}

/// `+44 (0)20 7946 0958` without the zero; the same text if there is none that has to go.
fn without_trunk_zero(typed: &str) -> String {
    let kept = || typed.to_owned();
    let Some((before, behind)) = typed.split_once(['(', '[']) else { return kept() };
    let code = before.replace(|character| character == '+' || separates_digits(character), "");
    let is_code = (1..=COUNTRY_CODE_DIGITS_MAX).contains(&code.len());
    match behind.trim_start().strip_prefix('0') {
        Some(behind) if is_code && !ZERO_STAYS.contains(&code.as_str()) => format!("{before}({behind}"),
        _ => kept(),
    }
}

/// Whether people write `character` between the digits of a number.
fn separates_digits(character: char) -> bool {
    matches!(character, '.' | '-' | '(' | ')' | '[' | ']' | '\u{2010}'..='\u{2015}' | '\u{2212}')
        || (character.is_whitespace() && !character.is_control())
}

/// Whether `character` takes no place in a text: marks of direction, joiners, the soft hyphen, the byte order mark.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

/// Reads the address of a person: a number as [`normalize`] reads it, a short code, or a WhatsApp user id; with or without
/// WhatsApp's prefix.
pub fn person(typed: &str, region: Option<Region>) -> Result<BareAddress, InvalidPhoneNumber> {
    let bare = typed.trim();
    let bare = bare.strip_prefix(WHATSAPP).unwrap_or(bare);
    number_or(bare, region, |text| is_short_code(text) || is_whatsapp_user_id(text))
}

/// Reads a recipient over `channel`: a number; over SMS a short code too, over WhatsApp a user id, and either with or
/// without the channel's prefix.
pub fn recipient(
    channel: Channel,
    typed: &str,
    region: Option<Region>,
) -> Result<Address, InvalidPhoneNumber> {
    let bare = typed.trim();
    let bare = bare.strip_prefix(WHATSAPP).filter(|_| channel == Channel::Whatsapp).unwrap_or(bare);
    let is_taken = match channel {
        Channel::Sms => is_short_code,
        Channel::Whatsapp => is_whatsapp_user_id,
        Channel::Rcs => |_: &str| false,
    };
    Ok(number_or(bare, region, is_taken)?.on(channel))
}

/// Reads a number, or takes what is none as it is if `is_taken` says so.
fn number_or(
    text: &str,
    region: Option<Region>,
    is_taken: impl FnOnce(&str) -> bool,
) -> Result<BareAddress, InvalidPhoneNumber> {
    let as_it_is = |error| if is_taken(text) { text.parse().map_err(|_| error) } else { Err(error) };
    normalize(text, region).or_else(as_it_is)
}

fn e164(number: String) -> Option<BareAddress> {
    Some(number).filter(|number| is_e164(number))?.try_into().ok()
}

/// A text that is no sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}: expected a number such as +15005550006")]
pub struct InvalidSender(InvalidPhoneNumber);

/// Reads a sender over `channel`: a number; over SMS a short code or an alphanumeric name too, over WhatsApp with or
/// without the channel's prefix.
pub fn sender(channel: Channel, typed: &str, region: Option<Region>) -> Result<Address, InvalidSender> {
    let typed = typed.strip_prefix(WHATSAPP).filter(|_| channel == Channel::Whatsapp).unwrap_or(typed).trim();
    let is_name = typed.len() <= ALPHANUMERIC_SENDER_CHARACTERS_MAX
        && typed.bytes().any(|byte| byte.is_ascii_alphabetic())
        && typed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" +-_&".contains(&byte));
    let bare = if channel == Channel::Sms && (is_short_code(typed) || is_name) {
        typed.parse::<BareAddress>().expect("a short code and a name are addresses")
    } else {
        normalize(typed, region).map_err(InvalidSender)?
    };
    Ok(bare.on(channel))
}

/// What a number tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Its country, by the ISO 3166 code; `None` for a number of no country.
    pub country: Option<String>,
    /// The country's calling code.
    pub calling_code: Option<u16>,
    /// As it is written in its country.
    pub national_format: Option<String>,
    /// What kind of line it is, if the number tells.
    pub kind: Option<String>,
    /// Whether it is a number that its country has given out, as far as the plan of numbers tells.
    pub is_valid: bool,
}

/// What `number`, in E.164, tells of itself.
pub fn describe(number: &BareAddress) -> Described {
    let Ok(parsed) = phonenumber::parse(None, number.as_str()) else { return Described::default() };
    let kind = match parsed.number_type(&phonenumber::metadata::DATABASE) {
        phonenumber::Type::Unknown => None,
        kind => serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)),
    };
    Described {
        country: parsed.country().id().map(|country| country.as_ref().to_owned()),
        calling_code: Some(parsed.country().code()),
        national_format: Some(parsed.format().mode(phonenumber::Mode::National).to_string()),
        kind,
        is_valid: phonenumber::is_valid(&parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_a_number_a_short_code_or_a_name() {
        let us = "US".parse().ok();
        let sms =
            |text: &str, region| sender(Channel::Sms, text, region).map(|sender| sender.bare().to_owned());
        assert_eq!(sms(" +1 (500) 555-0006", None).as_deref(), Ok("+15005550006"));
        assert_eq!(sms("(415) 555-2671", us).as_deref(), Ok("+14155552671"));
        assert_eq!(sms("12345", us).as_deref(), Ok("12345"));
        assert_eq!(sms("My Shop", None).as_deref(), Ok("My Shop"));
        for wrong in
            ["", "+12", "4155552671", "12", "A shop with a long name", "whatsapp:+15005550006", "x\ny"]
        {
            assert!(sms(wrong, None).is_err(), "{wrong}");
        }
        let whatsapp = |text| sender(Channel::Whatsapp, text, None).map(|sender| sender.to_twilio());
        assert_eq!(whatsapp("whatsapp:+15005550006").as_deref(), Ok("whatsapp:+15005550006"));
        assert_eq!(whatsapp("+15005550006").as_deref(), Ok("whatsapp:+15005550006"));
        assert!(whatsapp("12345").is_err() && whatsapp("My Shop").is_err());
    }

    #[test]
    fn what_starts_with_a_plus_is_taken_without_its_separators() {
        for typed in ["+14155552671", " +1 (415) 555-2671 ", "+1.415.555.2671", "+1 [415] 5552671"] {
            assert_eq!(normalize(typed, None).as_deref(), Ok("+14155552671"), "{typed}");
        }
        for typed in ["+", "+0123456789", "+1415555267x", "+12345", "+1234567890123456", "+1/415/5552671"] {
            assert_eq!(normalize(typed, None), Err(InvalidPhoneNumber::NotE164), "{typed}");
        }
    }

    #[test]
    fn a_zero_in_brackets_is_dialled_within_the_country_only() {
        for (typed, number) in [
            ("+44 (0)20 7946 0958", "+442079460958"),
            ("+44(0)2079460958", "+442079460958"),
            ("+44 [0] 20 7946 0958", "+442079460958"),
            ("+44 (020) 7946 0958", "+442079460958"),
            ("+ 44 ( 0 ) 20 7946 0958", "+442079460958"),
            ("+353 (0)1 123 4567", "+35311234567"),
            ("+39 (0)6 698 1234", "+3906 698 1234"),
            ("+39 (06) 698 1234", "+3906 698 1234"),
            ("+378 (0549) 886377", "+3780549886377"),
            ("+1 415 (055) 5267", "+14150555267"),
            ("+4420 (0) 79460958", "+4420079460958"),
        ] {
            assert_eq!(normalize(typed, None).as_deref(), Ok(number.replace(' ', "").as_str()), "{typed}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_not_part_of_a_number() {
        for typed in [
            "\u{202a}+14155552671\u{202c}",
            "\u{feff}+1\u{200b}415\u{ad}5552671",
            "\u{200e}+1\u{2011}415\u{2013}555\u{202f}2671\u{2069}",
        ] {
            assert_eq!(normalize(typed, None).as_deref(), Ok("+14155552671"), "{typed:?}");
        }
        let us = "US".parse().ok();
        assert_eq!(normalize("\u{202d}(415) 555-2671\u{202c}", us).as_deref(), Ok("+14155552671"));
        assert_eq!(normalize("\u{200b}", us), Err(InvalidPhoneNumber::NotE164));
        assert!(normalize("+1415\n5552671", None).is_err());
    }

    #[test]
    fn a_person_may_be_known_by_a_short_code_or_a_user_id() {
        for (typed, address) in [
            ("whatsapp: +1 415 555 2671 ", "+14155552671"),
            (" whatsapp:US.444555666", "US.444555666"),
            ("US.444555666 ", "US.444555666"),
            ("12345", "12345"),
        ] {
            assert_eq!(person(typed, None).as_deref(), Ok(address), "{typed}");
        }
        for wrong in ["12", "us.444", "whatsapp:whatsapp:US.4", "ACME", ""] {
            assert!(person(wrong, None).is_err(), "{wrong}");
        }
        // Eight digits are a number where numbers have eight.
        assert_eq!(person("61234567", "SG".parse().ok()).as_deref(), Ok("+6561234567"));
        let to = |channel, typed| recipient(channel, typed, None).map(|to| to.to_twilio());
        assert_eq!(to(Channel::Sms, "12345").as_deref(), Ok("12345"));
        assert_eq!(to(Channel::Whatsapp, "whatsapp:US.444555666").as_deref(), Ok("whatsapp:US.444555666"));
        for (channel, wrong) in [
            (Channel::Sms, "US.444555666"),
            (Channel::Sms, "whatsapp:+14155552671"),
            (Channel::Whatsapp, "12345"),
            (Channel::Rcs, "12345"),
        ] {
            assert!(to(channel, wrong).is_err(), "{channel} {wrong}");
        }
    }

    #[test]
    fn without_a_plus_the_region_decides() {
        let us: Region = "us".parse().unwrap();
        let de: Region = "DE".parse().unwrap();
        assert_eq!(normalize("(415) 555-2671", Some(us)).as_deref(), Ok("+14155552671"));
        assert_eq!(normalize("030 901820", Some(de)).as_deref(), Ok("+4930901820"));
        assert_eq!(normalize("(415) 555-2671", None), Err(InvalidPhoneNumber::NoRegion));
        assert_eq!(normalize("hello", Some(us)), Err(InvalidPhoneNumber::NotOfRegion(us)));
        assert_eq!(normalize("0044 20 7946 0000", Some(us)), Err(InvalidPhoneNumber::NotOfRegion(us)));
        assert_eq!(normalize("011 44 20 7946 0000", Some(us)).as_deref(), Ok("+442079460000"));
        assert_eq!(normalize("whatsapp:+14155552671", None), Err(InvalidPhoneNumber::NotE164));
        assert_eq!(normalize(" ", None), Err(InvalidPhoneNumber::NotE164));
        assert!(normalize(&"1".repeat(1_000_000), Some(us)).is_err());
        assert!("Utopia".parse::<Region>().is_err());
    }
}
