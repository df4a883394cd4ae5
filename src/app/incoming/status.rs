//! Twilio said what became of a message.

use std::sync::Arc;

use crate::{
    app::{
        Core, Scope,
        consents::Consents,
        forwards::Forwards,
        outgoing::{advance::Steps, pauses::Pauses},
        relays::{Parameters, Relays},
    },
    domain::{
        BatchId, MessageId, Outbound, Sender, Source, StatusChange,
        consent::{Block, ConsentSource},
        delivery::Recorded,
        outgoing::rule,
    },
    store,
    twilio::{
        Address, Channel, MessageStatus,
        error_code::{Consequence, ErrorCode},
        resource,
        webhook::StatusCallback,
    },
};

/// Records what becomes of messages, and everything that follows from it.
pub struct Statuses {
    core: Arc<Core>,
    relays: Arc<Relays>,
    forwards: Arc<Forwards>,
    steps: Arc<Steps>,
    consents: Arc<Consents>,
    pauses: Arc<Pauses>,
}

impl Statuses {
    /// The service, over those that it uses.
    pub(in crate::app) fn new(
        core: Arc<Core>,
        relays: Arc<Relays>,
        forwards: Arc<Forwards>,
        steps: Arc<Steps>,
        consents: Arc<Consents>,
        pauses: Arc<Pauses>,
    ) -> Self {
        Self { core, relays, forwards, steps, consents, pauses }
    }

    /// What a status callback, or an event of Event Streams, says of a message; `id` and `batch` are our own names of it,
    /// if Twilio was given a URL with them. `relayed` are the parameters that the caller's own URL is to be told, `posted` those that
    /// the application is.
    pub fn status_change(
        &self,
        callback: StatusCallback,
        id: Option<MessageId>,
        batch: Option<BatchId>,
        relayed: Option<Parameters>,
        posted: Option<Parameters>,
        source: Source,
    ) -> StatusChange {
        let bare = |address: &Option<Address>| address.as_ref().map(|address| address.bare().clone());
        let (at, raw) = (self.core.now_ms(), callback.to_raw());
        let relay = relayed.map(|form| self.relays.seal_relay(&callback.message_sid, &form));
        let posted = posted.map(|form| self.forwards.seal_form(&callback.message_sid, &form));
        StatusChange {
            to: bare(&callback.to),
            from: bare(&callback.from),
            sid: callback.message_sid,
            id,
            status: callback.status,
            error_code: callback.error_code,
            channel: callback.channel,
            batch,
            source,
            at,
            ask_at: self.core.settings.first_asked_at(at),
            raw,
            relay,
            posted,
        }
    }

    /// The status change that Twilio's copy of a message implies; `outbound` is the message that was asked for here, if it
    /// is known to be that.
    pub(in crate::app) fn change_of_copy(
        &self,
        message: &resource::Message,
        outbound: Option<&Outbound>,
        source: Source,
    ) -> StatusChange {
        let bare = |address: Option<&Address>| address.map(|address| address.bare().clone());
        let at = self.core.now_ms();
        StatusChange {
            sid: message.sid.clone(),
            id: outbound.map(|outbound| outbound.id),
            status: message.status.clone().unwrap_or(MessageStatus::Queued),
            error_code: message.error_code.filter(|&code| code != 0),
            channel: outbound.map_or_else(|| channel_of(message), |outbound| outbound.to.channel()),
            to: bare(outbound.map(|outbound| &outbound.to).or(message.to.as_ref())),
            from: bare(message.from.as_ref().or(outbound.and_then(|outbound| outbound.from.as_ref()))),
            batch: outbound.and_then(|outbound| outbound.batch.clone()),
            source,
            at,
            ask_at: self.core.settings.first_asked_at(at),
            raw: message.error_message.iter().map(|text| (ERROR_MESSAGE.to_owned(), text.clone())).collect(),
            // The answer to the call itself is the caller's already, or brings nothing but "queued".
            relay: outbound
                .filter(|_| source != Source::Api)
                .and_then(|outbound| self.relays.relay_of_answer(outbound, message)),
            posted: None,
        }
    }
}

impl Scope<'_, Statuses> {
    /// Records a status.
    ///
    /// When this returns, the status is stored, and so is what follows from it: the outbound message knows its SID,
    /// and an error that means "opted out" is an opt-out. A repetition makes sure of both, since the first try may
    /// have ended in between. What the caller's own URL is to be told is stored before.
    pub async fn record_status(&self, change: StatusChange) -> Result<Recorded, store::Error> {
        self.relays.of(self.organization).plan_relay(&change).await?;
        if let Some(form) = &change.posted {
            let forwards = self.forwards.of(self.organization);
            forwards.keep_status(&change.sid, &change.status, change.error_code, form).await?;
        }
        let stored = self.core.store.record_status(self.organization, change.clone()).await?;
        if let Some(id) = change.id
            && stored.learned_id
        {
            let accepted = rule::proven(change.sid.clone(), change.at);
            self.core.store.resolve_outbound(self.organization, &id, &accepted).await?;
        }
        if let Some(code) = change.error_code {
            self.draw_consequences(&change, code).await?;
        }
        if let Some(id) = change.id
            && change.error_code.is_some_and(|code| ErrorCode::new(code).is_unreachable_on_whatsapp())
        {
            let hurried = self.steps.of(self.organization).hurry_fallback(&id).await;
            // The status is stored, and Twilio is not to tell it for ever: the second message has a time of its own.
            self.core.if_readable(self.organization, || format!("a message of the pair of {id}"), hurried)?;
        }
        if stored.recorded != Recorded::Duplicate {
            self.forwards.of(self.organization).wake();
        }
        if stored.recorded == Recorded::Moved {
            self.core.metrics.status(change.source.as_str());
        }
        Ok(stored.recorded)
    }
}

impl Scope<'_, Statuses> {
    /// What the error of `change` means beyond the message itself. Done again, it does nothing more.
    async fn draw_consequences(&self, change: &StatusChange, code: u32) -> Result<(), store::Error> {
        let consents = self.consents.of(self.organization);
        let to = change.to.clone().map(|to| to.on(change.channel));
        match (ErrorCode::new(code).consequence(), to) {
            (Consequence::OptOut, Some(to)) => {
                if let Some(source) = ConsentSource::of_error(code) {
                    let block = Block { sender: change.from.clone(), service: None };
                    consents.opt_out_by_error(&to, source, &block, Some(&change.sid)).await?;
                }
            }
            (Consequence::SuspectNumber, Some(to)) => {
                consents.note_failure(&to, code, change.sid.as_str()).await?;
            }
            (Consequence::PauseSender, _) => {
                let sender = self.sender_of(change).await?;
                self.pauses.of(self.organization).pause_sender(sender.as_ref(), code).await?;
            }
            (Consequence::StopAccount, _) => {
                let said = ErrorCode::new(code).describe_or_unknown().title;
                self.pauses.of(self.organization).stop_account(said, code).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// By whose name the message waited in the queue.
    async fn sender_of(&self, change: &StatusChange) -> Result<Option<Sender>, store::Error> {
        let stored = match change.id {
            Some(id) => self.core.store.outbound(self.organization, &id).await?,
            None => None,
        };
        let sender = stored.and_then(|stored| stored.outbound.sender());
        Ok(sender.or_else(|| change.from.clone().map(|from| Sender::Address(from.on(change.channel)))))
    }
}

/// The parameter with Twilio's own words for an error.
const ERROR_MESSAGE: &str = "ErrorMessage";

/// The channel of a message at Twilio, which its addresses tell.
fn channel_of(message: &resource::Message) -> Channel {
    let addresses = [&message.from, &message.to];
    let mut channels = addresses.into_iter().flatten().map(Address::channel);
    channels.find(|&channel| channel != Channel::Sms).unwrap_or(Channel::Sms)
}
