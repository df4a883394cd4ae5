//! Logs: JSON lines on stderr, or readable text on a terminal.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::printable::turns_direction;

/// A log filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("TEXTLEDGER_LOG must be a tracing filter such as info or textledger=debug: {0}")]
pub struct InvalidFilter(tracing_subscriber::filter::ParseError);

/// Starts logging by `filter`. Later calls in the same process change nothing.
pub fn start(filter: &str) -> Result<(), InvalidFilter> {
    let filter = EnvFilter::try_new(filter).map_err(InvalidFilter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    // A second start in one process finds the first one's subscriber in place.
    drop(if io::stderr().is_terminal() {
        builder.with_target(false).with_writer(|| Directed(io::stderr())).try_init()
    } else {
        builder.json().flatten_event(true).with_writer(io::stderr).try_init()
    });
    Ok(())
}

/// Writes lines in which the subscriber has escaped what else a terminal obeys, but for its own colors; and shows the marks
/// that would turn the direction of writing.
struct Directed<W>(W);

impl<W: Write> Write for Directed<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut shown = String::with_capacity(line.len());
        for character in String::from_utf8_lossy(line).chars() {
            match turns_direction(character) {
                true => shown.extend(character.escape_unicode()),
                false => shown.push(character),
            }
        }
        self.0.write_all(shown.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Terminal(Arc<Mutex<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_on_a_terminal_has_no_codes_but_its_own_colors() {
        let terminal = Terminal::default();
        let writer = terminal.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_target(false)
            .with_ansi(true)
            .with_writer(move || Directed(writer.clone()))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(detail = "\x1b[2Jcleared\u{9b}0m \u{202e}turned", reason = %"\x07rung", "said");
        });
        let shown = String::from_utf8(terminal.0.lock().unwrap().clone()).unwrap();
        assert!(shown.contains("cleared") && shown.contains("turned") && shown.contains("rung"), "{shown:?}");
        assert!(!shown.contains("\x1b[2J") && !shown.contains(['\u{9b}', '\u{202e}', '\x07']), "{shown:?}");
    }
}
