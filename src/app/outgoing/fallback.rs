//! The second message of a pair: the SMS that follows a WhatsApp message that does not arrive.

use super::{Steps, advance::Occasion};
use crate::{
    app::Scope,
    domain::{
        MessageId, Outbound, OutboundState, delivery,
        outgoing::{Fact, Fallback, rule::First},
    },
    store,
    twilio::MessageStatus,
};

impl Scope<'_, Steps> {
    /// What became of the first message of the pair of which `outbound` is the second; `None` if it is not one, or the
    /// first is not there any more.
    pub(super) async fn first_of_pair(&self, outbound: &Outbound) -> Result<Option<First>, store::Error> {
        let Some(Fallback::Second { first, .. }) = outbound.fallback else { return Ok(None) };
        let Some(first) = self.core.store.outbound(self.organization, &first).await? else { return Ok(None) };
        Ok(Some(match first.state {
            OutboundState::Waiting { .. } | OutboundState::Sending { .. } | OutboundState::Unknown { .. } => {
                First::Pending
            }
            OutboundState::Canceled { .. } => First::Canceled,
            OutboundState::Refused { .. } => First::Failed,
            OutboundState::Accepted { at, message_sid } => {
                let known =
                    self.core.store.deliveries(self.organization, &[message_sid]).await?.pop().flatten();
                match known.and_then(|delivery| delivery.status) {
                    Some(MessageStatus::Delivered | MessageStatus::Read) => First::Arrived,
                    Some(status) if delivery::is_final(&status) => First::Failed,
                    _ => First::Accepted(at),
                }
            }
        }))
    }

    /// The first message of a pair has failed with an error that means "cannot be reached there": the second's time has
    /// come.
    pub(in crate::app) async fn hurry_fallback(&self, first: &MessageId) -> Result<(), store::Error> {
        let Some(first) = self.core.store.outbound(self.organization, first).await? else { return Ok(()) };
        let Some(Fallback::First { second }) = first.outbound.fallback else { return Ok(()) };
        let Some(second) = self.core.store.outbound(self.organization, &second).await? else { return Ok(()) };
        let occasion = Occasion::Known(Fact::FirstFailed);
        self.advance(&second.outbound, &second.state, occasion, false).await.map(drop)
    }
}
