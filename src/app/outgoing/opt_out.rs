//! What waits for a person who opts out.

use super::advance::{Occasion, Steps};
use crate::{
    app::Scope,
    domain::{
        HistoryId, MessageId, MessageRef, Person,
        consent::{ConsentChannel, ConsentEntry, ConsentState},
        outgoing::Fact,
    },
    store::{self, outbox::OUTBOUNDS_MAX},
};

/// The last messages to a person among which those are sought that wait.
const WAITING_LOOKED_THROUGH_MAX: usize = OUTBOUNDS_MAX;

impl Scope<'_, Steps> {
    /// Refuses what waits for a person who has just opted out, so that nobody finds it waiting. That nothing leaves is
    /// not up to this: every message asks for consent at its gate.
    pub(in crate::app) async fn refuse_waiting_after(&self, entry: &ConsentEntry) {
        if entry.state == ConsentState::OptedOut
            && let Err(error) = self.refuse_waiting(entry).await
        {
            tracing::warn!(organization = %self.organization, %error, "what waits for a person who opted out is refused later");
        }
    }

    async fn refuse_waiting(&self, entry: &ConsentEntry) -> Result<(), store::Error> {
        let person = Person::of(&entry.phone);
        let recent = self
            .core
            .store
            .history(self.organization, Some(&person), HistoryId::END, WAITING_LOOKED_THROUGH_MAX)
            .await?;
        let ids: Vec<MessageId> = recent
            .into_iter()
            .filter_map(|(_, message)| match message {
                MessageRef::Id(id) => Some(id),
                MessageRef::Sid(_) => None,
            })
            .collect();
        for stored in self.core.store.outbounds(self.organization, &ids).await?.into_iter().flatten() {
            let channel = ConsentChannel::from(stored.outbound.to.channel());
            let silenced = entry.channel == ConsentChannel::All || entry.channel == channel;
            if silenced {
                let occasion = Occasion::Known(Fact::OptedOut);
                self.advance(&stored.outbound, &stored.state, occasion, false).await?;
            }
        }
        Ok(())
    }
}
