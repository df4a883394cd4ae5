//! Who may be sent to, on which channel.
//!
//! Two facts per person and channel, kept apart: *our consent*, and *Twilio's own block*. STOP over SMS sets both;
//! only START, UNSTOP and YES lift Twilio's, so a person who says JOIN afterwards has consented and can still not
//! be reached. SMS, MMS and RCS are one channel here, WhatsApp another.

use serde::{Deserialize, Serialize};

use super::UnixMs;
use crate::twilio::{
    BareAddress, Channel, MessageSid,
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
}

impl ConsentSource {
    /// Whether it is the person's own word, which nobody else takes back.
    pub fn is_the_persons(self) -> bool {
        match self {
            ConsentSource::Keyword
            | ConsentSource::Phrase
            | ConsentSource::OptOutType
            | ConsentSource::Twilio21610
            | ConsentSource::Twilio63014
            | ConsentSource::Twilio63033
            | ConsentSource::Link => true,
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
    /// Whether Twilio refuses to send, as far as we know.
    pub twilio_block: bool,
    /// What caused the latest change.
    pub source: Option<ConsentSource>,
    /// When that was.
    pub at: Option<UnixMs>,
    /// The message that caused it.
    pub message_sid: Option<MessageSid>,
}

/// Why a person must not be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptedOut {
    /// By their wish.
    ByPerson,
    /// They agree, but Twilio still blocks: they must text START.
    ByTwilio,
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
    /// The message.
    pub sid: &'a MessageSid,
    /// When it arrived.
    pub at: UnixMs,
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
    /// What Twilio does to its own block on the channel of the reply.
    twilio_block: Option<bool>,
    /// Twilio confirms it to the person.
    twilio_answers: bool,
}

impl Consent {
    /// What is known for `channel`.
    pub fn on(&self, channel: Channel) -> &ChannelConsent {
        match ConsentChannel::from(channel) {
            ConsentChannel::Whatsapp => &self.whatsapp,
            ConsentChannel::Sms | ConsentChannel::All => &self.sms,
        }
    }

    /// Why a message on `channel` must not leave, if it must not.
    pub fn refusal(&self, channel: Channel) -> Option<OptedOut> {
        let consent = self.on(channel);
        match (consent.state, consent.twilio_block) {
            (ConsentState::OptedOut, _) => Some(OptedOut::ByPerson),
            (_, true) => Some(OptedOut::ByTwilio),
            _ => None,
        }
    }

    /// What `reply` does to this consent.
    pub fn decide(&self, reply: &Reply<'_>, scope: OptOutScope) -> Decision {
        let nothing = Decision { consent: self.clone(), entry: None, answer: Answer::Nothing };
        let wish = match (reply.opt_out_type, &reply.reading.meaning) {
            (Some(OptOutType::Stop), _) => Wish {
                state: ConsentState::OptedOut,
                channel: scope.reach(reply.channel),
                source: ConsentSource::OptOutType,
                twilio_block: Some(true),
                twilio_answers: true,
            },
            (Some(OptOutType::Start), _) => Wish {
                state: ConsentState::OptedIn,
                channel: scope.reach(reply.channel),
                source: ConsentSource::OptOutType,
                twilio_block: Some(false),
                twilio_answers: true,
            },
            (Some(OptOutType::Help), _) | (None, Meaning::Ordinary) => return nothing,
            (None, Meaning::Phrase) => Wish {
                state: ConsentState::OptedOut,
                channel: scope.reach(reply.channel),
                source: ConsentSource::Phrase,
                twilio_block: None,
                twilio_answers: false,
            },
            (None, Meaning::Review) => {
                let entry = reply.entry(reply.channel.into(), ConsentState::Review, ConsentSource::Phrase);
                return Decision { entry: Some(entry), ..nothing };
            }
            (None, Meaning::Keyword(keyword)) => match self.wish_of(keyword, reply.channel, scope) {
                Ok(wish) => wish,
                Err(answer) => return Decision { answer, ..nothing },
            },
        };
        self.grant(reply, wish)
    }

    /// What a keyword asks for, or what to answer when it asks for no change.
    fn wish_of(&self, keyword: &Keyword, channel: Channel, scope: OptOutScope) -> Result<Wish, Answer> {
        let on_sms = ConsentChannel::from(channel) == ConsentChannel::Sms;
        let twilio_acts = on_sms && keyword.twilio_acts;
        match keyword.kind {
            KeywordKind::OptOut { all } => Ok(Wish {
                state: ConsentState::OptedOut,
                channel: if all { ConsentChannel::All } else { scope.reach(channel) },
                source: ConsentSource::Keyword,
                twilio_block: twilio_acts.then_some(true),
                twilio_answers: twilio_acts,
            }),
            KeywordKind::OptIn { only_if_opted_out } => {
                if only_if_opted_out && self.refusal(channel).is_none() {
                    return Err(Answer::Nothing);
                }
                // A person whose START reaches us over WhatsApp has not blocked us there.
                let lifts = keyword.twilio_acts;
                Ok(Wish {
                    state: ConsentState::OptedIn,
                    channel: scope.reach(channel),
                    source: ConsentSource::Keyword,
                    twilio_block: lifts.then_some(false),
                    twilio_answers: twilio_acts,
                })
            }
            KeywordKind::Help => Err(if on_sms { Answer::Nothing } else { Answer::Help }),
        }
    }

    fn grant(&self, reply: &Reply<'_>, wish: Wish) -> Decision {
        let before = self.on(reply.channel).state;
        let mut consent = self.clone();
        let own = ConsentChannel::from(reply.channel);
        for (channel, known) in
            [(ConsentChannel::Sms, &mut consent.sms), (ConsentChannel::Whatsapp, &mut consent.whatsapp)]
        {
            if wish.channel == ConsentChannel::All || wish.channel == channel {
                known.state = wish.state;
                known.source = Some(wish.source);
                known.at = Some(reply.at);
                known.message_sid = Some(reply.sid.clone());
            }
            if channel == own {
                known.twilio_block = wish.twilio_block.unwrap_or(known.twilio_block);
            }
        }
        let reachable = !consent.on(reply.channel).twilio_block;
        let answer = match wish.state {
            _ if wish.twilio_answers || before == wish.state || !reachable => Answer::Nothing,
            ConsentState::OptedOut => Answer::OptedOut,
            _ => Answer::OptedIn,
        };
        Decision { consent, entry: Some(reply.entry(wish.channel, wish.state, wish.source)), answer }
    }

    /// What somebody else's record of a person's wish does: Twilio's own block stays as it is, since nobody but the
    /// person can lift it. A wish that is known already is recorded again, with its new source.
    pub fn recorded(
        &self,
        phone: &BareAddress,
        channel: ConsentChannel,
        state: ConsentState,
        source: ConsentSource,
        at: UnixMs,
    ) -> (Consent, ConsentEntry) {
        let mut consent = self.clone();
        for (own, known) in
            [(ConsentChannel::Sms, &mut consent.sms), (ConsentChannel::Whatsapp, &mut consent.whatsapp)]
        {
            if channel == ConsentChannel::All || channel == own {
                let twilio_block = known.twilio_block;
                *known = ChannelConsent {
                    state,
                    twilio_block,
                    source: Some(source),
                    at: Some(at),
                    message_sid: None,
                };
            }
        }
        (consent, ConsentEntry { phone: phone.clone(), channel, state, source, sid: None, at })
    }

    /// What an error of Twilio's that means "opted out" does: the opt-out and the block, unless both are known.
    pub fn opted_out_by_error(
        &self,
        phone: &BareAddress,
        channel: Channel,
        source: ConsentSource,
        sid: Option<&MessageSid>,
        at: UnixMs,
    ) -> Option<(Consent, ConsentEntry)> {
        let known = self.on(channel);
        if known.state == ConsentState::OptedOut && known.twilio_block {
            return None;
        }
        let after = ChannelConsent {
            state: ConsentState::OptedOut,
            twilio_block: true,
            source: Some(source),
            at: Some(at),
            message_sid: sid.cloned(),
        };
        let mut consent = self.clone();
        let family = ConsentChannel::from(channel);
        match family {
            ConsentChannel::Whatsapp => consent.whatsapp = after,
            ConsentChannel::Sms | ConsentChannel::All => consent.sms = after,
        }
        let entry = ConsentEntry {
            phone: phone.clone(),
            channel: family,
            state: ConsentState::OptedOut,
            source,
            sid: sid.cloned(),
            at,
        };
        Some((consent, entry))
    }
}

impl OptOutScope {
    fn reach(self, channel: Channel) -> ConsentChannel {
        match self {
            OptOutScope::Channel => channel.into(),
            OptOutScope::All => ConsentChannel::All,
        }
    }
}

impl Reply<'_> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twilio::reply::ReplyReader;

    /// What a story's person writes, where, and what must follow.
    struct Step {
        channel: Channel,
        text: &'static str,
        opt_out_type: Option<OptOutType>,
        answer: Answer,
        /// State and block on the step's channel.
        after: (ConsentState, bool),
        /// Channel, state and source of the stream's entry.
        entry: Option<(ConsentChannel, ConsentState, ConsentSource)>,
    }

    fn tell(scope: OptOutScope, steps: &[Step]) -> Consent {
        let sid = MessageSid::parse("SM00000000000000000000000000000001").unwrap();
        let mut consent = Consent::default();
        for (number, step) in steps.iter().enumerate() {
            let reading = ReplyReader::default().read(step.text, step.channel);
            let reply = Reply {
                phone: &"+14155550100".parse().unwrap(),
                channel: step.channel,
                reading: &reading,
                opt_out_type: step.opt_out_type,
                sid: &sid,
                at: UnixMs::new(1),
            };
            let decision = consent.decide(&reply, scope);
            let entry = decision.entry.map(|entry| (entry.channel, entry.state, entry.source));
            assert_eq!(entry, step.entry, "step {number}: {}", step.text);
            assert_eq!(decision.answer, step.answer, "step {number}: {}", step.text);
            consent = decision.consent;
            let known = consent.on(step.channel);
            assert_eq!((known.state, known.twilio_block), step.after, "step {number}: {}", step.text);
        }
        consent
    }

    use ConsentChannel::{All, Sms as OnSms, Whatsapp as OnWhatsapp};
    use ConsentSource::{Keyword as ByKeyword, OptOutType as ByType, Phrase as ByPhrase};
    use ConsentState::{OptedIn, OptedOut, Unknown};

    fn sms(text: &'static str) -> Step {
        Step {
            channel: Channel::Sms,
            text,
            opt_out_type: None,
            answer: Answer::Nothing,
            after: (Unknown, false),
            entry: None,
        }
    }

    fn whatsapp(text: &'static str) -> Step {
        Step { channel: Channel::Whatsapp, ..sms(text) }
    }

    #[test]
    fn join_after_stop_is_consent_that_twilio_still_blocks_until_start() {
        let consent = tell(
            OptOutScope::Channel,
            &[
                Step { after: (OptedOut, true), entry: Some((OnSms, OptedOut, ByKeyword)), ..sms("STOP") },
                Step {
                    after: (OptedIn, true),
                    entry: Some((OnSms, OptedIn, ByKeyword)),
                    ..sms("join green-fox")
                },
            ],
        );
        assert_eq!(consent.refusal(Channel::Sms), Some(super::OptedOut::ByTwilio));
        assert_eq!(consent.refusal(Channel::Rcs), Some(super::OptedOut::ByTwilio));
        assert_eq!(consent.refusal(Channel::Whatsapp), None);
        tell(
            OptOutScope::Channel,
            &[
                Step { after: (OptedOut, true), entry: Some((OnSms, OptedOut, ByKeyword)), ..sms("Stop.") },
                Step { after: (OptedIn, false), entry: Some((OnSms, OptedIn, ByKeyword)), ..sms("start") },
                // Not blocked any more, so the confirmation of a JOIN would arrive; but nothing changes.
                Step { after: (OptedIn, false), entry: Some((OnSms, OptedIn, ByKeyword)), ..sms("JOIN") },
            ],
        );
    }

    #[test]
    fn we_answer_once_where_twilio_does_not() {
        tell(
            OptOutScope::Channel,
            &[
                Step {
                    answer: Answer::OptedIn,
                    after: (OptedIn, false),
                    entry: Some((OnSms, OptedIn, ByKeyword)),
                    ..sms("Subscribe")
                },
                Step {
                    answer: Answer::OptedOut,
                    after: (OptedOut, false),
                    entry: Some((OnSms, OptedOut, ByPhrase)),
                    ..sms("please stop texting me")
                },
                Step {
                    answer: Answer::OptedOut,
                    after: (OptedOut, false),
                    entry: Some((OnWhatsapp, OptedOut, ByKeyword)),
                    ..whatsapp("STOP")
                },
                Step {
                    after: (OptedOut, false),
                    entry: Some((OnWhatsapp, OptedOut, ByKeyword)),
                    ..whatsapp("stop")
                },
                Step {
                    answer: Answer::OptedIn,
                    after: (OptedIn, false),
                    entry: Some((OnWhatsapp, OptedIn, ByKeyword)),
                    ..whatsapp("START")
                },
                Step { answer: Answer::Help, after: (OptedIn, false), ..whatsapp("HELP") },
                Step { after: (OptedOut, false), ..sms("HELP") },
            ],
        );
    }

    #[test]
    fn yes_is_an_opt_in_only_from_someone_who_is_opted_out() {
        tell(
            OptOutScope::Channel,
            &[
                sms("Yes"),
                Step { after: (OptedOut, true), entry: Some((OnSms, OptedOut, ByKeyword)), ..sms("QUIT") },
                Step { after: (OptedIn, false), entry: Some((OnSms, OptedIn, ByKeyword)), ..sms("yes!") },
                Step { after: (OptedIn, false), ..sms("YES") },
            ],
        );
    }

    #[test]
    fn stopall_and_the_scope_all_silence_every_channel() {
        let consent = tell(
            OptOutScope::Channel,
            &[Step { after: (OptedOut, true), entry: Some((All, OptedOut, ByKeyword)), ..sms("STOPALL") }],
        );
        assert_eq!(consent.refusal(Channel::Whatsapp), Some(super::OptedOut::ByPerson));
        assert!(!consent.whatsapp.twilio_block);
        let consent = tell(
            OptOutScope::All,
            &[Step {
                answer: Answer::OptedOut,
                after: (OptedOut, false),
                entry: Some((All, OptedOut, ByKeyword)),
                ..whatsapp("stop")
            }],
        );
        assert_eq!(consent.refusal(Channel::Sms), Some(super::OptedOut::ByPerson));
    }

    #[test]
    fn what_twilio_says_wins_over_our_reading_and_silences_us() {
        tell(
            OptOutScope::Channel,
            &[
                Step {
                    opt_out_type: Some(OptOutType::Stop),
                    after: (OptedOut, true),
                    entry: Some((OnWhatsapp, OptedOut, ByType)),
                    ..whatsapp("arrêt")
                },
                Step { opt_out_type: Some(OptOutType::Help), after: (OptedOut, true), ..whatsapp("START") },
                Step {
                    opt_out_type: Some(OptOutType::Start),
                    after: (OptedIn, false),
                    entry: Some((OnWhatsapp, OptedIn, ByType)),
                    ..whatsapp("go")
                },
            ],
        );
    }

    #[test]
    fn an_error_that_means_opted_out_is_recorded_once() {
        let consent = Consent::default();
        let at = |consent: &Consent| {
            consent.opted_out_by_error(
                &"+14155550100".parse().unwrap(),
                Channel::Rcs,
                ConsentSource::Twilio21610,
                None,
                UnixMs::new(1),
            )
        };
        let (after, entry) = at(&consent).unwrap();
        assert_eq!((entry.channel, entry.state), (OnSms, OptedOut));
        assert_eq!(
            (after.sms.state, after.sms.twilio_block, after.whatsapp.twilio_block),
            (OptedOut, true, false)
        );
        assert!(at(&after).is_none());
    }
}
