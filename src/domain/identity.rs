//! Who sends, as people know them: what an answer to a person names.

/// The longest name, in characters: an answer that holds it still fits into few segments.
pub const NAME_CHARACTERS_MAX: usize = 60;

/// The longest contact, in characters.
pub const HELP_CONTACT_CHARACTERS_MAX: usize = 100;

/// Who an organization's messages come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The sender's name, as people know it.
    pub name: Option<String>,
    /// Where people can ask: a phone number, a mail address or a URL.
    pub help_contact: Option<String>,
}

/// Why a text is no name and no contact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLine {
    /// It is too long.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// It has a line break, or another character that nobody sees.
    #[error("must be one line")]
    NotOneLine,
}

/// Reads a line of at most `max` characters. One that is blank is none.
pub fn read_line(text: &str, max: usize) -> Result<Option<String>, InvalidLine> {
    let line = text.trim();
    if line.chars().count() > max {
        Err(InvalidLine::TooLong(max))
    } else if line.chars().any(|character| character.is_control() || "\u{2028}\u{2029}".contains(character)) {
        Err(InvalidLine::NotOneLine)
    } else {
        Ok((!line.is_empty()).then(|| line.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_and_has_no_break() {
        assert_eq!(read_line("  Café 12 ", 7), Ok(Some("Café 12".to_owned())));
        assert_eq!(read_line(" \t", 7), Ok(None));
        assert_eq!(read_line("Café 123", 7), Err(InvalidLine::TooLong(7)));
        for broken in ["a\nb", "a\r\nb", "a\u{85}b", "a\u{2028}b", "a\u{0}b"] {
            assert_eq!(read_line(broken, 7), Err(InvalidLine::NotOneLine));
        }
    }
}
