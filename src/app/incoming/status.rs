//! Twilio said what became of a message.

use crate::{
    app::{App, relays::Parameters},
    domain::{
        BatchId, MessageId, Organization, Source, StatusChange, consent::ConsentSource, delivery::Recorded,
        outgoing::rule,
    },
    store,
    twilio::{Address, error_code::ErrorCode, webhook::StatusCallback},
};

impl App {
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
        let bare = |address: &Option<Address>| {
            address.as_ref().map(|address| address.bare().to_owned()).unwrap_or_default()
        };
        let at = self.now_ms();
        let relay = relayed.map(|form| self.seal_relay(&callback.message_sid, &form));
        StatusChange {
            to: bare(&callback.to),
            from: bare(&callback.from),
            sid: callback.message_sid,
            id,
            status: callback.status,
            error_code: callback.error_code,
            channel: callback.channel,
            batch: batch.map(Into::into),
            source,
            at,
            ask_at: self.first_asked_at(at),
            raw: callback.other,
            relay,
        }
    }

    /// Records a status.
    ///
    /// When this returns, the status is stored, and so is what follows from it: the outbound message knows its SID,
    /// and an error that means "opted out" is an opt-out. A repetition makes sure of both, since the first try may
    /// have ended in between. What the caller's own URL is to be told is stored before.
    pub async fn record_status(
        &self,
        organization: &Organization,
        change: StatusChange,
    ) -> Result<Recorded, store::Error> {
        self.plan_relay(organization, &change).await?;
        let stored = self.store.record_status(organization, change.clone()).await?;
        if let Some(id) = change.id
            && stored.learned_id
        {
            let accepted = rule::proven(change.sid.clone(), change.at);
            self.store.resolve_outbound(organization, &id, &accepted).await?;
        }
        if let Some(source) = change.error_code.and_then(ConsentSource::of_error)
            && let Ok(recipient) = Address::new(change.channel, &change.to)
        {
            self.opt_out_by_error(organization, &recipient, source, Some(&change.sid)).await?;
        }
        if let Some(id) = change.id
            && change.error_code.is_some_and(|code| ErrorCode::new(code).is_unreachable_on_whatsapp())
        {
            self.hurry_fallback(organization, &id).await?;
        }
        if stored.recorded == Recorded::Moved {
            self.metrics.status(change.source.as_str());
        }
        Ok(stored.recorded)
    }
}
