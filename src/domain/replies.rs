//! What a person is told where Twilio does not say it, in their language as far as it is known.
//!
//! A text is an organization's own, or the installation's from the configuration, or one of those that are built in
//! (`replies/`, a file for each language).

mod text;

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

pub use self::text::{InvalidText, Text};
use super::{Identity, consent::Answer};
use crate::twilio::reply::Language;

/// The texts of one language. One that is not there is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplyTexts {
    /// After an opt-out.
    pub opted_out: Option<Text>,
    /// After an opt-in.
    pub opted_in: Option<Text>,
    /// On HELP.
    pub help: Option<Text>,
}

impl ReplyTexts {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn text_for(&self, answer: Answer) -> Option<&Text> {
        match answer {
            Answer::Nothing => None,
            Answer::OptedOut => self.opted_out.as_ref(),
            Answer::OptedIn => self.opted_in.as_ref(),
            Answer::Help => self.help.as_ref(),
        }
    }
}

/// What an organization says in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnReplies {
    /// The language of answers to words that people of all languages use; without it, the installation's.
    pub language: Option<Language>,
    /// The texts, by language.
    pub texts: BTreeMap<Language, ReplyTexts>,
}

/// What an installation says for organizations that have no text of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replies {
    /// The language of `texts`, and that of organizations that chose none.
    pub language: Language,
    /// The configured texts.
    pub texts: ReplyTexts,
}

impl Replies {
    /// The language that an organization speaks unless a person writes in another.
    pub fn language_of(&self, own: &OwnReplies) -> Language {
        own.language.unwrap_or(self.language)
    }

    /// The words of `answer` to a person who wrote in a language, if that is known. They are in that language, or else
    /// in the organization's, the installation's, English: the first that has a text which `identity` can fill in. Of
    /// one language the organization's `own` text goes first, then the installation's, then the one that is built in.
    pub fn say(
        &self,
        answer: Answer,
        written_in: Option<Language>,
        own: &OwnReplies,
        identity: &Identity,
    ) -> Option<String> {
        if answer == Answer::Nothing {
            return None;
        }
        let chosen = [self.language_of(own), self.language, Language::English];
        let words = written_in.into_iter().chain(chosen).find_map(|language| {
            let of_organization = own.texts.get(&language);
            let of_installation = (language == self.language).then_some(&self.texts);
            let written = of_organization.into_iter().chain(of_installation);
            written
                .filter_map(|texts| texts.text_for(answer))
                .find_map(|text| text.fill(identity))
                .or_else(|| Some(BUILT_IN.get(&language)?.say(answer, identity)))
        });
        Some(words.expect("English is built in"))
    }
}

/// The built-in texts of one language. Each is a list of parts, of which one that names what is not known is left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BuiltIn {
    opted_out: Vec<Text>,
    opted_in: Vec<Text>,
    help: Vec<Text>,
}

impl BuiltIn {
    fn say(&self, answer: Answer, identity: &Identity) -> String {
        let parts = match answer {
            Answer::Nothing => &[][..],
            Answer::OptedOut => &self.opted_out,
            Answer::OptedIn => &self.opted_in,
            Answer::Help => &self.help,
        };
        parts.iter().filter_map(|part| part.fill(identity)).collect::<Vec<_>>().join(" ")
    }
}

/// The built-in texts, read at the first answer. That every file can be read is held by a test.
static BUILT_IN: LazyLock<BTreeMap<Language, BuiltIn>> = LazyLock::new(|| {
    let files = [
        (Language::English, include_str!("replies/en.toml")),
        (Language::Spanish, include_str!("replies/es.toml")),
        (Language::French, include_str!("replies/fr.toml")),
        (Language::German, include_str!("replies/de.toml")),
        (Language::Portuguese, include_str!("replies/pt.toml")),
        (Language::Italian, include_str!("replies/it.toml")),
        (Language::Dutch, include_str!("replies/nl.toml")),
    ];
    let read = |(language, file)| {
        let texts = toml::from_str(file)
            .unwrap_or_else(|error| panic!("the texts of {language} are malformed: {error}"));
        (language, texts)
    };
    files.map(read).into()
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twilio::{
        Channel,
        reply::{KeywordKind, Meaning, ReplyReader},
        segments::{self, Encoding},
    };

    const ANSWERS: [Answer; 3] = [Answer::OptedOut, Answer::OptedIn, Answer::Help];

    fn installation() -> Replies {
        Replies { language: Language::English, texts: ReplyTexts::default() }
    }

    fn acme() -> Identity {
        Identity { name: Some("Acme Water & Power".into()), help_contact: Some("+1 (500) 555-0006".into()) }
    }

    fn texts(opted_out: &str) -> ReplyTexts {
        ReplyTexts { opted_out: Some(Text::parse(opted_out).unwrap()), ..ReplyTexts::default() }
    }

    fn own(
        language: Option<Language>,
        texts: impl IntoIterator<Item = (Language, ReplyTexts)>,
    ) -> OwnReplies {
        OwnReplies { language, texts: texts.into_iter().collect() }
    }

    #[test]
    fn every_built_in_text_is_one_segment_and_names_who_sends() {
        for (language, texts) in &*BUILT_IN {
            for answer in ANSWERS {
                let full = texts.say(answer, &acme());
                let counted = segments::count(&full);
                assert_eq!((counted.encoding, counted.segments), (Encoding::Gsm7, 1), "{language}: {full}");
                assert!(full.starts_with("Acme Water & Power"), "{language}: {full}");
                assert_eq!(full.contains("555-0006"), answer == Answer::Help, "{language}: {full}");
                let bare = texts.say(answer, &Identity::default());
                assert!(full.contains(&bare) && !bare.starts_with([':', ' ']), "{language}: {bare}");
            }
        }
    }

    #[test]
    fn a_word_that_a_text_tells_people_to_write_is_understood() {
        let reader = ReplyReader::default();
        for (language, texts) in &*BUILT_IN {
            let asked_for = |answer| {
                let text = texts.say(answer, &Identity::default());
                let words = text.split(|character: char| !character.is_alphabetic());
                let words = words.filter(|word| word.len() > 3 && word.chars().all(char::is_uppercase));
                words
                    .map(|word| match reader.read(word, Channel::Sms).meaning {
                        Meaning::Keyword(keyword) => keyword.kind,
                        meaning => panic!("{language}: {word} is {meaning:?}"),
                    })
                    .collect::<Vec<_>>()
            };
            let (stop, start) =
                (KeywordKind::OptOut { all: false }, KeywordKind::OptIn { only_if_opted_out: false });
            assert_eq!(asked_for(Answer::OptedOut), [start], "{language}");
            let opted_in = asked_for(Answer::OptedIn);
            assert!(opted_in.contains(&stop) && opted_in.contains(&KeywordKind::Help), "{language}");
            let help = asked_for(Answer::Help);
            assert!(help.contains(&stop) && help.contains(&start), "{language}");
        }
    }

    #[test]
    fn of_one_language_the_organizations_text_goes_before_the_installations_and_that_before_the_built_in_one()
    {
        let configured = Replies { texts: texts("Configured"), ..installation() };
        let saved = own(None, [(Language::English, texts("Saved"))]);
        let say =
            |replies: &Replies, own: &OwnReplies, answer| replies.say(answer, None, own, &acme()).unwrap();
        assert_eq!(say(&configured, &saved, Answer::OptedOut), "Saved");
        assert_eq!(say(&configured, &OwnReplies::default(), Answer::OptedOut), "Configured");
        assert!(say(&configured, &saved, Answer::Help).starts_with("Acme Water & Power: Reply STOP"));
        assert_eq!(configured.say(Answer::Nothing, None, &saved, &acme()), None);
    }

    #[test]
    fn an_answer_is_in_the_language_of_the_word_or_else_in_the_organizations() {
        let configured = Replies { texts: texts("Configured"), ..installation() };
        let spanish = own(Some(Language::Spanish), [(Language::Polish, texts("Wypisano"))]);
        let say = |written_in, own: &OwnReplies| {
            configured.say(Answer::OptedOut, written_in, own, &Identity::default()).unwrap()
        };
        assert!(say(Some(Language::French), &spanish).starts_with("Votre"));
        assert_eq!(say(Some(Language::Polish), &spanish), "Wypisano");
        for unknown in [None, Some(Language::Chinese)] {
            assert!(say(unknown, &spanish).starts_with("Su baja"));
            assert_eq!(say(unknown, &OwnReplies::default()), "Configured");
        }
        // A language in which nothing is written is no choice.
        assert_eq!(say(None, &own(Some(Language::Chinese), [])), "Configured");
    }

    #[test]
    fn a_text_that_names_what_is_not_known_is_passed_over() {
        let named = own(None, [(Language::English, texts("Bye, {name}"))]);
        let say = |identity: &Identity| installation().say(Answer::OptedOut, None, &named, identity).unwrap();
        assert_eq!(say(&acme()), "Bye, Acme Water & Power");
        assert!(say(&Identity::default()).starts_with("You are unsubscribed"));
    }
}
