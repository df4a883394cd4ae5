//! What is known of messages: one, or those of a history.

use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::Reads;
use crate::{
    app::Scope,
    domain::{
        HistoryId, Hold, MessageId, MessageRef, Outbound, OutboundState, Person, Refusal, UnixMs,
        delivery::{self, DeliveryEntry},
    },
    store::{self, Row, StoredOutbound, Unreadable, outbox::OUTBOUNDS_MAX},
    twilio::{BareAddress, Channel, MessageSid, MessageStatus},
};

/// A message and its history.
#[derive(Debug, Clone)]
pub struct Message {
    /// Our id, if it was sent through us.
    pub id: Option<MessageId>,
    /// Twilio's, if Twilio has it.
    pub message_sid: Option<MessageSid>,
    /// Where it travels.
    pub channel: Channel,
    /// The recipient, without the channel's prefix; `None` if Twilio did not say.
    pub to: Option<BareAddress>,
    /// The sender, if it is known.
    pub from: Option<BareAddress>,
    /// Twilio's status; before Twilio has it `waiting`, `scheduled`, `held`, `sending`, `unknown`, `canceled` or `refused`.
    pub status: String,
    /// Whether nothing but a better status can follow.
    pub is_final: bool,
    /// When it was refused or canceled before Twilio had it.
    pub ended_at: Option<UnixMs>,
    /// Until when it waits in our queue, and why.
    pub held: Option<(UnixMs, Hold)>,
    /// The code and the reason by which it was refused before Twilio had it.
    pub refusal: Option<(Refusal, String)>,
    /// The error that goes with the status.
    pub error_code: Option<u32>,
    /// What was asked for, if it was sent through us.
    pub outbound: Option<Outbound>,
    /// Every status recorded, in order of arrival.
    pub timeline: Timeline,
}

impl Message {
    /// What was said by the parameter `name` with the error that the message shows.
    pub fn said(&self, name: &str) -> Option<String> {
        let with_error = self.timeline.0.iter().filter(|entry| entry.error_code == self.error_code);
        let mut said = with_error.flat_map(|entry| &entry.raw).filter(|(known, _)| known == name);
        said.next().map(|(_, value)| value.clone())
    }
}

/// The entries that tell of one message.
#[derive(Debug, Clone, Default)]
pub struct Timeline(pub Vec<DeliveryEntry>);

impl Timeline {
    /// When `status` was first recorded.
    pub fn time_of(&self, status: &MessageStatus) -> Option<UnixMs> {
        self.0.iter().find(|entry| entry.status == *status).map(|entry| entry.at)
    }

    /// The error of the status that the message is in.
    fn error_code(&self, status: &MessageStatus) -> Option<u32> {
        let own = self.0.iter().filter(|entry| entry.status == *status);
        own.filter_map(|entry| entry.error_code).next()
    }
}

/// Which messages are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Those whose status is called so.
    pub status: Option<String>,
    /// Those to this person.
    pub to: Option<Person>,
    /// Those on this channel.
    pub channel: Option<Channel>,
    /// Those entered at this time or later.
    pub since: Option<UnixMs>,
    /// Those entered before this time.
    pub until: Option<UnixMs>,
}

/// A page of the history.
#[derive(Debug, Clone)]
pub struct ListedMessages {
    /// The messages, newest first.
    pub messages: Vec<Message>,
    /// How many belong to this page as well, whatever the filter says of them, and cannot be read by this version.
    pub unreadable: usize,
    /// Where to go on, if there may be more.
    pub next: Option<HistoryId>,
}

/// Messages that one page looks through for those that pass its filter; a page may end early and still have a next.
const LOOKED_THROUGH_MAX: usize = 20_000;

/// Those of them that it reads whole, with everything that was heard of them: far dearer than a look at where they stand.
const READ_MAX: usize = 2_000;

/// Messages that are read at the same time.
const READ_AT_ONCE: usize = 32;

impl Scope<'_, Reads> {
    /// The message `sid`, whoever sent it.
    pub async fn message(&self, sid: &MessageSid) -> Result<Option<Message>, store::Error> {
        let Some(stored) = self.core.store.message(self.organization, sid).await? else { return Ok(None) };
        let outbound = match stored.delivery.id {
            Some(id) => self.core.store.outbound(self.organization, &id).await?.map(|stored| stored.outbound),
            None => None,
        };
        Ok(tracked(sid, stored, outbound))
    }

    /// The message asked for under `id`.
    pub async fn message_by_id(&self, id: &MessageId) -> Result<Option<Message>, store::Error> {
        Ok(self.messages_by_id(&[*id]).await?.pop().transpose()?.flatten())
    }

    /// The messages asked for under `ids`, in their order, for a list.
    pub(in crate::app) async fn messages_by_id(
        &self,
        ids: &[MessageId],
    ) -> Result<Vec<Row<Option<Message>>>, store::Error> {
        let mut messages = Vec::with_capacity(ids.len());
        for some in ids.chunks(OUTBOUNDS_MAX) {
            let stored = self.core.store.outbound_rows(self.organization, some).await?;
            let read = stream::iter(some.iter().zip(stored))
                .map(|(id, row)| async move {
                    match row {
                        Ok(stored) => {
                            let read = self.message_of(stored.as_ref()).await;
                            Unreadable::part(|| format!("message {id}"), read)
                        }
                        Err(unreadable) => Ok(Err(unreadable)),
                    }
                })
                .buffered(READ_AT_ONCE);
            messages.extend(read.try_collect::<Vec<_>>().await?);
        }
        Ok(messages)
    }

    async fn message_of(&self, stored: Option<&StoredOutbound>) -> Result<Option<Message>, store::Error> {
        let Some(StoredOutbound { outbound, state, .. }) = stored else { return Ok(None) };
        if let OutboundState::Accepted { message_sid, .. } = state
            && let Some(stored) = self.core.store.message(self.organization, message_sid).await?
        {
            return Ok(tracked(message_sid, stored, Some(outbound.clone())));
        }
        let (mut message_sid, mut held, mut refusal, mut error_code) = (None, None, None, None);
        match state {
            OutboundState::Waiting { until, reason, .. } => held = Some((*until, *reason)),
            OutboundState::Refused { code, reason, twilio_code, .. } => {
                error_code = *twilio_code;
                refusal = Some((*code, reason.clone()));
            }
            OutboundState::Accepted { message_sid: sid, .. } => message_sid = Some(sid.clone()),
            OutboundState::Sending { .. }
            | OutboundState::Unknown { .. }
            | OutboundState::Canceled { .. } => {}
        }
        let status = state.standing(self.core.now_ms()).shown(None);
        let ended_at = match state {
            OutboundState::Refused { at, .. } | OutboundState::Canceled { at } => Some(*at),
            _ => None,
        };
        Ok(Some(Message {
            id: Some(outbound.id),
            message_sid,
            channel: outbound.to.channel(),
            to: Some(outbound.to.bare().clone()),
            from: outbound.from.as_ref().map(|from| from.bare().clone()),
            status,
            is_final: ended_at.is_some(),
            ended_at,
            held,
            refusal,
            error_code,
            outbound: Some(outbound.clone()),
            timeline: Timeline::default(),
        }))
    }

    /// The messages that pass `filter` before `before`, newest first, at most `limit` of them. What it costs does not depend on
    /// how many are stored.
    pub async fn history(
        &self,
        filter: &MessageFilter,
        before: Option<HistoryId>,
        limit: usize,
    ) -> Result<ListedMessages, store::Error> {
        let mut before = before.unwrap_or(HistoryId::END);
        if let Some(until) = filter.until {
            before = before.min(HistoryId::at(until));
        }
        let (mut messages, mut unreadable, mut looked_through, mut read) = (Vec::new(), 0, 0, 0);
        while looked_through < LOOKED_THROUGH_MAX && read < READ_MAX {
            // One more than wanted tells whether there is a next page. Where those did not suffice, few pass.
            let wanted = match looked_through {
                0 => OUTBOUNDS_MAX.min(limit + 1),
                _ => OUTBOUNDS_MAX,
            };
            let page = self.core.store.history(self.organization, filter.to.as_ref(), before, wanted).await?;
            let is_last = page.len() < wanted;
            let may_pass = self.may_pass(filter, &page).await?;
            let candidates = stream::iter((0..page.len()).filter(|index| may_pass[*index]));
            let mut rows = pin!(candidates.map(|index| self.row(&page[index].1)).buffered(READ_AT_ONCE));
            for ((place, _), may_pass) in page.iter().zip(&may_pass) {
                if filter.since.is_some_and(|since| place.ms < since) {
                    return Ok(ListedMessages { messages, unreadable, next: None });
                }
                if *may_pass && let Some(row) = rows.try_next().await? {
                    // It may be one that is asked for.
                    unreadable += usize::from(row.is_err());
                    let message = self.core.readable(self.organization, row).flatten();
                    if let Some(message) = message.filter(|message| filter.passes(message)) {
                        if messages.len() == limit {
                            return Ok(ListedMessages { messages, unreadable, next: Some(before) });
                        }
                        messages.push(message);
                    }
                    read += 1;
                }
                before = *place;
                looked_through += 1;
            }
            if is_last {
                return Ok(ListedMessages { messages, unreadable, next: None });
            }
        }
        Ok(ListedMessages { messages, unreadable, next: Some(before) })
    }

    /// Which messages of `page` may pass `filter`, by where they stand: what is kept of that in one place, without the entries that
    /// tell how they came there.
    async fn may_pass(
        &self,
        filter: &MessageFilter,
        page: &[(HistoryId, MessageRef)],
    ) -> Result<Vec<bool>, store::Error> {
        let Some(status) = &filter.status else { return Ok(vec![true; page.len()]) };
        let ids = page.iter().filter_map(|(_, name)| match name {
            MessageRef::Id(id) => Some(*id),
            MessageRef::Sid(_) => None,
        });
        let ids: Vec<MessageId> = ids.collect();
        let mut outbounds = self.core.store.outbound_rows(self.organization, &ids).await?.into_iter();
        let now = self.core.now_ms();
        let places = page.iter().map(|(_, name)| match name {
            MessageRef::Sid(sid) => Ok(Place { here: None, at_twilio: Some(sid.clone()) }),
            MessageRef::Id(_) => {
                let stored = outbounds.next().unwrap_or(Ok(None));
                stored.map(|stored| stored.map_or_else(Place::default, |stored| Place::of(stored.state, now)))
            }
        });
        let places: Vec<Row<Place>> = places.collect();
        let sids: Vec<MessageSid> =
            places.iter().flatten().filter_map(|place| place.at_twilio.clone()).collect();
        let deliveries = self.core.store.deliveries(self.organization, &sids).await;
        // Which of them it is shows when each is read by itself.
        let Ok(deliveries) = Unreadable::part(|| "a list of messages".to_owned(), deliveries)? else {
            return Ok(vec![true; page.len()]);
        };
        let mut deliveries = deliveries.into_iter();
        let may_pass = places.into_iter().map(|place| {
            let Ok(Place { here, at_twilio }) = place else { return true };
            match at_twilio.and_then(|_| deliveries.next().flatten()) {
                // Without a status that moved it, its entries tell.
                Some(delivery) => delivery.status.is_none_or(|at_twilio| at_twilio.as_str() == status),
                None => here.as_ref() == Some(status),
            }
        });
        Ok(may_pass.collect())
    }

    /// The message of this name, if it is stored; for a list, in which one that cannot be read hides none beside it. During an
    /// upgrade an instance of a later version may have written it.
    async fn row(&self, name: &MessageRef) -> Result<Row<Option<Message>>, store::Error> {
        let read = match name {
            MessageRef::Id(id) => self.message_by_id(id).await,
            MessageRef::Sid(sid) => self.message(sid).await,
        };
        Unreadable::part(|| format!("message {name}"), read)
    }
}

/// Where to look for the status of a message.
#[derive(Default)]
struct Place {
    /// What we say of it ourselves, unless Twilio has told of it.
    here: Option<String>,
    /// As which Twilio would have told of it.
    at_twilio: Option<MessageSid>,
}

impl Place {
    /// Where to look for that of a message in `state`.
    fn of(state: OutboundState, now: UnixMs) -> Self {
        let here = Some(state.standing(now).shown(None));
        let at_twilio = match state {
            OutboundState::Accepted { message_sid, .. } => Some(message_sid),
            _ => None,
        };
        Self { here, at_twilio }
    }
}

impl MessageFilter {
    /// Whether `message` is wanted, of those to the person that is.
    fn passes(&self, message: &Message) -> bool {
        self.status.as_ref().is_none_or(|status| *status == message.status)
            && self.channel.is_none_or(|channel| channel == message.channel)
    }
}

/// A message that Twilio has told us of. `None` if its entries are gone.
fn tracked(sid: &MessageSid, stored: store::Message, outbound: Option<Outbound>) -> Option<Message> {
    let latest = stored.entries.last()?;
    let from = stored.entries.iter().rev().find_map(|entry| entry.from.clone());
    let status = stored.delivery.status.clone().unwrap_or_else(|| latest.status.clone());
    Some(Message {
        id: stored.delivery.id,
        message_sid: Some(sid.clone()),
        channel: latest.channel,
        to: latest.to.clone(),
        from,
        is_final: delivery::is_final(&status),
        status: status.to_string(),
        ended_at: None,
        held: None,
        refusal: None,
        outbound,
        error_code: Timeline(stored.entries.clone()).error_code(&status),
        timeline: Timeline(stored.entries),
    })
}
