//! A message that Twilio does not have yet, in the JSON in which Twilio would show it.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::{
    app::outgoing::{local_message::LocalMessage, send::Sent},
    domain::{OutboundState, Standing, UnixMs, placeholder_sid::placeholder_sid},
    twilio::{AccountSid, Address, MessageSid, MessageStatus},
};

/// The version of the API that this is.
const API_VERSION: &str = "2010-04-01";

/// What stands in a message's JSON besides what is the same in all.
struct MessageJson<'a> {
    sid: &'a MessageSid,
    to: &'a Address,
    from: Option<&'a Address>,
    messaging_service_sid: Option<&'a str>,
    body: &'a str,
    media: usize,
    segments: u32,
    status: MessageStatus,
    error: Option<(Option<u32>, &'a str)>,
    created_at: UnixMs,
    updated_at: UnixMs,
}

/// The message as we have it, under the name `sid`, as it stands at `now`.
pub fn json(account_sid: &AccountSid, sid: &MessageSid, message: &LocalMessage, now: UnixMs) -> Value {
    let LocalMessage { outbound, state, content } = message;
    let error = match state {
        OutboundState::Refused { code, reason, twilio_code, .. } => {
            Some((twilio_code.or_else(|| code.twilio_code()), reason.as_str()))
        }
        _ => None,
    };
    let shown = MessageJson {
        sid,
        to: &outbound.to,
        from: outbound.from.as_ref(),
        messaging_service_sid: outbound.messaging_service_sid.as_ref().map(|sid| sid.as_str()),
        body: content.as_ref().and_then(|content| content.body.as_deref()).unwrap_or_default(),
        media: outbound.media,
        segments: outbound.segments,
        status: state.standing(now).as_twilio(outbound.from.is_some()),
        error,
        created_at: outbound.created_at,
        updated_at: state.resolved_at().unwrap_or(outbound.created_at),
    };
    shown.json(account_sid)
}

/// The message that the send came to, if nothing more is known of it.
pub fn json_of_sent(account_sid: &AccountSid, sent: &Sent) -> Value {
    let placeholder = placeholder_sid(&sent.id);
    let standing = sent.held.map_or(Standing::Unknown, |(_, reason)| reason.standing());
    let shown = MessageJson {
        sid: sent.message_sid.as_ref().unwrap_or(&placeholder),
        to: &sent.to,
        from: sent.from.as_ref(),
        messaging_service_sid: None,
        body: "",
        media: 0,
        segments: sent.segments,
        status: standing.as_twilio(sent.from.is_some()),
        error: None,
        created_at: sent.created_at,
        updated_at: sent.created_at,
    };
    shown.json(account_sid)
}

impl MessageJson<'_> {
    fn json(&self, account_sid: &AccountSid) -> Value {
        let uri = format!("/{API_VERSION}/Accounts/{account_sid}/Messages/{}", self.sid);
        json!({
            "account_sid": account_sid.as_str(),
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": rfc_2822(self.created_at),
            "date_sent": null,
            "date_updated": rfc_2822(self.updated_at),
            "direction": "outbound-api",
            "error_code": self.error.and_then(|(code, _)| code),
            "error_message": self.error.map(|(_, reason)| reason),
            "from": self.from.map(Address::to_twilio),
            "messaging_service_sid": self.messaging_service_sid,
            "num_media": self.media.to_string(),
            "num_segments": self.segments.to_string(),
            "price": null,
            "price_unit": null,
            "sid": self.sid.as_str(),
            "status": self.status.as_str(),
            "subresource_uris": { "media": format!("{uri}/Media.json") },
            "to": self.to.to_twilio(),
            "uri": format!("{uri}.json"),
        })
    }
}

/// A time as Twilio writes it: `Thu, 24 Aug 2023 05:01:45 +0000`.
fn rfc_2822(at: UnixMs) -> String {
    let zoned = at.to_timestamp().unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC);
    zoned.strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}
