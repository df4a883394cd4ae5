//! A line of the demo: its columns, the same for events of the streams and for what else happens.

use std::fmt;

use crate::printable::Printable;

/// What a line tells; what is empty leaves its column free.
#[derive(Default)]
pub(super) struct Line<'a> {
    /// When, to the millisecond.
    pub(super) time: &'a str,
    /// What kind of thing it is: `delivery`, `inbound`, `consent` for events.
    pub(super) kind: &'a str,
    /// What happened.
    pub(super) what: &'a str,
    /// The color of `what`, as a terminal numbers colors; `None` for the terminal's own.
    pub(super) color: Option<u8>,
    /// To whom, or by whom.
    pub(super) who: &'a str,
    /// Where it travels.
    pub(super) channel: &'a str,
    /// Anything else.
    pub(super) remark: &'a str,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, kind, what, color, who, channel, remark } = self;
        let [what, who, channel, remark] =
            [what, who, channel, remark].map(|text| Printable(text).to_string());
        write!(f, "  {time:<12}  {kind:<8}  ")?;
        match color {
            Some(color) => write!(f, "\x1b[{color}m{what:<11}\x1b[0m")?,
            None => write!(f, "{what:<11}")?,
        }
        write!(f, "  {who:<13}  {channel:<8}  {remark}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_color_is_the_lines_own_and_words_have_none() {
        let line = Line {
            what: "delivered",
            color: Some(32),
            who: "\x1b[31mred",
            remark: "a\rb",
            ..Line::default()
        };
        let shown = line.to_string();
        assert!(shown.contains("\x1b[32mdelivered"), "{shown:?}");
        assert!(shown.contains("\\u{1b}[31mred") && shown.contains("a\\u{d}b"), "{shown:?}");
        assert_eq!(shown.matches('\x1b').count(), 2, "{shown:?}");
    }
}
