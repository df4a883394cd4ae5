//! Wordings: what people write when they ask for something, as patterns over the words of a clause.
//!
//! | in a pattern | stands for |
//! | --- | --- |
//! | `stop` | the word |
//! | `unsubscrib*` | any word that begins so |
//! | `stop\|give_up` | one of these, the second of two words |
//! | `<messages>` | one of the entries of a class of the same language, which may be of several words |
//! | `please?` | perhaps it stands there |
//! | `<filler>+` | any number of them, none too |
//! | `..` | up to four words of any kind, or eight characters where each is a word |
//! | `_` | one word of any kind |
//! | `^`, `$` | nothing but courtesy before, or behind |
//!
//! Words are folded as replies are; a Chinese, Japanese or Korean character is a word by itself.

use std::collections::HashMap;

use super::{
    fold::{fold, is_of_word, is_word_by_itself},
    language::Language,
};

/// How many words `..` passes over at most.
const GAP_WORDS_MAX: usize = 4;

/// The same where every character is a word.
const GAP_CHARACTERS_MAX: usize = 8;

/// How many words a wording may span; positions in it are the bits of a number.
const SPAN_WORDS_MAX: usize = 63;

/// What a wording says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Says {
    /// It looks like a request and is none: "don't stop".
    Negation,
    /// Send nothing more.
    Request,
    /// Asks how, where or whether.
    Question,
    /// The rest holds only under a condition.
    Condition,
    /// Something less than everything is to end.
    Partial,
    /// This is not whom you think you write to.
    WrongNumber,
    /// The law, a lawyer, an authority.
    LegalThreat,
    /// Leave me be, without a word about messages.
    Dismissal,
    /// Politeness and filling words, which change nothing.
    Courtesy,
    /// Yes: what follows may be an answer to a question of ours.
    Assent,
    /// What a phone puts in front of a text that it passes on.
    Forwarded,
    /// Where a signature begins: "Sent from my iPhone".
    Signature,
    /// What stands before the name with which somebody signs: "Regards".
    SignOff,
    /// What a phone writes around the text to which somebody reacted: "Liked", "Hat … gefallen".
    Reaction,
}

/// A word, or the beginning of words, that some wording holds.
type Term = u32;

/// All wordings of all languages.
#[derive(Debug, Default)]
pub(super) struct Wordings {
    exact: HashMap<String, Term>,
    stems: HashMap<String, Term>,
    stem_bytes_max: usize,
    wordings: Vec<Wording>,
    /// The wordings that may begin with a term.
    beginning_with: Vec<Vec<u32>>,
    /// The languages whose wordings hold a term, as bits.
    languages: Vec<u32>,
}

#[derive(Debug)]
struct Wording {
    says: Says,
    language: Language,
    after_courtesy: bool,
    elements: Vec<Element>,
}

#[derive(Debug)]
enum Element {
    OneOf { entries: Vec<Vec<Term>>, optional: bool, repeated: bool },
    Gap { words_max: usize },
    AnyWord,
    End,
}

/// A wording that was found in a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) says: Says,
    pub(super) language: Language,
    /// The first of its words.
    pub(super) start: usize,
    /// Behind the last of them.
    pub(super) end: usize,
}

/// The words of a clause with what is known of them.
pub(super) struct Clause<'a> {
    pub(super) words: &'a [String],
    terms: Vec<Vec<Term>>,
    /// For each place, whether nothing but courtesy stands before it.
    is_led: Vec<bool>,
    /// For each place, whether nothing but courtesy and numbers stands behind it.
    is_closed: Vec<bool>,
}

/// Why a pattern cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wording \"{pattern}\": {fault}")]
pub(super) struct InvalidPattern {
    pattern: String,
    fault: &'static str,
}

impl Wordings {
    /// Adds a pattern of `language`, whose classes are `classes`.
    pub(super) fn add(
        &mut self,
        language: Language,
        says: Says,
        pattern: &str,
        classes: &HashMap<String, Vec<String>>,
    ) -> Result<(), InvalidPattern> {
        let invalid = |fault| InvalidPattern { pattern: pattern.to_owned(), fault };
        let (after_courtesy, rest) = match pattern.strip_prefix("^ ") {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let elements: Vec<Element> = rest
            .split(' ')
            .map(|element| self.element(language, element, classes))
            .collect::<Option<_>>()
            .ok_or_else(|| invalid("it names a class that is not there, or holds no word"))?;
        let mut first_terms = first_terms(&elements).ok_or_else(|| invalid("any text could begin it"))?;
        first_terms.sort_unstable();
        first_terms.dedup();
        for element in &elements {
            if let Element::OneOf { entries, .. } = element {
                entries.iter().flatten().for_each(|&term| self.languages[term as usize] |= bit(language));
            }
        }
        let number = u32::try_from(self.wordings.len()).expect("wordings are few");
        for term in first_terms {
            self.beginning_with[term as usize].push(number);
        }
        self.wordings.push(Wording { says, language, after_courtesy, elements });
        Ok(())
    }

    fn element(
        &mut self,
        language: Language,
        text: &str,
        classes: &HashMap<String, Vec<String>>,
    ) -> Option<Element> {
        match text {
            ".." => {
                let is_by_characters =
                    matches!(language, Language::Chinese | Language::Japanese | Language::Korean);
                let words_max = if is_by_characters { GAP_CHARACTERS_MAX } else { GAP_WORDS_MAX };
                return Some(Element::Gap { words_max });
            }
            "_" => return Some(Element::AnyWord),
            "$" => return Some(Element::End),
            _ => {}
        }
        let (text, optional, repeated) = match (text.strip_suffix('?'), text.strip_suffix('+')) {
            (Some(text), _) => (text, true, false),
            (_, Some(text)) => (text, true, true),
            _ => (text, false, false),
        };
        let mut entries = Vec::new();
        // A class of one language stands for several elements only as an entry of several words.
        for alternative in text.split('|') {
            match alternative.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
                Some(name) => {
                    for entry in classes.get(name)? {
                        entries.push(self.terms_of_entry(entry)?);
                    }
                }
                None => entries.push(self.terms_of_entry(&alternative.replace('_', " "))?),
            }
        }
        Some(Element::OneOf { entries, optional, repeated })
    }

    /// The terms of an entry such as `unsubscrib*` or `mailing list`.
    fn terms_of_entry(&mut self, entry: &str) -> Option<Vec<Term>> {
        let mut terms = Vec::new();
        for part in entry.split(' ') {
            let (text, is_stem) = match part.strip_suffix('*') {
                Some(stem) => (stem, true),
                None => (part, false),
            };
            let words = words_of(&fold(text));
            for (place, word) in words.iter().enumerate() {
                // Of several words in one the beginning is all but the last: `d'arret*`.
                terms.push(self.term(word, is_stem && place + 1 == words.len()));
            }
        }
        (!terms.is_empty()).then_some(terms)
    }

    fn term(&mut self, word: &str, is_stem: bool) -> Term {
        // In scripts without blanks every character is a word, and a beginning is the character itself.
        let is_stem = is_stem && !word.chars().all(is_word_by_itself);
        let next = Term::try_from(self.beginning_with.len()).expect("terms are few");
        let terms = if is_stem { &mut self.stems } else { &mut self.exact };
        let term = *terms.entry(word.to_owned()).or_insert(next);
        if term == next {
            self.beginning_with.push(Vec::new());
            self.languages.push(0);
        }
        if is_stem {
            self.stem_bytes_max = self.stem_bytes_max.max(word.len());
        }
        term
    }

    /// Whether some wording holds this very word.
    pub(super) fn knows(&self, word: &str) -> bool {
        self.exact.contains_key(word)
    }

    fn terms_of_word(&self, word: &str) -> Vec<Term> {
        let mut terms: Vec<Term> = self.exact.get(word).copied().into_iter().collect();
        let beginnings = word.char_indices().map(|(at, character)| at + character.len_utf8());
        for end in beginnings.take_while(|&end| end <= self.stem_bytes_max) {
            terms.extend(self.stems.get(&word[..end]));
        }
        terms
    }

    /// Whether `words` as a whole are a wording that says `says`.
    pub(super) fn is_whole(&self, words: &[String], says: Says) -> bool {
        let is_whole = |one: &Found| one.says == says && one.start == 0 && one.end == words.len();
        !words.is_empty() && self.find(&self.clause(words)).iter().any(is_whole)
    }

    /// Where the first wording that says `says` begins.
    pub(super) fn first(&self, words: &[String], says: Says) -> Option<usize> {
        self.find(&self.clause(words)).iter().find(|one| one.says == says).map(|one| one.start)
    }

    /// Looks the words of a clause up.
    pub(super) fn clause<'a>(&self, words: &'a [String]) -> Clause<'a> {
        let terms: Vec<_> = words.iter().map(|word| self.terms_of_word(word)).collect();
        let mut clause = Clause { words, terms, is_led: vec![false; words.len() + 1], is_closed: Vec::new() };
        clause.is_led[0] = true;
        let mut ends_of_courtesy = Vec::with_capacity(words.len());
        for start in 0..words.len() {
            let ends = self.courtesy_ends(&clause, start);
            if clause.is_led[start] {
                for length in ones(ends) {
                    clause.is_led[start + length] = true;
                }
            }
            ends_of_courtesy.push(ends);
        }
        clause.is_closed = vec![false; words.len() + 1];
        clause.is_closed[words.len()] = true;
        for start in (0..words.len()).rev() {
            let closes = |length: usize| clause.is_closed[start + length];
            clause.is_closed[start] =
                is_number(&words[start]) && closes(1) || ones(ends_of_courtesy[start]).any(closes);
        }
        clause
    }

    /// The lengths of the wordings of courtesy that begin at `start`, as bits.
    fn courtesy_ends(&self, clause: &Clause<'_>, start: usize) -> u64 {
        self.candidates(clause, start)
            .filter(|wording| matches!(wording.says, Says::Courtesy | Says::Assent))
            .fold(0, |ends, wording| ends | wording.ends(clause, start))
    }

    fn candidates<'a>(&'a self, clause: &'a Clause<'_>, start: usize) -> impl Iterator<Item = &'a Wording> {
        let terms = clause.terms[start].iter();
        terms
            .flat_map(|&term| &self.beginning_with[term as usize])
            .map(|&number| &self.wordings[number as usize])
    }

    /// Whether one of these words is of `language`, and not of English. Other languages have borrowed English words, and
    /// what those say in a row is for English to say.
    fn are_of(&self, language: Language, words: &[Vec<Term>]) -> bool {
        let english = bit(Language::English);
        words.iter().any(|terms| {
            let languages = terms.iter().fold(0, |all, &term| all | self.languages[term as usize]);
            languages & bit(language) != 0 && languages & english == 0
        })
    }

    /// All wordings in a clause, each as far as it reaches.
    pub(super) fn find(&self, clause: &Clause<'_>) -> Vec<Found> {
        let mut found = Vec::new();
        for start in 0..clause.words.len() {
            for wording in self.candidates(clause, start) {
                if wording.after_courtesy && !clause.is_led[start] {
                    continue;
                }
                if let Some(length) = ones(wording.ends(clause, start)).last() {
                    let (says, language) = (wording.says, wording.language);
                    let end = start + length;
                    if language == Language::English || self.are_of(language, &clause.terms[start..end]) {
                        found.push(Found { says, language, start, end });
                    }
                }
            }
        }
        found
    }
}

impl Clause<'_> {
    /// Whether all of it is courtesy.
    pub(super) fn is_courtesy(&self) -> bool {
        self.is_closed[0]
    }
}

impl Wording {
    /// The lengths with which the wording stands at `start`, as bits.
    fn ends(&self, clause: &Clause<'_>, start: usize) -> u64 {
        let words = (clause.words.len() - start).min(SPAN_WORDS_MAX);
        let mut reached: u64 = 1;
        for element in &self.elements {
            reached = match element {
                Element::OneOf { entries, optional, repeated } => {
                    let step = |from| behind(entries, clause, start, from);
                    let mut next = step(reached);
                    if *repeated {
                        let mut newest = next;
                        while newest != 0 {
                            newest = step(newest) & !next;
                            next |= newest;
                        }
                    }
                    if *optional { next | reached } else { next }
                }
                Element::Gap { words_max } => (0..=*words_max).fold(0, |all, words| all | reached << words),
                Element::AnyWord => reached << 1,
                Element::End => ones(reached)
                    .filter(|place| clause.is_closed[start + place])
                    .fold(0, |all, place| all | 1 << place),
            };
            reached &= u64::MAX >> (SPAN_WORDS_MAX - words);
            if reached == 0 {
                break;
            }
        }
        reached
    }
}

/// The terms that a match may begin with: those of the first element, and of the next as long as one may be missing.
fn first_terms(elements: &[Element]) -> Option<Vec<Term>> {
    let mut terms = Vec::new();
    for element in elements {
        let Element::OneOf { entries, optional, .. } = element else { return None };
        terms.extend(entries.iter().map(|entry| entry[0]));
        if !optional {
            return Some(terms);
        }
    }
    None
}

/// The places behind one of `entries`, of those places from which it stands there.
fn behind(entries: &[Vec<Term>], clause: &Clause<'_>, start: usize, from: u64) -> u64 {
    let mut reached = 0;
    for place in ones(from) {
        for entry in entries {
            let end = place + entry.len();
            let words = clause.terms.get(start + place..start + end);
            let holds =
                |words: &[Vec<Term>]| words.iter().zip(entry).all(|(terms, term)| terms.contains(term));
            if end <= SPAN_WORDS_MAX && words.is_some_and(holds) {
                reached |= 1 << end;
            }
        }
    }
    reached
}

/// The places of the bits that are set, in ascending order.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (bits != 0).then(|| {
            let place = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            place
        })
    })
}

fn bit(language: Language) -> u32 {
    1 << language as u32
}

pub(super) fn is_number(word: &str) -> bool {
    word.chars().all(char::is_numeric)
}

/// The words of a folded text. Apostrophes go ("don't" is also written "dont") except behind the short words that
/// Romance languages tie to the next by one (`m'envoyer`).
pub(super) fn words_of(folded: &str) -> Vec<String> {
    const TIED: [&str; 10] = ["C", "D", "J", "L", "M", "N", "QU", "S", "T", "ALL"];
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = folded.chars().peekable();
    while let Some(character) = characters.next() {
        let is_tie = matches!(character, '\'' | '’' | '‘' | 'ʼ' | '´' | '`' | 'ʻ');
        let goes_on = characters.peek().is_some_and(|&next| is_of_word(next));
        if is_of_word(character) && !is_word_by_itself(character) {
            word.push(character);
        } else if !is_tie
            || !goes_on
            || TIED.contains(&word.as_str()) && characters.clone().nth(1).is_some_and(is_of_word)
        {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if is_word_by_itself(character) {
                words.push(character.into());
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
