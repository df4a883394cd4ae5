//! Reads the parameters of a send as Twilio names them.
//!
//! What must be understood here is refused as Twilio refuses it. Everything else is Twilio's to check, unless the message
//! is scheduled: then nobody would be told.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>.

use jiff::Timestamp;
use secrecy::SecretString;

use super::errors::ApiError;
use crate::{
    app::{
        Settings,
        outgoing::{
            content::Content,
            send::{SCHEDULE_MAX, SCHEDULE_PAST_MAX, Send},
        },
    },
    domain::{
        UnixMs,
        audit::{Action, Origin},
    },
    phone,
    public_host::{self, UrlRefusal},
    twilio::{
        Address, Channel, ContentSid, Form, MessagingServiceSid,
        limits::{MEDIA_MAX, VALIDITY_PERIOD_S},
        segments::BODY_CHARACTERS_MAX,
    },
};

/// Parameters that are read here; all others go on to Twilio as they are.
const READ: [&str; 11] = [
    "Body",
    "ContentSid",
    "ContentVariables",
    "From",
    "MediaUrl",
    "MessagingServiceSid",
    "ScheduleType",
    "SendAt",
    "StatusCallback",
    "To",
    "ValidityPeriod",
];

/// Reads a send that is asked for at `now`, `by` whom.
pub fn read(form: &Form<'_>, settings: &Settings, now: UnixMs, by: &Origin) -> Result<Send, ApiError> {
    let parameters = Parameters(form);
    let to = parameters.to(settings.default_region)?;
    let (from, messaging_service_sid) = parameters.sender()?;
    if from.is_none() && messaging_service_sid.is_none() {
        // Twilio has no default, and whoever relies on ours would be refused there.
        return Err(ApiError::bad_request(21603, "A 'From' phone number is required."));
    }
    let content = parameters.content()?;
    let status_callback = parameters.status_callback(settings)?;
    let send_at = parameters.send_at(messaging_service_sid.is_some(), now)?;
    if send_at.is_some() {
        check_scheduled(&content, to.channel())?;
    }
    Ok(Send {
        to,
        from,
        messaging_service_sid,
        content,
        send_at,
        category: None,
        user_id: None,
        status_callback,
        id: None,
        entry: by.entry(Action::MessageSend),
    })
}

/// The parameters of a request; an empty one counts as missing.
struct Parameters<'a>(&'a Form<'a>);

impl Parameters<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.into_owned()).filter(|value| !value.is_empty())
    }

    fn to(&self, region: Option<phone::Region>) -> Result<Address, ApiError> {
        let text =
            self.get("To").ok_or_else(|| ApiError::bad_request(21604, "A 'To' phone number is required."))?;
        let invalid = || ApiError::bad_request(21211, format!("Invalid 'To' Phone Number: {text}"));
        let typed = Address::parse(text.trim()).map_err(|_| invalid())?;
        phone::recipient(typed.channel(), typed.bare(), region).map_err(|_| invalid())
    }

    /// Who sends, and the service that chooses who does. Twilio takes the SID of a service as `From` too.
    fn sender(&self) -> Result<(Option<Address>, Option<MessagingServiceSid>), ApiError> {
        let named = self.messaging_service_sid()?;
        match self.get("From").and_then(|from| MessagingServiceSid::parse(from.trim()).ok()) {
            Some(service) => Ok((None, Some(named.unwrap_or(service)))),
            None => Ok((self.from()?, named)),
        }
    }

    fn from(&self) -> Result<Option<Address>, ApiError> {
        let Some(text) = self.get("From") else { return Ok(None) };
        let reason = "is not a valid phone number, shortcode, or alphanumeric sender ID.";
        let invalid = || ApiError::bad_request(21212, format!("The 'From' number {text} {reason}"));
        let typed = Address::parse(text.trim()).map_err(|_| invalid())?;
        if !typed.bare().starts_with('+') {
            return Ok(Some(typed));
        }
        let number = phone::normalize(typed.bare(), None).map_err(|_| invalid())?;
        Address::new(typed.channel(), &number).map(Some).map_err(|_| invalid())
    }

    fn messaging_service_sid(&self) -> Result<Option<MessagingServiceSid>, ApiError> {
        let Some(text) = self.get("MessagingServiceSid") else { return Ok(None) };
        let sid = MessagingServiceSid::parse(&text);
        sid.map(Some).map_err(|_| ApiError::bad_request(21705, "The Messaging Service SID is invalid"))
    }

    fn content(&self) -> Result<Content, ApiError> {
        let content_sid = self.get("ContentSid").map(|text| ContentSid::parse(&text)).transpose();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pairs = || self.0.iter().map(|(name, value)| (text(name), text(value)));
        Ok(Content {
            body: self.get("Body"),
            media_url: pairs()
                .filter(|(name, url)| name == "MediaUrl" && !url.is_empty())
                .map(|(_, url)| url)
                .collect(),
            content_sid: content_sid
                .map_err(|_| ApiError::bad_request(21655, "The ContentSid is Invalid"))?,
            content_variables: self.get("ContentVariables"),
            validity_period_s: self.validity_period()?,
            other: pairs().filter(|(name, _)| !READ.contains(&name.as_str())).collect(),
        })
    }

    fn validity_period(&self) -> Result<Option<u32>, ApiError> {
        let Some(text) = self.get("ValidityPeriod") else { return Ok(None) };
        match text.parse() {
            Ok(seconds) if VALIDITY_PERIOD_S.contains(&seconds) => Ok(Some(seconds)),
            _ => {
                let (min, max) = (VALIDITY_PERIOD_S.start(), VALIDITY_PERIOD_S.end());
                let message = format!("The validity period {text} is invalid: it must be {min} to {max}");
                Err(ApiError::bad_request(21624, message))
            }
        }
    }

    /// Where the caller wants to be told of each status. Twilio's own reach ends at the public internet too, and it says
    /// so in the same way.
    fn status_callback(&self, settings: &Settings) -> Result<Option<SecretString>, ApiError> {
        let Some(url) = self.get("StatusCallback") else { return Ok(None) };
        let refused = |reason: UrlRefusal| {
            ApiError::bad_request(
                21609,
                format!("The StatusCallback URL {url} is not a valid URL: it {reason}"),
            )
        };
        public_host::check_relay_url(&url, settings.relay_private).map_err(refused)?;
        public_host::check_not_own_webhook(&url, &settings.public_url).map_err(refused)?;
        Ok(Some(url.into()))
    }

    /// When to send. The bounds are wider than Twilio's, since the message waits here: at once to a year ahead.
    fn send_at(&self, has_service: bool, now: UnixMs) -> Result<Option<UnixMs>, ApiError> {
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
        let at = send_at.parse::<Timestamp>().ok();
        let at = at.and_then(UnixMs::from_timestamp);
        let earliest = now - SCHEDULE_PAST_MAX;
        let latest = now + SCHEDULE_MAX;
        match at.filter(|at| (earliest..=latest).contains(at)) {
            Some(at) => Ok(Some(at)),
            None => refuse(35114, "SendAt must be an ISO 8601 time from now to a year ahead"),
        }
    }
}

/// What Twilio would say at once of the content of a message that it is to get later.
fn check_scheduled(content: &Content, channel: Channel) -> Result<(), ApiError> {
    let refuse = |code, reason: &str| Err(ApiError::bad_request(code, reason));
    if content.media_url.len() > MEDIA_MAX {
        return refuse(21623, "Number of media files exceeds allowed limit");
    }
    if content.body_length() > BODY_CHARACTERS_MAX {
        return refuse(21617, "The concatenated message body exceeds the 1600 character limit");
    }
    match (&content.content_sid, &content.content_variables) {
        (None, Some(_)) => return refuse(21654, "The ContentSid is required with ContentVariables"),
        (Some(_), Some(text)) if serde_json::from_str::<serde_json::Map<_, _>>(text).is_err() => {
            return refuse(21656, "The ContentVariables Parameter is invalid");
        }
        (Some(_), _) => return Ok(()),
        (None, None) => {}
    }
    let is_blank = content.body.as_deref().is_none_or(|body| body.trim().is_empty());
    if is_blank && content.media_url.is_empty() {
        return refuse(if channel == Channel::Sms { 21602 } else { 21619 }, "Message body is required.");
    }
    Ok(())
}
