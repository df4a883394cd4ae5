//! Messages in a row that failed since the number does not exist, or takes no messages: after several nothing more is sent to it.

use serde::{Deserialize, Serialize};

use super::{ChannelConsent, Consent, ConsentChannel, UnixMs};
use crate::twilio::Channel;

/// Failures that are told of, the latest of them.
const LISTED_MAX: usize = 10;

/// A message that failed for the number's own fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Twilio's code for it.
    pub code: u32,
    /// When we heard of it.
    pub at: UnixMs,
    /// The message, by Twilio's SID or our own id.
    pub message: String,
}

/// The messages in a row that have failed so, and whether that is enough to send no more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Failures {
    /// How many.
    count: usize,
    /// The latest of them, oldest first.
    latest: Vec<Failure>,
    /// Since when nothing is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suppressed_at: Option<UnixMs>,
}

impl Failures {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The latest ones, oldest first.
    pub fn latest(&self) -> &[Failure] {
        &self.latest
    }

    /// When the last message failed.
    pub fn last_at(&self) -> Option<UnixMs> {
        self.latest.last().map(|failure| failure.at)
    }

    /// Since when nothing is sent, if nothing is.
    pub fn suppressed_since(&self) -> Option<UnixMs> {
        self.suppressed_at
    }

    /// Adds one that is not among them; whether it was not.
    fn add(&mut self, failure: Failure, suppress_after: usize) -> bool {
        if self.latest.iter().any(|known| known.message == failure.message) {
            return false;
        }
        self.count += 1;
        if self.count >= suppress_after {
            self.suppressed_at.get_or_insert(failure.at);
        }
        self.latest.push(failure);
        if self.latest.len() > LISTED_MAX {
            self.latest.remove(0);
        }
        true
    }

    /// Those of one person who was known under two names: the more of both.
    pub(super) fn merged(&self, other: &Self) -> Self {
        let order = |failures: &Self| (failures.suppressed_at.is_some(), failures.count, failures.last_at());
        if order(other) > order(self) { other.clone() } else { self.clone() }
    }
}

impl Consent {
    /// The same with one failure more on `channel`: the first one, if `is_first`. `None` if it is known.
    pub fn failed(
        &self,
        channel: Channel,
        failure: Failure,
        is_first: bool,
        suppress_after: usize,
    ) -> Option<Consent> {
        let mut consent = self.clone();
        let failures = &mut consent.on_mut(channel).failures;
        let is_known = failures.latest.iter().any(|known| known.message == failure.message);
        if is_first && !is_known {
            *failures = Failures::default();
        }
        failures.add(failure, suppress_after).then_some(consent)
    }

    /// The same without failures on `channel`: a message has reached the person there, or came from them.
    pub fn reached(&self, channel: ConsentChannel) -> Consent {
        let mut consent = self.clone();
        let reached = |known: &mut ChannelConsent| known.failures = Failures::default();
        match channel {
            ConsentChannel::Sms => reached(&mut consent.sms),
            ConsentChannel::Whatsapp => reached(&mut consent.whatsapp),
            ConsentChannel::All => {
                reached(&mut consent.sms);
                reached(&mut consent.whatsapp);
            }
        }
        consent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(number: u64) -> Failure {
        Failure { code: 30005, at: UnixMs::new(number), message: format!("SM{number}") }
    }

    fn failed(consent: &Consent, number: u64, is_first: bool) -> Option<Consent> {
        consent.failed(Channel::Rcs, failure(number), is_first, 3)
    }

    #[test]
    fn three_in_a_row_suppress_a_channel_and_each_counts_once() {
        let mut consent = Consent::default();
        for number in 1..=2 {
            consent = failed(&consent, number, number == 1).unwrap();
            assert_eq!(failed(&consent, number, true), None);
            assert_eq!(consent.sms.failures.suppressed_since(), None);
        }
        let third = failed(&consent, 3, false).unwrap();
        assert_eq!(third.sms.failures.suppressed_since(), Some(UnixMs::new(3)));
        assert_eq!(third.whatsapp, ChannelConsent::default());
        assert_eq!(failed(&third, 4, false).unwrap().sms.failures.suppressed_since(), Some(UnixMs::new(3)));
        // Another message has arrived in between.
        let again = failed(&consent, 3, true).unwrap();
        assert_eq!((again.sms.failures.suppressed_since(), again.sms.failures.latest().len()), (None, 1));
        for channel in [ConsentChannel::Sms, ConsentChannel::All] {
            assert_eq!(third.reached(channel), Consent::default());
        }
        assert_eq!(third.reached(ConsentChannel::Whatsapp), third);
    }

    #[test]
    fn only_the_latest_are_told_of_and_of_two_names_the_more() {
        let mut consent = Consent::default();
        for number in 1..=30 {
            consent = failed(&consent, number, false).unwrap();
        }
        let failures = &consent.sms.failures;
        assert_eq!((failures.latest().len(), failures.last_at()), (LISTED_MAX, Some(UnixMs::new(30))));
        for (one, other) in [(&consent, &Consent::default()), (&Consent::default(), &consent)] {
            assert_eq!(one.merged(other).sms.failures, *failures);
        }
        let stored = serde_json::to_string(&consent).unwrap();
        assert_eq!(serde_json::from_str::<Consent>(&stored).unwrap(), consent);
        assert!(!serde_json::to_string(&Consent::default()).unwrap().contains("failures"));
    }
}
