//! The status callback: Twilio says what became of a message that was sent.

use std::fmt;

use super::{InvalidWebhook, Parameters, channel_of};
use crate::twilio::{AccountSid, Address, Channel, Form, MessageSid, MessageStatus, MessagingServiceSid};

/// The version of the API, as it stands in every callback.
const API_VERSION: &str = "2010-04-01";

/// What is documented, or has been seen, and is not read: copies, constants and the masked recipient.
const PASSED_OVER: &[&str] =
    &["ApiVersion", "Body", "ChannelInstallSid", "ChannelToAddress", "EventType", "StructuredMessage"];

/// What became of a message that was sent.
///
/// `Debug` masks addresses and leaves out texts.
///
/// Source: <https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks>.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusCallback {
    /// The account that sent the message.
    pub account_sid: AccountSid,
    /// The message: `MessageSid` or, where that is absent, its deprecated name `SmsSid`.
    pub message_sid: MessageSid,
    /// What is said of it: `MessageStatus` or, where that is absent, its deprecated name `SmsStatus`.
    pub status: MessageStatus,
    /// Why it was not delivered; `0` and `null` count as absent.
    pub error_code: Option<u32>,
    /// Why it was not delivered, in words; undocumented.
    pub error_message: Option<String>,
    /// Why the channel did not deliver it, by the channel's own code.
    pub channel_status_code: Option<String>,
    /// The same in the channel's own words.
    pub channel_status_message: Option<String>,
    /// The recipient.
    pub to: Option<Address>,
    /// The sender. It may differ from one callback to the next: RCS falls back to SMS.
    pub from: Option<Address>,
    /// Where the message travels: what `ChannelPrefix` says or else an address's prefix.
    pub channel: Channel,
    /// The messaging service that chose the sender; not in every callback of a message that has one.
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// The time of the carrier's receipt as the carrier gave it: mostly `YYMMDDhhmm`, in no stated zone.
    pub raw_dlr_done_date: Option<String>,
    /// Parameters that are new or cannot be read, in the order in which they were sent.
    pub other: Vec<(String, String)>,
}

impl StatusCallback {
    /// Reads a status callback.
    pub fn parse(form: &Form<'_>) -> Result<Self, InvalidWebhook> {
        let mut parameters = Parameters::of(form);
        let to = parameters.optional("To", |text| Address::parse(text).ok());
        let from = parameters.optional("From", |text| Address::parse(text).ok());
        let channel = parameters.optional("ChannelPrefix", Channel::parse);
        Ok(Self {
            account_sid: parameters.required(&["AccountSid"], |text| AccountSid::parse(text).ok())?,
            message_sid: parameters
                .required(&["MessageSid", "SmsSid"], |text| MessageSid::parse(text).ok())?,
            status: parameters
                .required(&["MessageStatus", "SmsStatus"], |text| Some(MessageStatus::parse(text)))?,
            error_code: parameters.optional("ErrorCode", error_code).flatten(),
            error_message: parameters.text("ErrorMessage"),
            channel_status_code: parameters.text("ChannelStatusCode"),
            channel_status_message: parameters.text("ChannelStatusMessage"),
            channel: channel.unwrap_or_else(|| channel_of(from.iter().chain(&to))),
            to,
            from,
            messaging_service_sid: parameters
                .optional("MessagingServiceSid", |text| MessagingServiceSid::parse(text).ok()),
            raw_dlr_done_date: parameters.text("RawDlrDoneDate"),
            other: parameters.other(PASSED_OVER),
        })
    }

    /// What is kept of it as Twilio wrote it: the reason in Twilio's and the channel's own words, and what is not known by name.
    pub fn to_raw(&self) -> Vec<(String, String)> {
        let words = [
            ("ChannelStatusCode", &self.channel_status_code),
            ("ChannelStatusMessage", &self.channel_status_message),
            ("ErrorMessage", &self.error_message),
        ];
        let words = words.into_iter().filter(|_| self.error_code.is_some());
        let words = words.filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        words.chain(self.other.iter().cloned()).collect()
    }

    /// The parameters in which Twilio would post it, as far as they are known.
    pub fn to_parameters(&self) -> Vec<(String, String)> {
        let (sid, status) = (self.message_sid.as_str(), self.status.as_str());
        let address = |address: &Option<Address>| address.as_ref().map(Address::to_twilio);
        let prefix = Some(self.channel).filter(|&channel| channel != Channel::Sms);
        let parameters = [
            ("AccountSid", Some(self.account_sid.to_string())),
            ("ApiVersion", Some(API_VERSION.to_owned())),
            ("ChannelPrefix", prefix.map(|channel| channel.to_string())),
            ("ChannelStatusCode", self.channel_status_code.clone()),
            ("ChannelStatusMessage", self.channel_status_message.clone()),
            ("ErrorCode", self.error_code.map(|code| code.to_string())),
            ("ErrorMessage", self.error_message.clone()),
            ("From", address(&self.from)),
            ("MessageSid", Some(sid.to_owned())),
            ("MessageStatus", Some(status.to_owned())),
            ("MessagingServiceSid", self.messaging_service_sid.as_ref().map(ToString::to_string)),
            ("RawDlrDoneDate", self.raw_dlr_done_date.clone()),
            ("SmsSid", Some(sid.to_owned())),
            ("SmsStatus", Some(status.to_owned())),
            ("To", address(&self.to)),
        ];
        let known = parameters.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        known.chain(self.other.iter().cloned()).collect()
    }
}

/// Reads an error code, of which Twilio and those who forward its callbacks write the absence in several ways.
fn error_code(text: &str) -> Option<Option<u32>> {
    match text.parse() {
        Ok(0) => Some(None),
        Ok(code) => Some(Some(code)),
        Err(_) => text.eq_ignore_ascii_case("null").then_some(None),
    }
}

impl fmt::Debug for StatusCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusCallback")
            .field("account_sid", &self.account_sid)
            .field("message_sid", &self.message_sid)
            .field("status", &self.status)
            .field("error_code", &self.error_code)
            .field("to", &self.to)
            .field("from", &self.from)
            .field("channel", &self.channel)
            .field("messaging_service_sid", &self.messaging_service_sid)
            .finish_non_exhaustive()
    }
}
