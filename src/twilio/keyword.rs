//! What a reply asks for: a keyword such as STOP, or the same in other words.
//!
//! A reply is a keyword when it *is* one, the whole of it. To compare, its letters become upper case and of
//! normal width, characters without width go, and so does everything around the text that is neither a letter
//! nor a digit: blanks, quotes, punctuation, emoji. Inside, any run of blanks and hyphens is one blank. So
//! ` "Stop!" 🛑` is STOP, `Opt-out` is OPT OUT, and `STOP by at 5?` is no keyword. JOIN may also stand before
//! one word of any kind (`JOIN news`).
//!
//! A text that is no keyword may still ask to be left alone: Twilio catches only its keywords, the law does not
//! stop there. The rule for that is in `phrase.rs`.
//!
//! Source: <https://help.twilio.com/articles/223134027> (Twilio's default keywords).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{phrase, segments::BODY_CHARACTERS_MAX};

/// What a reply is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// A keyword, and nothing else.
    Keyword(Keyword),
    /// A clear request, in other words, to send nothing more.
    Phrase,
    /// Perhaps such a request: somebody should look at it.
    Review,
    /// Anything else.
    Ordinary,
}

/// A keyword that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyword {
    /// What it asks for.
    pub kind: KeywordKind,
    /// The word as it stands in the list, in upper case: `STOP ALL`, and `JOIN` whatever followed it.
    pub word: String,
    /// Whether Twilio itself acts on this word on SMS unless configured otherwise: it confirms STOP, START and
    /// HELP, sets its block and lifts it. The word decides, not how it was decorated; whether Twilio looks past
    /// punctuation on long codes is not documented. Toll-free carriers know only STOP, START and UNSTOP.
    pub twilio_acts: bool,
}

impl Keyword {
    /// Whether it asks for messages again.
    pub fn opts_in(&self) -> bool {
        matches!(self.kind, KeywordKind::OptIn { .. })
    }
}

/// What a keyword asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeywordKind {
    /// No more messages.
    OptOut {
        /// On no channel, rather than on the one the reply came by.
        all: bool,
    },
    /// Messages again.
    OptIn {
        /// The word means this only from a person who is opted out, and is an ordinary answer from any other.
        only_if_opted_out: bool,
    },
    /// Who sends this, and how to make it stop.
    Help,
}

const OPT_OUT: KeywordKind = KeywordKind::OptOut { all: false };
const OPT_OUT_ALL: KeywordKind = KeywordKind::OptOut { all: true };
const OPT_IN: KeywordKind = KeywordKind::OptIn { only_if_opted_out: false };
const OPT_IN_IF_OUT: KeywordKind = KeywordKind::OptIn { only_if_opted_out: true };
const HELP: KeywordKind = KeywordKind::Help;

/// The keywords everyone has: the word, what it asks for, whether Twilio acts on it.
const BUILT_IN: [(&str, KeywordKind, bool); 18] = [
    ("STOP", OPT_OUT, true),
    ("STOPALL", OPT_OUT_ALL, true),
    ("STOP ALL", OPT_OUT_ALL, false),
    ("UNSUBSCRIBE", OPT_OUT, true),
    ("CANCEL", OPT_OUT, true),
    ("END", OPT_OUT, true),
    ("QUIT", OPT_OUT, true),
    ("REVOKE", OPT_OUT, true),
    ("OPTOUT", OPT_OUT, true),
    ("OPT OUT", OPT_OUT, false),
    ("START", OPT_IN, true),
    ("UNSTOP", OPT_IN, true),
    ("YES", OPT_IN_IF_OUT, true),
    (JOIN, OPT_IN, false),
    ("SUBSCRIBE", OPT_IN, false),
    ("OPTIN", OPT_IN, false),
    ("HELP", HELP, true),
    ("INFO", HELP, true),
];

const JOIN: &str = "JOIN";

/// The lists of keywords. [`Keywords::default`] has the built-in ones.
#[derive(Debug, Clone)]
pub struct Keywords {
    words: HashMap<String, Keyword>,
}

/// Words to add to the lists. They are folded as replies are, so case and punctuation do not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FurtherWords {
    /// They opt out.
    pub opt_out: Vec<String>,
    /// They opt in.
    pub opt_in: Vec<String>,
    /// They ask for help.
    pub help: Vec<String>,
}

/// Why a word can not be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWord {
    /// There is nothing in it to recognize.
    #[error("the keyword \"{0}\" holds no letter or digit")]
    Empty(String),
    /// It is in another list already.
    #[error("the keyword \"{0}\" already asks for something else")]
    Contradiction(String),
}

impl Default for Keywords {
    fn default() -> Self {
        let words = BUILT_IN.map(|(word, kind, twilio_acts)| {
            (word.to_owned(), Keyword { kind, word: word.to_owned(), twilio_acts })
        });
        Self { words: words.into() }
    }
}

impl Keywords {
    /// The built-in lists and `further` words. Twilio is taken not to act on those that are not built in.
    pub fn with_further(further: &FurtherWords) -> Result<Self, InvalidWord> {
        let mut keywords = Self::default();
        for (words, kind) in [(&further.opt_out, OPT_OUT), (&further.opt_in, OPT_IN), (&further.help, HELP)] {
            for word in words {
                keywords.add(word, kind)?;
            }
        }
        Ok(keywords)
    }

    fn add(&mut self, text: &str, kind: KeywordKind) -> Result<(), InvalidWord> {
        let word = keyword_form(&fold(text));
        if word.is_empty() {
            return Err(InvalidWord::Empty(text.to_owned()));
        }
        let added = Keyword { kind, word: word.clone(), twilio_acts: false };
        let listed = self.words.entry(word).or_insert(added);
        // A word that is in the same list already stays as it is.
        if std::mem::discriminant(&listed.kind) == std::mem::discriminant(&kind) {
            Ok(())
        } else {
            Err(InvalidWord::Contradiction(text.to_owned()))
        }
    }

    /// Reads the body of a reply, up to [`BODY_CHARACTERS_MAX`]; Twilio delivers no more.
    pub fn read(&self, body: &str) -> Reading {
        let text = fold(body);
        if let Some(keyword) = self.keyword(&text) {
            return Reading::Keyword(keyword);
        }
        match phrase::read(&text) {
            Some(phrase::Request::Clear) => Reading::Phrase,
            Some(phrase::Request::Doubtful) => Reading::Review,
            None => Reading::Ordinary,
        }
    }

    fn keyword(&self, folded: &str) -> Option<Keyword> {
        let word = keyword_form(folded);
        self.words.get(&word).or_else(|| self.words.get(JOIN).filter(|_| is_join_and_a_word(folded))).cloned()
    }
}

/// Whether the text is JOIN and one more word, in which a hyphen does not count as a blank (`join green-fox`).
fn is_join_and_a_word(folded: &str) -> bool {
    let words: Vec<&str> = undecorated(folded).split_whitespace().collect();
    matches!(words[..], [JOIN, _])
}

/// The first [`BODY_CHARACTERS_MAX`] characters in upper case and normal width, without those of no width.
pub(super) fn fold(text: &str) -> String {
    text.chars()
        .take(BODY_CHARACTERS_MAX)
        .filter(|&character| !has_no_width(character))
        .map(normal_width)
        .flat_map(char::to_uppercase)
        .collect()
}

/// The folded text in the form in which keywords are compared.
fn keyword_form(folded: &str) -> String {
    let is_blank = |character: char| character.is_whitespace() || is_hyphen(character);
    let words: Vec<&str> = undecorated(folded).split(is_blank).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// The text from its first letter or digit to its last.
fn undecorated(text: &str) -> &str {
    text.trim_matches(|character: char| !character.is_alphanumeric())
}

fn is_hyphen(character: char) -> bool {
    matches!(character, '-' | '_' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Full-width forms, which Asian keyboards write, as the ASCII characters they stand for.
fn normal_width(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(character) - 0xfee0).expect("the range maps onto printable ASCII")
        }
        '\u{3000}' => ' ',
        other => other,
    }
}

/// Joiners, direction marks, variation selectors, soft hyphens: they come with copied texts and with emoji.
fn has_no_width(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn keyword(text: &str) -> Option<(String, KeywordKind, bool)> {
        match Keywords::default().read(text) {
            Reading::Keyword(Keyword { kind, word, twilio_acts }) => Some((word, kind, twilio_acts)),
            _ => None,
        }
    }

    #[test]
    fn every_keyword_is_read_as_what_it_asks_for() {
        for (text, kind, twilio_acts) in BUILT_IN {
            assert_eq!(keyword(text), Some((text.to_owned(), kind, twilio_acts)));
        }
    }

    #[test]
    fn a_keyword_is_read_however_it_is_decorated() {
        for (text, word) in [
            ("stop", "STOP"),
            ("Stop", "STOP"),
            ("sToP", "STOP"),
            ("  stop\r\n", "STOP"),
            ("STOP.", "STOP"),
            ("stop!!!", "STOP"),
            ("stop?", "STOP"),
            ("\"STOP\"", "STOP"),
            ("“Stop.”", "STOP"),
            ("'stop'", "STOP"),
            ("«STOP»", "STOP"),
            ("(stop)", "STOP"),
            ("*STOP*", "STOP"),
            ("-stop-", "STOP"),
            ("#stop", "STOP"),
            ("STOP 🛑", "STOP"),
            ("🙏stop🙏", "STOP"),
            ("stop ❤️", "STOP"),
            ("ＳＴＯＰ", "STOP"),
            ("ｓｔｏｐ！", "STOP"),
            ("\u{3000}STOP\u{3000}", "STOP"),
            ("S\u{200b}TOP\u{feff}", "STOP"),
            ("\u{202a}stop\u{202c}", "STOP"),
            ("ſtop", "STOP"),
            ("stopall", "STOPALL"),
            ("Stop All", "STOP ALL"),
            ("STOP   \t ALL", "STOP ALL"),
            ("stop-all", "STOP ALL"),
            ("unsubscribe", "UNSUBSCRIBE"),
            ("Cancel.", "CANCEL"),
            ("end", "END"),
            ("Quit!", "QUIT"),
            ("revoke", "REVOKE"),
            ("optout", "OPTOUT"),
            ("opt out", "OPT OUT"),
            ("Opt-Out", "OPT OUT"),
            ("opt‑out", "OPT OUT"),
            ("opt – out", "OPT OUT"),
            ("start", "START"),
            ("Unstop", "UNSTOP"),
            ("yes", "YES"),
            ("Yes 👍", "YES"),
            ("join", "JOIN"),
            ("Join ACME", "JOIN"),
            ("join green-fox", "JOIN"),
            ("join 7", "JOIN"),
            ("join ночь!", "JOIN"),
            ("Subscribe", "SUBSCRIBE"),
            ("optin", "OPTIN"),
            ("help", "HELP"),
            ("Help?", "HELP"),
            ("info", "INFO"),
        ] {
            assert_eq!(keyword(text).map(|(word, ..)| word).as_deref(), Some(word), "{text}");
        }
    }

    #[test]
    fn a_keyword_inside_a_text_or_a_word_is_none() {
        for text in [
            "",
            " ",
            "…",
            "🛑",
            "stop at 5",
            "st op",
            "stop.all",
            "stops",
            "stopped",
            "nonstop",
            "ending",
            "weekend",
            "the end",
            "cancelled",
            "quite",
            "yesterday",
            "yes please",
            "oh yes",
            "yess",
            "joined",
            "join us at 5",
            "join-acme",
            "please join",
            "start at 9",
            "restart",
            "helpful",
            "help me",
            "information",
            "opt",
            "out",
            "opt in",
            "optional",
            "12345",
            "да",
        ] {
            assert_eq!(keyword(text), None, "{text}");
        }
    }

    #[test]
    fn further_words_are_added_in_their_folded_form() {
        let further = FurtherWords {
            opt_out: vec!["arrêt".into(), " Keine  SMS! ".into(), "stop".into()],
            opt_in: vec!["alta".into()],
            help: vec!["aide".into()],
        };
        let keywords = Keywords::with_further(&further).unwrap();
        for (text, word, kind, twilio_acts) in [
            ("Arrêt.", "ARRÊT", OPT_OUT, false),
            ("keine sms", "KEINE SMS", OPT_OUT, false),
            ("ALTA", "ALTA", OPT_IN, false),
            ("aide?", "AIDE", HELP, false),
            ("stop", "STOP", OPT_OUT, true),
        ] {
            let keyword = Keyword { kind, word: word.into(), twilio_acts };
            assert_eq!(keywords.read(text), Reading::Keyword(keyword), "{text}");
        }
        assert_eq!(Keywords::default().read("alta"), Reading::Ordinary);
    }

    #[test]
    fn a_further_word_must_mean_something_and_one_thing_only() {
        let add = |opt_out: &str, opt_in: &str| {
            let words = |word: &str| if word.is_empty() { vec![] } else { vec![word.to_owned()] };
            let further =
                FurtherWords { opt_out: words(opt_out), opt_in: words(opt_in), ..Default::default() };
            Keywords::with_further(&further).map(drop)
        };
        assert_eq!(add("", ""), Ok(()));
        assert_eq!(add("", "yes"), Ok(()));
        assert_eq!(add("🛑", ""), Err(InvalidWord::Empty("🛑".into())));
        assert_eq!(add(" ", ""), Err(InvalidWord::Empty(" ".into())));
        assert_eq!(add("", "Stop"), Err(InvalidWord::Contradiction("Stop".into())));
        assert_eq!(add("genug", "Genug!"), Err(InvalidWord::Contradiction("Genug!".into())));
    }

    #[test]
    fn nothing_is_read_past_the_longest_body() {
        let padded = |blanks: usize| format!("stop{}x", " ".repeat(blanks));
        assert_eq!(keyword(&padded(BODY_CHARACTERS_MAX - 5)), None);
        assert!(keyword(&padded(BODY_CHARACTERS_MAX - 4)).is_some());
        assert_eq!(Keywords::default().read(&"stop ".repeat(1_000_000)), Reading::Phrase);
        assert_eq!(Keywords::default().read(&"ok yes ".repeat(1_000_000)), Reading::Ordinary);
    }

    /// Something that may stand around a keyword without changing it.
    fn decoration() -> impl Strategy<Value = String> {
        const PARTS: &[&str] = &[
            " ", "\n", "\t", ".", "!", "?", ",", "'", "\"", "“", "”", "*", "_", "-", "(", ")", "…", "🛑",
            "👍🏽",
        ];
        prop::collection::vec(select(PARTS), 0..6).prop_map(|parts| parts.concat())
    }

    fn blanks() -> impl Strategy<Value = String> {
        prop::collection::vec(select(&[" ", "\t", "\n", "-", "\u{3000}", " \u{200b}"][..]), 1..4)
            .prop_map(|parts| parts.concat())
    }

    /// `word` with each letter in a case and width of its own, and sometimes a mark of no width behind it.
    fn respelled(word: &str, choices: &[u8], blanks: &str) -> String {
        let mut text = String::new();
        for (character, choice) in word.chars().zip(choices.iter().cycle()) {
            let character = if choice & 1 == 0 { character } else { character.to_ascii_lowercase() };
            match character {
                ' ' => text.push_str(blanks),
                _ if choice & 2 == 0 => text.push(character),
                _ => text.push(char::from_u32(u32::from(character) + 0xfee0).unwrap()),
            }
            if choice & 12 == 12 {
                text.push('\u{200d}');
            }
        }
        text
    }

    proptest! {
        #[test]
        fn any_case_width_and_decoration_of_a_keyword_reads_the_same(
            (word, kind, twilio_acts) in select(&BUILT_IN[..]),
            choices in prop::collection::vec(any::<u8>(), 1..12),
            (before, after) in (decoration(), decoration()),
            blanks in blanks(),
        ) {
            let text = format!("{before}{}{after}", respelled(word, &choices, &blanks));
            prop_assert_eq!(keyword(&text), Some((word.to_owned(), kind, twilio_acts)));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,200}", other in any::<String>()) {
            Keywords::default().read(&text);
            Keywords::default().read(&other);
        }

        #[test]
        fn a_word_added_to_a_keyword_makes_it_none(
            (word, ..) in select(&BUILT_IN[..]),
            (first, second) in ("[a-z]{2,8}", "[a-z]{2,8}"),
        ) {
            let text = format!("{first} {word} {second}");
            prop_assume!(first != "join");
            prop_assert_eq!(keyword(&text), None);
        }
    }
}
