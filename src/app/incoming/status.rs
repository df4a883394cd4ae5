//! Twilio said what became of a message.

use std::sync::Arc;

use crate::{
    app::{
        Core, Scope,
        consents::Consents,
        outgoing::advance::Steps,
        relays::{Parameters, Relays},
    },
    domain::{
        BatchId, MessageId, Outbound, Source, StatusChange,
        consent::{Block, ConsentSource},
        delivery::Recorded,
        outgoing::rule,
    },
    store,
    twilio::{Address, Channel, MessageStatus, error_code::ErrorCode, resource, webhook::StatusCallback},
};

/// Records what becomes of messages, and everything that follows from it.
pub struct Statuses {
    core: Arc<Core>,
    relays: Arc<Relays>,
    steps: Arc<Steps>,
    consents: Arc<Consents>,
}

impl Statuses {
    /// The service, over those that it uses.
    pub(in crate::app) fn new(
        core: Arc<Core>,
        relays: Arc<Relays>,
        steps: Arc<Steps>,
        consents: Arc<Consents>,
    ) -> Self {
        Self { core, relays, steps, consents }
    }

    /// What a status callback, or an event of Event Streams, says of a message; `id` and `batch` are our own names of it,
    /// if Twilio was given a URL with them. `relayed` are the parameters that the caller's own URL is to be told.
    pub fn status_change(
        &self,
        callback: StatusCallback,
        id: Option<MessageId>,
        batch: Option<BatchId>,
        relayed: Option<Parameters>,
        source: Source,
    ) -> StatusChange {
        let bare = |address: &Option<Address>| address.as_ref().map(|address| address.bare().clone());
        let at = self.core.now_ms();
        let relay = relayed.map(|form| self.relays.seal_relay(&callback.message_sid, &form));
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
            raw: callback.other,
            relay,
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
            raw: Vec::new(),
            // The answer to the call itself is the caller's already, or brings nothing but "queued".
            relay: outbound
                .filter(|_| source != Source::Api)
                .and_then(|outbound| self.relays.relay_of_answer(outbound, message)),
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
        let stored = self.core.store.record_status(self.organization, change.clone()).await?;
        if let Some(id) = change.id
            && stored.learned_id
        {
            let accepted = rule::proven(change.sid.clone(), change.at);
            self.core.store.resolve_outbound(self.organization, &id, &accepted).await?;
        }
        if let Some(source) = change.error_code.and_then(ConsentSource::of_error)
            && let Some(to) = &change.to
        {
            let consents = self.consents.of(self.organization);
            let block = Block { sender: change.from.clone(), service: None };
            let to = to.clone().on(change.channel);
            consents.opt_out_by_error(&to, source, &block, Some(&change.sid)).await?;
        }
        if let Some(id) = change.id
            && change.error_code.is_some_and(|code| ErrorCode::new(code).is_unreachable_on_whatsapp())
        {
            let hurried = self.steps.of(self.organization).hurry_fallback(&id).await;
            // The status is stored, and Twilio is not to tell it for ever: the second message has a time of its own.
            self.core.if_readable(self.organization, || format!("a message of the pair of {id}"), hurried)?;
        }
        if stored.recorded == Recorded::Moved {
            self.core.metrics.status(change.source.as_str());
        }
        Ok(stored.recorded)
    }
}

/// The channel of a message at Twilio, which its addresses tell.
fn channel_of(message: &resource::Message) -> Channel {
    let addresses = [&message.from, &message.to];
    let mut channels = addresses.into_iter().flatten().map(Address::channel);
    channels.find(|&channel| channel != Channel::Sms).unwrap_or(Channel::Sms)
}
