//! No line of a language's file is dead: a text made of it is read for what it says.

use super::*;
use crate::twilio::{
    Channel,
    reply::{Reading, ReplyReader, Rule},
};

/// How many texts are made of a wording at most, each with other entries of its lists.
const TEXTS_MAX: usize = 120;

/// Stands for any word: it is of no language, and a slip of no keyword.
const ANY_WORD: &str = "Xyzzyx";

/// A text that the wording describes. From one `turn` to the next other entries of its lists are taken, and what may be
/// left out is left out or is there.
fn text_of(pattern: &str, classes: &Classes, turn: usize) -> String {
    let mut words: Vec<String> = Vec::new();
    for (place, element) in pattern.split(' ').enumerate() {
        let may_be_left_out = element == ".." || element.ends_with(['?', '+']);
        if matches!(element, "^" | "$") || may_be_left_out && turn.is_multiple_of(2) {
            continue;
        }
        if matches!(element, ".." | "_") {
            words.push(ANY_WORD.into());
            continue;
        }
        let alternatives = element.trim_end_matches(['?', '+']).split('|');
        let entries = alternatives.flat_map(|one| match one.strip_prefix('<') {
            Some(class) => classes[class.trim_end_matches('>')].clone(),
            None => vec![one.replace('_', " ")],
        });
        let entries: Vec<String> = entries.collect();
        // Lists of one length shall not go through their entries hand in hand.
        let entry = &entries[(turn + turn / entries.len() * place) % entries.len()];
        words.push(entry.replace('*', if turn.is_multiple_of(2) { "" } else { "en" }));
    }
    words.join(" ")
}

/// Texts in which a wording has its effect, each with the rule that then reads it; `request` is of the same language.
fn texts_with(says: Says, text: &str, request: &str) -> Vec<(String, Rule)> {
    // What the wording says alone may be what a rule before says already, and be its own only in a longer clause.
    let read_by = |rule| {
        let around = [("", ""), ("", ANY_WORD), (ANY_WORD, ""), (ANY_WORD, ANY_WORD)];
        around.map(|(before, behind)| (format!("{before} {text} {behind}"), rule)).to_vec()
    };
    match says {
        Says::Negation => read_by(Rule::Negation),
        Says::Request => read_by(Rule::Request),
        Says::Question => read_by(Rule::Question),
        Says::WrongNumber => read_by(Rule::WrongNumber),
        Says::LegalThreat => read_by(Rule::LegalThreat),
        Says::Dismissal => read_by(Rule::Dismissal),
        Says::Condition => vec![(format!("{text} {ANY_WORD} {request}"), Rule::Condition)],
        Says::Partial => [format!("{request} {text}"), format!("{text} {request}")]
            .map(|text| (text, Rule::Partial))
            .to_vec(),
        // Beside anything but courtesy, CANCEL would be ordinary, and STOP too in the middle of a clause.
        Says::Courtesy | Says::Assent => vec![
            (format!("{text}. {text}. {text}. Cancel"), Rule::DoubtfulWord),
            (format!("STOP {text}"), Rule::KeywordInText),
        ],
        Says::Forwarded => vec![(format!("{text}: reply STOP to end"), Rule::Forwarded)],
        Says::Signature => vec![(format!("STOP\n{text} {ANY_WORD}"), Rule::Keyword)],
        Says::SignOff => vec![(format!("STOP\n{text},\n{ANY_WORD}"), Rule::Keyword)],
        Says::Reaction => vec![(format!("{text} “Sale today, reply STOP to end”"), Rule::Reaction)],
    }
}

#[test]
fn every_wording_of_every_language_can_be_what_a_reply_says() {
    let reader = ReplyReader::default();
    let read = |text: &str| reader.read(text, Channel::Sms);
    let mut dead = Vec::new();
    for &language in Language::ALL {
        let file: LanguageFile = toml::from_str(language.file()).unwrap();
        let is_of = |reading: &Reading, rule| reading.rule == rule && reading.language == Some(language);
        let requests = file.wordings[&Says::Request].iter().map(|pattern| text_of(pattern, &file.classes, 0));
        let requests: Vec<String> =
            requests.filter(|text| is_of(&read(text), Rule::Request)).take(4).collect();
        for (&says, patterns) in &file.wordings {
            for pattern in patterns {
                let mut texts = (0..TEXTS_MAX).map(|turn| text_of(pattern, &file.classes, turn));
                let is_alive = |text: &str| {
                    let texts = requests.iter().flat_map(|request| texts_with(says, text, request));
                    // The language may be another in which the same words say the same.
                    texts.into_iter().any(|(text, rule)| read(&text).rule == rule)
                };
                if !texts.any(|text| is_alive(&text)) {
                    dead.push(format!("{language}: {says:?} \"{pattern}\""));
                }
            }
        }
    }
    assert!(dead.is_empty(), "nothing is ever read for these:\n{}", dead.join("\n"));
}
