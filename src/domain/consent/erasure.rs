//! What stays of a person's consent when their data is erased: what has to be obeyed, and nothing else.

use super::{
    ChannelConsent, Consent, ConsentChange, ConsentChannel, ConsentEntry, ConsentSource, ConsentState,
    Reviews, UnixMs,
};
use crate::twilio::BareAddress;

impl Consent {
    /// What has still to be obeyed of this consent once the person's data is erased, at `now`; `None` if nothing has.
    pub fn kept_when_erased(&self, now: UnixMs) -> Option<Consent> {
        let kept =
            Consent { sms: self.sms.kept_when_erased(now), whatsapp: self.whatsapp.kept_when_erased(now) };
        Some(kept).filter(|kept| *kept != Consent::default())
    }

    /// What is known of the wishes of the person at `phone`, as the list of changes tells them that an erasure has taken away.
    pub fn wishes(&self, phone: &BareAddress) -> Vec<ConsentChange> {
        let channels = [(ConsentChannel::Sms, &self.sms), (ConsentChannel::Whatsapp, &self.whatsapp)];
        let known = channels.into_iter().filter_map(|(channel, known)| {
            let (source, at) = (known.source?, known.at?);
            let (phone, state, sid) = (phone.clone(), known.state, known.message_sid.clone());
            let entry = ConsentEntry { phone, channel, state, source, sid, at };
            Some(ConsentChange { entry, evidence: None, actor: None })
        });
        let mut wishes: Vec<ConsentChange> = known.collect();
        wishes.sort_by_key(|wish| wish.entry.at);
        wishes
    }
}

impl ChannelConsent {
    fn kept_when_erased(&self, now: UnixMs) -> ChannelConsent {
        // Twilio's blocks are of our senders.
        let nothing = ChannelConsent { blocks: self.blocks.clone(), ..ChannelConsent::default() };
        if self.state == ConsentState::OptedOut {
            return ChannelConsent { state: self.state, source: self.source, at: self.at, ..nothing };
        }
        if self.reviews.is_empty() {
            return nothing;
        }
        // The words go, so that nobody can decide on them any more: what nobody decides on is an opt-out.
        ChannelConsent {
            state: ConsentState::OptedOut,
            source: Some(ConsentSource::ReviewExpired),
            at: Some(now),
            reviews: Reviews::default(),
            ..nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::consent::{Block, Blocks, OpenReview, RequiredOptIn, Route};
    use crate::twilio::{Channel, MessageSid};

    const NOW: UnixMs = UnixMs::new(9);

    fn sid() -> MessageSid {
        MessageSid::parse(&format!("SM{}", "a".repeat(32))).unwrap()
    }

    fn known(state: ConsentState) -> ChannelConsent {
        ChannelConsent {
            state,
            source: Some(ConsentSource::Keyword),
            at: Some(UnixMs::new(5)),
            message_sid: Some(sid()),
            ..ChannelConsent::default()
        }
    }

    fn refuses(consent: &Consent, channel: Channel) -> bool {
        let route = Route { channel, from: None, service: None, category: None };
        consent.refusal(&route, RequiredOptIn::None).is_some()
    }

    #[test]
    fn an_opt_out_stays_without_its_message_and_an_opt_in_goes() {
        let consent = Consent { sms: known(ConsentState::OptedOut), whatsapp: known(ConsentState::OptedIn) };
        let kept = consent.kept_when_erased(NOW).unwrap();
        assert!(refuses(&kept, Channel::Sms) && !refuses(&kept, Channel::Whatsapp));
        assert_eq!(kept.sms, ChannelConsent { message_sid: None, ..known(ConsentState::OptedOut) });
        assert_eq!(kept.whatsapp, ChannelConsent::default());
        assert_eq!(kept.kept_when_erased(UnixMs::new(10)).unwrap(), kept);
        let opted_in = Consent { sms: known(ConsentState::OptedIn), whatsapp: known(ConsentState::OptedIn) };
        assert_eq!((opted_in.kept_when_erased(NOW), Consent::default().kept_when_erased(NOW)), (None, None));
    }

    #[test]
    fn twilios_blocks_stay_and_a_reply_that_nobody_can_read_any_more_is_an_opt_out() {
        let mut blocks = Blocks::default();
        blocks.add(Block { sender: Some("+15005550006".parse().unwrap()), service: None });
        let sms = ChannelConsent { blocks: blocks.clone(), ..known(ConsentState::OptedIn) };
        let mut whatsapp = known(ConsentState::OptedIn);
        whatsapp.open_review(OpenReview { message_sid: sid(), at: UnixMs::new(6), until: UnixMs::new(7) });
        let kept = Consent { sms, whatsapp }.kept_when_erased(NOW).unwrap();
        assert_eq!(kept.sms, ChannelConsent { blocks, ..ChannelConsent::default() });
        assert!(refuses(&kept, Channel::Whatsapp));
        assert_eq!(
            (kept.whatsapp.source, kept.whatsapp.at, kept.whatsapp.reviews.is_empty()),
            (Some(ConsentSource::ReviewExpired), Some(NOW), true)
        );
    }
}
