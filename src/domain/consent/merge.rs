//! What is known of one person under two names, made one.

use super::{ChannelConsent, Consent, ConsentChange, ConsentSource, ConsentState, UnixMs};

impl Consent {
    /// What is known of a person of whom this is known under one name, and `other` under another.
    pub fn merged(&self, other: &Consent) -> Consent {
        Consent { sms: self.sms.merged(&other.sms), whatsapp: self.whatsapp.merged(&other.whatsapp) }
    }
}

impl ConsentChange {
    /// The changes of two lists of one person's, by time, each once. Those of one list stay in their order.
    pub fn merged(one: Vec<ConsentChange>, other: Vec<ConsentChange>) -> Vec<ConsentChange> {
        let other: Vec<ConsentChange> = other.into_iter().filter(|change| !one.contains(change)).collect();
        let mut merged = Vec::with_capacity(one.len() + other.len());
        let mut other = other.into_iter().peekable();
        for change in one {
            while let Some(earlier) = other.next_if(|of_other| of_other.entry.at < change.entry.at) {
                merged.push(earlier);
            }
            merged.push(change);
        }
        merged.extend(other);
        merged
    }
}

impl ChannelConsent {
    /// The later of the two wishes; but what the person said no to stays, unless the later one is the person's too.
    fn merged(&self, other: &ChannelConsent) -> ChannelConsent {
        let (earlier, later) = if self.order() > other.order() { (other, self) } else { (self, other) };
        let wish = if earlier.is_refusal_by_person() && !later.is_by_person() { earlier } else { later };
        // Twilio's blocks are lifted by the person alone.
        let is_lifted = later.is_by_person() && later.state == ConsentState::OptedIn;
        let blocks = if is_lifted { later.blocks.clone() } else { later.blocks.merged(&earlier.blocks) };
        let mut merged =
            ChannelConsent { blocks, reviews: self.reviews.merged(&other.reviews), ..wish.clone() };
        merged.failures = self.failures.merged(&other.failures);
        merged.close_needless_reviews();
        merged
    }

    /// What orders two wishes: their times; at the same time the more careful one is the later.
    fn order(&self) -> (Option<UnixMs>, bool, bool, bool) {
        (self.at, self.state == ConsentState::OptedOut, self.is_by_person(), !self.blocks.is_empty())
    }

    fn is_by_person(&self) -> bool {
        self.source.is_some_and(ConsentSource::is_the_persons)
    }

    fn is_refusal_by_person(&self) -> bool {
        self.state == ConsentState::OptedOut && self.is_by_person()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::consent::{Block, Blocks, ConsentChannel, ConsentEntry, Failures, Reviews};

    /// Blocks as they were stored before senders were told apart: of every sender, or none.
    fn blocks(is_blocked: bool) -> Blocks {
        let mut blocks = Blocks::default();
        if is_blocked {
            blocks.add(Block::default());
        }
        blocks
    }

    fn known() -> impl Strategy<Value = ChannelConsent> {
        let state = prop::sample::select(vec![ConsentState::OptedIn, ConsentState::OptedOut]);
        let sources = vec![ConsentSource::Keyword, ConsentSource::Api, ConsentSource::Twilio21610];
        let change = (state, prop::sample::select(sources), 1..5_u64);
        (prop::option::of(change), any::<bool>()).prop_map(|(change, is_blocked)| match change {
            None => ChannelConsent { blocks: blocks(is_blocked), ..ChannelConsent::default() },
            Some((state, source, at)) => ChannelConsent {
                state,
                blocks: blocks(is_blocked),
                source: Some(source),
                at: Some(UnixMs::new(at)),
                message_sid: None,
                reviews: Reviews::default(),
                failures: Failures::default(),
            },
        })
    }

    proptest! {
        #[test]
        fn a_persons_no_stays_until_the_person_says_otherwise(one in known(), other in known()) {
            let merged = one.merged(&other);
            for (no, later) in [(&one, &other), (&other, &one)] {
                if no.is_refusal_by_person() {
                    let is_opt_in = later.state == ConsentState::OptedIn && later.is_by_person();
                    let taken_back = is_opt_in && later.at > no.at;
                    prop_assert_eq!(merged.state == ConsentState::OptedOut, !taken_back);
                }
            }
        }

        #[test]
        fn merging_depends_on_no_order_and_changes_nothing_twice(one in known(), other in known()) {
            let merged = one.merged(&other);
            let reached = |known: &ChannelConsent| (known.state, known.blocks.clone(), known.at);
            prop_assert_eq!(reached(&merged), reached(&other.merged(&one)));
            prop_assert_eq!(merged.merged(&other), merged.clone());
            prop_assert_eq!(other.merged(&merged).state, merged.state);
            if one.state == ConsentState::Unknown && other.state == ConsentState::Unknown {
                prop_assert_eq!(merged.blocks, one.blocks.merged(&other.blocks));
            }
        }
    }

    #[test]
    fn lists_of_changes_are_merged_by_time_and_each_change_stands_once() {
        let change = |at: u64, evidence: &str| ConsentChange {
            entry: ConsentEntry {
                phone: "+14155550100".parse().unwrap(),
                channel: ConsentChannel::Sms,
                state: ConsentState::OptedOut,
                source: ConsentSource::Api,
                sid: None,
                at: UnixMs::new(at),
            },
            evidence: Some(evidence.to_owned()),
            actor: None,
        };
        // The second of these was imported after the first, and tells of an earlier time.
        let one = vec![change(5, "a"), change(2, "b"), change(9, "c")];
        let other = vec![change(1, "d"), change(5, "a"), change(8, "e"), change(10, "f")];
        let merged = ConsentChange::merged(one, other.clone());
        let order: String = merged.iter().filter_map(|change| change.evidence.as_deref()).collect();
        assert_eq!(order, "dabecf");
        assert_eq!(ConsentChange::merged(merged.clone(), other), merged);
    }
}
