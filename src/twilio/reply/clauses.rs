//! Cuts a folded text into clauses, and off them what the person did not write to say something: earlier text that
//! is quoted, a phone's signature, a name.

use std::borrow::Cow;

use super::{
    fold::is_of_word,
    vocabulary::{Clause, words_of},
    wording::{Says, Wordings},
};

/// A quotation has at least so many words; fewer are the person's own, with quotation marks around them.
const QUOTED_WORDS_MIN: usize = 4;

/// A name has at most so many words.
const NAME_WORDS_MAX: usize = 3;

/// Words up to the next punctuation mark.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) clause: Clause<'a>,
    /// A full stop, a question or exclamation mark, the end of the line or of the text stands behind it.
    pub(super) ends_sentence: bool,
    /// A dash that stands by itself is before it.
    follows_dash: bool,
}

/// What is left of a text without what it quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unquoted<'a> {
    /// The person's own words; the same as before if nothing was quoted.
    Own(Cow<'a, str>),
    /// A phone tells that somebody reacted to a message.
    Reaction,
    /// The text is passed on whole.
    Forwarded,
}

/// Takes out of a folded text what it quotes.
pub(super) fn unquoted<'a>(text: &'a str, wordings: &Wordings) -> Unquoted<'a> {
    if let Some((head, _)) = text.split_once([':', '\n'])
        && wordings.is_whole(&wordings.clause(words_of(head)), Says::Forwarded)
    {
        return Unquoted::Forwarded;
    }
    let text = without_earlier_lines(text);
    match without_quotations(&text, wordings) {
        Some(rest) if is_reaction(&rest, wordings) => Unquoted::Reaction,
        Some(rest) => Unquoted::Own(Cow::Owned(rest)),
        None => Unquoted::Own(text),
    }
}

fn is_reaction(text: &str, wordings: &Wordings) -> bool {
    wordings.is_whole(&wordings.clause(words_of(text)), Says::Reaction)
}

/// The text without the lines that a mail program puts `>` before, and without the earlier message below a line of
/// hyphens or "On Monday, Acme wrote:".
fn without_earlier_lines(text: &str) -> Cow<'_, str> {
    let is_border = |line: &str| {
        let line = line.trim();
        line.starts_with("-----")
            || line.starts_with("_____")
            || line.starts_with("ON ") && line.ends_with("WROTE:")
    };
    if !text.contains('>') && !text.lines().any(is_border) {
        return Cow::Borrowed(text);
    }
    let own =
        text.lines().take_while(|line| !is_border(line)).filter(|line| !line.trim_start().starts_with('>'));
    Cow::Owned(own.collect::<Vec<_>>().join("\n"))
}

/// The text without its quotations; none if it has none, or is nothing else.
fn without_quotations(text: &str, wordings: &Wordings) -> Option<String> {
    let mut rest = String::new();
    let mut behind = text;
    let mut has_quotation = false;
    while let Some(open) = behind.find(is_opening) {
        let mark = behind[open..].chars().next().expect("a mark was found there");
        let (before, inside) = (&behind[..open], &behind[open + mark.len_utf8()..]);
        let (quotation, next) = match inside.find(|character| is_closing(mark, character)) {
            Some(close) => {
                let closing = inside[close..].chars().next().expect("a mark was found there");
                (&inside[..close], &inside[close + closing.len_utf8()..])
            }
            // A phone cuts a long message off, with the mark that would close it.
            None if is_reaction(before, wordings) => (inside, ""),
            None => break,
        };
        rest.push_str(before);
        if words_of(quotation).len() >= QUOTED_WORDS_MIN {
            has_quotation = true;
            rest.push(' ');
        } else {
            rest.push_str(quotation);
        }
        behind = next;
    }
    rest.push_str(behind);
    (has_quotation && rest.contains(is_of_word)).then_some(rest)
}

fn is_opening(character: char) -> bool {
    matches!(character, '“' | '”' | '„' | '‟' | '"' | '«' | '»' | '「' | '『' | '〝')
}

fn is_closing(opening: char, character: char) -> bool {
    match opening {
        '“' | '‟' => character == '”',
        '”' => character == '”',
        '„' => matches!(character, '“' | '”' | '‟'),
        '«' => character == '»',
        '»' => character == '«',
        '「' => character == '」',
        '『' => character == '』',
        '〝' => matches!(character, '〞' | '〟'),
        other => character == other,
    }
}

/// The clauses of a folded text.
pub(super) fn parts<'a>(text: &'a str, wordings: &'a Wordings) -> Vec<Part<'a>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut push = |words: Vec<_>, ends_sentence, follows_dash| {
        if !words.is_empty() {
            parts.push(Part { clause: wordings.clause(words), ends_sentence, follows_dash });
        } else if let Some(last) = parts.last_mut() {
            last.ends_sentence |= ends_sentence;
        }
    };
    let mut start = 0;
    let mut follows_dash = false;
    let mut before = '\n';
    for (at, character) in text.char_indices() {
        let is_dash = matches!(character, '-' | '~' | '\u{2010}'..='\u{2015}' | '\u{2212}')
            && (before.is_whitespace() || !is_of_word(before));
        let ends_sentence = matches!(character, '.' | '!' | '?' | '\n' | '\r' | '。' | '؟' | '।');
        let ends = ends_sentence
            || is_dash
            || matches!(
                character,
                ',' | ';' | ':' | '(' | ')' | '、' | '،' | '؛' | '|' | '"' | '“' | '”' | '«' | '»'
            );
        if ends {
            push(words_of(&text[start..at]), ends_sentence, follows_dash);
            start = at + character.len_utf8();
            follows_dash = is_dash;
        }
        before = character;
    }
    push(words_of(&text[start..]), true, follows_dash);
    parts
}

/// Cuts off a signature: "Sent from my iPhone", "Regards, Dana", "- Bill".
pub(super) fn cut_signature<'a>(parts: &mut Vec<Part<'a>>, wordings: &'a Wordings) {
    for number in 0..parts.len() {
        if let Some(start) = wordings.first(&parts[number].clause, Says::Signature)
            && (number > 0 || start > 0)
        {
            let mut words = std::mem::take(&mut parts[number].clause.words);
            words.truncate(start);
            parts[number].clause = wordings.clause(words);
            parts[number].ends_sentence = true;
            parts.truncate(if start > 0 { number + 1 } else { number });
            break;
        }
    }
    let is_name = |parts: &[Part<'_>]| {
        let mut words = parts.iter().flat_map(|part| &part.clause.words).take(NAME_WORDS_MAX + 1);
        let is_of_name = |word: &Cow<'_, str>| word.chars().count() == 1 || !wordings.knows(word);
        words.clone().count() <= NAME_WORDS_MAX && words.all(is_of_name)
    };
    let begins = |number: usize| {
        let (part, behind) = (&parts[number], &parts[number + 1..]);
        part.follows_dash && is_name(&parts[number..])
            || wordings.is_whole(&part.clause, Says::SignOff) && !behind.is_empty() && is_name(behind)
    };
    if let Some(number) = (1..parts.len()).find(|&number| begins(number)) {
        parts.truncate(number);
        if let Some(last) = parts.last_mut() {
            last.ends_sentence = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twilio::reply::{fold::fold, lists::LANGUAGES};

    fn own(text: &str) -> String {
        let wordings = &LANGUAGES.wordings;
        let folded = fold(text);
        let own = match unquoted(&folded, wordings) {
            Unquoted::Own(own) => own,
            Unquoted::Reaction => return "(reaction)".into(),
            Unquoted::Forwarded => return "(forwarded)".into(),
        };
        let mut parts = parts(&own, wordings);
        cut_signature(&mut parts, wordings);
        parts.iter().map(|part| part.clause.words.join(" ")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_a_phone_or_a_mail_program_adds_is_cut_off() {
        for (text, rest) in [
            ("Stop\nSent from my iPhone", "STOP"),
            ("Stop\nVon meinem iPhone gesendet", "STOP"),
            ("STOP Enviado desde mi iPhone", "STOP"),
            ("STOP\n--\nSent from Outlook for Android", "STOP"),
            ("STOP - Bill", "STOP"),
            ("Quit\n-R", "QUIT"),
            ("Stop\n\nRegards,\nDana Whitfield", "STOP"),
            ("Stop. Thx, Lily", "STOP"),
            ("> Reply STOP to end\nno thanks", "NO THANKS"),
            ("thanks\nOn Mon, Acme wrote:\nReply STOP to end", "THANKS"),
            ("Replied to “Sale ends tonight! Reply STOP to opt out”: stop", "REPLIED TO, STOP"),
            ("stop - no, wait", "STOP, NO, WAIT"),
            ("Sent from my iPhone", "SENT FROM MY IPHONE"),
        ] {
            assert_eq!(own(text), rest, "{text}");
        }
    }

    #[test]
    fn reactions_and_forwarded_texts_hold_no_words_of_the_person() {
        for text in [
            "Liked “Reply STOP to opt out of this”",
            "Le gustó “Responda BAJA para no recibir”",
            "A aimé « Répondez STOP pour ne plus recevoir »",
            "Hat „Mit STOP abmelden, jederzeit“ gefallen",
            "👍 to “Acme: Sale! Reply STOP to opt out”",
            "Loved “A text so long that the phone cuts it off, reply STO…",
        ] {
            assert_eq!(own(text), "(reaction)", "{text}");
        }
        assert_eq!(own("Fwd: Reply STOP to opt out"), "(forwarded)");
    }

    #[test]
    fn a_text_is_cut_at_punctuation_and_at_dashes_that_stand_alone() {
        let words = |text: &str| {
            let parts = |folded: &str| {
                let parts = parts(folded, &LANGUAGES.wordings);
                parts.iter().map(|part| part.clause.words.join(" ")).collect::<Vec<_>>()
            };
            parts(&fold(text))
        };
        assert_eq!(words("No. Don't stop, opt-out — now"), ["NO", "DONT STOP", "OPT OUT", "NOW"]);
        assert_eq!(words("merci d'arrêter"), ["MERCI D ARRETER"]);
        assert_eq!(words("别再发了"), ["别 再 发 了"]);
        assert_eq!(words("…"), [""; 0]);
    }
}
