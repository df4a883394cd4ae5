//! The incoming message: what someone wrote to one of our senders.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{InvalidWebhook, Parameters, channel_of};
use crate::twilio::{
    AccountSid, Address, BareAddress, Channel, Form, MessageSid, MessagingServiceSid,
    address::{is_e164, is_whatsapp_user_id},
};

/// The version of the API, as it stands in every webhook.
const API_VERSION: &str = "2010-04-01";

/// What is documented, or has been seen, and is not read.
const PASSED_OVER: &[&str] = &[
    "AddOns",
    "Address",
    "ApiVersion",
    "ButtonType",
    "ChannelMetadata",
    "FlowData",
    "Forwarded",
    "FrequentlyForwarded",
    "FromCity",
    "FromCountry",
    "FromState",
    "FromZip",
    "InteractiveData",
    "Label",
    "Latitude",
    "Longitude",
    "MessageType",
    "OriginalRepliedMessageSender",
    "ReferralBody",
    "ReferralCtwaClid",
    "ReferralHeadline",
    "ReferralMediaContentType",
    "ReferralMediaId",
    "ReferralMediaUrl",
    "ReferralNumMedia",
    "ReferralSourceId",
    "ReferralSourceType",
    "ReferralSourceUrl",
    "SmsStatus",
    "ToCity",
    "ToCountry",
    "ToState",
    "ToZip",
];

/// Where the media are: ten at most.
const MEDIA: [(&str, &str); 10] = [
    ("MediaUrl0", "MediaContentType0"),
    ("MediaUrl1", "MediaContentType1"),
    ("MediaUrl2", "MediaContentType2"),
    ("MediaUrl3", "MediaContentType3"),
    ("MediaUrl4", "MediaContentType4"),
    ("MediaUrl5", "MediaContentType5"),
    ("MediaUrl6", "MediaContentType6"),
    ("MediaUrl7", "MediaContentType7"),
    ("MediaUrl8", "MediaContentType8"),
    ("MediaUrl9", "MediaContentType9"),
];

/// A message that someone sent to one of our senders.
///
/// `Debug` masks addresses and leaves out texts.
///
/// Source: <https://www.twilio.com/docs/messaging/guides/webhook-request>.
#[derive(Clone, PartialEq, Eq)]
pub struct IncomingMessage {
    /// The account that has the sender it was sent to.
    pub account_sid: AccountSid,
    /// The message: `MessageSid` or, where that is absent, a deprecated name, `SmsSid` or `SmsMessageSid`.
    pub message_sid: MessageSid,
    /// Who wrote it.
    pub from: Address,
    /// Which of our senders it was sent to.
    pub to: Address,
    /// What was written, untrimmed; empty where it is media, a location and the like.
    pub body: String,
    /// How many media there are; where Twilio does not say, how many of them [`IncomingMessage::media`] holds.
    pub num_media: u32,
    /// The media, in their order.
    pub media: Vec<Media>,
    /// How many segments it took; 1 on other channels than SMS, and where Twilio does not say.
    pub num_segments: u32,
    /// The messaging service that the sender it was sent to is in.
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// What Advanced Opt-Out took it for. Without that feature it is absent, whatever the body says.
    pub opt_out_type: Option<OptOutType>,
    /// Where the message travelled: an address's prefix.
    pub channel: Channel,
    /// The name that the writer gives themselves (WhatsApp).
    pub profile_name: Option<String>,
    /// The writer's number on WhatsApp: digits without a `+`.
    pub wa_id: Option<String>,
    /// The writer's business-scoped user id, with its prefix; it is there when the number is hidden (WhatsApp).
    pub external_user_id: Option<String>,
    /// The writer's user name (WhatsApp).
    pub username: Option<String>,
    /// What is written on the button that was pressed.
    pub button_text: Option<String>,
    /// What the button that was pressed stands for.
    pub button_payload: Option<String>,
    /// Our message that this one replies to, if that is at most seven days old.
    pub original_replied_message_sid: Option<MessageSid>,
    /// Parameters that are new or cannot be read, in the order in which they were sent.
    pub other: Vec<(String, String)>,
}

/// A picture or the like that came with a message. `Debug` leaves out where it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Media {
    /// Where it can be fetched until it is deleted, with the account's credentials if the account asks for them.
    pub url: String,
    /// Its MIME type.
    pub content_type: Option<String>,
}

/// What Advanced Opt-Out took a message for.
///
/// Source: <https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OptOutType {
    /// The writer opted out.
    Stop,
    /// The writer opted in again.
    Start,
    /// The writer asked for help.
    Help,
}

impl OptOutType {
    /// Reads `STOP`, `START` or `HELP`, in any letter case.
    pub fn parse(text: &str) -> Option<Self> {
        [OptOutType::Stop, OptOutType::Start, OptOutType::Help]
            .into_iter()
            .find(|opt_out_type| opt_out_type.as_str().eq_ignore_ascii_case(text))
    }

    /// The type in Twilio's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            OptOutType::Stop => "STOP",
            OptOutType::Start => "START",
            OptOutType::Help => "HELP",
        }
    }
}

impl IncomingMessage {
    /// A message of which no more is known than who sent it to whom.
    pub fn bare(account_sid: AccountSid, message_sid: MessageSid, from: Address, to: Address) -> Self {
        Self {
            account_sid,
            message_sid,
            channel: channel_of([&from, &to]),
            from,
            to,
            body: String::new(),
            num_media: 0,
            media: Vec::new(),
            num_segments: 1,
            messaging_service_sid: None,
            opt_out_type: None,
            profile_name: None,
            wa_id: None,
            external_user_id: None,
            username: None,
            button_text: None,
            button_payload: None,
            original_replied_message_sid: None,
            other: Vec::new(),
        }
    }

    /// The writer's WhatsApp user id and number, if the message tells both: they are one person's.
    pub fn user_id_and_number(&self) -> Option<(BareAddress, BareAddress)> {
        let from = Some(self.from.bare().clone());
        let wa_id = self.wa_id.as_ref().and_then(|digits| format!("+{digits}").parse().ok());
        let external = self.external_user_id.as_ref().and_then(|id| Address::parse(id).ok());
        let external = external.map(|address| address.bare().clone());
        let is_user_id = |address: &BareAddress| is_whatsapp_user_id(address);
        let is_number = |address: &BareAddress| is_e164(address);
        let user_id = from.clone().filter(is_user_id).or(external.filter(is_user_id));
        let number = from.filter(is_number).or(wa_id.filter(is_number));
        user_id.zip(number).filter(|_| self.channel == Channel::Whatsapp)
    }

    /// The parameters in which Twilio would post it, as far as they are known.
    pub fn to_parameters(&self) -> Vec<(String, String)> {
        let sid = self.message_sid.as_str();
        let parameters = [
            ("AccountSid", Some(self.account_sid.to_string())),
            ("ApiVersion", Some(API_VERSION.to_owned())),
            ("Body", Some(self.body.clone())),
            ("ButtonPayload", self.button_payload.clone()),
            ("ButtonText", self.button_text.clone()),
            ("ExternalUserId", self.external_user_id.clone()),
            ("From", Some(self.from.to_twilio())),
            ("MessageSid", Some(sid.to_owned())),
            ("MessagingServiceSid", self.messaging_service_sid.as_ref().map(ToString::to_string)),
            ("NumMedia", Some(self.num_media.to_string())),
            ("NumSegments", Some(self.num_segments.to_string())),
            ("OptOutType", self.opt_out_type.map(|opt_out_type| opt_out_type.as_str().to_owned())),
            (
                "OriginalRepliedMessageSid",
                self.original_replied_message_sid.as_ref().map(ToString::to_string),
            ),
            ("ProfileName", self.profile_name.clone()),
            ("SmsMessageSid", Some(sid.to_owned())),
            ("SmsSid", Some(sid.to_owned())),
            ("SmsStatus", Some("received".to_owned())),
            ("To", Some(self.to.to_twilio())),
            ("Username", self.username.clone()),
            ("WaId", self.wa_id.clone()),
        ];
        let known = parameters.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let media = self.media.iter().zip(MEDIA).flat_map(|(media, (url, content_type))| {
            let content_type = media.content_type.clone().map(|text| (content_type.to_owned(), text));
            std::iter::once((url.to_owned(), media.url.clone())).chain(content_type)
        });
        known.chain(media).chain(self.other.iter().cloned()).collect()
    }

    /// Reads an incoming message.
    pub fn parse(form: &Form<'_>) -> Result<Self, InvalidWebhook> {
        let mut parameters = Parameters::of(form);
        let address = |text: &str| Address::parse(text).ok();
        let message_sid = |text: &str| MessageSid::parse(text).ok();
        let number = |text: &str| text.parse().ok();
        let from = parameters.required(&["From"], writer)?;
        let to = parameters.required(&["To"], address)?;
        let media = media_of(&mut parameters);
        Ok(Self {
            account_sid: parameters.required(&["AccountSid"], |text| AccountSid::parse(text).ok())?,
            message_sid: parameters.required(&["MessageSid", "SmsSid", "SmsMessageSid"], message_sid)?,
            channel: channel_of([&from, &to]),
            from,
            to,
            body: parameters.text("Body").unwrap_or_default(),
            num_media: parameters.optional("NumMedia", number).unwrap_or(media.len() as u32),
            media,
            num_segments: parameters.optional("NumSegments", number).unwrap_or(1),
            messaging_service_sid: parameters
                .optional("MessagingServiceSid", |text| MessagingServiceSid::parse(text).ok()),
            opt_out_type: parameters.optional("OptOutType", OptOutType::parse),
            profile_name: parameters.text("ProfileName"),
            wa_id: parameters.text("WaId"),
            external_user_id: parameters.text("ExternalUserId"),
            username: parameters.text("Username"),
            button_text: parameters.text("ButtonText"),
            button_payload: parameters.text("ButtonPayload"),
            original_replied_message_sid: parameters.optional("OriginalRepliedMessageSid", message_sid),
            other: parameters.other(PASSED_OVER),
        })
    }
}

/// The writer's address. What begins like a number has to be one to its end: behind it stands another parameter, which the
/// signature does not tell from the number.
fn writer(text: &str) -> Option<Address> {
    let writer = Address::parse(text).ok()?;
    let bare = writer.bare().as_str();
    let is_whole = match bare.bytes().next() {
        Some(b'+') => writer.is_e164(),
        Some(b'0'..=b'9') => bare.bytes().all(|byte| byte.is_ascii_digit()),
        _ => true,
    };
    is_whole.then_some(writer)
}

fn media_of(parameters: &mut Parameters<'_>) -> Vec<Media> {
    MEDIA
        .into_iter()
        .filter_map(|(url, content_type)| {
            Some(Media { url: parameters.text(url)?, content_type: parameters.text(content_type) })
        })
        .collect()
}

impl fmt::Debug for IncomingMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingMessage")
            .field("account_sid", &self.account_sid)
            .field("message_sid", &self.message_sid)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("channel", &self.channel)
            .field("media", &self.media)
            .field("num_segments", &self.num_segments)
            .field("messaging_service_sid", &self.messaging_service_sid)
            .field("opt_out_type", &self.opt_out_type)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}
