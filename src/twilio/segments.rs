//! How many SMS segments a text takes.
//!
//! A text that GSM-7 can write has 160 septets in one segment, or 153 in each of several; any other is UCS-2,
//! with 70 or 67 UTF-16 units. What takes two septets (an escape and a character) or two units (an emoji) is
//! never split across segments, so that a segment may end one short. Twilio's `num_segments` is what is billed:
//! it may differ, for instance where the messaging service replaces look-alike characters ("smart encoding").
//!
//! Sources: <https://www.twilio.com/docs/glossary/what-sms-character-limit>, 3GPP TS 23.038.

/// The most characters that Twilio takes as a body.
pub const BODY_CHARACTERS_MAX: usize = 1600;

/// GSM-7's basic alphabet, one septet each.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// GSM-7's extension: an escape septet, then one more.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// How a text is written on the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Seven bits per unit.
    Gsm7,
    /// UTF-16.
    Ucs2,
}

impl Encoding {
    /// Units in a segment that stands alone.
    pub fn units_single(self) -> usize {
        match self {
            Encoding::Gsm7 => 160,
            Encoding::Ucs2 => 70,
        }
    }

    /// Units in each of several segments, which begin with a header that joins them.
    pub fn units_per_part(self) -> usize {
        match self {
            Encoding::Gsm7 => 153,
            Encoding::Ucs2 => 67,
        }
    }
}

/// What a text takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// How it is written.
    pub encoding: Encoding,
    /// Septets or UTF-16 units, without what is lost at the end of a segment.
    pub units: usize,
    /// Segments; one for an empty text too, since a message is sent all the same.
    pub segments: usize,
}

/// Counts the segments of `text` as one SMS.
pub fn count(text: &str) -> Segments {
    match text.chars().map(septets).collect::<Option<Vec<_>>>() {
        Some(septets) => fill(Encoding::Gsm7, &septets),
        None => fill(Encoding::Ucs2, &text.chars().map(char::len_utf16).collect::<Vec<_>>()),
    }
}

/// The septets `character` takes, or `None` if GSM-7 can not write it.
fn septets(character: char) -> Option<usize> {
    if BASIC.contains(character) {
        Some(1)
    } else if EXTENSION.contains(character) {
        Some(2)
    } else {
        None
    }
}

/// Fills segments with characters of `lengths` units, none of which may be split.
fn fill(encoding: Encoding, lengths: &[usize]) -> Segments {
    let units = lengths.iter().sum();
    let mut segments = 1;
    if units > encoding.units_single() {
        let mut used = 0;
        for length in lengths {
            if used + length > encoding.units_per_part() {
                segments += 1;
                used = 0;
            }
            used += length;
        }
    }
    Segments { encoding, units, segments }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_alphabet_has_its_size() {
        // 128 places, of which one is the escape.
        assert_eq!(BASIC.chars().collect::<HashSet<_>>().len(), 127);
        assert_eq!(EXTENSION.chars().collect::<HashSet<_>>().len(), 10);
        assert!(!BASIC.chars().any(|character| EXTENSION.contains(character)));
    }

    #[test]
    fn segments_end_where_they_should() {
        use Encoding::{Gsm7, Ucs2};
        let a = |count: usize| "a".repeat(count);
        let zhe = |count: usize| "ж".repeat(count);
        for (text, encoding, units, segments) in [
            (String::new(), Gsm7, 0, 1),
            (a(1), Gsm7, 1, 1),
            (a(160), Gsm7, 160, 1),
            (a(161), Gsm7, 161, 2),
            (a(306), Gsm7, 306, 2),
            (a(307), Gsm7, 307, 3),
            (a(1600), Gsm7, 1600, 11),
            // Two septets: 80 fit in one segment, 76 in a part, of which one septet stays empty.
            ("€".repeat(80), Gsm7, 160, 1),
            ("€".repeat(81), Gsm7, 162, 2),
            ("€".repeat(152), Gsm7, 304, 2),
            ("€".repeat(153), Gsm7, 306, 3),
            // An escape at septet 153 moves to the next part as a whole.
            (a(152) + "[" + &a(152), Gsm7, 306, 3),
            (a(151) + "[" + &a(153), Gsm7, 306, 2),
            (a(158) + "€", Gsm7, 160, 1),
            (a(159) + "€", Gsm7, 161, 2),
            ("ñÑ@_\u{c}\r\n".into(), Gsm7, 8, 1),
            // Characters that look as if they were in GSM-7.
            ("ç".into(), Ucs2, 1, 1),
            ("`".into(), Ucs2, 1, 1),
            ("’".into(), Ucs2, 1, 1),
            ("á".into(), Ucs2, 1, 1),
            (a(70) + "ж", Ucs2, 71, 2),
            (zhe(70), Ucs2, 70, 1),
            (zhe(71), Ucs2, 71, 2),
            (zhe(134), Ucs2, 134, 2),
            (zhe(135), Ucs2, 135, 3),
            // An emoji is two units and is not split at 67.
            ("😀".repeat(35), Ucs2, 70, 1),
            ("😀".repeat(36), Ucs2, 72, 2),
            (zhe(66) + "😀" + &zhe(66), Ucs2, 134, 3),
            (zhe(65) + "😀" + &zhe(67), Ucs2, 134, 2),
            (zhe(69) + "😀", Ucs2, 71, 2),
        ] {
            assert_eq!(count(&text), Segments { encoding, units, segments }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn there_are_enough_segments_but_at_most_one_unit_is_lost_in_each(text in "[a-z€\\[ж😀]{0,400}") {
            let Segments { encoding, units, segments } = count(&text);
            if segments == 1 {
                prop_assert!(units <= encoding.units_single());
            } else {
                prop_assert!(units > encoding.units_single());
                prop_assert!(units <= segments * encoding.units_per_part());
                prop_assert!(units > (segments - 1) * (encoding.units_per_part() - 1));
            }
        }
    }
}
