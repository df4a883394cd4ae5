//! Replies that may mean an opt-out and wait for somebody to read them.
//!
//! While one is open, nothing that has not begun is sent to the person on its channel. It is closed by a decision, by
//! the person's own later word, or by an opt-out from anywhere; one that nobody decides in time becomes an opt-out. Time
//! alone closes none: until somebody has recorded that opt-out, nothing leaves.

use serde::{Deserialize, Serialize};

use super::{ChannelConsent, Consent, ConsentChannel, ConsentEntry, ConsentSource, ConsentState, Route};
use crate::{
    domain::{UnixMs, category},
    twilio::{BareAddress, MessageSid},
};

/// The most reviews that are open for one person on one channel, since they are a part of every consent that is read. A
/// doubtful reply beyond them opens none; the others hold back what it would.
pub const REVIEWS_MAX: usize = 20;

/// A reply that waits for somebody to read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenReview {
    /// The reply.
    pub message_sid: MessageSid,
    /// When it becomes an opt-out, unless somebody has decided.
    pub until: UnixMs,
}

/// The open reviews of one person on one channel, the first to end first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reviews(Vec<OpenReview>);

impl Reviews {
    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, message_sid: &MessageSid) -> Option<&OpenReview> {
        self.0.iter().find(|review| review.message_sid == *message_sid)
    }

    /// Opens a review, unless it is open already or there are too many.
    fn open(&mut self, review: OpenReview) {
        if self.0.len() < REVIEWS_MAX && self.find(&review.message_sid).is_none() {
            self.0.push(review);
            self.0.sort_unstable_by(|one, other| {
                (one.until, one.message_sid.as_str()).cmp(&(other.until, other.message_sid.as_str()))
            });
        }
    }

    fn close(&mut self, message_sid: &MessageSid) {
        self.0.retain(|review| review.message_sid != *message_sid);
    }

    /// Those of both; of too many, the first to end.
    pub(super) fn merged(&self, other: &Reviews) -> Reviews {
        let mut all: Vec<&OpenReview> = self.0.iter().chain(&other.0).collect();
        all.sort_unstable_by_key(|review| (review.until, review.message_sid.as_str()));
        let mut merged = Reviews::default();
        for review in all {
            merged.open(review.clone());
        }
        merged
    }
}

impl ChannelConsent {
    /// Whether nothing at all is sent, so that no reply could ask for more. After 63033 only marketing is not.
    fn is_opted_out_of_everything(&self) -> bool {
        self.state == ConsentState::OptedOut && self.source != Some(ConsentSource::Twilio63033)
    }

    /// Opens a review, unless it could lead to nothing.
    pub(super) fn open_review(&mut self, review: OpenReview) {
        self.reviews.open(review);
        self.close_needless_reviews();
    }

    /// Closes the reviews of a person who has opted out of everything.
    pub(super) fn close_needless_reviews(&mut self) {
        if self.is_opted_out_of_everything() {
            self.reviews = Reviews::default();
        }
    }
}

impl Consent {
    /// The open review of the reply `message_sid`, and the channel that it is about.
    pub fn review(&self, message_sid: &MessageSid) -> Option<(ConsentChannel, &OpenReview)> {
        [(ConsentChannel::Sms, &self.sms), (ConsentChannel::Whatsapp, &self.whatsapp)]
            .into_iter()
            .find_map(|(channel, known)| Some((channel, known.reviews.find(message_sid)?)))
    }

    /// The replies whose reviews are open here and not in `after`, which took the place of this.
    pub fn reviews_closed_by(&self, after: &Consent) -> Vec<MessageSid> {
        let open = self.sms.reviews.0.iter().chain(&self.whatsapp.reviews.0);
        let closed = open.filter(|review| after.review(&review.message_sid).is_none());
        closed.map(|review| review.message_sid.clone()).collect()
    }

    /// Whether a review is open on `channel`, or on any.
    pub fn is_under_review(&self, channel: ConsentChannel) -> bool {
        match channel {
            ConsentChannel::Sms => !self.sms.reviews.is_empty(),
            ConsentChannel::Whatsapp => !self.whatsapp.reviews.is_empty(),
            ConsentChannel::All => !self.sms.reviews.is_empty() || !self.whatsapp.reviews.is_empty(),
        }
    }

    /// Until when a message by `route` is held back by an open review, if it is: until the first of them ends.
    pub fn under_review_until(&self, route: &Route<'_>) -> Option<UnixMs> {
        if route.category == Some(category::EMERGENCY) {
            return None;
        }
        self.on(route.channel).reviews.0.first().map(|review| review.until)
    }

    /// The consent after the review of the reply `message_sid` was dismissed: the reply was no opt-out.
    pub fn dismissed(&self, message_sid: &MessageSid) -> Consent {
        let mut consent = self.clone();
        consent.sms.reviews.close(message_sid);
        consent.whatsapp.reviews.close(message_sid);
        consent
    }

    /// What the reply `message_sid` of the person at `phone` does once it counts as an opt-out of `channel`.
    pub fn opted_out_by_review(
        &self,
        phone: &BareAddress,
        channel: ConsentChannel,
        source: ConsentSource,
        message_sid: &MessageSid,
        at: UnixMs,
    ) -> (Consent, ConsentEntry) {
        let mut consent = self.clone();
        consent.wish(channel, ConsentState::OptedOut, source, at, Some(message_sid));
        let (phone, sid) = (phone.clone(), Some(message_sid.clone()));
        (consent, ConsentEntry { phone, channel, state: ConsentState::OptedOut, source, sid, at })
    }
}
