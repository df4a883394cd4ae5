//! The forms that Twilio posted, kept sealed until the application has been told: before the entry of the stream is stored, so that
//! whoever finds the one finds the other.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::Forwards;
use crate::{
    app::{DECISIONS_MAX, Scope, contended, relays::Parameters},
    domain::{Event, UnixMs},
    store::{self, Kind},
    twilio::{MessageSid, MessageStatus},
};

/// How long a form is kept: the day for which it is tried, and one more to have it told again.
pub const POSTED_KEPT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// A form as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Posted {
    /// Its parameters, sealed.
    form: String,
    /// Until when the endpoint that answers is told by whoever took the message.
    #[serde(default)]
    pub(super) held_until: UnixMs,
    /// The endpoints that have been told by whoever took the message.
    #[serde(default)]
    told: Vec<String>,
}

impl Posted {
    /// Whether the endpoint `id` has been told by whoever took the message.
    pub(super) fn was_told_to(&self, id: &str) -> bool {
        self.told.iter().any(|told| told == id)
    }
}

impl Forwards {
    /// Seals the form by which Twilio told of a message.
    pub(in crate::app) fn seal_form(&self, sid: &MessageSid, form: &Parameters) -> String {
        let text = serde_json::to_vec(form).expect("texts are JSON");
        self.core.keys.seal(&context(sid), &text)
    }
}

impl Scope<'_, Forwards> {
    /// Keeps the form of the message `sid`, for an endpoint that answers held until `held_until`; done again, it changes nothing.
    pub(in crate::app) async fn keep_message(
        &self,
        sid: &MessageSid,
        form: &str,
        held_until: UnixMs,
    ) -> Result<(), store::Error> {
        self.keep(sid.as_str(), form, held_until).await
    }

    /// Keeps the form of a status.
    pub(in crate::app) async fn keep_status(
        &self,
        sid: &MessageSid,
        status: &MessageStatus,
        error_code: Option<u32>,
        form: &str,
    ) -> Result<(), store::Error> {
        self.keep(&status_name(sid, status, error_code), form, UnixMs::EPOCH).await
    }

    async fn keep(&self, name: &str, form: &str, held_until: UnixMs) -> Result<(), store::Error> {
        let posted = Posted { form: form.to_owned(), held_until, told: Vec::new() };
        let (kind, text) = (Kind::Posted, store::encode(&posted));
        let store = &self.core.store;
        store
            .change_document(self.organization, kind, name, None, Some(&text), Some(POSTED_KEPT))
            .await
            .map(drop)
    }

    /// Forgets the form by which Twilio told of `event`: whose it is, is erased.
    pub(in crate::app) async fn forget_form(&self, event: &Event) -> Result<(), store::Error> {
        match name_of(event) {
            Some(name) => self.forget(&name).await,
            None => Ok(()),
        }
    }

    async fn forget(&self, name: &str) -> Result<(), store::Error> {
        let (store, kind) = (&self.core.store, Kind::Posted);
        if let Some(stored) = store.document(self.organization, kind, name).await? {
            store.change_document(self.organization, kind, name, Some(&stored), None, None).await?;
        }
        Ok(())
    }

    /// Forgets the forms of all statuses of the message `sid`: whose it is, is erased. It is done before the statuses are.
    pub(in crate::app) async fn forget_statuses(&self, sid: &MessageSid) -> Result<(), store::Error> {
        let store = &self.core.store;
        let known = store.deliveries(self.organization, std::slice::from_ref(sid)).await?.pop().flatten();
        for seen in known.into_iter().flat_map(|delivery| delivery.seen) {
            self.forget(&status_name(sid, &seen.status, seen.error_code)).await?;
        }
        Ok(())
    }

    /// Notes that the endpoint `id` has been told of the message `sid`.
    pub(super) async fn note_told(&self, sid: &MessageSid, id: &str) -> Result<(), store::Error> {
        let (store, kind) = (&self.core.store, Kind::Posted);
        for _ in 0..DECISIONS_MAX {
            let Some(stored) = store.document(self.organization, kind, sid.as_str()).await? else {
                return Ok(());
            };
            let mut posted: Posted = read(&stored)?;
            posted.told.push(id.to_owned());
            let (before, after) = (Some(stored.as_str()), store::encode(&posted));
            let (name, kept) = (sid.as_str(), Some(POSTED_KEPT));
            if store.change_document(self.organization, kind, name, before, Some(&after), kept).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// The form by which Twilio told of `event`, if it is kept.
    pub(super) async fn posted_for(&self, event: &Event) -> Result<Option<Posted>, store::Error> {
        let Some(name) = name_of(event) else { return Ok(None) };
        let stored = self.core.store.document(self.organization, Kind::Posted, &name).await?;
        stored.as_deref().map(read).transpose()
    }

    /// Opens the form by which Twilio told of `event`.
    pub(super) fn open_posted(&self, event: &Event, posted: &Posted) -> Result<Parameters, store::Error> {
        let sid = match event {
            Event::Inbound(entry) => &entry.sid,
            Event::Delivery(entry) => &entry.sid,
            Event::Consent(_) => return Ok(Vec::new()),
        };
        self.open_form(sid, &posted.form)
    }

    /// Opens what [`Forwards::seal_form`] sealed.
    pub(super) fn open_form(&self, sid: &MessageSid, form: &str) -> Result<Parameters, store::Error> {
        let unreadable = |error: String| store::Error::Unreadable(format!("the form of {sid}: {error}"));
        let opened =
            self.core.keys.open(&context(sid), form).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice(opened.expose_secret())
            .map_err(|error| unreadable(format!("column {}", error.column())))
    }
}

/// The name of the form by which Twilio told of `event`, if it told of it.
fn name_of(event: &Event) -> Option<String> {
    match event {
        Event::Inbound(entry) => Some(entry.sid.as_str().to_owned()),
        Event::Delivery(entry) => Some(status_name(&entry.sid, &entry.status, entry.error_code)),
        Event::Consent(_) => None,
    }
}

/// The name of the form of a status, which is recorded once with each error.
fn status_name(sid: &MessageSid, status: &MessageStatus, error_code: Option<u32>) -> String {
    format!("{sid}-{status}-{}", error_code.unwrap_or(0))
}

/// What a form is sealed for.
fn context(sid: &MessageSid) -> String {
    format!("posted/{sid}")
}

fn read(stored: &str) -> Result<Posted, store::Error> {
    store::decode("a form that Twilio posted", stored)
}
