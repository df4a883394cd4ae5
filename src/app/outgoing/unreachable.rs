//! Numbers to which nothing is sent on a channel, since several messages in a row have failed for the number's own fault. A
//! delivery lifts that. It is looked for when it matters, before a message is refused for it, and so costs no callback anything.

use super::Steps;
use crate::{
    app::{DECISIONS_MAX, Scope, contended},
    domain::{
        Consent, HistoryId, MessageId, MessageRef, OutboundState, Person, UnixMs, consent::ConsentChannel,
    },
    store::{self, KnownConsent},
    twilio::{Channel, MessageSid, MessageStatus},
};

/// The newest messages to a person that are looked at: those that have failed are among them, and so is what was under way then.
const LOOKED_AT_MAX: usize = 50;

impl Scope<'_, Steps> {
    /// Since when nothing is sent to the person of `consent` on `channel`, if nothing is.
    pub(in crate::app) fn suppressed_since(&self, consent: &Consent, channel: Channel) -> Option<UnixMs> {
        self.core.settings.suppress_after?;
        consent.on(channel).failures.suppressed_since()
    }

    /// What is known of a person's consent, of whom nothing is sent to on `channel`: without that if a message has reached them
    /// since the last one failed.
    pub(in crate::app) async fn lift_if_reached(
        &self,
        mut known: KnownConsent,
        channel: Channel,
    ) -> Result<KnownConsent, store::Error> {
        for _ in 0..DECISIONS_MAX {
            let person = known.version.person().clone();
            let Some(failed_at) = known.consent.on(channel).failures.last_at() else { return Ok(known) };
            if !self.was_reached_since(&person, channel, failed_at).await? {
                return Ok(known);
            }
            let consent = known.consent.reached(channel.into());
            let store = &self.core.store;
            store.replace_consent(self.organization, &known.version, &consent).await?;
            known = store.consent(self.organization, &person).await?;
        }
        Err(contended())
    }

    /// Whether a message has reached `person` on `channel` after `since`.
    pub(in crate::app) async fn was_reached_since(
        &self,
        person: &Person,
        channel: Channel,
        since: UnixMs,
    ) -> Result<bool, store::Error> {
        let store = &self.core.store;
        let page = store.history(self.organization, Some(person), HistoryId::END, LOOKED_AT_MAX).await?;
        let ids: Vec<MessageId> = page
            .iter()
            .filter_map(|(_, name)| match name {
                MessageRef::Id(id) => Some(*id),
                MessageRef::Sid(_) => None,
            })
            .collect();
        let mut sids: Vec<MessageSid> = Vec::new();
        for row in store.outbound_rows(self.organization, &ids).await? {
            let Some(stored) = self.core.readable(self.organization, row).flatten() else { continue };
            if let OutboundState::Accepted { message_sid, .. } = stored.state
                && ConsentChannel::from(stored.outbound.to.channel()) == channel.into()
            {
                sids.push(message_sid);
            }
        }
        for (_, name) in page {
            if let MessageRef::Sid(sid) = name
                && let Some(message) = store.message(self.organization, &sid).await?
                && message.entries.iter().any(|entry| ConsentChannel::from(entry.channel) == channel.into())
            {
                sids.push(sid);
            }
        }
        let deliveries = store.deliveries(self.organization, &sids).await?;
        let arrived =
            |status: &MessageStatus| matches!(status, MessageStatus::Delivered | MessageStatus::Read);
        Ok(deliveries
            .iter()
            .flatten()
            .flat_map(|delivery| &delivery.seen)
            .any(|seen| arrived(&seen.status) && seen.entry.0 > since))
    }
}
