//! What stands in the streams, and reading them back.
//!
//! Each organization has three streams a partition. Their entries are merged by id, that is by the server's clock,
//! into one order. A page must not hand out an entry while an earlier one may still be added to another stream: so
//! it stops before the server's present millisecond.

use redis::Value;

use super::read;
use crate::{
    domain::{
        Event, EventId, Source, Stream, UnixMs,
        consent::{ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
        delivery::DeliveryEntry,
        event::InboundEntry,
    },
    store::Error,
    twilio::{Channel, MessageStatus},
};

/// The id of an entry in its stream.
pub(super) type EntryId = (UnixMs, u64);

/// A name and a value of an entry as Redis returns them. What is no text takes none of the entries with it that are beside it.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// An entry as Redis returns it: its id, and its fields.
pub(super) type Entry = (String, Vec<Field>);

/// The fields of an entry, to be read by their names.
struct Fields<'a> {
    id: &'a str,
    fields: &'a [Field],
}

/// The entries of an `XRANGE` answer.
pub(super) fn entries(answer: Value) -> Result<Vec<Entry>, Error> {
    read(answer)
}

/// Reads `<ms>-<seq>`.
pub(super) fn entry_id(text: &str) -> Result<EntryId, Error> {
    text.split_once('-')
        .and_then(|(ms, seq)| Some((ms.parse().ok()?, seq.parse().ok()?)))
        .ok_or_else(|| Error::Unreadable(format!("a stream entry's id: {text:?}")))
}

/// The first entry id to ask `stream` of `partition` for, so that all after `after` are returned and none twice.
pub(super) fn start(after: EventId, stream: Stream, partition: u16) -> String {
    let here = EventId { stream, partition, ..after };
    // Redis refuses to begin behind the last id that there can be; no entry has it.
    let is_last = (after.ms, after.seq) == (UnixMs::MAX, u64::MAX);
    let exclusive = if here > after || is_last { "" } else { "(" };
    format!("{exclusive}{}-{}", after.ms, after.seq)
}

/// An entry's names and values in turn, in the contract's order, as XADD takes them; an empty text where there is
/// nothing. Those of a delivery are put in order by `record_status.lua`, which alone knows the status before.
fn flat<const N: usize>(fields: [(&str, Option<String>); N]) -> Vec<String> {
    fields.into_iter().flat_map(|(name, value)| [name.to_owned(), value.unwrap_or_default()]).collect()
}

/// The fields of an entry of the inbound stream.
pub(super) fn inbound_fields(entry: &InboundEntry) -> Vec<String> {
    flat([
        ("sid", Some(entry.sid.to_string())),
        ("channel", Some(entry.channel.to_string())),
        ("from", Some(entry.from.clone().into())),
        ("to", Some(entry.to.clone().into())),
        ("body_length", Some(entry.body_length.to_string())),
        ("keyword", entry.keyword.clone()),
        ("media", Some(entry.media.to_string())),
        ("at", Some(entry.at.to_string())),
    ])
}

/// The fields of an entry of the consents stream.
pub(super) fn consent_fields(entry: &ConsentEntry) -> Vec<String> {
    flat([
        ("phone", Some(entry.phone.clone().into())),
        ("channel", Some(entry.channel.as_str().to_owned())),
        ("state", Some(entry.state.as_str().to_owned())),
        ("source", Some(ConsentSource::as_str(entry.source).to_owned())),
        ("sid", entry.sid.as_ref().map(ToString::to_string)),
        ("at", Some(entry.at.to_string())),
    ])
}

/// Reads an entry of `stream`.
pub(super) fn event(stream: Stream, id: &str, fields: &[Field]) -> Result<Event, Error> {
    let fields = Fields { id, fields };
    Ok(match stream {
        Stream::Deliveries => Event::Delivery(delivery(&fields)?),
        Stream::Inbound => Event::Inbound(InboundEntry {
            sid: fields.read("sid", |text| text.parse().ok())?,
            channel: fields.read("channel", Channel::parse)?,
            from: fields.read("from", |text| text.parse().ok())?,
            to: fields.read("to", |text| text.parse().ok())?,
            body_length: fields.read("body_length", |text| text.parse().ok())?,
            keyword: fields.read_optional("keyword", |text| Some(text.to_owned()))?,
            media: fields.read("media", |text| text.parse().ok())?,
            at: fields.read("at", |text| text.parse().ok())?,
        }),
        Stream::Consents => Event::Consent(ConsentEntry {
            phone: fields.read("phone", |text| text.parse().ok())?,
            channel: fields.read("channel", ConsentChannel::parse)?,
            state: fields.read("state", ConsentState::parse)?,
            source: fields.read("source", ConsentSource::parse)?,
            sid: fields.read_optional("sid", |text| text.parse().ok())?,
            at: fields.read("at", |text| text.parse().ok())?,
        }),
    })
}

fn delivery(fields: &Fields<'_>) -> Result<DeliveryEntry, Error> {
    Ok(DeliveryEntry {
        sid: fields.read("sid", |text| text.parse().ok())?,
        id: fields.read_optional("id", |text| text.parse().ok())?,
        status: MessageStatus::parse(fields.get("status")?),
        previous: fields.read_optional("previous", |text| Some(MessageStatus::parse(text)))?,
        late: fields.get("late")? == "1",
        channel: fields.read("channel", Channel::parse)?,
        to: fields.read_optional("to", |text| text.parse().ok())?,
        from: fields.read_optional("from", |text| text.parse().ok())?,
        error_code: fields.read_optional("error_code", |text| text.parse().ok())?,
        batch: fields.read_optional("batch", |text| text.parse().ok())?,
        source: fields.read("source", Source::parse)?,
        at: fields.read("at", |text| text.parse().ok())?,
        raw: Vec::new(),
    })
}

impl Fields<'_> {
    fn get(&self, name: &str) -> Result<&str, Error> {
        self.fields
            .iter()
            .find(|(field, _)| field == name.as_bytes())
            .and_then(|(_, value)| str::from_utf8(value).ok())
            .ok_or_else(|| self.unreadable(name))
    }

    fn read<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        read(self.get(name)?).ok_or_else(|| self.unreadable(name))
    }

    fn read_optional<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
        match self.get(name)? {
            "" => Ok(None),
            text => read(text).map(Some).ok_or_else(|| self.unreadable(name)),
        }
    }

    fn unreadable(&self, name: &str) -> Error {
        Error::Unreadable(format!("field {name} of the stream entry {}", self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_starts_right_behind_the_entry_it_follows() {
        let after = EventId { ms: UnixMs::new(7), seq: 1, stream: Stream::Consents, partition: 3 };
        assert_eq!(start(after, Stream::Inbound, 9), "(7-1");
        assert_eq!(start(after, Stream::Consents, 2), "(7-1");
        assert_eq!(start(after, Stream::Consents, 3), "(7-1");
        assert_eq!(start(after, Stream::Consents, 4), "7-1");
        assert_eq!(start(after, Stream::Deliveries, 0), "7-1");
    }
}
