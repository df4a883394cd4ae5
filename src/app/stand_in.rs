//! Messages that were asked for in the words of Twilio's API and that Twilio has not named yet: they wait in our queue,
//! or Twilio's answer was lost. Until then, and for ever after to the one who was told of it, their name is a
//! [stand-in](crate::domain::stand_in).

use std::{sync::Arc, time::Duration};

use super::{App, DECISIONS_MAX, content::Content};
use crate::{
    domain::{MessageId, Organization, Outbound, OutboundState, stand_in::stand_in},
    store::{self, Kind, Passed, Step},
    twilio::MessageSid,
};

/// How long it is remembered which name the caller was told, beyond the time at which the message is to leave: longer
/// than Twilio tells anything of one.
const NAME_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What stands in the document of a message whose caller knows its stand-in.
const TOLD: &str = "stand-in";

/// A message as we have it. `Debug` is left out: it may hold a text.
pub struct Kept {
    /// What was asked for.
    pub outbound: Outbound,
    /// Where it stands.
    pub state: OutboundState,
    /// What Twilio is to be given, as long as that is not settled.
    pub content: Option<Arc<Content>>,
}

impl App {
    /// What we have of the message asked for under `id`.
    pub async fn kept(
        &self,
        organization: &Organization,
        id: &MessageId,
    ) -> Result<Option<Kept>, store::Error> {
        let Some(stored) = self.store.outbound(organization, id).await? else { return Ok(None) };
        let content = self.content_of(organization, &stored).await?;
        Ok(Some(Kept { outbound: stored.outbound, state: stored.state, content }))
    }

    /// Calls off the message asked for under `id`, if it waits; whether it did.
    pub async fn call_off(&self, organization: &Organization, id: &MessageId) -> Result<bool, store::Error> {
        for _ in 0..DECISIONS_MAX {
            let Some(stored) = self.store.outbound(organization, id).await? else { return Ok(false) };
            if !matches!(stored.state, OutboundState::Waiting { .. }) {
                return Ok(false);
            }
            let to = OutboundState::Canceled { at: self.now_ms() };
            self.plan_relay_of_own_end(organization, &stored.outbound, &to).await?;
            let step = Step { from: stored.state, to, due: None, gate: None };
            // It may have been taken from one wait to another.
            if self.store.step_outbound(organization, &stored.outbound, &step).await? == Passed::Yes {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The name by which the caller is told of a message whose SID the call has not brought: Twilio's, if a callback has
    /// brought it since; else the stand-in, and what is relayed to the caller's own URL has that name from now on.
    pub async fn name_for_caller(&self, organization: &Organization, kept: &Kept) -> MessageSid {
        let id = kept.outbound.id;
        let until = match &kept.state {
            OutboundState::Accepted { message_sid, .. } => return message_sid.clone(),
            OutboundState::Waiting { until, .. } => *until,
            _ => self.now_ms(),
        };
        if kept.outbound.status_callback.is_some() {
            let keep = NAME_KEPT + Duration::from_millis(until.saturating_sub(self.now_ms()));
            let (kind, name) = (Kind::Relay, id.to_string());
            let noted =
                self.store.change_document(organization, kind, &name, None, Some(TOLD), Some(keep)).await;
            // The message is stored, and must not be asked for again: its caller is told of it all the same.
            if let Err(error) = noted {
                tracing::error!(%organization, %id, %error, "what a message was called could not be stored");
            }
        }
        stand_in(&id)
    }
    /// The name by which the caller knows the message that is `id` to us and `sid` to Twilio.
    pub(super) async fn name_known_to_caller(
        &self,
        organization: &Organization,
        id: &MessageId,
        sid: &MessageSid,
    ) -> Result<MessageSid, store::Error> {
        let told = self.store.document(organization, Kind::Relay, id.as_str()).await?;
        Ok(if told.is_some() { stand_in(id) } else { sid.clone() })
    }
}

/// Twilio's code for what we refuse ourselves once a message has waited.
pub fn twilio_code_of(code: &str) -> Option<u32> {
    match code {
        "recipient_opted_out" => Some(21610),
        "daily_limit_reached" => Some(20429),
        _ => None,
    }
}
