//! The body of a webhook as Twilio sends it: an ordered list of names and values, decoded to bytes.
//!
//! The signature covers every parameter, in every repetition, with its exact bytes; so nothing is dropped, merged,
//! trimmed or read as UTF-8 here. Which parameters mean what is left to [`super::webhook`].
//!
//! Source: <https://url.spec.whatwg.org/#application/x-www-form-urlencoded>.

use std::{borrow::Cow, fmt};

/// Room made for the pairs at first; Twilio's webhooks have 10 to 40 of them.
const PAIRS_EXPECTED_MAX: usize = 64;

/// The pairs of an `application/x-www-form-urlencoded` text, in the order in which they were written.
///
/// `Debug` shows how many there are and none of them: values are phone numbers and message texts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form<'a> {
    pairs: Vec<(Bytes<'a>, Bytes<'a>)>,
}

type Bytes<'a> = Cow<'a, [u8]>;

impl<'a> Form<'a> {
    /// Reads a body or a query string. Every text is a form: a piece without `=` is a name with an empty value, a
    /// `%` that two hexadecimal digits do not follow stands for itself, and empty pieces are skipped.
    ///
    /// Names and values in which nothing is escaped are borrowed from `text`.
    pub fn parse(text: &'a [u8]) -> Self {
        let pieces_max = 1 + text.iter().filter(|&&byte| byte == b'&').count();
        let mut pairs = Vec::with_capacity(pieces_max.min(PAIRS_EXPECTED_MAX));
        for piece in text.split(|&byte| byte == b'&').filter(|piece| !piece.is_empty()) {
            let (name, value) = match piece.iter().position(|&byte| byte == b'=') {
                Some(at) => (&piece[..at], &piece[at + 1..]),
                None => (piece, &[][..]),
            };
            pairs.push((decode(name), decode(value)));
        }
        Self { pairs }
    }

    /// The first value of `name`, with U+FFFD in place of what is not UTF-8.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get_bytes(name).map(String::from_utf8_lossy)
    }

    /// The first value of `name`, as it was sent.
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    /// Every name and its value, in the order in which they were written.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many pairs there are; a repeated name counts each time.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Writes the pairs so that [`Form::parse`] reads the same ones again.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.iter() {
            if !text.is_empty() {
                text.push('&');
            }
            encode_into(&mut text, name);
            text.push('=');
            encode_into(&mut text, value);
        }
        text
    }
}

impl<'a, N, V> FromIterator<(&'a N, &'a V)> for Form<'a>
where
    N: AsRef<[u8]> + ?Sized,
    V: AsRef<[u8]> + ?Sized,
{
    /// Takes pairs that are decoded already.
    fn from_iter<I: IntoIterator<Item = (&'a N, &'a V)>>(pairs: I) -> Self {
        let borrowed = |(name, value): (&'a N, &'a V)| (name.as_ref().into(), value.as_ref().into());
        Self { pairs: pairs.into_iter().map(borrowed).collect() }
    }
}

impl fmt::Debug for Form<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Form({} pairs)", self.pairs.len())
    }
}

fn decode(text: &[u8]) -> Bytes<'_> {
    let Some(first) = text.iter().position(|&byte| byte == b'+' || byte == b'%') else {
        return Cow::Borrowed(text);
    };
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    loop {
        let byte;
        (byte, rest) = match rest {
            [] => return Cow::Owned(decoded),
            [b'+', after @ ..] => (b' ', after),
            [b'%', high, low, after @ ..] => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', &rest[1..]),
            },
            [byte, after @ ..] => (*byte, after),
        };
        decoded.push(byte);
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn encode_into(text: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => text.push(byte.into()),
            b' ' => text.push('+'),
            _ => escape_into(text, byte),
        }
    }
}

/// Writes `byte` as `%` and two upper-case hexadecimal digits.
pub(super) fn escape_into(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(DIGITS[usize::from(byte >> 4)].into());
    text.push(DIGITS[usize::from(byte & 15)].into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Form::parse(text.as_bytes()).iter().map(|(name, value)| (text_of(name), text_of(value))).collect()
    }

    #[test]
    fn pieces_are_split_and_decoded_as_the_url_standard_says() {
        for (text, expected) in [
            ("", &[][..]),
            ("&&", &[]),
            ("a=1&b=2", &[("a", "1"), ("b", "2")]),
            ("b=2&a=1&b=2", &[("b", "2"), ("a", "1"), ("b", "2")]),
            ("a", &[("a", "")]),
            ("a=&=b&=", &[("a", ""), ("", "b"), ("", "")]),
            ("a=b=c", &[("a", "b=c")]),
            ("Body=+1%2B1%3D2+%26+%c3%A9+%0A", &[("Body", " 1+1=2 & é \n")]),
            ("a%20b+c=1", &[("a b c", "1")]),
            ("a=%&b=%4&c=%zz&d=%%41", &[("a", "%"), ("b", "%4"), ("c", "%zz"), ("d", "%A")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
            assert_eq!(pairs(text), expected, "{text}");
        }
    }

    #[test]
    fn what_needs_no_decoding_is_borrowed() {
        let form = Form::parse(b"To=%2B14155550100&SmsStatus=sent");
        assert!(matches!(form.pairs[0], (Cow::Borrowed(_), Cow::Owned(_))));
        assert!(matches!(form.pairs[1], (Cow::Borrowed(_), Cow::Borrowed(_))));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_kept_and_shown_replaced() {
        let form = Form::parse(b"Body=%FFa&Body=b");
        assert_eq!(form.get_bytes("Body"), Some(&b"\xFFa"[..]));
        assert_eq!(form.get("Body").as_deref(), Some("\u{FFFD}a"));
        assert_eq!(form.get("body"), None);
    }

    #[test]
    fn nothing_of_a_form_is_shown() {
        assert_eq!(format!("{:?}", Form::parse(b"Body=secret")), "Form(1 pairs)");
    }
}
