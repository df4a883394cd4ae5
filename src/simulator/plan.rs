//! The life of a message, decided when it is accepted: which statuses it takes and when, and what becomes of the
//! callback of each.
//!
//! Deciding it at once makes it a value that can be looked at, and the same for the same seed whatever the timing.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};

use super::faults::Faults;
use crate::twilio::{Address, Channel, MessageStatus};

/// A change of status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When, counted from the acceptance.
    pub after: Duration,
    /// The status it takes.
    pub status: MessageStatus,
    /// Why it did not arrive.
    pub error_code: Option<u32>,
    /// What becomes of the callback; `None` where Twilio sends none.
    pub posting: Option<Posting>,
}

/// What becomes of a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The `I-Twilio-Idempotency-Token` of each time it is posted: none if it is lost, two if it is duplicated.
    pub tokens: Vec<String>,
    /// It waits until the callback after it was posted.
    pub held: bool,
}

/// Plans the life of a message to `to` that begins with `first`: `queued`, `accepted` or `scheduled`.
pub fn plan(first: &MessageStatus, to: &Address, faults: &Faults, rng: &mut StdRng) -> Vec<Step> {
    use MessageStatus::{Accepted, Delivered, Queued, Read, Scheduled, Sending, Sent, Undelivered};

    let failure = failure_code(to);
    let mut statuses = Vec::with_capacity(5);
    // Times are in quarters of the time until delivery.
    if matches!(first, Accepted | Scheduled) {
        statuses.push((1, Queued));
    }
    statuses.extend([(2, Sending), (3, Sent), (4, if failure.is_some() { Undelivered } else { Delivered })]);
    if failure.is_none() && to.channel() == Channel::Whatsapp {
        statuses.push((6, Read));
    }

    let mut steps: Vec<Step> = statuses
        .into_iter()
        .map(|(quarters, status)| Step {
            after: faults.delivery * quarters / 4,
            error_code: failure.filter(|_| status == Undelivered),
            posting: (status != Sending).then(|| posting(faults, rng)),
            status,
        })
        .collect();
    // The last callback has none after it that it could wait for.
    if let Some(Step { posting: Some(posting), .. }) = steps.last_mut() {
        posting.held = false;
    }
    steps
}

/// The life of a message that fails with `code` as soon as it is looked at.
pub fn refused(code: u32, faults: &Faults, rng: &mut StdRng) -> Vec<Step> {
    vec![Step {
        after: faults.delivery / 4,
        status: MessageStatus::Failed,
        error_code: Some(code),
        posting: Some(Posting { held: false, ..posting(faults, rng) }),
    }]
}

/// The rest of the life of a message that was canceled.
pub fn canceled(faults: &Faults, rng: &mut StdRng) -> Vec<Step> {
    vec![Step {
        after: Duration::ZERO,
        status: MessageStatus::Canceled,
        error_code: None,
        posting: Some(Posting { held: false, ..posting(faults, rng) }),
    }]
}

fn posting(faults: &Faults, rng: &mut StdRng) -> Posting {
    let times = match rng.random_bool(faults.lose_callback) {
        true => 0,
        false => 1 + usize::from(rng.random_bool(faults.duplicate_callback)),
    };
    Posting {
        tokens: (0..times).map(|_| token(rng)).collect(),
        held: rng.random_bool(faults.reorder_callbacks),
    }
}

/// An idempotency token, which looks like a random UUID.
pub fn token(rng: &mut StdRng) -> String {
    let hex = hex::encode(rng.random::<[u8; 16]>());
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// The code that a message to `to` ends with: the number's last five digits, if they are one of the carriers'
/// (30xxx) or the channels' (63xxx).
fn failure_code(to: &Address) -> Option<u32> {
    let bare = to.bare();
    let code = bare.get(bare.len().checked_sub(5)?..)?;
    let is_code = to.is_e164() && (code.starts_with("30") || code.starts_with("63"));
    if is_code { code.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::{MessageStatus::*, *};

    fn planned(first: MessageStatus, to: &str, faults: &Faults) -> Vec<Step> {
        plan(&first, &Address::parse(to).unwrap(), faults, &mut StdRng::seed_from_u64(1))
    }

    fn statuses(steps: &[Step]) -> Vec<MessageStatus> {
        steps.iter().map(|step| step.status.clone()).collect()
    }

    #[test]
    fn a_message_with_a_sender_is_sent_and_delivered() {
        let steps = planned(Queued, "+14155550100", &Faults::default());
        assert_eq!(statuses(&steps), [Sending, Sent, Delivered]);
        let delays: Vec<_> = steps.iter().map(|step| step.after.as_millis()).collect();
        assert_eq!(delays, [100, 150, 200]);
        let posted: Vec<_> = steps.iter().map(|step| step.posting.is_some()).collect();
        assert_eq!(posted, [false, true, true]);
    }

    #[test]
    fn a_services_message_is_queued_first_and_whatsapp_is_read_last() {
        let steps = planned(Accepted, "whatsapp:+14155550100", &Faults::default());
        assert_eq!(statuses(&steps), [Queued, Sending, Sent, Delivered, Read]);
        assert!(steps[0].posting.is_some());
        assert!(steps[4].after <= Duration::from_millis(500));
    }

    #[test]
    fn a_number_that_ends_in_a_code_is_undelivered_with_it() {
        for (to, code) in [
            ("+14155530003", Some(30003)),
            ("whatsapp:+14155563016", Some(63016)),
            ("+14155550100", None),
            ("whatsapp:CO.899759302830003", None),
        ] {
            let steps = planned(Queued, to, &Faults::default());
            let end = steps.iter().find(|step| matches!(step.status, Delivered | Undelivered)).unwrap();
            assert_eq!(end.error_code, code, "{to}");
            assert_eq!(end.status == Undelivered, code.is_some(), "{to}");
            assert!(steps.iter().filter(|step| step.error_code.is_some()).count() <= 1);
        }
    }

    #[test]
    fn faults_lose_duplicate_and_hold_callbacks() {
        let tokens = |faults: Faults| -> Vec<usize> {
            let steps = planned(Accepted, "+14155550100", &faults);
            steps.iter().filter_map(|step| Some(step.posting.as_ref()?.tokens.len())).collect()
        };
        assert_eq!(tokens(Faults { lose_callback: 1.0, ..Faults::default() }), [0, 0, 0]);
        assert_eq!(tokens(Faults { duplicate_callback: 1.0, ..Faults::default() }), [2, 2, 2]);
        let faults = Faults { reorder_callbacks: 1.0, ..Faults::default() };
        let held = |step: &Step| step.posting.as_ref().map(|posting| posting.held);
        let steps = planned(Accepted, "+14155550100", &faults);
        assert_eq!(steps.iter().filter_map(held).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn a_token_looks_like_a_uuid() {
        let token = token(&mut StdRng::seed_from_u64(1));
        let lengths: Vec<_> = token.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!((token.as_bytes()[14], token.as_bytes()[19]), (b'4', b'a'));
    }
}
