//! What waits for a person of whom something has become known: refused after an opt-out, let go after a review.

use futures_util::{StreamExt, TryStreamExt};

use super::advance::{Occasion, Steps};
use crate::{
    app::Scope,
    domain::{
        HistoryId, MessageId, MessageRef, OutboundState, Person,
        consent::{ConsentChannel, ConsentEntry, ConsentState},
        outgoing::Fact,
    },
    store::{self, StoredOutbound, outbox::OUTBOUNDS_MAX},
    twilio::BareAddress,
};

/// The last messages to a person among which those are sought that wait.
const WAITING_LOOKED_THROUGH_MAX: usize = OUTBOUNDS_MAX;

/// Messages that are advanced at the same time.
const ADVANCED_AT_ONCE: usize = 16;

impl Scope<'_, Steps> {
    /// Refuses what waits for a person who has just opted out, so that nobody finds it waiting. That nothing leaves is
    /// not up to this: every message asks for consent at its gate.
    pub(in crate::app) async fn refuse_waiting_after(&self, entry: &ConsentEntry) {
        if entry.state == ConsentState::OptedOut
            && let Err(error) = self.advance_waiting(&entry.phone, entry.channel, &Fact::OptedOut).await
        {
            tracing::warn!(organization = %self.organization, %error, "what waits for a person who opted out is refused later");
        }
    }

    /// Lets go what was held for a review on `channel`, where none is open any more. What is not found here leaves when the
    /// review would have ended.
    pub(in crate::app) async fn release_after_review(&self, phone: &BareAddress, channel: ConsentChannel) {
        if let Err(error) = self.advance_waiting(phone, channel, &Fact::ReviewClosed).await {
            tracing::warn!(organization = %self.organization, %error, "what was held for a review leaves later");
        }
    }

    /// Calls `stored` off if it waits; the state that it is in then.
    pub(in crate::app) async fn end(&self, stored: &StoredOutbound) -> Result<OutboundState, store::Error> {
        let StoredOutbound { outbound, state, .. } = stored;
        if state.is_resolved() {
            return Ok(state.clone());
        }
        self.advance(outbound, state, Occasion::Known(Fact::CalledOff), false).await?;
        let now = self.core.store.outbound(self.organization, &outbound.id).await?;
        Ok(now.map_or(OutboundState::Canceled { at: self.core.now_ms() }, |stored| stored.state))
    }

    /// Hands `fact` to every message that waits for the person at `phone` on `channel`.
    async fn advance_waiting(
        &self,
        phone: &BareAddress,
        channel: ConsentChannel,
        fact: &Fact,
    ) -> Result<(), store::Error> {
        let person = Person::of(phone);
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
        // One that cannot be read is asked at its gate by whoever can read it.
        let known = self.core.store.outbound_rows(self.organization, &ids).await?;
        let known = known.into_iter().filter_map(|row| self.core.readable(self.organization, row));
        let is_concerned = |stored: &StoredOutbound| {
            channel == ConsentChannel::All || channel == stored.outbound.to.channel().into()
        };
        // Many at once, since the person's webhook may wait for it.
        futures_util::stream::iter(known.flatten().filter(is_concerned))
            .map(|stored| async move {
                let occasion = Occasion::Known(fact.clone());
                self.advance(&stored.outbound, &stored.state, occasion, false).await.map(drop)
            })
            .buffer_unordered(ADVANCED_AT_ONCE)
            .try_collect()
            .await
    }
}
