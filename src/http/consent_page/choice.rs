//! What a person can choose on their page.

use crate::{
    app::consents::own_page::Subscription,
    domain::consent::{ConsentChannel, ConsentState},
};

/// A change that a button asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub wish: ConsentState,
    pub channel: ConsentChannel,
}

/// The words of forms and URLs.
const WORDS: [(&str, Choice); 5] = [
    ("stop_sms", Choice::new(ConsentState::OptedOut, ConsentChannel::Sms)),
    ("stop_whatsapp", Choice::new(ConsentState::OptedOut, ConsentChannel::Whatsapp)),
    ("stop_all", Choice::STOP_ALL),
    ("start_sms", Choice::new(ConsentState::OptedIn, ConsentChannel::Sms)),
    ("start_whatsapp", Choice::new(ConsentState::OptedIn, ConsentChannel::Whatsapp)),
];

impl Choice {
    /// To get nothing any more.
    pub const STOP_ALL: Choice = Choice::new(ConsentState::OptedOut, ConsentChannel::All);

    pub const fn new(wish: ConsentState, channel: ConsentChannel) -> Self {
        Self { wish, channel }
    }

    /// Reads what [`Choice::as_str`] writes.
    pub fn parse(word: &str) -> Option<Self> {
        WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, choice)| choice)
    }

    pub fn as_str(self) -> &'static str {
        let word = WORDS.into_iter().find(|(_, choice)| *choice == self);
        word.map(|(word, _)| word).expect("a page offers nothing that has no word")
    }

    /// Whether that is how things stand, so that a page never confirms what is not so.
    pub fn is_so(self, subscriptions: &[Subscription]) -> bool {
        let mut reached = subscriptions.iter().filter(|subscription| self.reaches(subscription.channel));
        reached.all(|subscription| subscription.wish == self.wish)
    }

    fn reaches(self, channel: ConsentChannel) -> bool {
        self.channel == ConsentChannel::All || self.channel == channel
    }
}
