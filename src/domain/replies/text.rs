//! A text with places for who sends.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        Identity,
        identity::{HELP_CONTACT_CHARACTERS_MAX, NAME_CHARACTERS_MAX},
    },
    twilio::segments::BODY_CHARACTERS_MAX,
};

const NAME: &str = "name";
const HELP_CONTACT: &str = "help_contact";

/// A text in which `{name}` and `{help_contact}` stand for who sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Words(String),
    Name,
    HelpContact,
}

/// Why a text cannot be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// There is nothing in it.
    #[error("must not be blank")]
    Blank,
    /// Twilio would refuse it.
    #[error(
        "must have at most {BODY_CHARACTERS_MAX} characters once the longest name and contact are filled in"
    )]
    TooLong,
    /// A brace stands alone, or around a word that stands for nothing.
    #[error("may hold {{name}} and {{help_contact}}, and no other braces")]
    UnknownPlaceholder,
}

impl Text {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        if text.trim().is_empty() {
            return Err(InvalidText::Blank);
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some(brace) = rest.find(['{', '}']) {
            let (words, placeholder) = rest.split_at(brace);
            let inside = placeholder.strip_prefix('{').and_then(|behind| behind.split_once('}'));
            let (piece, behind) = match inside {
                Some((NAME, behind)) => (Piece::Name, behind),
                Some((HELP_CONTACT, behind)) => (Piece::HelpContact, behind),
                _ => return Err(InvalidText::UnknownPlaceholder),
            };
            pieces.extend([Piece::Words(words.to_owned()), piece]);
            rest = behind;
        }
        pieces.push(Piece::Words(rest.to_owned()));
        if pieces.iter().map(Piece::characters_max).sum::<usize>() > BODY_CHARACTERS_MAX {
            return Err(InvalidText::TooLong);
        }
        Ok(Self(pieces))
    }

    /// The text with `identity` filled in; `None` if that lacks what the text names.
    pub fn fill(&self, identity: &Identity) -> Option<String> {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Words(words) => Some(words.as_str()),
                Piece::Name => identity.name.as_deref(),
                Piece::HelpContact => identity.help_contact.as_deref(),
            })
            .collect()
    }
}

impl Piece {
    /// How long it can become.
    fn characters_max(&self) -> usize {
        match self {
            Piece::Words(words) => words.chars().count(),
            Piece::Name => NAME_CHARACTERS_MAX,
            Piece::HelpContact => HELP_CONTACT_CHARACTERS_MAX,
        }
    }
}

/// The text as it was written.
impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Words(words) => formatter.write_str(words),
            Piece::Name => write!(formatter, "{{{NAME}}}"),
            Piece::HelpContact => write!(formatter, "{{{HELP_CONTACT}}}"),
        })
    }
}

impl TryFrom<String> for Text {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        Self::parse(&text)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> Identity {
        Identity { name: Some("Acme {help_contact}".into()), help_contact: Some("acme.example".into()) }
    }

    #[test]
    fn names_are_filled_in_once_and_as_they_are() {
        let text = Text::parse("{name}: no more. {help_contact}, {name}").unwrap();
        let filled = "Acme {help_contact}: no more. acme.example, Acme {help_contact}";
        assert_eq!(text.fill(&acme()).as_deref(), Some(filled));
        assert_eq!(text.to_string(), "{name}: no more. {help_contact}, {name}");
    }

    #[test]
    fn a_text_that_names_what_is_not_known_cannot_be_said() {
        let nobody = Identity::default();
        assert_eq!(Text::parse("Bye, {name}").unwrap().fill(&nobody), None);
        assert_eq!(Text::parse("Bye").unwrap().fill(&nobody).as_deref(), Some("Bye"));
    }

    #[test]
    fn a_text_that_cannot_be_said_is_refused() {
        assert_eq!(Text::parse(" \n"), Err(InvalidText::Blank));
        for braces in ["{Name}", "{ name }", "{phone}", "{", "}", "a } {name}", "{name", "{{name}}"] {
            assert_eq!(Text::parse(braces), Err(InvalidText::UnknownPlaceholder), "{braces}");
        }
        let (long, longer) = ("é".repeat(BODY_CHARACTERS_MAX), "é".repeat(BODY_CHARACTERS_MAX + 1));
        assert!(Text::parse(&long).is_ok());
        for long in [longer, "{help_contact}".repeat(17), format!("{{name}}{long}")] {
            assert_eq!(Text::parse(&long), Err(InvalidText::TooLong));
        }
    }
}
