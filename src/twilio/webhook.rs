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
