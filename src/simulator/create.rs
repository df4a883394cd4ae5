//! Reading a request to create a message: its parameters are checked as Twilio checks them, with Twilio's codes.
//!
//! Sources: <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>,
//! <https://www.twilio.com/docs/iam/test-credentials#test-sms-messages>.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;

use super::errors::ApiError;
use crate::twilio::{
    Address, Channel, ContentSid, Form, MessagingServiceSid,
    address::{is_short_code, is_whatsapp_user_id},
    limits::{MEDIA_MAX, VALIDITY_PERIOD_S},
    segments::BODY_CHARACTERS_MAX,
};

const STATUS_CALLBACK_CHARACTERS_MAX: usize = 4000;
/// How far ahead a message may be scheduled. Source: <https://www.twilio.com/docs/messaging/features/message-scheduling>.
const SCHEDULED_AHEAD: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(35 * 24 * 60 * 60)];
/// The sender of Twilio's test credentials, and the only one that works with them.
const MAGIC_SENDER: &str = "+15005550006";

/// A message that may be created, unless its recipient has opted out.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// The recipient.
    pub to: Address,
    /// The sender; at least this or a messaging service is given.
    pub from: Option<Address>,
    /// The service that chooses the sender.
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// The text; empty if media or a template is sent.
    pub body: String,
    /// Media files.
    pub num_media: usize,
    /// Where callbacks go, as given.
    pub status_callback: Option<String>,
    /// When it is to be sent, if not now.
    pub send_at: Option<Timestamp>,
}

impl Draft {
    /// Reads the parameters of a request; with `strict`, only the sender of Twilio's test credentials may send.
    pub fn read(form: &Form<'_>, strict: bool, now: Timestamp) -> Result<Self, ApiError> {
        let parameters = Parameters(form);
        let to = parameters.to()?;
        let (from, messaging_service_sid) = parameters.sender()?;
        if from.is_none() && messaging_service_sid.is_none() {
            return Err(ApiError::bad_request(21603, "A 'From' phone number is required."));
        }
        if let Some(from) = &from {
            check_pair(from, &to)?;
            check_sender(from, strict)?;
        }
        check_magic_recipient(&to)?;

        let (body, num_media) = parameters.content(to.channel())?;
        parameters.check_validity_period()?;
        let status_callback = parameters.status_callback()?;
        let send_at = parameters.send_at(messaging_service_sid.is_some(), now)?;
        Ok(Self { to, from, messaging_service_sid, body, num_media, status_callback, send_at })
    }
}

/// The parameters of a request; an empty one counts as missing.
struct Parameters<'a>(&'a Form<'a>);

impl Parameters<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.into_owned()).filter(|value| !value.is_empty())
    }

    fn to(&self) -> Result<Address, ApiError> {
        let text =
            self.get("To").ok_or_else(|| ApiError::bad_request(21604, "A 'To' phone number is required."))?;
        let invalid = || ApiError::bad_request(21211, format!("Invalid 'To' Phone Number: {text}"));
        let to = parse_address(&text).ok_or_else(invalid)?;
        let is_recipient =
            to.is_e164() || (to.channel() == Channel::Whatsapp && is_whatsapp_user_id(to.bare()));
        if is_recipient { Ok(to) } else { Err(invalid()) }
    }

    /// Who sends, and the service that chooses who does. The SID of a service is taken as `From` too.
    fn sender(&self) -> Result<(Option<Address>, Option<MessagingServiceSid>), ApiError> {
        let named = self.messaging_service_sid()?;
        match self.get("From").and_then(|from| MessagingServiceSid::parse(from.trim()).ok()) {
            Some(service) => Ok((None, Some(named.unwrap_or(service)))),
            None => Ok((self.from()?, named)),
        }
    }

    fn from(&self) -> Result<Option<Address>, ApiError> {
        let Some(text) = self.get("From") else { return Ok(None) };
        let invalid = || {
            let reason = "is not a valid phone number, shortcode, or alphanumeric sender ID.";
            ApiError::bad_request(21212, format!("The 'From' number {text} {reason}"))
        };
        let from = parse_address(&text).ok_or_else(invalid)?;
        let is_sender = match from.channel() {
            Channel::Sms => {
                from.is_e164() || is_short_code(from.bare()) || is_alphanumeric_sender(from.bare())
            }
            Channel::Whatsapp => from.is_e164(),
            Channel::Rcs => true,
        };
        if is_sender { Ok(Some(from)) } else { Err(invalid()) }
    }

    fn messaging_service_sid(&self) -> Result<Option<MessagingServiceSid>, ApiError> {
        let Some(text) = self.get("MessagingServiceSid") else { return Ok(None) };
        let sid = MessagingServiceSid::parse(&text);
        sid.map(Some).map_err(|_| ApiError::bad_request(21705, "The Messaging Service SID is invalid"))
    }

    /// The text, and how many media files there are.
    fn content(&self, channel: Channel) -> Result<(String, usize), ApiError> {
        let is_template = self.check_template()?;
        let num_media = self.check_media()?;
        let body = self.get("Body").unwrap_or_default();
        if body.chars().count() > BODY_CHARACTERS_MAX {
            let reason = "The concatenated message body exceeds the 1600 character limit";
            return Err(ApiError::bad_request(21617, reason));
        }
        if is_template {
            // The template's own text and media take their place, and the simulator has no templates.
            Ok((String::new(), 0))
        } else if body.trim().is_empty() && num_media == 0 {
            let code = if channel == Channel::Sms { 21602 } else { 21619 };
            Err(ApiError::bad_request(code, "Message body is required."))
        } else {
            Ok((body, num_media))
        }
    }

    fn check_media(&self) -> Result<usize, ApiError> {
        let urls: Vec<String> = self
            .0
            .iter()
            .filter(|(name, url)| *name == b"MediaUrl" && !url.is_empty())
            .map(|(_, url)| String::from_utf8_lossy(url).into_owned())
            .collect();
        if urls.len() > MEDIA_MAX {
            return Err(ApiError::bad_request(21623, "Number of media files exceeds allowed limit"));
        }
        match urls.iter().find(|url| !is_web_url(url)) {
            Some(url) => Err(ApiError::bad_request(21620, format!("Invalid media URL(s): {url}"))),
            None => Ok(urls.len()),
        }
    }

    fn check_template(&self) -> Result<bool, ApiError> {
        let is_template = match self.get("ContentSid") {
            Some(sid) if ContentSid::parse(&sid).is_err() => {
                return Err(ApiError::bad_request(21655, "The ContentSid is Invalid"));
            }
            content_sid => content_sid.is_some(),
        };
        match self.get("ContentVariables") {
            Some(_) if !is_template => {
                Err(ApiError::bad_request(21654, "The ContentSid is required with ContentVariables"))
            }
            Some(variables) if serde_json::from_str::<serde_json::Map<_, _>>(&variables).is_err() => {
                Err(ApiError::bad_request(21656, "The ContentVariables Parameter is invalid"))
            }
            _ => Ok(is_template),
        }
    }

    fn check_validity_period(&self) -> Result<(), ApiError> {
        let Some(text) = self.get("ValidityPeriod") else { return Ok(()) };
        let seconds = text.parse::<u32>().ok();
        if seconds.is_some_and(|seconds| VALIDITY_PERIOD_S.contains(&seconds)) {
            return Ok(());
        }
        let (min, max) = (VALIDITY_PERIOD_S.start(), VALIDITY_PERIOD_S.end());
        let reason = format!("The validity period {text} is invalid: it must be {min} to {max}");
        Err(ApiError::bad_request(21624, reason))
    }

    fn status_callback(&self) -> Result<Option<String>, ApiError> {
        let Some(url) = self.get("StatusCallback") else { return Ok(None) };
        if url.chars().count() <= STATUS_CALLBACK_CHARACTERS_MAX && is_web_url(&url) {
            Ok(Some(url))
        } else {
            Err(ApiError::bad_request(21609, format!("The StatusCallback URL {url} is not a valid URL.")))
        }
    }
}

impl Parameters<'_> {
    /// When to send, for a message that is scheduled.
    fn send_at(&self, has_service: bool, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
        let refuse = |code, reason: &str| Err(ApiError::bad_request(code, reason));
        let (schedule_type, send_at) = (self.get("ScheduleType"), self.get("SendAt"));
        let send_at = match (schedule_type.as_deref(), send_at) {
            (None, None) => return Ok(None),
            (Some("fixed"), None) => {
                return refuse(35111, "SendAt parameter is required when ScheduleType is fixed");
            }
            (Some("fixed"), Some(send_at)) => send_at,
            (_, _) => return refuse(35115, "ScheduleType must be fixed for a scheduled message"),
        };
        if !has_service {
            return refuse(35118, "MessagingServiceSid is required to schedule a message");
        }
        let [earliest, latest] = SCHEDULED_AHEAD.map(|ahead| now + ahead);
        match send_at.parse::<Timestamp>() {
            Ok(at) if (earliest..=latest).contains(&at) => Ok(Some(at)),
            _ => refuse(35114, "SendAt must be an ISO 8601 time from 5 minutes to 35 days from now"),
        }
    }
}

/// What only the two addresses together can have wrong.
fn check_pair(from: &Address, to: &Address) -> Result<(), ApiError> {
    if from == to {
        return Err(ApiError::bad_request(21266, "'To' and 'From' number cannot be the same"));
    }
    // An RCS sender may send to a plain number.
    if from.channel() != to.channel() && from.channel() != Channel::Rcs {
        let reason = "Invalid 'From' and 'To' pair. 'From' and 'To' should be of the same channel";
        return Err(ApiError::bad_request(21910, reason));
    }
    Ok(())
}

/// The senders for which Twilio's test credentials pretend that something is wrong.
fn check_sender(from: &Address, strict: bool) -> Result<(), ApiError> {
    let number = from.bare().as_str();
    if from.channel() == Channel::Sms {
        match number {
            "+15005550001" => {
                let reason = "is not a valid phone number, shortcode, or alphanumeric sender ID.";
                return Err(ApiError::bad_request(21212, format!("The 'From' number {number} {reason}")));
            }
            "+15005550007" => return Err(unusable_sender(number)),
            "+15005550008" => return Err(ApiError::queue_full(from)),
            _ => {}
        }
    }
    if strict && number != MAGIC_SENDER { Err(unusable_sender(number)) } else { Ok(()) }
}

fn unusable_sender(number: &str) -> ApiError {
    let reason = "is not a valid, SMS-capable inbound phone number or short code for your account.";
    ApiError::bad_request(21606, format!("The From phone number {number} {reason}"))
}

/// The recipients for which Twilio's test credentials pretend that something is wrong.
fn check_magic_recipient(to: &Address) -> Result<(), ApiError> {
    if to.channel() != Channel::Sms {
        return Ok(());
    }
    let number = to.bare().as_str();
    let (code, message) = match number {
        "+15005550001" => (21211, format!("Invalid 'To' Phone Number: {number}")),
        "+15005550002" => {
            let reason = "is not currently reachable using the 'From' phone number via SMS.";
            (21612, format!("The 'To' phone number {number} {reason}"))
        }
        "+15005550003" => {
            let reason =
                "Permission to send an SMS has not been enabled for the region indicated by the 'To' number";
            (21408, format!("{reason}: {number}"))
        }
        "+15005550004" => (21610, "Attempt to send to unsubscribed recipient".to_owned()),
        "+15005550009" => (21614, format!("'To' number {number} is not a valid mobile number")),
        _ => return Ok(()),
    };
    Err(ApiError::bad_request(code, message))
}

/// Reads an address, a number with what people write between its digits.
fn parse_address(text: &str) -> Option<Address> {
    let address = Address::parse(text.trim()).ok()?;
    let compact: String =
        address.bare().chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
    match Address::new(address.channel(), &compact) {
        Ok(compact) if compact.is_e164() => Some(compact),
        _ => Some(address),
    }
}

fn is_alphanumeric_sender(text: &str) -> bool {
    const CHARACTERS_MAX: usize = 11;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" +-_&".contains(&byte);
    text.len() <= CHARACTERS_MAX
        && text.bytes().all(is_allowed)
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether `text` is an http or https URL with a host that may be on the internet. Unlike Twilio's, this one may be
/// this machine: that is what a stand-in is for.
pub fn is_web_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let has_good_host = url.host_str().is_some_and(|host| !host.is_empty() && !host.contains('_'));
        matches!(url.scheme(), "http" | "https") && has_good_host
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMS: &str = "To=%2B14155550100&From=%2B15005550006&Body=Hi";

    fn read(form: &str) -> Result<Draft, ApiError> {
        Draft::read(&Form::parse(form.as_bytes()), false, now())
    }

    fn now() -> Timestamp {
        "2026-03-09T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_message_is_scheduled_within_bounds_and_by_a_service() {
        let service = format!("To=%2B14155550100&Body=Hi&MessagingServiceSid=MG{}", "c".repeat(32));
        for (form, expected) in [
            (format!("{service}&ScheduleType=fixed&SendAt=2026-03-09T10:05:00Z"), 0),
            (format!("{service}&ScheduleType=fixed&SendAt=2026-04-13T10:00:00Z"), 0),
            (format!("{service}&ScheduleType=fixed&SendAt=2026-03-09T10:04:59Z"), 35114),
            (format!("{service}&ScheduleType=fixed&SendAt=2026-04-13T10:00:01Z"), 35114),
            (format!("{service}&ScheduleType=fixed&SendAt=tomorrow"), 35114),
            (format!("{service}&ScheduleType=fixed"), 35111),
            (format!("{service}&ScheduleType=loose&SendAt=2026-03-09T12:00:00Z"), 35115),
            (format!("{service}&SendAt=2026-03-09T12:00:00Z"), 35115),
            (format!("{SMS}&ScheduleType=fixed&SendAt=2026-03-09T12:00:00Z"), 35118),
        ] {
            assert_eq!(code(&form), expected, "{form}");
        }
    }

    fn code(form: &str) -> u32 {
        match read(form) {
            Ok(_) => 0,
            Err(error) => {
                assert_eq!(error.http_status, 400);
                error.code
            }
        }
    }

    #[test]
    fn each_way_to_be_wrong_has_twilios_code() {
        let base = "From=%2B15005550006&Body=Hi";
        let service = format!("MG{}", "c".repeat(32));
        let content = format!("HX{}", "d".repeat(32));
        for (form, expected) in [
            (SMS.to_owned(), 0),
            (base.to_owned(), 21604),
            (format!("{base}&To="), 21604),
            (format!("{base}&To=nobody"), 21211),
            (format!("{base}&To=12345"), 21211),
            (format!("{base}&To=%2B1+(415)+555-0100"), 0),
            (format!("{base}&To=whatsapp:nobody"), 21211),
            (format!("{base}&To=whatsapp:%2B14155550100"), 21910),
            (format!("{base}&To=%2B15005550006"), 21266),
            ("To=%2B14155550100&Body=Hi".to_owned(), 21603),
            (format!("To=%2B14155550100&Body=Hi&MessagingServiceSid={service}"), 0),
            ("To=%2B14155550100&Body=Hi&MessagingServiceSid=MG1".to_owned(), 21705),
            ("To=%2B14155550100&From=%2B0&Body=Hi".to_owned(), 21212),
            ("To=%2B14155550100&From=12345&Body=Hi".to_owned(), 0),
            ("To=%2B14155550100&From=ACME+Ltd&Body=Hi".to_owned(), 0),
            ("To=whatsapp:CO.899759302823042&From=whatsapp:%2B15005550006&Body=Hi".to_owned(), 0),
            ("To=%2B14155550100&From=%2B15005550006".to_owned(), 21602),
            ("To=%2B14155550100&From=%2B15005550006&Body=+".to_owned(), 21602),
            ("To=whatsapp:%2B14155550100&From=whatsapp:%2B15005550006".to_owned(), 21619),
            ("To=%2B14155550100&From=%2B15005550006&MediaUrl=https://a.example/1".to_owned(), 0),
            (format!("{SMS}&MediaUrl=ftp://a.example/1"), 21620),
            (format!("{SMS}{}", "&MediaUrl=https://a.example/1".repeat(10)), 0),
            (format!("{SMS}{}", "&MediaUrl=https://a.example/1".repeat(11)), 21623),
            (format!("{base}&To=%2B14155550100{}", "&x=1"), 0),
            (format!("To=%2B14155550100&From=%2B15005550006&Body={}", "%C3%A9".repeat(1600)), 0),
            (format!("To=%2B14155550100&From=%2B15005550006&Body={}", "a".repeat(1601)), 21617),
            (format!("{SMS}&StatusCallback=http://localhost:8080/status?id=1%23rc=5"), 0),
            (format!("{SMS}&StatusCallback=nowhere"), 21609),
            (format!("{SMS}&StatusCallback=ftp://a.example/"), 21609),
            (format!("{SMS}&StatusCallback=https://a_b.example/"), 21609),
            (format!("{SMS}&StatusCallback=https://a.example/{}", "a".repeat(4000)), 21609),
            (format!("{SMS}&ValidityPeriod=1"), 0),
            (format!("{SMS}&ValidityPeriod=0"), 21624),
            (format!("{SMS}&ValidityPeriod=36001"), 21624),
            (format!("{SMS}&ValidityPeriod=soon"), 21624),
            (format!("{SMS}&ContentVariables=%7B%7D"), 21654),
            (format!("{SMS}&ContentSid=HX1"), 21655),
            (format!("{SMS}&ContentSid={content}&ContentVariables=%5B%5D"), 21656),
            (format!("{SMS}&ContentSid={content}&ContentVariables=%7B%221%22:%22x%22%7D"), 0),
        ] {
            assert_eq!(code(&form), expected, "{form}");
        }
    }

    #[test]
    fn the_magic_numbers_give_their_codes() {
        for (to, expected) in [
            ("%2B15005550001", 21211),
            ("%2B15005550002", 21612),
            ("%2B15005550003", 21408),
            ("%2B15005550004", 21610),
            ("%2B15005550009", 21614),
            ("%2B15005550010", 0),
        ] {
            assert_eq!(code(&format!("From=%2B15005550006&Body=Hi&To={to}")), expected, "{to}");
        }
        for (from, expected) in [
            ("%2B15005550001", 21212),
            ("%2B15005550006", 0),
            ("%2B15005550007", 21606),
            ("%2B15005550008", 21611),
            ("%2B14155550199", 0),
        ] {
            assert_eq!(code(&format!("To=%2B14155550100&Body=Hi&From={from}")), expected, "{from}");
        }
    }

    #[test]
    fn strictly_only_the_magic_sender_may_send() {
        let read = |form: &str| Draft::read(&Form::parse(form.as_bytes()), true, now()).map(drop);
        assert_eq!(read(SMS), Ok(()));
        let error = read("To=%2B14155550100&From=%2B14155550199&Body=Hi").unwrap_err();
        assert_eq!(error.code, 21606);
    }

    #[test]
    fn a_draft_has_what_was_given() {
        let draft = read(&format!(
            "{SMS}&MediaUrl=https://a.example/1&StatusCallback=http://b.example/?x=%2527%23rc=1"
        ))
        .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(draft.body, "Hi");
        assert_eq!(draft.num_media, 1);
        assert_eq!(draft.status_callback.as_deref(), Some("http://b.example/?x=%27#rc=1"));
        assert_eq!(draft.from.unwrap().to_twilio(), "+15005550006");
    }
}
