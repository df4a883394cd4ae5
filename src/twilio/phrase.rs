//! Requests to send nothing more, in words that are no keyword: "please stop texting me".
//!
//! US law has let people revoke consent "by any reasonable means" since April 2025, and Twilio catches only its
//! keywords. A wrong reading costs either way, so the rule is narrow and can be checked by eye:
//!
//! 1. A text is cut into sentences, at commas too. Of each, words of courtesy at its ends ("ok", "please",
//!    "thank you", "can you") and numbers behind it are set aside.
//! 2. What is left must be one of the wordings below, from its first word to its last. An [`EXPLICIT`] one
//!    speaks of messages or of a list ("stop texting me"); a [`BRIEF`] one does not ("stop it").
//! 3. An explicit sentence makes the text a clear request. A brief one does if the rest of the text is courtesy
//!    ("Stop. Thank you"); beside other sentences it is doubtful.
//! 4. Also doubtful: a brief wording behind an assent ("ok stop"); an explicit wording that goes on ("stop texting
//!    me before 8"), asks how ("how do I unsubscribe") or depends on a condition; and the [`DOUBTFUL`] wordings
//!    ("wrong number", "please cancel").
//!
//! Since a wording must begin its sentence, a negation or a question before it ("don't stop sending me these",
//! "did you stop texting me") takes it out, as does any further word behind a brief one ("stop by at 5?"). Only
//! English is read; words of other languages can be added to the keywords.
//!
//! Source: 47 CFR 64.1200(a)(10).

use std::collections::BTreeSet;

/// How sure it is that a text asks to send nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// A reasonable person would say that it does.
    Clear,
    /// It may.
    Doubtful,
}

/// Where sentences end.
const ENDS: [char; 11] = ['.', '!', '?', ',', ';', ':', '\n', '\r', '…', '—', '。'];

/// May stand before and behind a request without changing it. Wordings are separated by `|` throughout.
const COURTESY: &str = "PLEASE|PLS|PLZ|KINDLY|THANKS|THANK YOU|THANK U|THX|TY|SORRY|HI|HELLO|HEY|HI THERE|\
    SIR|GUYS|OK|OKAY|K|YES|YEAH|YEP|JUST|SO|AND|BUT|THEN|NOW|RIGHT NOW|RIGHT AWAY|AT ONCE|IMMEDIATELY|ASAP|\
    ALREADY|AGAIN|EVER|FOREVER|ANYMORE|ANY MORE|FROM NOW ON|FROM YOU";

/// Before a brief request in the same sentence they make it doubtful: "ok stop" may answer a question of ours.
const ASSENT: &str = "OK|OKAY|K|YES|YEAH|YEP";

/// Any number, such as the sender's own short code. It may stand behind a request.
const NUMBER: &str = "#";

/// May stand before a request.
const ASKS: &str = "CAN YOU|CAN U|COULD YOU|WOULD YOU|WILL YOU|YOU CAN|YOU MUST|YOU NEED TO|I SAID|\
    I TOLD YOU TO|I ASKED YOU TO|I AM ASKING YOU TO|IM ASKING YOU TO|I NEED YOU TO|I WANT YOU TO|\
    I WOULD LIKE YOU TO|ID LIKE YOU TO";

/// May stand before an explicit request. Before a brief one ("I want to stop") they speak of something else.
const WISHES: &str = "I WANT TO|I WANT TO BE|I WOULD LIKE TO|I WOULD LIKE TO BE|ID LIKE TO|ID LIKE TO BE|\
    I WISH TO|I WISH TO BE";

/// What follows is asked about, not asked for.
const QUESTIONS: &str = "HOW DO I|HOW CAN I|HOW TO|CAN I|WHERE DO I|WHERE CAN I";

/// Begin a sentence on which the others may depend.
const CONDITIONS: &str = "IF|UNLESS|WHEN|UNTIL";

/// Requests that speak of messages or of a list. `<class>` is any wording of [`class`]; what ends in `?` may be
/// missing.
const EXPLICIT: &[&str] = &[
    "<stop> <texting> <me>?",
    "<stop> SENDING <me>? <these>? <these>? <messages>? <me>?",
    "<stop> <these>? <these>? <messages>",
    "STOP RECEIVING|GETTING <these>? <these>? <messages>",
    "<never> <text> <me> <again>",
    "<never> CALL|<text> OR|AND CALL|<text> <me>",
    "<never> SEND <me>? <these>? <these>? <messages> <me>?",
    "NO MORE <messages>",
    "<unwanted> <receiving>? <these>? <these>? <messages>",
    "<unwanted> TO BE TEXTED|MESSAGED|CONTACTED",
    "<unsubscribe> <me>? FROM|OF? <these>? <these>? <messages>|<list>?",
    "REMOVE|DELETE|ERASE <me> FROM|OFF? <these>? <these>? <messages>|<list>?",
    "REMOVED FROM|OFF <these>? <these>? <messages>|<list>",
    "TAKE|GET <me> OFF OF? <these>? <these>? <messages>|<list>?",
    "I? HEREBY? REVOKE|WITHDRAW MY? CONSENT|PERMISSION|AUTHORIZATION",
    "CEASE AND DESIST",
];

/// Requests of which only the place says that they are about messages.
const BRIEF: &[&str] = &[
    "STOP|STOPALL|REVOKE <keyword>? <keyword>?",
    "STOP IT|THIS|THAT|EVERYTHING",
    "S T O P",
    "MAKE IT STOP",
    "<never> <text> <me>",
];

/// What may be a request: keywords that are everyday words, slips of the thumb, other ways to say no.
const DOUBTFUL: &[&str] = &[
    "CANCEL|END|QUIT|REMOVE",
    "STPO|SOTP|TSOP|STP|STOPP|STOOP",
    "STOP CALLING <me>?",
    "NO MORE",
    "GO AWAY",
    "FUCK|PISS OFF",
    "LEAVE <me> ALONE",
    "LOSE MY|THIS NUMBER",
    "WRONG NUMBER|PERSON",
    "YOU HAVE|GOT THE WRONG NUMBER|PERSON",
    "THIS IS THE? WRONG NUMBER|PERSON",
    "I? AM|IM? NOT INTERESTED",
    "I <not> SIGN UP FOR THIS|THESE",
];

/// The wordings of a class.
fn class(name: &str) -> &'static str {
    match name {
        "<stop>" => "STOP|QUIT|CEASE|END|CANCEL",
        "<texting>" => "TEXTING|TXTING|TXTNG|MESSAGING|MSGING|SPAMMING|CONTACTING|BOTHERING|HARASSING",
        "<text>" => "TEXT|TXT|MESSAGE|MSG|SMS|SPAM|CONTACT",
        "<messages>" => {
            "MESSAGES|MESSAGE|MSGS|MSG|TEXTS|TEXT|TXTS|TXT|TEXT MESSAGES|SMS|SPAM|NOTIFICATIONS|ALERTS|UPDATES|\
             REMINDERS|COMMUNICATION|COMMUNICATIONS"
        }
        "<these>" => {
            "THE|THESE|THOSE|THIS|YOUR|MY|ANY|ALL|MORE|ANYMORE|SUCH|FURTHER|OF THE|OF THESE|OF YOUR|MARKETING"
        }
        "<list>" => {
            "LIST|LISTS|MAILING LIST|CONTACT LIST|TEXT LIST|TEXTING LIST|MESSAGE LIST|CALL LIST|CONTACTS|\
             DATABASE|SYSTEM|RECORDS|SERVICE|NEWSLETTER"
        }
        "<me>" => {
            "ME|US|THIS NUMBER|MY NUMBER|MY PHONE|THIS PHONE|MY NAME|TO ME|TO US|TO THIS NUMBER|TO MY NUMBER|\
             TO MY PHONE"
        }
        "<never>" => "DO NOT|DONT|DO NOT EVER|DONT EVER|DONT YOU EVER|NEVER|NEVER EVER",
        "<again>" => "AGAIN|EVER AGAIN|ANYMORE|ANY MORE|ANY LONGER|EVER",
        "<unwanted>" => {
            "I DO NOT WANT|I DONT WANT|DO NOT WANT|DONT WANT|I NO LONGER WANT|NO LONGER WANT|I DO NOT WISH|\
             I NO LONGER WISH"
        }
        "<receiving>" => "TO RECEIVE|TO GET|TO BE SENT|RECEIVING|GETTING",
        "<unsubscribe>" => {
            "UNSUBSCRIBE|UNSUBSCRIBED|UNSUB|UNSUBCRIBE|UNSUSCRIBE|UNSUBSCRIB|OPTOUT|OPT OUT|OPTED OUT|\
             OPT ME OUT"
        }
        "<keyword>" => "STOP|STOPALL|ALL|UNSUBSCRIBE|CANCEL|END|QUIT|REVOKE|OPTOUT",
        "<not>" => "DID NOT|DIDNT|NEVER",
        other => unreachable!("no pattern names the class {other}"),
    }
}

/// Reads a text folded by [`fold`](super::keyword::fold).
pub(super) fn read(folded: &str) -> Option<Request> {
    let sentences: Vec<Vec<String>> =
        folded.split(ENDS).map(words).filter(|words| !words.is_empty()).collect();
    let kinds: BTreeSet<Sentence> = sentences.iter().map(|words| Sentence::read(words)).collect();

    let is_all_courtesy_else = kinds.iter().all(|kind| matches!(kind, Sentence::Brief | Sentence::Courtesy));
    if kinds.contains(&Sentence::Explicit) && !kinds.contains(&Sentence::Condition)
        || kinds.contains(&Sentence::Brief) && is_all_courtesy_else
    {
        Some(Request::Clear)
    } else if kinds
        .iter()
        .any(|kind| matches!(kind, Sentence::Explicit | Sentence::Brief | Sentence::Doubtful))
    {
        Some(Request::Doubtful)
    } else {
        None
    }
}

/// The words of a sentence. Apostrophes go ("don't" is also written "dont"), a number is `#`, and a word said
/// several times in a row ("stop stop stop") is said once.
fn words(sentence: &str) -> Vec<String> {
    let is_apostrophe = |character| matches!(character, '\'' | '’' | '‘' | 'ʼ' | '´' | '`');
    let mut words: Vec<String> = sentence
        .split(|character: char| !character.is_alphanumeric() && !is_apostrophe(character))
        .map(|word| word.replace(is_apostrophe, ""))
        .filter(|word| !word.is_empty())
        .map(|word| if word.chars().all(char::is_numeric) { NUMBER.to_owned() } else { word })
        .collect();
    words.dedup();
    words
}

/// What a sentence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sentence {
    Explicit,
    Brief,
    Doubtful,
    Condition,
    Courtesy,
    Other,
}

impl Sentence {
    fn read(words: &[String]) -> Self {
        let phrase = Words(words);
        let outset = BTreeSet::from([0]);
        let asked = phrase.skip_all(&outset, [COURTESY, ASKS]);
        let wished = &asked | &phrase.skip(&asked, WISHES);
        let how = phrase.skip(&asked, QUESTIONS);

        let explicit = phrase.skip_patterns(&wished, EXPLICIT);
        let brief = phrase.skip_patterns(&asked, BRIEF);
        let doubtful = &phrase.skip_patterns(&asked, DOUBTFUL)
            | &(&phrase.skip_patterns(&how, EXPLICIT) | &phrase.skip_patterns(&how, BRIEF));

        if phrase.end_after(&explicit) {
            Sentence::Explicit
        } else if phrase.end_after(&brief) && phrase.skip(&outset, ASSENT).is_empty() {
            Sentence::Brief
        } else if phrase.end_after(&(&doubtful | &brief)) || !explicit.is_empty() {
            Sentence::Doubtful
        } else if !phrase.skip(&outset, CONDITIONS).is_empty() {
            Sentence::Condition
        } else if phrase.end_after(&outset) {
            Sentence::Courtesy
        } else {
            Sentence::Other
        }
    }
}

/// The words of a sentence, read from a set of positions to the set of those that can be reached from them.
struct Words<'a>(&'a [String]);

impl Words<'_> {
    /// The positions behind any one of `wordings`.
    fn skip(&self, from: &BTreeSet<usize>, wordings: &str) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        for wording in wordings.split('|') {
            for &start in from {
                let end = start + wording.split(' ').count();
                if self.0.get(start..end).is_some_and(|words| words.iter().eq(wording.split(' '))) {
                    reached.insert(end);
                }
            }
        }
        reached
    }

    /// `from`, and the positions behind any number of wordings of these lists.
    fn skip_all(&self, from: &BTreeSet<usize>, lists: [&str; 2]) -> BTreeSet<usize> {
        let mut reached = from.clone();
        let mut newly_reached = from.clone();
        while !newly_reached.is_empty() {
            let further = lists.iter().flat_map(|list| self.skip(&newly_reached, list));
            newly_reached = further.filter(|position| !reached.contains(position)).collect();
            reached.extend(&newly_reached);
        }
        reached
    }

    /// The positions behind any one of `patterns`.
    fn skip_patterns(&self, from: &BTreeSet<usize>, patterns: &[&str]) -> BTreeSet<usize> {
        patterns.iter().flat_map(|pattern| self.skip_pattern(from, pattern)).collect()
    }

    fn skip_pattern(&self, from: &BTreeSet<usize>, pattern: &str) -> BTreeSet<usize> {
        let mut reached = from.clone();
        for element in pattern.split(' ') {
            let required = element.trim_end_matches('?');
            let mut next = if required == element { BTreeSet::new() } else { reached.clone() };
            for alternative in required.split('|') {
                let wordings = if alternative.starts_with('<') { class(alternative) } else { alternative };
                next.extend(self.skip(&reached, wordings));
            }
            reached = next;
        }
        reached
    }

    /// Whether nothing but courtesy and numbers stands behind one of `positions`.
    fn end_after(&self, positions: &BTreeSet<usize>) -> bool {
        self.skip_all(positions, [COURTESY, NUMBER]).contains(&self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::twilio::keyword::{Keyword, KeywordKind, Keywords, Reading};

    /// Every one of `texts`, separated by ` / ` or a new line, must read as said.
    fn assert_reads(expected: Reading, texts: &str) {
        for text in texts.lines().flat_map(|line| line.split(" / ")).map(str::trim) {
            assert_eq!(Keywords::default().read(&text.replace("\\n", "\n")), expected, "{text}");
        }
    }

    #[test]
    fn clear_requests() {
        assert_reads(
            Reading::Phrase,
            "please stop texting me / remove me from your list / do not message me again
             unsubscribe me please / STOP 12345 / Stop. Thank you / stop please / Please stop / pls stop
             plz stop!! / STOP PLEASE!!! / Please, stop. / please stop now / just stop / stop it
             stop this / Stop it please / stop stop stop / STOP! STOP! STOP! / Stop\\nStop / S T O P
             S-T-O-P / I said stop / I said STOP! / can you please stop / could you stop?
             hey, stop / stop, thanks / stop asap / STOP STOPALL / stop unsubscribe / stopall please
             make it stop / revoke please / ok. stop. / 👋 stop, ok? / stop texting / stop texting me
             Stop texting me! / STOP TXTING ME / stop msging me / quit texting me
             stop messaging this number / stop contacting me / please stop spamming me / stop bothering us
             can you stop texting me / I want you to stop texting me
             I need you to stop contacting me please / stop texting me. I am not John
             Stop texting me, you have the wrong number / no, stop texting me / stop sending
             stop sending me messages / stop sending me these / please stop sending these texts
             Stop sending me your messages / stop sending messages to me
             stop sending texts to this number / stop the messages / stop these texts / stop all messages
             stop all of these messages / end these messages / cancel these texts
             Cease all communications / stop sms / no more texts / no more messages please / don't text me
             Don’t text me! / dont text me / do not contact me / please do not text me / never text me
             do not text me again / don't text me anymore / dont ever message me again
             never contact me again / do not text this number again / do not call or text me
             don't text or call me / don't send me texts / do not send me any more messages
             please don't send me more texts / I don't want these messages / i dont want any more texts
             I do not want to receive your messages / I no longer wish to receive text messages
             I don't want to be contacted / no longer want these alerts
             I don't want to get texts from you anymore / I want to stop receiving your messages
             unsubscribe me / please unsubscribe / unsubscribe from your list / unsubscribe from all
             unsub / Unsubcribe / unsubscribe me from these messages / I want to unsubscribe
             I'd like to unsubscribe please / please opt me out / opt-out please / I would like to opt out
             I want to opt out of these texts / unsubscribe. I never use this
             Thanks, but please unsubscribe me / remove me / please remove me / remove my number
             delete my number / Remove my number from your database / remove me from the list
             remove me from this mailing list now / please remove us from your contact list
             take me off your list / take me off / get me off this list
             I want to be removed from your list
             I would like to be taken off your list, so remove me from your list / I revoke my consent
             I hereby withdraw my consent / revoke consent / cease and desist",
        );
    }

    #[test]
    fn doubtful_requests() {
        assert_reads(
            Reading::Review,
            "ok stop / Okay stop please / yes stop / please cancel / cancel please / ok cancel / end please / ok, quit / please remove
             Cancel, I can't come / Stop. I need to talk to you / stop, look and listen
             Stop it, you make me laugh / no, stop / STOP\\nSent from my iPhone
             don't text me, I'm driving / don't text me. Call me / stop texting me before 8
             stop texting me while I am at work / don't send me messages at night
             do not text me again until Monday / stop sending me links
             stop sending invoices to my old address / unsubscribe my wife / remove me from the group chat
             take me off the schedule for Friday / I don't want the messages to stop
             I don't want my messages in Spanish / stop the text to John / how do I unsubscribe
             how do i stop / how do I stop these messages? / Can I opt out? / where do I opt out
             if this is a bot, unsubscribe me / Unless you are Jim, stop texting me / stpo / stopp
             stop calling me / no more / go away / fuck off / leave me alone / lose my number
             wrong number / Wrong number. / you have the wrong number / Sorry, wrong person
             this is the wrong number / not interested / I'm not interested / I am not interested, thanks
             i did not sign up for this",
        );
    }

    #[test]
    fn everything_else() {
        assert_reads(
            Reading::Ordinary,
            "stop by at 5? / can you stop at the shop / yesterday / ending / bus stop / the end / weekend
             full stop / don't stop / please don't stop / don't stop sending me these / please do not stop
             never stop texting me / Don't ever stop texting me / I don't want you to stop
             I don't want to stop receiving messages / don't unsubscribe me / please do not unsubscribe me
             do not remove me from your list / don't cancel / don't opt me out / do not delete my number
             can't stop / I can't stop laughing / won't stop / should I stop? / do I stop here
             did you stop texting me? / why did you stop texting me / you stopped / why don't you text me
             you didn't text me / I told them to stop texting me / he stopped messaging me
             my phone won't stop texting people / does stop work? / what does STOP do / I stop work at 5
             next stop / no stop / 1 stop / last stop: Main St / stop sign / stop 5 miles ahead / non-stop
             pit stop / stop at 5 / stop by / stop over / stop loss / stopping by / stops / I'm at the stop
             stop and shop / Reply STOP to unsubscribe / Text STOP to opt out
             Liked “Reply STOP to opt out” / STOP means stop right / cancel my appointment
             cancel the order / please cancel my 3pm / can you cancel it / cancelled / end of day works
             the end is near / end at 5 / I quit my job / quit it or not / quite good / I want to quit
             I want to stop / I'd like to stop smoking / I need to stop by / help me stop
             don't text and drive / don't text him / don't message the team yet / don't send it yet
             never mind / do not disturb / don't call me / I don't text / don't worry / no more questions
             not interested in red / remove the second item / delete it / take me home / get me a coffee
             get off at the next stop / no / no thanks / ok / ok thanks / yes please / thank you / thanks!
             hello / Hi there, how are you? / 12345 / 👍 / 🛑 / ? / ... / see you at 5 / who is this?
             I am driving / running late, sorry / call me / I'll be there at 5 / information please
             start the car / please start / I want to join the meeting / subscribe me to nothing
             revoke his access / I have no number / wrong numbers in the invoice / unstoppable / optional
             opt for blue / leave the keys / the list is long / your list / my number is new",
        );
    }

    #[test]
    fn keywords_are_keywords_first() {
        for text in ["stop", "Stop?", "STOP ALL", "cancel", "end.", "yes", "unsubscribe", "opt out"] {
            assert!(matches!(Keywords::default().read(text), Reading::Keyword(_)), "{text}");
        }
        let join = Keyword {
            kind: KeywordKind::OptIn { only_if_opted_out: false },
            word: "JOIN".into(),
            twilio_acts: false,
        };
        assert_reads(Reading::Keyword(join), "join / join please / JOIN us");
    }

    #[test]
    fn every_pattern_can_be_read() {
        // A class that is missing would panic; a pattern that can match nothing must not be there.
        for pattern in [EXPLICIT, BRIEF, DOUBTFUL].concat() {
            let first = |alternatives: &str| alternatives.split('|').next().unwrap().to_owned();
            let mut shortest = Vec::new();
            for element in pattern.split(' ').filter(|element| !element.ends_with('?')) {
                for class_name in element.split('|').filter(|alternative| alternative.starts_with('<')) {
                    class(class_name);
                }
                let element = first(element);
                shortest.push(if element.starts_with('<') { first(class(&element)) } else { element });
            }
            assert!(read(&shortest.join(" ")).is_some(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn courtesy_keeps_a_request_clear(
            before in select(&["", "please ", "OK, ", "Hi! ", "can you ", "Thanks, but "][..]),
            request in select(&["stop texting me", "remove me from your list", "do not message me again"][..]),
            after in select(&["", "!", " please", ", thank you.", " NOW", ". Thanks!", " 🙏"][..]),
        ) {
            let text = format!("{before}{request}{after}");
            prop_assert_eq!(Keywords::default().read(&text), Reading::Phrase);
        }

        #[test]
        fn a_negated_request_is_none(
            negation in select(&["don't ", "do not ", "please don't ", "never ", "Hey, please do not "][..]),
            request in select(&["stop", "stop texting me", "remove me", "unsubscribe me", "stop texts"][..]),
        ) {
            let text = format!("{negation}{request}");
            prop_assert_eq!(Keywords::default().read(&text), Reading::Ordinary);
        }
    }
}
