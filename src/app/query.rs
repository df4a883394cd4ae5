//! What is known of a message.

use super::{App, SEND_TIME_MAX};
use crate::{
    domain::{
        MessageId, Organization, Outbound, OutboundState, UnixMs,
        delivery::{self, DeliveryEntry},
    },
    store,
    twilio::{Channel, MessageSid, MessageStatus},
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
    /// The recipient, without the channel's prefix.
    pub to: String,
    /// The sender, if it is known.
    pub from: Option<String>,
    /// Twilio's status; before Twilio has it `sending`, `unknown` or `refused`.
    pub status: String,
    /// Whether nothing but a better status can follow.
    pub is_final: bool,
    /// The error that goes with the status.
    pub error_code: Option<u32>,
    /// What was asked for, if it was sent through us.
    pub outbound: Option<Outbound>,
    /// Every status recorded, in order of arrival.
    pub timeline: Timeline,
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

impl App {
    /// The message `sid`, whoever sent it.
    pub async fn message(
        &self,
        organization: &Organization,
        sid: &MessageSid,
    ) -> Result<Option<Message>, store::Error> {
        let Some(stored) = self.store.message(organization, sid).await? else { return Ok(None) };
        let outbound = match stored.delivery.id {
            Some(id) => self.store.outbound(organization, &id).await?.map(|(outbound, _)| outbound),
            None => None,
        };
        Ok(tracked(sid, stored, outbound))
    }

    /// The message asked for under `id`.
    pub async fn message_by_id(
        &self,
        organization: &Organization,
        id: &MessageId,
    ) -> Result<Option<Message>, store::Error> {
        let Some((outbound, state)) = self.store.outbound(organization, id).await? else { return Ok(None) };
        let error_code = match &state {
            OutboundState::Accepted { message_sid } => {
                if let Some(stored) = self.store.message(organization, message_sid).await? {
                    return Ok(tracked(message_sid, stored, Some(outbound)));
                }
                None
            }
            OutboundState::Refused { twilio_code, .. } => *twilio_code,
            OutboundState::Sending | OutboundState::Unknown => None,
        };
        let waited_ms = self.now_ms().saturating_sub(outbound.created_at);
        let status = match &state {
            OutboundState::Sending if u128::from(waited_ms) <= SEND_TIME_MAX.as_millis() => "sending",
            OutboundState::Sending | OutboundState::Unknown => "unknown",
            OutboundState::Refused { .. } => "refused",
            OutboundState::Accepted { .. } => MessageStatus::Queued.as_str(),
        };
        let message_sid = match &state {
            OutboundState::Accepted { message_sid } => Some(message_sid.clone()),
            _ => None,
        };
        Ok(Some(Message {
            id: Some(outbound.id),
            message_sid,
            channel: outbound.to.channel(),
            to: outbound.to.bare().to_owned(),
            from: outbound.from.as_ref().map(|from| from.bare().to_owned()),
            status: status.to_owned(),
            is_final: matches!(state, OutboundState::Refused { .. }),
            error_code,
            outbound: Some(outbound),
            timeline: Timeline::default(),
        }))
    }
}

/// A message that Twilio has told us of. `None` if its entries are gone.
fn tracked(sid: &MessageSid, stored: store::Message, outbound: Option<Outbound>) -> Option<Message> {
    let latest = stored.entries.last()?;
    let from = stored.entries.iter().rev().map(|entry| &entry.from).find(|from| !from.is_empty());
    let status = stored.delivery.status.clone().unwrap_or_else(|| latest.status.clone());
    Some(Message {
        id: stored.delivery.id,
        message_sid: Some(sid.clone()),
        channel: latest.channel,
        to: latest.to.clone(),
        from: from.cloned(),
        is_final: delivery::is_final(&status),
        status: status.to_string(),
        outbound,
        error_code: Timeline(stored.entries.clone()).error_code(&status),
        timeline: Timeline(stored.entries),
    })
}
