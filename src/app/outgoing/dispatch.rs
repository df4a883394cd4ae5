//! Takes messages that wait, one by one, to their end.
//!
//! A claimed message is in one of three states. One that waits is handed to Twilio if it may leave. One that is being sent
//! has lost its process, and one that is unknown has lost Twilio's answer: Twilio's list is searched for both, twice,
//! before they are sent again. Each of this is a fact for [`super::advance`], whose steps compare what is stored with what
//! they were decided on: two who come to the same message do not both act, and a callback that proves acceptance in
//! between wins.

use std::{sync::Arc, time::Duration};

use super::{
    Outgoing,
    advance::{Advanced, Occasion},
    call::Call,
    content::Content,
};
use crate::{
    app::Scope,
    domain::{
        Flow, Hold, MessageId, OutboundState, Sender, UnixMs,
        outgoing::{Fact, times},
    },
    store::{self, StoredOutbound, outbox::DueFlows},
    twilio::address::mask,
};

/// The longest time for which a sender rests after Twilio did not process one of its messages.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(2);

/// How long a message that cannot be read is left alone: during an upgrade, until an instance that can read it comes by.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);

/// Claims in one turn of which nothing can be done: then those behind them wait for the next turn.
const CLAIMS_MAX: usize = 5;

/// What became of a claimed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatched {
    /// Twilio was called with it.
    Called,
    /// Nothing left; it waits, is resolved, or somebody else has it.
    Kept,
    /// Twilio wants to be left alone for so long.
    Busy(Duration),
}

impl Scope<'_, Outgoing> {
    /// A page of the organization's flows in which messages are due, the urgent ones or the others: see
    /// [`store::Outbox::due_flows`]. None while the account's queue rests; then Twilio is asked whether it may go on.
    pub async fn due_flows(&self, urgent: bool, skip: usize) -> Result<DueFlows, store::Error> {
        let pauses = self.pauses.of(self.organization);
        if pauses.is_account_stopped().await? {
            pauses.test_account().await?;
            return Ok(DueFlows::default());
        }
        let due = self.core.store.due_flows(self.organization, self.core.now_ms(), urgent, skip).await?;
        due.unreadable.iter().for_each(|name| self.core.tell_unreadable(self.organization, name));
        Ok(due)
    }

    /// Takes up to `limit` messages of `flow` that are due. Nobody else gets them for [`times::CLAIM_TIME`]. Those that cannot be
    /// read are put off, and keep none that is behind them from leaving.
    pub async fn claim_due(&self, flow: &Flow, limit: usize) -> Result<Vec<StoredOutbound>, store::Error> {
        for _ in 0..CLAIMS_MAX {
            let now = self.core.now_ms();
            let until = now + times::CLAIM_TIME;
            let ids = self.core.store.claim_outbounds(self.organization, flow, now, until, limit).await?;
            let is_empty = ids.is_empty();
            let ids = ids.into_iter().filter_map(|id| self.core.readable(self.organization, id)).collect();
            let claimed = self.look_at_claimed(flow, ids).await?;
            if is_empty || !claimed.is_empty() {
                return Ok(claimed);
            }
        }
        Ok(Vec::new())
    }

    /// Those of the claimed messages for which something is to be done.
    async fn look_at_claimed(
        &self,
        flow: &Flow,
        ids: Vec<MessageId>,
    ) -> Result<Vec<StoredOutbound>, store::Error> {
        let mut claimed = Vec::with_capacity(ids.len());
        for (id, row) in ids.iter().zip(self.core.store.outbound_rows(self.organization, &ids).await?) {
            match row {
                Ok(Some(stored)) if !stored.state.is_resolved() => claimed.push(stored),
                Ok(_) => self.core.store.dequeue(self.organization, flow, id).await?,
                Err(unreadable) => {
                    self.core.tell_unreadable(self.organization, &unreadable);
                    let until = self.core.now_ms() + UNREADABLE_PAUSE;
                    self.core.store.put_off(self.organization, flow, id, until).await?;
                }
            }
        }
        Ok(claimed)
    }

    /// For how long the queue of `flow`'s sender rests, if it does. What is urgent is tried all the same.
    pub async fn sender_rests(&self, flow: &Flow) -> Result<Option<Duration>, store::Error> {
        match &flow.sender {
            Some(sender) if !flow.urgent => self.pauses.of(self.organization).sender_rests(sender).await,
            _ => Ok(None),
        }
    }

    /// When messages of `segments` may leave through `sender`, one behind the other: when the first of them may.
    pub async fn reserve_pace(&self, sender: Option<&Sender>, segments: u32) -> Result<UnixMs, store::Error> {
        let Some(sender) = sender else { return Ok(self.core.now_ms()) };
        let cost = match segments {
            0 => Duration::ZERO,
            segments => self.core.settings.limits.time_of(Some(sender), segments),
        };
        self.core.store.reserve_pace(self.organization, sender, self.core.now_ms(), cost).await
    }

    /// Does what is to be done next with a claimed message. If what that rests on cannot be read, above all consent, it does not
    /// leave and is put off like one that cannot be read itself.
    pub async fn dispatch(&self, stored: &StoredOutbound) -> Result<Dispatched, store::Error> {
        let outbound = &stored.outbound;
        let record =
            || format!("what message {} to {} rests on", outbound.id, mask(outbound.to.bare().as_str()));
        let dispatched = self.take_further(stored).await;
        if let Some(dispatched) = self.core.if_readable(self.organization, record, dispatched)? {
            return Ok(dispatched);
        }
        let until = self.core.now_ms() + UNREADABLE_PAUSE;
        self.core.store.put_off(self.organization, &outbound.flow(), &outbound.id, until).await?;
        Ok(Dispatched::Kept)
    }

    async fn take_further(&self, stored: &StoredOutbound) -> Result<Dispatched, store::Error> {
        let outbound = &stored.outbound;
        let Some(account) = self.accounts.find(self.organization) else {
            return self.keep(stored, Fact::Unusable).await;
        };
        let content = match self.content_of(stored).await {
            Ok(Some(content)) => content,
            Ok(None) => return self.keep(stored, Fact::BatchMissing).await,
            // Nobody else's message waits for the key that opens this one.
            Err(error @ store::Error::Unreadable(_)) => {
                tracing::error!(organization = %self.organization, id = %outbound.id, %error, "a message that waits cannot be opened");
                return self.keep(stored, Fact::Unusable).await;
            }
            Err(error) => return Err(error),
        };
        let call = Call { account: &account, outbound, content: &content };
        match stored.state {
            OutboundState::Waiting { .. } => self.leave(&call, &stored.state).await,
            OutboundState::Sending { since, .. } | OutboundState::Unknown { since, .. } => {
                self.find_lost(&call, &stored.state, since).await
            }
            OutboundState::Canceled { .. }
            | OutboundState::Refused { .. }
            | OutboundState::Accepted { .. } => {
                self.steps.of(self.organization).dequeue(stored).await?;
                Ok(Dispatched::Kept)
            }
        }
    }

    /// What Twilio is to be given; `None` if that is nowhere (any more).
    pub(super) async fn content_of(
        &self,
        stored: &StoredOutbound,
    ) -> Result<Option<Arc<Content>>, store::Error> {
        match (&stored.content, &stored.outbound.batch) {
            (Some(sealed), _) => {
                Content::open_for(&stored.outbound.id, sealed, &self.core.keys).map(Arc::new).map(Some)
            }
            (None, Some(batch)) => self.steps.of(self.organization).content_of_batch(batch).await,
            (None, None) => Ok(None),
        }
    }

    /// Hands `fact` on, by which the message does not leave.
    async fn keep(&self, stored: &StoredOutbound, fact: Fact) -> Result<Dispatched, store::Error> {
        let occasion = Occasion::Known(fact);
        self.steps.of(self.organization).advance(&stored.outbound, &stored.state, occasion, false).await?;
        Ok(Dispatched::Kept)
    }

    /// Hands a message that waits to Twilio, if it may leave, and stores what became of it.
    async fn leave(&self, call: &Call<'_>, state: &OutboundState) -> Result<Dispatched, store::Error> {
        // What was claimed before the account's queue was stopped waits as well.
        if self.pauses.of(self.organization).is_account_stopped().await? {
            return Ok(Dispatched::Kept);
        }
        // An opt-out may be in the spool, or put aside.
        if !self.intake.is_clear() || self.intake.holds(self.organization, call.outbound.to.bare()) {
            return Ok(Dispatched::Kept);
        }
        let advanced =
            self.steps.of(self.organization).advance(call.outbound, state, Occasion::Due, false).await?;
        let Advanced::Cleared(cleared) = advanced else { return Ok(Dispatched::Kept) };
        let result = self.call_twilio(call, &cleared).await;
        Ok(match self.settle(call, &cleared, &result, false).await? {
            Advanced::Moved(OutboundState::Waiting { until, reason: Hold::Retry, .. }) => {
                let delay = until.since(self.core.now_ms());
                Dispatched::Busy(delay.min(BUSY_MAX))
            }
            _ => Dispatched::Called,
        })
    }
}
