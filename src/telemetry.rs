//! Logs: JSON lines on stderr, or readable text on a terminal.

use std::{
    fmt::Debug,
    io::{self, IsTerminal},
};

use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt,
    fmt::{
        FormatFields,
        format::{self, Writer},
    },
};

use crate::printable::Printable;

/// A log filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("TEXTLEDGER_LOG must be a tracing filter such as info or textledger=debug: {0}")]
pub struct InvalidFilter(tracing_subscriber::filter::ParseError);

/// What is not logged unless the filter names it. The HTTP library writes an error for each request that it cannot read, which
/// strangers can send without end; such requests have lines and counts of our own.
const NOT_LOGGED: &str = "actix_http=off";

/// Starts logging by `filter`. Later calls in the same process change nothing.
pub fn start(filter: &str) -> Result<(), InvalidFilter> {
    let filter = EnvFilter::try_new(format!("{NOT_LOGGED},{filter}")).map_err(InvalidFilter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second start in one process finds the first one's subscriber in place.
    drop(if io::stderr().is_terminal() {
        builder.with_target(false).fmt_fields(printable_fields()).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    });
    Ok(())
}

/// Writes fields for a terminal: their values are often other people's words, of which the subscriber's own formatter shows
/// only some as they may be shown.
fn printable_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    let field = |writer: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        // A value has one line, so that none passes for a line of ours.
        let value = Printable(format_args!("{value:?}")).to_string().replace('\n', "\\n");
        match field.name() {
            "message" => write!(writer, "{value}"),
            name => write!(writer, "{name}={value}"),
        }
    };
    format::debug_fn(field).delimited(" ")
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

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
            .fmt_fields(printable_fields())
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(detail = "\x1b[2Jcleared\u{9b}0m \u{202e}turned", reason = %"\x07rung\x1b[2J\n\u{202e}", "said");
        });
        let shown = String::from_utf8(terminal.0.lock().unwrap().clone()).unwrap();
        assert!(shown.contains("cleared") && shown.contains("turned") && shown.contains("rung"), "{shown:?}");
        assert_eq!(shown.matches('\n').count(), 1, "{shown:?}");
        assert!(!shown.contains("\x1b[2J") && !shown.contains(['\u{9b}', '\u{202e}', '\x07']), "{shown:?}");
    }
}
