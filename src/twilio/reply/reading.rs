//! What a reply means, and the rule that says so.

use serde::{Deserialize, Serialize};

use super::language::Language;

/// Counts up whenever the rules or the words change what some reply means.
pub const VERSION: u32 = 2;

/// Twilio's default keywords.
pub(super) const TWILIO_ACTS_ON: [&str; 13] = [
    "STOP",
    "STOPALL",
    "UNSUBSCRIBE",
    "CANCEL",
    "END",
    "QUIT",
    "REVOKE",
    "OPTOUT",
    "START",
    "UNSTOP",
    "YES",
    "HELP",
    "INFO",
];

/// The word of the WhatsApp sandbox, which people of all languages use too.
pub(super) const JOIN: &str = "JOIN";

/// What a reply means, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredReading")]
pub struct Reading {
    /// What it means.
    pub meaning: Meaning,
    /// The rule that says so.
    pub rule: Rule,
    /// The language of the word or the wording.
    pub language: Option<Language>,
}

/// What a reply means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
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
    /// The word as it stands in the list, in upper case: `STOP ALL`, and `JOIN` whatever code followed it.
    pub word: String,
    /// Whether Twilio itself acts on this word on SMS unless configured otherwise: it confirms STOP, START and
    /// HELP, sets its block and lifts it. It takes the whole message for the word, so not if anything was cut off;
    /// whether it looks past punctuation on long codes is not documented. Toll-free carriers know only STOP, START
    /// and UNSTOP.
    pub twilio_acts: bool,
}

impl Keyword {
    /// Whether people of all languages use the word: Twilio knows it, in one word or in two, or it is JOIN.
    pub(super) fn is_universal(&self) -> bool {
        let word = self.word.replace([' ', '-'], "");
        word == JOIN || TWILIO_ACTS_ON.contains(&word.as_str())
    }

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

macro_rules! rules {
    ($($(#[doc = $text:literal])+ $rule:ident $name:literal,)*) => {
        /// Why a reply was read as it was. The names are stable: they are stored, and told to people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Rule {
            $(
                $(#[doc = $text])+
                #[serde(rename = $name)]
                $rule,
            )*
            /// A rule of another version, by which the reply was read then.
            #[serde(other, rename = "other-version")]
            OtherVersion,
        }

        impl Rule {
            /// All rules of this version.
            pub const ALL: &[Rule] = &[$(Rule::$rule),*];

            /// The name, as it is stored and told.
            pub fn name(self) -> &'static str {
                match self {
                    $(Rule::$rule => $name,)*
                    Rule::OtherVersion => "other-version",
                }
            }
        }
    };
}

rules! {
    /// The whole reply is a keyword.
    Keyword "keyword",
    /// JOIN with a code.
    JoinCode "join-code",
    /// A phone tells that somebody reacted to our message, whose words it repeats.
    Reaction "reaction",
    /// A text that was passed on.
    Forwarded "forwarded",
    /// A keyword that was mistyped.
    Slip "slip",
    /// Keywords with nothing but courtesy beside them, or in a sentence of their own.
    KeywordInText "keyword-in-text",
    /// STOP and the name of a sender or a program.
    KeywordAndName "keyword-and-name",
    /// A wording that asks to send nothing more.
    Request "request",
    /// A wording that looks like a request and is none.
    Negation "negation",
    /// The reply asks how, where or whether one can stop the messages.
    Question "question",
    /// The request depends on something that we do not know.
    Condition "condition",
    /// The request is about some messages or some times.
    Partial "partial",
    /// The number belongs to somebody else.
    WrongNumber "wrong-number",
    /// A lawyer, an authority, the law.
    LegalThreat "legal-threat",
    /// Leave me be, without a word about messages.
    Dismissal "dismissal",
    /// A word that may ask for an end, and is used for much else.
    DoubtfulWord "doubtful-word",
    /// No rule found anything.
    Nothing "nothing-found",
}

/// A reading as it is stored: by version 0.1, only the meaning.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredReading {
    Whole { meaning: Meaning, rule: Rule, language: Option<Language> },
    MeaningAlone(Meaning),
}

impl From<StoredReading> for Reading {
    fn from(stored: StoredReading) -> Self {
        match stored {
            StoredReading::Whole { meaning, rule, language } => Self { meaning, rule, language },
            StoredReading::MeaningAlone(meaning) => {
                Self { meaning, rule: Rule::OtherVersion, language: None }
            }
        }
    }
}
