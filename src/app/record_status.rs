//! Twilio said what became of a message.

use super::App;
use crate::{
    domain::{
        MessageId, Organization, OutboundState, Source, StatusChange, consent::ConsentSource,
        delivery::Recorded,
    },
    store,
    twilio::{Address, webhook::StatusCallback},
};

impl App {
    /// Records a verified status callback that came to the URL with our id `id`, if it had one.
    ///
    /// When this returns, the status is stored, and so is what follows from it: the outbound message knows its SID,
    /// and an error that means "opted out" is an opt-out. A repetition makes sure of both, since the first try may
    /// have ended in between.
    pub async fn record_status(
        &self,
        organization: &Organization,
        callback: StatusCallback,
        id: Option<MessageId>,
    ) -> Result<Recorded, store::Error> {
        let bare = |address: &Option<Address>| {
            address.as_ref().map(|address| address.bare().to_owned()).unwrap_or_default()
        };
        let change = StatusChange {
            sid: callback.message_sid.clone(),
            id,
            status: callback.status,
            error_code: callback.error_code,
            channel: callback.channel,
            to: bare(&callback.to),
            from: bare(&callback.from),
            batch: None,
            source: Source::Callback,
            at: self.now_ms(),
            raw: callback.other,
        };
        let stored = self.store.record_status(organization, change).await?;
        if let Some(id) = id
            && (stored.learned_id || stored.recorded == Recorded::Duplicate)
        {
            let accepted = OutboundState::Accepted { message_sid: callback.message_sid.clone() };
            self.store.resolve_outbound(organization, &id, &accepted).await?;
        }
        if let Some(source) = callback.error_code.and_then(ConsentSource::of_error)
            && let Some(to) = &callback.to
        {
            let recipient = Address::new(callback.channel, to.bare()).unwrap_or_else(|_| to.clone());
            self.opt_out_by_error(organization, &recipient, source, Some(&callback.message_sid)).await?;
        }
        Ok(stored.recorded)
    }
}
