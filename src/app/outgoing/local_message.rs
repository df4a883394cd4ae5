//! Messages that were asked for through Twilio's API as we offer it and that Twilio has not given a SID yet: they wait in
//! our queue, or Twilio's answer was lost. Their caller knows them by a
//! [placeholder SID](crate::domain::placeholder_sid), and goes on to know them by it.

use std::{sync::Arc, time::Duration};

use super::{
    Outgoing,
    advance::{Advanced, Occasion},
    content::Content,
};
use crate::{
    app::{DECISIONS_MAX, Scope},
    domain::{MessageId, Outbound, OutboundState, audit::Entry, placeholder_sid::placeholder_sid},
    store::{self, Kind},
    twilio::MessageSid,
};

/// How long it is remembered which name the caller was told, beyond the time at which the message is to leave: longer
/// than Twilio tells anything of one.
const NAME_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What stands in the document of a message whose caller knows its placeholder SID.
const TOLD: &str = "stand-in";

/// A message as we have it. `Debug` is left out: it may hold a text.
pub struct LocalMessage {
    /// What was asked for.
    pub outbound: Outbound,
    /// Where it stands.
    pub state: OutboundState,
    /// What Twilio is to be given, as long as that is not settled.
    pub content: Option<Arc<Content>>,
}

impl Scope<'_, Outgoing> {
    /// What we have of the message asked for under `id`.
    pub async fn local_message(&self, id: &MessageId) -> Result<Option<LocalMessage>, store::Error> {
        let Some(stored) = self.core.store.outbound(self.organization, id).await? else { return Ok(None) };
        let content = self.content_of(&stored).await?;
        Ok(Some(LocalMessage { outbound: stored.outbound, state: stored.state, content }))
    }

    /// Calls off the message asked for under `id`, if it waits, and adds `entry` to the audit in the same step; whether it
    /// did.
    pub async fn call_off(&self, id: &MessageId, entry: &Entry) -> Result<bool, store::Error> {
        for _ in 0..DECISIONS_MAX {
            let Some(stored) = self.core.store.outbound(self.organization, id).await? else {
                return Ok(false);
            };
            if !matches!(stored.state, OutboundState::Waiting { .. }) {
                return Ok(false);
            }
            let occasion = Occasion::CalledOff(Box::new(entry.clone()));
            // It may have been taken from one wait to another.
            let advanced = self
                .steps
                .of(self.organization)
                .advance(&stored.outbound, &stored.state, occasion, false)
                .await?;
            if let Advanced::Moved(OutboundState::Canceled { .. }) = advanced {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The name by which the caller is told of a message whose SID the call has not brought: Twilio's, if a callback has
    /// brought it since; else the placeholder, and what is relayed to the caller's own URL has that name from now on.
    pub async fn name_for_caller(&self, message: &LocalMessage) -> MessageSid {
        let id = message.outbound.id;
        let until = match &message.state {
            OutboundState::Accepted { message_sid, .. } => return message_sid.clone(),
            OutboundState::Waiting { until, .. } => *until,
            _ => self.core.now_ms(),
        };
        if message.outbound.status_callback.is_some() {
            let keep = NAME_KEPT + until.since(self.core.now_ms());
            let (kind, name) = (Kind::Relay, id.to_string());
            let noted = self
                .core
                .store
                .change_document(self.organization, kind, &name, None, Some(TOLD), Some(keep))
                .await;
            // The message is stored, and must not be asked for again: its caller is told of it all the same.
            if let Err(error) = noted {
                tracing::error!(organization = %self.organization, %id, %error, "what a message was called could not be stored");
            }
        }
        placeholder_sid(&id)
    }
}
