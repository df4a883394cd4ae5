//! Who may be sent to, on which channel.
//!
//! Two facts per person and channel, kept apart: *our consent*, and *Twilio's own blocks*, each of one of our senders.
//! STOP over SMS sets both; only START, UNSTOP and YES lift Twilio's, so a person who says JOIN afterwards has consented
//! and can still not be reached from that sender. SMS, MMS and RCS are one channel here, WhatsApp another.

mod blocks;
mod erasure;
mod failures;
mod keyword_handling;
mod merge;
mod reviews;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::{
    blocks::{Block, Blocks},
    failures::{Failure, Failures},
    keyword_handling::{InvalidKeywordHandlers, KeywordHandlers, KeywordHandling},
    reviews::{OpenReview, REVIEWS_MAX, Reviews},
};
use super::{UnixMs, category};
use crate::twilio::{
    BareAddress, Channel, MessageSid, MessagingServiceSid,
    reply::{Keyword, KeywordKind, Meaning, Reading},
    webhook::OptOutType,
};

/// The channels that consent knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsentChannel {
    /// SMS, MMS and RCS.
    Sms,
    /// WhatsApp.
    Whatsapp,
    /// Every channel.
    All,
}

impl ConsentChannel {
    /// The word in the stream.
    pub fn as_str(self) -> &'static str {
        match self {
            ConsentChannel::Sms => "sms",
            ConsentChannel::Whatsapp => "whatsapp",
            ConsentChannel::All => "all",
        }
    }

    /// Reads what [`ConsentChannel::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [ConsentChannel::Sms, ConsentChannel::Whatsapp, ConsentChannel::All]
            .into_iter()
            .find(|channel| channel.as_str() == text)
    }
}

impl From<Channel> for ConsentChannel {
    fn from(channel: Channel) -> Self {
        match channel {
            Channel::Sms | Channel::Rcs => ConsentChannel::Sms,
            Channel::Whatsapp => ConsentChannel::Whatsapp,
        }
    }
}

/// What is known of a person's wish on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentState {
    /// Never asked; may be sent to.
    #[default]
    Unknown,
    /// May be sent to.
    OptedIn,
    /// Must not be sent to.
    OptedOut,
    /// A reply that may mean an opt-out and waits for a person to read it. Only in the stream.
    Review,
}

impl ConsentState {
    /// The word in the stream.
    pub fn as_str(self) -> &'static str {
        match self {
            ConsentState::Unknown => "unknown",
            ConsentState::OptedIn => "opted_in",
            ConsentState::OptedOut => "opted_out",
            ConsentState::Review => "review",
        }
    }

    /// Reads what [`ConsentState::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [ConsentState::Unknown, ConsentState::OptedIn, ConsentState::OptedOut, ConsentState::Review]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

macro_rules! sources {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What caused a change of consent.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum ConsentSource {
            $($(#[$doc])* #[serde(rename = $text)] $name,)+
        }

        impl ConsentSource {
            /// The word in the stream.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ConsentSource::$name => $text,)+
                }
            }

            /// Reads what [`ConsentSource::as_str`] writes.
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(ConsentSource::$name),)+
                    _ => None,
                }
            }
        }
    };
}

sources! {
    /// A reply that was a keyword.
    Keyword = "keyword",
    /// A reply that asked in other words.
    Phrase = "phrase",
    /// Twilio's Advanced Opt-Out said so.
    OptOutType = "opt_out_type",
    /// Twilio refused a message with 21610.
    Twilio21610 = "twilio_21610",
    /// WhatsApp said that the person blocked the sender.
    Twilio63014 = "twilio_63014",
    /// WhatsApp said that the person stopped marketing messages.
    Twilio63033 = "twilio_63033",
    /// It was recorded by a caller of the API.
    Api = "api",
    /// It came with a file.
    Import = "import",
    /// The person's own preferences.
    Preferences = "preferences",
    /// A link that the person followed.
    Link = "link",
    /// A reply that waited for review, which nobody decided in time.
    ReviewExpired = "review_expired",
    /// Twilio said that the number has another owner now, who has agreed to nothing.
    ReassignedNumber = "reassigned_number",
}

impl ConsentSource {
    /// The opt-out that an error code of Twilio's stands for.
    pub fn of_error(code: u32) -> Option<Self> {
        match code {
            21610 => Some(ConsentSource::Twilio21610),
            63014 => Some(ConsentSource::Twilio63014),
            63033 => Some(ConsentSource::Twilio63033),
            _ => None,
        }
    }

    /// Whether Twilio said by it that it refuses everything from the sender, whatever the person agrees to here. After
    /// 63033 WhatsApp refuses marketing, and nothing else.
    fn is_block(self) -> bool {
        matches!(self, ConsentSource::Twilio21610 | ConsentSource::Twilio63014)
    }
}

impl ConsentSource {
    /// Whether it is the person's own word, which nobody else takes back: [`super::rights`].
    pub fn is_the_persons(self) -> bool {
        match self {
            ConsentSource::Keyword
            | ConsentSource::Phrase
            | ConsentSource::OptOutType
            | ConsentSource::Twilio21610
            | ConsentSource::Twilio63014
            | ConsentSource::Twilio63033
            | ConsentSource::Link
            | ConsentSource::ReviewExpired
            | ConsentSource::ReassignedNumber => true,
            ConsentSource::Api | ConsentSource::Import | ConsentSource::Preferences => false,
        }
    }
}

/// How far one STOP reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptOutScope {
    /// The channel it came over.
    #[default]
    Channel,
    /// Every channel.
    All,
}

/// Consent on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChannelConsent {
    /// The person's wish.
    pub state: ConsentState,
    /// From which of our senders Twilio refuses to send, as far as we know.
    #[serde(rename = "twilio_block")]
    pub blocks: Blocks,
    /// What caused the latest change.
    pub source: Option<ConsentSource>,
    /// When that was.
    pub at: Option<UnixMs>,
    /// The message that caused it.
    pub message_sid: Option<MessageSid>,
    /// Replies that may be an opt-out and that nobody has decided on.
    #[serde(default, skip_serializing_if = "Reviews::is_empty")]
    pub reviews: Reviews,
    /// Messages in a row that failed for the number's own fault.
    #[serde(default, skip_serializing_if = "Failures::is_empty")]
    pub failures: Failures,
}

/// How a message would go out: on which channel, from whom, and what it is about.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The channel.
    pub channel: Channel,
    /// The sender, if one is named.
    pub from: Option<&'a BareAddress>,
    /// The messaging service that chooses the sender, if one is named.
    pub service: Option<&'a MessagingServiceSid>,
    /// What it is about, in the caller's words.
    pub category: Option<&'a str>,
}

/// Which messages need that the person has opted in, and not only that they have not opted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequiredOptIn {
    /// None.
    #[default]
    None,
    /// Those of the category `marketing`.
    Marketing,
    /// All but those of the category `emergency`.
    All,
}

impl RequiredOptIn {
    fn covers(self, category: Option<&str>) -> bool {
        match self {
            RequiredOptIn::None => false,
            RequiredOptIn::Marketing => category == Some(category::MARKETING),
            RequiredOptIn::All => category != Some(category::EMERGENCY),
        }
    }
}

/// Why a person must not be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoConsent {
    /// They have opted out.
    OptedOut,
    /// They agree, but Twilio still blocks the sender: they must text START to it.
    BlockedByTwilio,
    /// They have not opted in, and the message needs that.
    NotOptedIn,
}

/// Everything known of one person's consent in one organization.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Consent {
    /// SMS, MMS and RCS.
    pub sms: ChannelConsent,
    /// WhatsApp.
    pub whatsapp: ChannelConsent,
}

/// An entry of the consents stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentEntry {
    /// The person.
    pub phone: BareAddress,
    /// Which channel.
    pub channel: ConsentChannel,
    /// What it became.
    pub state: ConsentState,
    /// What caused it.
    pub source: ConsentSource,
    /// The message that caused it.
    pub sid: Option<MessageSid>,
    /// When.
    pub at: UnixMs,
}

/// A change of a person's consent as their own list tells it; never rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentChange {
    /// The stream's entry.
    #[serde(flatten)]
    pub entry: ConsentEntry,
    /// What shows that the person wants it, in the words of whoever recorded it.
    pub evidence: Option<String>,
    /// Who recorded it, if it was not the person.
    pub actor: Option<String>,
}

/// What we say back to a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing: there is nothing to say, or Twilio says it.
    Nothing,
    /// One confirmation of an opt-out.
    OptedOut,
    /// One confirmation of an opt-in.
    OptedIn,
    /// Who we are and how to stop.
    Help,
}

/// A person's message, as far as consent is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The person, without the channel's prefix.
    pub phone: &'a BareAddress,
    /// Where it came from.
    pub channel: Channel,
    /// What its text was read as.
    pub reading: &'a Reading,
    /// What Twilio's Advanced Opt-Out made of it; wins over our reading.
    pub opt_out_type: Option<OptOutType>,
    /// Which of our senders it was sent to.
    pub sender: &'a BareAddress,
    /// The messaging service that the sender is in.
    pub service: Option<&'a MessagingServiceSid>,
    /// Who acts on the keywords that the sender receives.
    pub handling: KeywordHandling,
    /// The message.
    pub sid: &'a MessageSid,
    /// When it arrived.
    pub at: UnixMs,
    /// When it becomes an opt-out if it has to be reviewed and nobody does so.
    pub decide_by: UnixMs,
}

/// What a reply does: to be stored in one step, before it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The consent afterwards.
    pub consent: Consent,
    /// The entry of the consents stream, if it is an opt-out, an opt-in or one to review.
    pub entry: Option<ConsentEntry>,
    /// What to say back.
    pub answer: Answer,
}

/// The change that a reply asks for.
struct Wish {
    state: ConsentState,
    channel: ConsentChannel,
    source: ConsentSource,
    /// What becomes of Twilio's block of the sender that the reply went to.
    block: BlockChange,
    /// Twilio confirms it to the person.
    twilio_answers: bool,
}

/// What becomes of Twilio's block of a sender.
#[derive(Clone, Copy)]
enum BlockChange {
    Set,
    Lifted,
    Unchanged,
}

impl Consent {
    /// What is known for `channel`.
    pub fn on(&self, channel: Channel) -> &ChannelConsent {
        match ConsentChannel::from(channel) {
            ConsentChannel::Whatsapp => &self.whatsapp,
            ConsentChannel::Sms | ConsentChannel::All => &self.sms,
        }
    }

    fn on_mut(&mut self, channel: Channel) -> &mut ChannelConsent {
        match ConsentChannel::from(channel) {
            ConsentChannel::Whatsapp => &mut self.whatsapp,
            ConsentChannel::Sms | ConsentChannel::All => &mut self.sms,
        }
    }

    /// Puts a wish down on every channel that it is about. Twilio's blocks stay.
    fn wish(
        &mut self,
        channel: ConsentChannel,
        state: ConsentState,
        source: ConsentSource,
        at: UnixMs,
        message_sid: Option<&MessageSid>,
    ) {
        for (own, known) in
            [(ConsentChannel::Sms, &mut self.sms), (ConsentChannel::Whatsapp, &mut self.whatsapp)]
        {
            if channel == ConsentChannel::All || channel == own {
                known.state = state;
                known.source = Some(source);
                known.at = Some(at);
                known.message_sid = message_sid.cloned();
                if source.is_the_persons() {
                    // They have said since what they want.
                    known.reviews.close_until(at);
                }
                known.close_needless_reviews();
            }
        }
    }

    /// Why a message by `route` must not leave, if it must not.
    pub fn refusal(&self, route: &Route<'_>, required: RequiredOptIn) -> Option<NoConsent> {
        let known = self.on(route.channel);
        let is_marketing_alone = known.source == Some(ConsentSource::Twilio63033);
        let is_opted_out = known.state == ConsentState::OptedOut
            && !(is_marketing_alone && category::is_transactional(route.category));
        if is_opted_out {
            Some(NoConsent::OptedOut)
        } else if known.blocks.refuse(route) {
            Some(NoConsent::BlockedByTwilio)
        } else if required.covers(route.category) && known.state != ConsentState::OptedIn {
            Some(NoConsent::NotOptedIn)
        } else {
            None
        }
    }

    /// Whether nobody has ever said anything about this person. That messages to them have failed says nothing.
    pub fn says_nothing(&self) -> bool {
        self.reached(ConsentChannel::All) == Consent::default()
    }

    /// Whether what the person wrote over `channel` to `sender` may be answered: nothing that they have said forbids it, and nothing
    /// that may do so waits for a decision.
    pub fn may_be_answered(&self, channel: Channel, sender: &BareAddress) -> bool {
        let known = self.on(channel);
        let route = Route { channel, from: Some(sender), service: None, category: None };
        known.state != ConsentState::OptedOut && known.reviews.is_empty() && !known.blocks.refuse(&route)
    }

    /// What `reply` does to this consent.
    pub fn decide(&self, reply: &Reply<'_>, scope: OptOutScope) -> Decision {
        let nothing = Decision { consent: self.clone(), entry: None, answer: Answer::Nothing };
        let wish = match (reply.opt_out_type, &reply.reading.meaning) {
            (Some(OptOutType::Stop), _) => Wish {
                state: ConsentState::OptedOut,
                channel: scope.reach(reply.channel),
                source: ConsentSource::OptOutType,
                block: BlockChange::Set,
                twilio_answers: true,
            },
            (Some(OptOutType::Start), _) => Wish {
                state: ConsentState::OptedIn,
                channel: scope.reach(reply.channel),
                source: ConsentSource::OptOutType,
                block: BlockChange::Lifted,
                twilio_answers: true,
            },
            (Some(OptOutType::Help), _) | (None, Meaning::Ordinary) => return nothing,
            (None, Meaning::Phrase) => Wish {
                state: ConsentState::OptedOut,
                channel: scope.reach(reply.channel),
                source: ConsentSource::Phrase,
                block: BlockChange::Unchanged,
                twilio_answers: false,
            },
            (None, Meaning::Review) if self.on(reply.channel).reviews.are_full() => Wish {
                state: ConsentState::OptedOut,
                channel: scope.reach(reply.channel),
                source: ConsentSource::Phrase,
                block: BlockChange::Unchanged,
                twilio_answers: false,
            },
            (None, Meaning::Review) => {
                let entry = reply.entry(reply.channel.into(), ConsentState::Review, ConsentSource::Phrase);
                let review =
                    OpenReview { message_sid: reply.sid.clone(), at: reply.at, until: reply.decide_by };
                let mut consent = self.clone();
                consent.on_mut(reply.channel).open_review(review);
                return Decision { consent, entry: Some(entry), answer: Answer::Nothing };
            }
            (None, Meaning::Keyword(keyword)) => match self.wish_of(keyword, reply, scope) {
                Ok(wish) => wish,
                Err(answer) => return Decision { answer, ..nothing },
            },
        };
        self.grant(reply, wish)
    }

    /// What a keyword asks for, or what to answer when it asks for no change.
    fn wish_of(&self, keyword: &Keyword, reply: &Reply<'_>, scope: OptOutScope) -> Result<Wish, Answer> {
        let twilio_acts = reply.handling.covers(keyword);
        match keyword.kind {
            KeywordKind::OptOut { all } => Ok(Wish {
                state: ConsentState::OptedOut,
                channel: if all { ConsentChannel::All } else { scope.reach(reply.channel) },
                source: ConsentSource::Keyword,
                block: if twilio_acts { BlockChange::Set } else { BlockChange::Unchanged },
                twilio_answers: twilio_acts,
            }),
            KeywordKind::OptIn { only_if_opted_out } => {
                let is_out = || self.refusal(&reply.route(), RequiredOptIn::None).is_some();
                if only_if_opted_out && !(twilio_acts && is_out()) {
                    return Err(Answer::Nothing);
                }
                // Over a sender whose keywords Twilio leaves to us, a block is known only from an error. Whoever writes
                // over WhatsApp has not blocked us there; elsewhere Twilio's own words lift what Twilio turns out to keep.
                let is_lifted = match reply.handling {
                    KeywordHandling::Twilio | KeywordHandling::TollFree => twilio_acts,
                    KeywordHandling::Ours => reply.channel == Channel::Whatsapp || keyword.twilio_acts,
                };
                Ok(Wish {
                    state: ConsentState::OptedIn,
                    channel: scope.reach(reply.channel),
                    source: ConsentSource::Keyword,
                    block: if is_lifted { BlockChange::Lifted } else { BlockChange::Unchanged },
                    twilio_answers: twilio_acts,
                })
            }
            KeywordKind::Help => Err(if twilio_acts { Answer::Nothing } else { Answer::Help }),
        }
    }

    fn grant(&self, reply: &Reply<'_>, wish: Wish) -> Decision {
        let before = self.on(reply.channel).state;
        let mut consent = self.clone();
        consent.wish(wish.channel, wish.state, wish.source, reply.at, Some(reply.sid));
        let blocks = &mut consent.on_mut(reply.channel).blocks;
        match wish.block {
            BlockChange::Set => blocks.add(reply.block()),
            BlockChange::Lifted => blocks.lift(&reply.block()),
            BlockChange::Unchanged => {}
        }
        let is_reachable = !blocks.refuse(&reply.route());
        let answer = match wish.state {
            _ if wish.twilio_answers || before == wish.state || !is_reachable => Answer::Nothing,
            ConsentState::OptedOut => Answer::OptedOut,
            _ => Answer::OptedIn,
        };
        Decision { consent, entry: Some(reply.entry(wish.channel, wish.state, wish.source)), answer }
    }

    /// What somebody else's record of a person's wish does: Twilio's own blocks stay as they are, since nobody but the
    /// person can lift them. A wish that is known already is recorded again, with its new source.
    pub fn recorded(
        &self,
        phone: &BareAddress,
        channel: ConsentChannel,
        state: ConsentState,
        source: ConsentSource,
        at: UnixMs,
    ) -> (Consent, ConsentEntry) {
        let mut consent = self.clone();
        consent.wish(channel, state, source, at, None);
        (consent, ConsentEntry { phone: phone.clone(), channel, state, source, sid: None, at })
    }

    /// What an error of Twilio's that means "opted out" does to a message from `block`'s sender or service: the opt-out,
    /// and the block if the error is about one; nothing if all of it is known.
    pub fn opted_out_by_error(
        &self,
        phone: &BareAddress,
        channel: Channel,
        source: ConsentSource,
        block: Block,
        sid: Option<&MessageSid>,
        at: UnixMs,
    ) -> Option<(Consent, ConsentEntry)> {
        let known = self.on(channel);
        let is_news = source.is_block() && !known.blocks.hold(&block);
        if known.state == ConsentState::OptedOut && !is_news {
            return None;
        }
        let mut consent = self.clone();
        let after = consent.on_mut(channel);
        if source.is_block() {
            after.blocks.add(block);
        }
        after.state = ConsentState::OptedOut;
        after.source = Some(source);
        after.at = Some(at);
        after.message_sid = sid.cloned();
        after.close_needless_reviews();
        let entry = ConsentEntry {
            phone: phone.clone(),
            channel: channel.into(),
            state: ConsentState::OptedOut,
            source,
            sid: sid.cloned(),
            at,
        };
        Some((consent, entry))
    }
}

impl OptOutScope {
    /// The channels that an opt-out over `channel` is about.
    pub fn reach(self, channel: Channel) -> ConsentChannel {
        match self {
            OptOutScope::Channel => channel.into(),
            OptOutScope::All => ConsentChannel::All,
        }
    }
}

impl Reply<'_> {
    /// How an answer to it goes out.
    fn route(&self) -> Route<'_> {
        Route { channel: self.channel, from: Some(self.sender), service: self.service, category: None }
    }

    /// The block that it sets or lifts at Twilio.
    fn block(&self) -> Block {
        Block { sender: Some(self.sender.clone()), service: self.service.cloned() }
    }

    fn entry(&self, channel: ConsentChannel, state: ConsentState, source: ConsentSource) -> ConsentEntry {
        ConsentEntry {
            phone: self.phone.clone(),
            channel,
            state,
            source,
            sid: Some(self.sid.clone()),
            at: self.at,
        }
    }
}
