//! What Twilio is to be given besides the addresses: a message's text and what goes with it.
//!
//! It waits sealed beside its message, or once for a whole batch, and is gone from the store when the message is
//! resolved: a text is nobody's business any longer than it takes to send it.

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{BatchId, MessageId, Outbound},
    sealing::MasterKeys,
    store,
    twilio::{ContentSid, resource::CreateMessage, segments},
};

/// A message's content. `Debug` is left out: it holds a text.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The text.
    pub body: Option<String>,
    /// URLs of media that Twilio fetches.
    pub media_url: Vec<String>,
    /// A content template.
    pub content_sid: Option<ContentSid>,
    /// The template's variables: a JSON object, as text.
    pub content_variables: Option<String>,
    /// Seconds the message may wait at Twilio.
    pub validity_period_s: Option<u32>,
    /// Further parameters of Twilio's, by its names, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<(String, String)>,
}

impl Content {
    /// Characters of text.
    pub fn body_length(&self) -> usize {
        self.body.as_deref().map_or(0, |body| body.chars().count())
    }

    /// Segments, as we count them; a template's are Twilio's to count.
    pub fn segments(&self) -> u32 {
        self.body.as_deref().map_or(1, |body| segments::count(body).segments as u32).max(1)
    }

    /// The call that hands `outbound` to Twilio.
    pub(super) fn call(&self, outbound: &Outbound, status_callback: String) -> CreateMessage {
        CreateMessage {
            to: outbound.to.clone(),
            from: outbound.from.clone(),
            messaging_service_sid: outbound.messaging_service_sid.clone(),
            body: self.body.clone(),
            media_url: self.media_url.clone(),
            content_sid: self.content_sid.clone(),
            content_variables: self.content_variables.clone(),
            validity_period_s: self.validity_period_s,
            status_callback: Some(status_callback),
            other: self.other.clone(),
        }
    }

    /// The content as the store keeps it beside the message `id`.
    pub(super) fn seal_for(&self, id: &MessageId, keys: &MasterKeys) -> String {
        self.seal(&format!("message/{id}"), keys)
    }

    /// The content as the store keeps it for the whole batch `id`.
    pub(super) fn seal_for_batch(&self, id: &BatchId, keys: &MasterKeys) -> String {
        self.seal(&format!("batch/{id}"), keys)
    }

    /// Reads what [`Content::seal_for`] wrote.
    pub(super) fn open_for(id: &MessageId, sealed: &str, keys: &MasterKeys) -> Result<Self, store::Error> {
        Self::open(&format!("message/{id}"), sealed, keys)
    }

    /// Reads what [`Content::seal_for_batch`] wrote.
    pub(super) fn open_for_batch(
        id: &BatchId,
        sealed: &str,
        keys: &MasterKeys,
    ) -> Result<Self, store::Error> {
        Self::open(&format!("batch/{id}"), sealed, keys)
    }

    fn seal(&self, context: &str, keys: &MasterKeys) -> String {
        let text = serde_json::to_vec(self).expect("content has string keys and no failing serializer");
        keys.seal(context, &text)
    }

    fn open(context: &str, sealed: &str, keys: &MasterKeys) -> Result<Self, store::Error> {
        let unreadable = |error: String| store::Error::Unreadable(format!("{context}: {error}"));
        let text = keys.open(context, sealed).map_err(|error| unreadable(error.to_string()))?;
        // The message of a fault may hold a part of the text: only its place is told.
        serde_json::from_slice(text.expose_secret())
            .map_err(|error| unreadable(format!("column {}", error.column())))
    }
}
