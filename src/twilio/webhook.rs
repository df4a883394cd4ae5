//! Twilio's webhooks of messaging as types: the status callback and the incoming message, and Event Streams, which
//! tell of both.
//!
//! The first two are read from a [`Form`] whose signature holds. Twilio adds parameters, statuses and kinds of address without
//! notice, so only what identifies a message is required. A parameter that is new, or whose value cannot be read, is
//! kept in `other` as it was sent; one that is documented and has no field here stays in the form.

mod event_stream;
mod incoming_message;
mod status_callback;

use std::borrow::Cow;

pub use self::{
    event_stream::{EventBatch, EventContent, StreamEvent},
    incoming_message::{IncomingMessage, Media, OptOutType},
    status_callback::StatusCallback,
};
use super::{Address, Channel, Form};

/// A webhook of messaging, told by what it holds and not by where it was posted: the two URLs are set in several places of
/// Twilio's console, and are easily exchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagingWebhook {
    /// What became of a message that was sent.
    Status(Box<StatusCallback>),
    /// A message that someone wrote.
    Incoming(Box<IncomingMessage>),
}

/// Which of the two a webhook of messaging is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookKind {
    /// A status callback.
    Status,
    /// An incoming message.
    Incoming,
}

/// The status of a message that was received, which no message that was sent ever has.
const RECEIVED: &str = "received";

impl WebhookKind {
    /// What `form` is; `otherwise` if it has nothing that only one of the two has.
    fn of(form: &Form<'_>, otherwise: Self) -> Self {
        let status = ["MessageStatus", "SmsStatus"]
            .into_iter()
            .find_map(|name| form.get(name).filter(|status| !status.is_empty()));
        match status {
            Some(status) if status.eq_ignore_ascii_case(RECEIVED) => WebhookKind::Incoming,
            Some(_) => WebhookKind::Status,
            None if form.get("Body").is_some() || form.get("NumMedia").is_some() => WebhookKind::Incoming,
            None => otherwise,
        }
    }
}

impl MessagingWebhook {
    /// Reads a form that was posted to where a webhook of the kind `expected` belongs.
    pub fn parse(form: &Form<'_>, expected: WebhookKind) -> Result<Self, InvalidWebhook> {
        match WebhookKind::of(form, expected) {
            WebhookKind::Status => Ok(MessagingWebhook::Status(Box::new(StatusCallback::parse(form)?))),
            WebhookKind::Incoming => Ok(MessagingWebhook::Incoming(Box::new(IncomingMessage::parse(form)?))),
        }
    }

    /// Which of the two it is.
    pub fn kind(&self) -> WebhookKind {
        match self {
            MessagingWebhook::Status(_) => WebhookKind::Status,
            MessagingWebhook::Incoming(_) => WebhookKind::Incoming,
        }
    }
}

/// Why a request is not the webhook it was taken for. It names the parameter and never shows its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhook {
    /// A required parameter is absent or empty.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// A required parameter does not have its shape.
    #[error("the parameter {0} is malformed")]
    Malformed(&'static str),
    /// A parameter that decides of whom or of what it is may begin at several places of what is signed.
    #[error("the parameter {0} may begin at more than one place of what is signed")]
    Ambiguous(&'static str),
    /// The body is no JSON, or holds neither an event nor a list of events.
    #[error("the body is neither a CloudEvent nor a list of them in JSON")]
    NoEvents,
}

/// Reads a form and remembers what was read, so that the rest can be kept.
struct Parameters<'a> {
    form: &'a Form<'a>,
    read: Vec<&'static str>,
}

impl<'a> Parameters<'a> {
    fn of(form: &'a Form<'a>) -> Self {
        Self { form, read: Vec::new() }
    }

    /// What `parse` makes of `name`'s value; an empty value counts as absent. What it cannot read is not read.
    fn optional<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.form.get(name)?;
        let value = if text.is_empty() { None } else { Some(parse(&text)?) };
        self.read.push(name);
        value
    }

    /// The value of `name`; an empty one counts as absent.
    fn text(&mut self, name: &'static str) -> Option<String> {
        self.optional(name, |text| Some(text.to_owned()))
    }

    /// What `parse` makes of the first of `names` that is there: the present name, then the deprecated ones.
    fn required<T>(
        &mut self,
        names: &[&'static str],
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, InvalidWebhook> {
        self.read.extend(names);
        let present = names.iter().find_map(|name| {
            let text = self.form.get(name).filter(|text| !text.is_empty())?;
            Some((name, text))
        });
        let (name, text) = present.ok_or(InvalidWebhook::Missing(names[0]))?;
        parse(&text).ok_or(InvalidWebhook::Malformed(name))
    }

    /// What was not read and is not in `passed_over` either, in the order in which it was sent.
    fn other(&self, passed_over: &[&str]) -> Vec<(String, String)> {
        let text = |bytes| String::from_utf8_lossy(bytes);
        let is_other = |name: &Cow<'_, str>| {
            !self.read.contains(&name.as_ref()) && !passed_over.contains(&name.as_ref())
        };
        self.form
            .iter()
            .map(|(name, value)| (text(name), value))
            .filter(|(name, _)| is_other(name))
            .map(|(name, value)| (name.into_owned(), text(value).into_owned()))
            .collect()
    }
}

/// The channel that the addresses name. A prefix on either is enough: the other may be a bare number.
fn channel_of<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> Channel {
    let mut channels = addresses.into_iter().map(Address::channel);
    channels.find(|&channel| channel != Channel::Sms).unwrap_or(Channel::Sms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_what_it_holds_wherever_it_was_posted() {
        use WebhookKind::{Incoming, Status};
        for (form, of_itself) in [
            ("MessageStatus=delivered&SmsStatus=delivered", Some(Status)),
            ("SmsStatus=sent", Some(Status)),
            ("MessageStatus=a-new-one", Some(Status)),
            ("SmsStatus=received&Body=STOP", Some(Incoming)),
            ("SmsStatus=received", Some(Incoming)),
            ("Body=STOP&NumMedia=0", Some(Incoming)),
            ("Body=", Some(Incoming)),
            ("From=%2B14155550100", None),
            ("MessageStatus=", None),
        ] {
            for expected in [Incoming, Status] {
                let kind = WebhookKind::of(&Form::parse(form.as_bytes()), expected);
                assert_eq!(kind, of_itself.unwrap_or(expected), "{form}");
            }
        }
    }
}
