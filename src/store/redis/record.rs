//! Where one message stands, as a field of its hash: short enough that Redis keeps the hash packed (64 bytes).
//!
//! `<rank>;<status>;<id>;<token>@<ms>-<seq>;<token>@<ms>-<seq>;…`
//!
//! The rank and status it has reached, our own id, and for each recorded status a token and the deliveries entry
//! that tells of it. Numbers are hexadecimal; the first entry's milliseconds are whole, the others count from it;
//! `-<seq>` is left out when it is 0. A token is what makes a callback a repetition: status and error code.
//!
//! `lua/record_status.lua` writes this form; here it is read.

use std::time::Duration;

use crate::{
    domain::{Delivery, UnixMs, delivery::Seen},
    store::Error,
    twilio::MessageStatus,
};

/// The letters that stand for statuses in tokens; any other status stands for itself.
const LETTERS: [(&str, MessageStatus); 10] = [
    ("a", MessageStatus::Accepted),
    ("h", MessageStatus::Scheduled),
    ("q", MessageStatus::Queued),
    ("i", MessageStatus::Sending),
    ("s", MessageStatus::Sent),
    ("u", MessageStatus::Undelivered),
    ("f", MessageStatus::Failed),
    ("c", MessageStatus::Canceled),
    ("d", MessageStatus::Delivered),
    ("r", MessageStatus::Read),
];

/// What stands between status and error code in a token.
const ERROR: char = '!';

/// The token of a status with its error.
pub(super) fn token(status: &MessageStatus, error_code: Option<u32>) -> String {
    let mut token = match LETTERS.iter().find(|(_, known)| known == status) {
        Some((letter, _)) => (*letter).to_owned(),
        None => format!("={}", word(status)),
    };
    if let Some(code) = error_code {
        token.push(ERROR);
        token.push_str(&code.to_string());
    }
    token
}

/// A status as one word of the record: the characters that structure it are replaced.
pub(super) fn word(status: &MessageStatus) -> String {
    status.as_str().replace([';', '@', ERROR], "_")
}

/// Reads a record.
pub(super) fn parse(record: &str) -> Result<Delivery, Error> {
    read(record).ok_or_else(|| Error::Unreadable("a message record".to_owned()))
}

fn read(record: &str) -> Option<Delivery> {
    let mut parts = record.split_terminator(';');
    let _rank = parts.next()?;
    let status = Some(parts.next()?).filter(|status| !status.is_empty()).map(MessageStatus::parse);
    let id = Some(parts.next()?).filter(|id| !id.is_empty()).map(str::parse).transpose().ok()?;
    let mut seen: Vec<Seen> = Vec::new();
    for part in parts {
        let (token, entry) = part.rsplit_once('@')?;
        let (ms, seq) = entry.split_once('-').unwrap_or((entry, "0"));
        let behind = Duration::from_millis(u64::from_str_radix(ms, 16).ok()?);
        let ms = seen.first().map_or(UnixMs::EPOCH, |first| first.entry.0) + behind;
        let (status, error) = match token.split_once(ERROR) {
            Some((status, error)) => (status, Some(error.parse().ok()?)),
            None => (token, None),
        };
        let status = match status.strip_prefix('=') {
            Some(word) => MessageStatus::parse(word),
            None => LETTERS.iter().find(|(letter, _)| *letter == status)?.1.clone(),
        };
        seen.push(Seen { status, error_code: error, entry: (ms, u64::from_str_radix(seq, 16).ok()?) });
    }
    Some(Delivery { id, status, seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written() {
        let delivery =
            parse("6;delivered;0000000000000abc;q@19ab8d12345;s@3e8-1f;u!30003@3e9;=moon@3e9-1;").unwrap();
        assert_eq!(delivery.status, Some(MessageStatus::Delivered));
        assert_eq!(delivery.id.unwrap().as_str(), "0000000000000abc");
        let seen: Vec<_> = delivery
            .seen
            .iter()
            .map(|seen| (seen.status.as_str(), seen.error_code, (seen.entry.0.get(), seen.entry.1)))
            .collect();
        assert_eq!(
            seen,
            [
                ("queued", None, (0x19ab8d12345, 0)),
                ("sent", None, (0x19ab8d12345 + 1000, 0x1f)),
                ("undelivered", Some(30003), (0x19ab8d12345 + 1001, 0)),
                ("moon", None, (0x19ab8d12345 + 1001, 1)),
            ]
        );
        assert_eq!(parse("0;;;=moon@1;").unwrap().status, None);
        for wrong in ["", "6", "6;delivered", "6;delivered;;x", "6;delivered;;zz@1;", "6;delivered;;s@g;"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_outbound_message_that_was_read_still_fits_a_packed_field() {
        let record = "7;read;0000000000000abc;q@19ab8d12345;s@3e8;d@7d0;r@ea60;";
        assert!(record.len() <= 64, "{}", record.len());
    }

    #[test]
    fn a_strange_status_cannot_break_the_record() {
        assert_eq!(token(&MessageStatus::Other("a;b@c!d".into()), Some(7)), "=a_b_c_d!7");
    }
}
