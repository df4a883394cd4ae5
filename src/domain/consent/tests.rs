//! Stories of what people write, and what must follow.

use super::*;
use crate::twilio::reply::ReplyReader;

/// What a story's person writes, where, and what must follow.
struct Step {
    /// Which of our senders it goes to, as Twilio writes it.
    sender: &'static str,
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
        let sender = step.sender.parse().unwrap();
        let reply = Reply {
            phone: &"+14155550100".parse().unwrap(),
            channel: step.channel,
            sender: &sender,
            service: None,
            handling: KeywordHandlers::default().of(step.channel, &sender, None),
            reading: &reading,
            opt_out_type: step.opt_out_type,
            sid: &sid,
            at: UnixMs::new(1),
            decide_by: UnixMs::new(2),
        };
        let decision = consent.decide(&reply, scope);
        let entry = decision.entry.map(|entry| (entry.channel, entry.state, entry.source));
        assert_eq!(entry, step.entry, "step {number}: {}", step.text);
        assert_eq!(decision.answer, step.answer, "step {number}: {}", step.text);
        consent = decision.consent;
        let known = consent.on(step.channel);
        assert_eq!((known.state, !known.blocks.is_empty()), step.after, "step {number}: {}", step.text);
    }
    consent
}

use ConsentChannel::{All, Sms as OnSms, Whatsapp as OnWhatsapp};
use ConsentSource::{Keyword as ByKeyword, OptOutType as ByType, Phrase as ByPhrase};
use ConsentState::{OptedIn, OptedOut, Unknown};

fn sms(text: &'static str) -> Step {
    Step {
        sender: LONG_CODE,
        channel: Channel::Sms,
        text,
        opt_out_type: None,
        answer: Answer::Nothing,
        after: (Unknown, false),
        entry: None,
    }
}

const LONG_CODE: &str = "+15005550006";
const OTHER_LONG_CODE: &str = "+15005550007";
const SHORT_CODE: &str = "12345";
const TOLL_FREE: &str = "+18005550199";

fn refusal(consent: &Consent, channel: Channel, from: &str) -> Option<NoConsent> {
    refusal_of(consent, channel, from, None, RequiredOptIn::None)
}

fn refusal_of(
    consent: &Consent,
    channel: Channel,
    from: &str,
    category: Option<&str>,
    required: RequiredOptIn,
) -> Option<NoConsent> {
    let from = from.parse().unwrap();
    consent.refusal(&Route { channel, from: Some(&from), service: None, category }, required)
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
    assert_eq!(refusal(&consent, Channel::Sms, LONG_CODE), Some(NoConsent::BlockedByTwilio));
    assert_eq!(refusal(&consent, Channel::Rcs, LONG_CODE), Some(NoConsent::BlockedByTwilio));
    assert_eq!(refusal(&consent, Channel::Sms, OTHER_LONG_CODE), None);
    assert_eq!(refusal(&consent, Channel::Whatsapp, LONG_CODE), None);
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
    assert_eq!(refusal(&consent, Channel::Whatsapp, LONG_CODE), Some(NoConsent::OptedOut));
    assert!(consent.whatsapp.blocks.is_empty());
    let consent = tell(
        OptOutScope::All,
        &[Step {
            answer: Answer::OptedOut,
            after: (OptedOut, false),
            entry: Some((All, OptedOut, ByKeyword)),
            ..whatsapp("stop")
        }],
    );
    assert_eq!(refusal(&consent, Channel::Sms, LONG_CODE), Some(NoConsent::OptedOut));
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
fn a_block_is_of_the_sender_that_was_told_to_stop() {
    let consent = tell(
        OptOutScope::Channel,
        &[
            Step { after: (OptedOut, true), entry: Some((OnSms, OptedOut, ByKeyword)), ..sms("STOP") },
            Step {
                sender: OTHER_LONG_CODE,
                after: (OptedIn, true),
                entry: Some((OnSms, OptedIn, ByKeyword)),
                ..sms("START")
            },
        ],
    );
    assert_eq!(refusal(&consent, Channel::Sms, LONG_CODE), Some(NoConsent::BlockedByTwilio));
    assert_eq!(refusal(&consent, Channel::Sms, OTHER_LONG_CODE), None);
}

#[test]
fn a_short_code_is_answered_by_us_and_knows_no_block() {
    let to_short_code = |text| Step { sender: SHORT_CODE, ..sms(text) };
    let consent = tell(
        OptOutScope::Channel,
        &[
            Step {
                answer: Answer::OptedOut,
                after: (OptedOut, false),
                entry: Some((OnSms, OptedOut, ByKeyword)),
                ..to_short_code("STOP")
            },
            Step { answer: Answer::Help, after: (OptedOut, false), ..to_short_code("HELP") },
            Step { after: (OptedOut, false), ..to_short_code("YES") },
            Step {
                answer: Answer::OptedIn,
                after: (OptedIn, false),
                entry: Some((OnSms, OptedIn, ByKeyword)),
                ..to_short_code("JOIN")
            },
        ],
    );
    assert_eq!(refusal(&consent, Channel::Sms, SHORT_CODE), None);
}

#[test]
fn yes_does_not_open_a_toll_free_number() {
    let to_toll_free = |text| Step { sender: TOLL_FREE, ..sms(text) };
    tell(
        OptOutScope::Channel,
        &[
            Step {
                after: (OptedOut, true),
                entry: Some((OnSms, OptedOut, ByKeyword)),
                ..to_toll_free("STOP")
            },
            Step { after: (OptedOut, true), ..to_toll_free("YES") },
            Step {
                after: (OptedIn, false),
                entry: Some((OnSms, OptedIn, ByKeyword)),
                ..to_toll_free("UNSTOP")
            },
        ],
    );
}

#[test]
fn an_opt_in_is_needed_for_what_the_setting_says() {
    let unknown = Consent::default();
    let mut opted_in = Consent::default();
    opted_in.sms.state = OptedIn;
    for (required, category, is_refused) in [
        (RequiredOptIn::None, Some("marketing"), false),
        (RequiredOptIn::Marketing, Some("marketing"), true),
        (RequiredOptIn::Marketing, Some("general"), false),
        (RequiredOptIn::Marketing, None, false),
        (RequiredOptIn::All, None, true),
        (RequiredOptIn::All, Some("general"), true),
        (RequiredOptIn::All, Some("emergency"), false),
    ] {
        let reason = |consent| refusal_of(consent, Channel::Sms, LONG_CODE, category, required);
        assert_eq!(
            reason(&unknown),
            is_refused.then_some(NoConsent::NotOptedIn),
            "{required:?} {category:?}"
        );
        assert_eq!(reason(&opted_in), None, "{required:?} {category:?}");
    }
}

/// The consent after an error of Twilio's for a message from the long code.
fn after_error(consent: &Consent, channel: Channel, source: ConsentSource) -> Option<Consent> {
    let block = Block { sender: Some(LONG_CODE.parse().unwrap()), service: None };
    let phone = "+14155550100".parse().unwrap();
    let changed = consent.opted_out_by_error(&phone, channel, source, block, None, UnixMs::new(1));
    changed.map(|(consent, entry)| {
        assert_eq!((entry.channel, entry.state), (channel.into(), OptedOut));
        consent
    })
}

#[test]
fn an_error_that_means_opted_out_is_recorded_once() {
    let after = after_error(&Consent::default(), Channel::Rcs, ConsentSource::Twilio21610).unwrap();
    assert_eq!(after.sms.state, OptedOut);
    assert!(!after.sms.blocks.is_empty() && after.whatsapp.blocks.is_empty());
    assert_eq!(after_error(&after, Channel::Rcs, ConsentSource::Twilio21610), None);
}

#[test]
fn whatsapps_stop_of_marketing_is_about_marketing() {
    let marketing_alone =
        after_error(&Consent::default(), Channel::Whatsapp, ConsentSource::Twilio63033).unwrap();
    assert!(marketing_alone.whatsapp.blocks.is_empty());
    for (category, is_refused) in [
        (None, true),
        (Some("marketing"), true),
        (Some("general"), true),
        (Some("workflow_approval"), false),
        (Some("emergency"), false),
    ] {
        let reason =
            refusal_of(&marketing_alone, Channel::Whatsapp, LONG_CODE, category, RequiredOptIn::None);
        assert_eq!(reason, is_refused.then_some(NoConsent::OptedOut), "{category:?}");
    }
    // It takes nothing back from a person who said STOP to everything.
    let stopped = tell(
        OptOutScope::Channel,
        &[Step {
            answer: Answer::OptedOut,
            after: (OptedOut, false),
            entry: Some((OnWhatsapp, OptedOut, ByKeyword)),
            ..whatsapp("STOP")
        }],
    );
    assert_eq!(after_error(&stopped, Channel::Whatsapp, ConsentSource::Twilio63033), None);
}

fn reply_sid(number: u64) -> MessageSid {
    MessageSid::parse(&format!("SM{number:032x}")).unwrap()
}

/// What the reply `number` on `channel` does, which is to be decided on by as many milliseconds.
fn replied(consent: &Consent, channel: Channel, text: &str, number: u64) -> Decision {
    let reply = Reply {
        phone: &"+14155550100".parse().unwrap(),
        channel,
        sender: &LONG_CODE.parse().unwrap(),
        service: None,
        handling: KeywordHandling::Twilio,
        reading: &ReplyReader::default().read(text, channel),
        opt_out_type: None,
        sid: &reply_sid(number),
        at: UnixMs::new(number),
        decide_by: UnixMs::new(number),
    };
    consent.decide(&reply, OptOutScope::Channel)
}

fn after(consent: &Consent, channel: Channel, text: &str, number: u64) -> Consent {
    replied(consent, channel, text, number).consent
}

fn held_until(consent: &Consent, channel: Channel, category: Option<&str>) -> Option<UnixMs> {
    consent.under_review_until(&Route { channel, from: None, service: None, category })
}

/// A reply that may be an opt-out.
const DOUBTFUL: &str = "ok stop";

#[test]
fn a_doubtful_reply_holds_its_channel_until_the_first_review_ends() {
    let decision = replied(&Consent::default(), Channel::Sms, DOUBTFUL, 7);
    assert_eq!(decision.entry.unwrap().state, ConsentState::Review);
    let consent = after(&decision.consent, Channel::Rcs, DOUBTFUL, 5);
    assert_eq!(consent.sms.state, Unknown);
    assert_eq!(held_until(&consent, Channel::Sms, Some("marketing")), Some(UnixMs::new(5)));
    assert_eq!(held_until(&consent, Channel::Sms, Some("emergency")), None);
    assert_eq!(held_until(&consent, Channel::Whatsapp, None), None);
    assert_eq!(consent.review(&reply_sid(7)).unwrap().0, OnSms);
    // Twilio repeats a webhook that it got no answer to.
    assert_eq!(after(&consent, Channel::Sms, DOUBTFUL, 7), consent);

    let consent = consent.dismissed(&reply_sid(5));
    assert_eq!(held_until(&consent, Channel::Sms, None), Some(UnixMs::new(7)));
    assert!(!consent.dismissed(&reply_sid(7)).is_under_review(All));
}

#[test]
fn a_review_is_closed_by_the_persons_later_word_and_by_nobody_elses() {
    let both = after(&Consent::default(), Channel::Sms, DOUBTFUL, 1);
    let both = after(&both, Channel::Whatsapp, DOUBTFUL, 2);
    for word in ["STOP", "please stop texting me", "START", "JOIN"] {
        let consent = after(&both, Channel::Sms, word, 3);
        assert!(!consent.is_under_review(OnSms) && consent.is_under_review(OnWhatsapp), "{word}");
    }
    for word in ["YES", "HELP", "thanks"] {
        assert_eq!(after(&both, Channel::Sms, word, 3), both, "{word}");
    }
    let phone = "+14155550100".parse().unwrap();
    let recorded = |channel, state| {
        both.recorded(&phone, channel, state, ConsentSource::Api, UnixMs::new(3)).0.is_under_review(OnSms)
    };
    for state in [OptedOut, OptedIn] {
        assert!(
            recorded(OnSms, state) && recorded(All, state),
            "whoever takes {state:?} back would dismiss it"
        );
    }
    let on_their_page = |channel, state| {
        both.recorded(&phone, channel, state, ConsentSource::Link, UnixMs::new(3)).0.is_under_review(OnSms)
    };
    for state in [OptedOut, OptedIn] {
        assert!(
            !on_their_page(OnSms, state) && !on_their_page(All, state) && on_their_page(OnWhatsapp, state)
        );
    }
    // A START that was written before, and is heard of afterwards, answers nothing.
    let early = after(&after(&Consent::default(), Channel::Sms, DOUBTFUL, 5), Channel::Sms, "START", 4);
    assert!(early.is_under_review(OnSms));
    let by_error = |source| {
        let at = UnixMs::new(3);
        both.opted_out_by_error(&phone, Channel::Whatsapp, source, Block::default(), None, at).unwrap().0
    };
    assert!(!by_error(ConsentSource::Twilio63014).is_under_review(OnWhatsapp));
    // They stopped marketing, and may have meant more.
    assert!(by_error(ConsentSource::Twilio63033).is_under_review(OnWhatsapp));
}

#[test]
fn a_review_that_becomes_an_opt_out_names_its_reply_and_closes_the_others() {
    let consent = after(&Consent::default(), Channel::Sms, DOUBTFUL, 1);
    let consent = after(&consent, Channel::Sms, "wrong number", 2);
    let (phone, sid, at) = ("+14155550100".parse().unwrap(), reply_sid(1), UnixMs::new(9));
    let (consent, entry) = consent.opted_out_by_review(&phone, OnSms, ConsentSource::ReviewExpired, &sid, at);
    assert_eq!((entry.state, entry.source), (OptedOut, ConsentSource::ReviewExpired));
    assert_eq!((&consent.sms.message_sid, entry.sid), (&Some(sid.clone()), Some(sid)));
    assert_eq!(refusal(&consent, Channel::Sms, LONG_CODE), Some(NoConsent::OptedOut));
    assert!(!consent.is_under_review(All));
    // Whoever has opted out is sent nothing that a further reply could end.
    let again = replied(&consent, Channel::Sms, DOUBTFUL, 3);
    assert_eq!((&again.consent, again.entry.unwrap().state), (&consent, ConsentState::Review));
}

#[test]
fn reviews_are_bounded_and_those_of_two_names_are_one_persons() {
    let doubt = |consent: &Consent, number| after(consent, Channel::Sms, DOUBTFUL, 1_000 - number);
    let many = (0..REVIEWS_MAX as u64).fold(Consent::default(), |consent, number| doubt(&consent, number));
    let stored = serde_json::to_value(&many).unwrap();
    assert_eq!(stored["sms"]["reviews"].as_array().unwrap().len(), REVIEWS_MAX);
    assert_eq!(serde_json::from_value::<Consent>(stored).unwrap(), many);
    let one_more = doubt(&many, 999);
    assert_eq!((one_more.sms.state, one_more.sms.source), (OptedOut, Some(ConsentSource::Phrase)));

    let one = after(&Consent::default(), Channel::Sms, DOUBTFUL, 1);
    let other = after(&Consent::default(), Channel::Sms, DOUBTFUL, 2);
    let merged = one.merged(&other);
    assert!(merged.review(&reply_sid(1)).is_some() && merged.review(&reply_sid(2)).is_some());
    assert_eq!((other.merged(&one), merged.merged(&other)), (merged.clone(), merged));
    let stopped = after(&Consent::default(), Channel::Sms, "STOP", 3);
    assert!(!one.merged(&stopped).is_under_review(All));
}

#[test]
fn consent_without_a_review_is_stored_in_the_form_of_version_0_1_0() {
    let stored = r#"{"state":"opted_in","twilio_block":false,"source":"keyword","at":1,"message_sid":null}"#;
    let known: ChannelConsent = serde_json::from_str(stored).unwrap();
    assert!(known.reviews.is_empty());
    assert!(serde_json::to_value(&known).unwrap().get("reviews").is_none());
}
