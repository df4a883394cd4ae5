//! Other people's words on a terminal.
//!
//! A name, an answer of Twilio's or a text that somebody wrote may hold what a terminal obeys: sequences that move the cursor,
//! set its title or paint over what stands there, and marks that turn the direction of writing. Shown, they do nothing.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
};

use serde_json::Value;

/// What is displayed, with each character escaped that a terminal would obey. Lines end where they end.
pub struct Printable<D>(pub D);

impl<D: fmt::Display> fmt::Display for Printable<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match is_obeyed(character) {
                true => write!(self.0, "{}", character.escape_unicode())?,
                false => self.0.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// JSON, with each character written as JSON escapes it that a terminal would obey: for programs it says what it said.
pub struct PrintableJson<'a>(pub &'a Value);

impl fmt::Display for PrintableJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.to_string().chars() {
            match is_obeyed(character) {
                // All of them have four digits.
                true => write!(f, "\\u{:04x}", u32::from(character))?,
                false => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Whether a terminal does something for `character` other than to show it, or to end the line.
fn is_obeyed(character: char) -> bool {
    let turns_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns_direction || (character.is_control() && character != '\n')
}

/// Writes whole lines to a terminal, as [`Printable`] shows them.
pub struct PrintableLines<W> {
    terminal: W,
    /// What has come of a line that has not ended.
    begun: Vec<u8>,
}

impl<W: Write> PrintableLines<W> {
    /// Writes to `terminal`.
    pub fn new(terminal: W) -> Self {
        Self { terminal, begun: Vec::new() }
    }
}

impl<W: Write> Write for PrintableLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        if let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') {
            let lines: Vec<u8> = self.begun.drain(..=end).collect();
            write!(self.terminal, "{}", Printable(String::from_utf8_lossy(&lines)))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.begun);
        write!(self.terminal, "{}", Printable(String::from_utf8_lossy(&rest)))?;
        self.terminal.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        for (text, shown) in [
            ("Zoë, José & 李 🙂\nnext", "Zoë, José & 李 🙂\nnext"),
            ("\x1b[2J\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            ("a\rb\tc\u{9b}31m\u{7f}", "a\\u{d}b\\u{9}c\\u{9b}31m\\u{7f}"),
            ("\u{202e}txt.exe\u{2069}", "\\u{202e}txt.exe\\u{2069}"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }

    #[test]
    fn json_stays_what_it_is() {
        let value = serde_json::json!({ "name\u{202e}": "a\x1b[2J\u{9b}31m\u{7f}\n\u{2066}é🙂" });
        let written = PrintableJson(&value).to_string();
        assert!(!written.chars().any(|character| is_obeyed(character) || character == '\n'), "{written}");
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
    }

    #[test]
    fn lines_are_written_whole_whatever_the_pieces_in_which_they_come() {
        let mut written = Vec::new();
        let mut lines = PrintableLines::new(&mut written);
        for byte in "+1,José\x1b[2J\nlast \u{202e}".bytes() {
            lines.write_all(&[byte]).unwrap();
        }
        lines.flush().unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "+1,José\\u{1b}[2J\nlast \\u{202e}");
    }
}
