//! Replies that may mean an opt-out and wait for somebody to read them.
//!
//! While one is open, nothing that has not begun is sent to the person on its channel. It is closed by a decision or by
//! the person's own later word; one that nobody decides in time becomes an opt-out. Nobody else's record closes one, or
//! whoever may not dismiss a reply could record an opt-out and take it back. Nor does time alone: until somebody has
//! recorded that opt-out, nothing leaves.

use serde::{Deserialize, Serialize};

use super::{ChannelConsent, Consent, ConsentChannel, ConsentEntry, ConsentSource, ConsentState, Route};
use crate::{
    domain::{UnixMs, category},
    twilio::{BareAddress, MessageSid},
};

/// The most reviews that a person's replies open on one channel, since they are a part of every consent that is read. A
/// further doubtful reply is taken for an opt-out: whoever has written so many wants something to end.
pub const REVIEWS_MAX: usize = 20;

/// A reply that waits for somebody to read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenReview {
    /// The reply.
    pub message_sid: MessageSid,
    /// When it was written.
    pub at: UnixMs,
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

    /// Whether a further reply opens none.
    pub(super) fn are_full(&self) -> bool {
        self.0.len() >= REVIEWS_MAX
    }

    /// Opens a review, unless it is open already.
    fn open(&mut self, review: OpenReview) {
        if self.find(&review.message_sid).is_none() {
            self.0.push(review);
            self.0.sort_unstable_by(|one, other| {
                (one.until, one.message_sid.as_str()).cmp(&(other.until, other.message_sid.as_str()))
            });
        }
    }

    fn close(&mut self, message_sid: &MessageSid) {
        self.0.retain(|review| review.message_sid != *message_sid);
    }

    /// Closes those of replies that were written by `at`.
    pub(super) fn close_until(&mut self, at: UnixMs) {
        self.0.retain(|review| review.at > at);
    }

    /// Those of both.
    pub(super) fn merged(&self, other: &Reviews) -> Reviews {
        let mut merged = self.clone();
        for review in &other.0 {
            merged.open(review.clone());
        }
        merged
    }
}

impl ChannelConsent {
    /// Whether the person wants nothing at all, so that no reply of theirs could ask for more. After 63033 only marketing
    /// is not sent; and what somebody else has recorded, somebody else may take back.
    fn is_opted_out_of_everything(&self) -> bool {
        let by_person =
            |source: ConsentSource| source.is_the_persons() && source != ConsentSource::Twilio63033;
        self.state == ConsentState::OptedOut && self.source.is_some_and(by_person)
    }

    /// Opens a review, unless it could lead to nothing.
    pub(super) fn open_review(&mut self, review: OpenReview) {
        self.reviews.open(review);
        self.close_needless_reviews();
    }

    /// Closes the reviews of a person who has opted out of everything themselves.
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
