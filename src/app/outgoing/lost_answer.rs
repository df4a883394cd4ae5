//! Searches Twilio's list for a message whose answer was lost, before it is sent again. Twilio lists a message up to minutes after
//! it has taken it, so that only late searches count that find nothing: see [`times::counted_search`](crate::domain::outgoing::times).

use std::time::Duration;

use super::{
    Outgoing,
    advance::Occasion,
    call::{Call, pause_after},
    dispatch::{BUSY_MAX, Dispatched},
};
use crate::{
    app::Scope,
    domain::{
        Delivery, Outbound, OutboundState, Person, Source, UnixMs,
        outgoing::{Fact, rule::Search},
    },
    store,
    twilio::{
        Address, MessageSid, client,
        resource::{self, ListMessages, MessagePage},
    },
};

/// Pages of a recipient's messages that are looked through.
const PAGES_MAX: usize = 20;

/// How far Twilio's clock may be behind ours: a message created so long before the call began may be the one.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

impl Scope<'_, Outgoing> {
    /// Searches for a message whose answer was lost, and hands on what came of it. Its call began at `since`.
    pub(super) async fn find_lost(
        &self,
        call: &Call<'_>,
        from: &OutboundState,
        since: UnixMs,
    ) -> Result<Dispatched, store::Error> {
        let outbound = call.outbound;
        let (search, dispatched) = match self.search(call, since).await? {
            Ok(Some(message_sid)) => (Search::Found(message_sid), Dispatched::Kept),
            Ok(None) => (Search::Nothing, Dispatched::Kept),
            Err(error) => {
                let pause = pause_after(&error);
                tracing::warn!(organization = %self.organization, id = %outbound.id, %error, "Twilio could not be asked for a message");
                (Search::Failed(pause), Dispatched::Busy(pause.min(BUSY_MAX)))
            }
        };
        tracing::info!(organization = %self.organization, id = %outbound.id, ?search, "a message whose answer was lost was searched for");
        let occasion = Occasion::Known(Fact::Searched(search));
        self.steps.of(self.organization).advance(outbound, from, occasion, false).await?;
        Ok(dispatched)
    }

    /// Looks for the message among those to its recipient since the call began, and records what is found: that it is
    /// the one is settled by the store, where a SID has one id.
    async fn search(
        &self,
        call: &Call<'_>,
        since: UnixMs,
    ) -> Result<Result<Option<MessageSid>, client::Error>, store::Error> {
        for to in spellings(&call.outbound.to) {
            match self.search_to(call, to, since).await? {
                Ok(None) => {}
                found => return Ok(found),
            }
        }
        Ok(Ok(None))
    }

    /// The same among those to `to`.
    async fn search_to(
        &self,
        call: &Call<'_>,
        to: Address,
        since: UnixMs,
    ) -> Result<Result<Option<MessageSid>, client::Error>, store::Error> {
        let credentials = &call.account.credentials;
        let oldest = since - CLOCK_SKEW_MAX;
        let list = ListMessages { to: Some(to), ..ListMessages::default() };
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
                let created = message.date_created.map(|at| UnixMs::from_timestamp(at).unwrap_or_default());
                // Twilio's times are whole seconds, the part behind is cut off.
                if created.is_some_and(|created| created + Duration::from_secs(1) <= oldest) {
                    return Ok(Ok(None));
                }
                if is_like(message, call) && self.is_ours(call.outbound, message).await? {
                    return Ok(Ok(Some(message.sid.clone())));
                }
            }
            page = Some(next);
        }
        Ok(Ok(None))
    }

    /// Whether `message`, which Twilio has, is ours: it is unless its SID belongs to another of our messages.
    async fn is_ours(&self, outbound: &Outbound, message: &resource::Message) -> Result<bool, store::Error> {
        let owner = |known: Vec<Option<Delivery>>| {
            known.into_iter().flatten().next().and_then(|delivery| delivery.id)
        };
        let sids = [message.sid.clone()];
        match owner(self.core.store.deliveries(self.organization, &sids).await?) {
            Some(id) => Ok(id == outbound.id),
            None => {
                let change = self.statuses.change_of_copy(message, Some(outbound), Source::Poll);
                self.statuses.of(self.organization).record_status(change).await?;
                Ok(owner(self.core.store.deliveries(self.organization, &sids).await?) == Some(outbound.id))
            }
        }
    }
}

/// The address `to` as it was given, and as Twilio may write it: WhatsApp names some people by another number than is dialled.
fn spellings(to: &Address) -> Vec<Address> {
    let others = Person::of(to.bare()).spellings().into_iter().map(|bare| bare.on(to.channel()));
    std::iter::once(to.clone()).chain(others.filter(|other| other != to)).collect()
}

/// Whether `message` at Twilio may be the one that `call` handed over: nothing that both tell is different.
fn is_like(message: &resource::Message, call: &Call<'_>) -> bool {
    let (outbound, content) = (call.outbound, call.content);
    let outgoing = message.direction.as_deref().is_none_or(|direction| direction != "inbound");
    let is_same = |theirs: &Address, ours: &Address| Person::of(theirs.bare()) == Person::of(ours.bare());
    let to = message.to.as_ref().is_none_or(|to| is_same(to, &outbound.to));
    let from = match (&message.from, &outbound.from) {
        (Some(theirs), Some(ours)) => is_same(theirs, ours),
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
