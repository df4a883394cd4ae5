//! The second of a pair: the SMS that follows a WhatsApp message that does not arrive.

use super::App;
use crate::{
    domain::{Hold, MessageId, Organization, Outbound, OutboundState, delivery, message::Fallback},
    store::{self, Step},
    twilio::MessageStatus,
};

impl App {
    /// What is to be done with the second of a pair instead of sending it; `None` if it is to be sent.
    pub(super) async fn fallback_step(
        &self,
        organization: &Organization,
        outbound: &Outbound,
        state: &OutboundState,
        tries: u32,
    ) -> Result<Option<Step>, store::Error> {
        let Some(Fallback::Second { first, after_ms }) = outbound.fallback else { return Ok(None) };
        let Some(first) = self.store.outbound(organization, &first).await? else { return Ok(None) };
        let step = |to, due| Some(Step { from: state.clone(), to, due, gate: None });
        let now = self.now_ms();
        Ok(match first.state {
            // It has not left yet, or nobody knows whether it has: its time to arrive has not begun.
            OutboundState::Waiting { .. } | OutboundState::Sending { .. } | OutboundState::Unknown { .. } => {
                let until = now + after_ms.max(1_000);
                step(OutboundState::Waiting { until, reason: Hold::Fallback, tries }, Some(until))
            }
            OutboundState::Canceled { .. } => step(OutboundState::Canceled { at: now }, None),
            OutboundState::Accepted { at, message_sid } => {
                let known = self.store.deliveries(organization, &[message_sid]).await?.pop().flatten();
                let status = known.and_then(|delivery| delivery.status);
                let arrived = status
                    .as_ref()
                    .is_some_and(|status| matches!(status, MessageStatus::Delivered | MessageStatus::Read));
                let failed = status.as_ref().is_some_and(delivery::is_final) && !arrived;
                if arrived {
                    step(OutboundState::Canceled { at: now }, None)
                } else if !failed && at + after_ms > now {
                    let until = at + after_ms;
                    step(OutboundState::Waiting { until, reason: Hold::Fallback, tries }, Some(until))
                } else {
                    None
                }
            }
            OutboundState::Refused { .. } => None,
        })
    }

    /// The first of a pair has failed with an error that means "cannot be reached there": the second's time has come.
    pub(in crate::app) async fn hurry_fallback(
        &self,
        organization: &Organization,
        first: &MessageId,
    ) -> Result<(), store::Error> {
        let Some(first) = self.store.outbound(organization, first).await? else { return Ok(()) };
        let Some(Fallback::First { second }) = first.outbound.fallback else { return Ok(()) };
        let Some(second) = self.store.outbound(organization, &second).await? else { return Ok(()) };
        if let OutboundState::Waiting { reason: Hold::Fallback, tries, .. } = second.state {
            let until = self.now_ms();
            let to = OutboundState::Waiting { until, reason: Hold::Fallback, tries };
            let step = Step { from: second.state, to, due: Some(until), gate: None };
            self.store.step_outbound(organization, &second.outbound, &step).await?;
        }
        Ok(())
    }
}
