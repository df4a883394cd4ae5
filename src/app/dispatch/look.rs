//! Asks Twilio for a message whose answer was lost, before it is sent again.

use std::time::Duration;

use super::{App, Call, Dispatched, RETRY_DELAY_MIN, TRIES_MAX, UNUSABLE_DELAY, retry_delay};
use crate::{
    domain::{Delivery, Hold, Organization, Outbound, OutboundState, Source, UnixMs},
    store::{self, Step},
    twilio::{
        MessageSid, client,
        resource::{self, ListMessages, MessagePage},
    },
};

/// How often Twilio is asked for a message that it may have before it is sent again.
const LOOKS_MIN: u32 = 2;

/// How long it takes from one such question to the next: Twilio may list a message later than it takes it.
pub const LOOK_DELAY: Duration = Duration::from_secs(10);

/// Pages of a recipient's messages that are looked through.
const PAGES_MAX: usize = 20;

/// How far Twilio's clock may be behind ours: a message created so long before the call began may be the one.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

impl App {
    /// Asks Twilio whether it has a message whose answer was lost. `unknown` is what is known of it.
    pub(super) async fn look(
        &self,
        call: &Call<'_>,
        from: &OutboundState,
        unknown: OutboundState,
    ) -> Result<Dispatched, store::Error> {
        let (organization, outbound) = (&call.account.organization, call.outbound);
        let OutboundState::Unknown { since, tries, looks } = unknown else { return Ok(Dispatched::Kept) };
        let now = self.now_ms();
        let found = match self.find(call, since).await? {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%organization, id = %outbound.id, %error, "Twilio could not be asked for a message");
                let delay = match error {
                    client::Error::CredentialsRejected(_) => UNUSABLE_DELAY,
                    ref error => error.retry_after().unwrap_or(LOOK_DELAY),
                };
                let to = OutboundState::Unknown { since, tries, looks };
                let due = Some(now + delay.as_millis() as UnixMs);
                let step = Step { from: from.clone(), to, due, gate: None };
                self.store.step_outbound(organization, outbound, &step).await?;
                return Ok(Dispatched::Busy(delay.min(RETRY_DELAY_MIN * 2)));
            }
        };
        let (to, due) = match found {
            Some(message_sid) => (OutboundState::Accepted { at: now, message_sid }, None),
            None if looks + 1 < LOOKS_MIN => {
                let due = now + LOOK_DELAY.as_millis() as UnixMs;
                (OutboundState::Unknown { since, tries, looks: looks + 1 }, Some(due))
            }
            None if tries >= TRIES_MAX => {
                let reason = "Twilio never answered, and does not have the message";
                (self.refusal("twilio_unreachable", reason, None), None)
            }
            None => {
                let until = now + retry_delay(tries).as_millis() as UnixMs;
                (OutboundState::Waiting { until, reason: Hold::Retry, tries }, Some(until))
            }
        };
        self.plan_relay_of_own_end(organization, outbound, &to).await?;
        tracing::info!(%organization, id = %outbound.id, state = ?to, "asked Twilio for a message whose answer was lost");
        let step = Step { from: from.clone(), to, due, gate: None };
        self.store.step_outbound(organization, outbound, &step).await?;
        Ok(Dispatched::Kept)
    }

    /// Looks for the message among those to its recipient since the call began, and records what is found: that it is
    /// the one is settled by the store, where a SID has one id.
    async fn find(
        &self,
        call: &Call<'_>,
        since: UnixMs,
    ) -> Result<Result<Option<MessageSid>, client::Error>, store::Error> {
        let (organization, credentials) = (&call.account.organization, &call.account.credentials);
        let oldest = since.saturating_sub(CLOCK_SKEW_MAX.as_millis() as UnixMs);
        let list = ListMessages { to: Some(call.outbound.to.clone()), ..ListMessages::default() };
        let mut page: Option<MessagePage> = None;
        for _ in 0..PAGES_MAX {
            let next = match &page {
                None => self.twilio.list_messages(credentials, &list).await.map(Some),
                Some(page) => self.twilio.next_page(credentials, page).await,
            };
            let next = match next {
                Ok(Some(next)) => next,
                Ok(None) => return Ok(Ok(None)),
                Err(error) => return Ok(Err(error)),
            };
            for message in &next.messages {
                let created = message.date_created.map(|at| at.as_millisecond());
                // Twilio's times are whole seconds, the part behind is cut off.
                if created.is_some_and(|ms| ms + 1_000 <= oldest as i64) {
                    return Ok(Ok(None));
                }
                if is_like(message, call) && self.claim_sid(organization, call.outbound, message).await? {
                    return Ok(Ok(Some(message.sid.clone())));
                }
            }
            page = Some(next);
        }
        Ok(Ok(None))
    }

    /// Whether `message`, which Twilio has, is ours: it is unless it is another's.
    async fn claim_sid(
        &self,
        organization: &Organization,
        outbound: &Outbound,
        message: &resource::Message,
    ) -> Result<bool, store::Error> {
        let owner = |known: Vec<Option<Delivery>>| {
            known.into_iter().flatten().next().and_then(|delivery| delivery.id)
        };
        let sids = [message.sid.clone()];
        match owner(self.store.deliveries(organization, &sids).await?) {
            Some(id) => Ok(id == outbound.id),
            None => {
                self.record_status(organization, self.accepted(outbound, message, Source::Poll)).await?;
                Ok(owner(self.store.deliveries(organization, &sids).await?) == Some(outbound.id))
            }
        }
    }
}

/// Whether `message` at Twilio may be the one that `call` handed over: nothing that both tell is different.
fn is_like(message: &resource::Message, call: &Call<'_>) -> bool {
    let (outbound, content) = (call.outbound, call.content);
    let outgoing = message.direction.as_deref().is_none_or(|direction| direction != "inbound");
    let to = message.to.as_ref().is_none_or(|to| *to == outbound.to);
    let from = match (&message.from, &outbound.from) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => true,
    };
    // A template is rendered by Twilio, and links may be shortened there.
    let is_rewritten =
        content.content_sid.is_some() || content.other.iter().any(|(name, _)| name == "ShortenUrls");
    let body = match (&message.body, &content.body) {
        // A trial account's text gets a notice in front.
        (Some(theirs), Some(ours)) if !is_rewritten => plain(theirs).ends_with(&plain(ours)),
        _ => true,
    };
    outgoing && to && from && body
}

/// The letters and digits of a text: a messaging service's smart encoding replaces others.
///
/// Source: <https://www.twilio.com/docs/messaging/services#smart-encoding>.
fn plain(text: &str) -> String {
    text.chars().filter(|character| character.is_alphanumeric()).collect()
}
