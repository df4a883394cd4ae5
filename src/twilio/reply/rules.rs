//! The rules by which a reply is read, in their order.

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use super::{
    clauses::{Part, Unquoted, cut_signature, parts, unquoted},
    fold::{as_latin, fold},
    language::Language,
    lists::LANGUAGES,
    reading::{JOIN, Keyword, KeywordKind, Meaning, Reading, Rule, TWILIO_ACTS_ON},
    vocabulary::{Clause, is_number, words_of},
    wording::{Findings, Found, Says, Wordings},
};
use crate::twilio::{Channel, IncomingMessage};

/// In a longer text a word of fewer letters stands for too much else; a Chinese character is enough.
const LETTERS_IN_TEXT_MIN: usize = 3;

/// The longest keyword has six words, or as many characters of a script without blanks.
const KEYWORD_WORDS_MAX: usize = 16;

/// A keyword written with blanks at the wrong places has at least so many letters; shorter ones are found in too much.
const REJOINED_LETTERS_MIN: usize = 4;

/// A keyword with a slip of the thumb is looked for in so many words.
const SLIP_WORDS_MAX: usize = 3;

/// From so many letters on a keyword is recognized with any one letter wrong.
const LONG_KEYWORD_LETTERS: usize = 6;

const STOP: &str = "STOP";

/// How a word of the lists is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listed {
    /// It is a keyword, beside courtesy too.
    Plain(KeywordKind),
    /// It is a keyword alone, and doubtful beside courtesy.
    Alone(KeywordKind),
    /// It may be a request.
    Doubtful,
}

#[derive(Debug, Clone)]
struct Word {
    listed: Listed,
    /// As it stands in its list, in upper case.
    word: String,
    /// The languages that list it; none for those of the settings.
    languages: Vec<Language>,
}

impl Word {
    /// Of several languages, the first has it.
    fn language(&self) -> Option<Language> {
        self.languages.first().copied()
    }
}

/// Reads replies.
#[derive(Debug, Clone)]
pub struct ReplyReader {
    words: HashMap<String, Word>,
    /// How many words the longest of them has that begins with a word.
    longest_from: HashMap<String, usize>,
    /// Opt-out words in Latin letters by which slips are recognized.
    slip_targets: Vec<(Vec<char>, Option<Language>)>,
    no_slips: HashSet<String>,
    join_codes: HashSet<String>,
}

/// Words to add to the lists. They are folded as replies are, so case, accents and punctuation do not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FurtherWords {
    /// They opt out.
    pub opt_out: Vec<String>,
    /// They opt in.
    pub opt_in: Vec<String>,
    /// They ask for help.
    pub help: Vec<String>,
    /// JOIN with one of them opts in.
    pub join_codes: Vec<String>,
}

/// Why a word can not be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWord {
    /// There is nothing in it to recognize.
    #[error("the keyword \"{0}\" holds no letter or digit")]
    Empty(String),
    /// It is in another list already.
    #[error("the keyword \"{0}\" already asks for something else")]
    Contradiction(String),
}

const OPT_OUT: KeywordKind = KeywordKind::OptOut { all: false };
const OPT_OUT_ALL: KeywordKind = KeywordKind::OptOut { all: true };
const OPT_IN: KeywordKind = KeywordKind::OptIn { only_if_opted_out: false };
const OPT_IN_IF_OUT: KeywordKind = KeywordKind::OptIn { only_if_opted_out: true };

impl Default for ReplyReader {
    fn default() -> Self {
        let mut reader = Self {
            words: HashMap::new(),
            longest_from: HashMap::new(),
            slip_targets: Vec::new(),
            no_slips: HashSet::new(),
            join_codes: HashSet::new(),
        };
        for (language, listed) in &LANGUAGES.keywords {
            for (words, as_what) in [
                (&listed.opt_out, Listed::Plain(OPT_OUT)),
                (&listed.opt_out_alone, Listed::Alone(OPT_OUT)),
                (&listed.opt_out_all, Listed::Plain(OPT_OUT_ALL)),
                (&listed.opt_in, Listed::Plain(OPT_IN)),
                (&listed.opt_in_if_opted_out, Listed::Plain(OPT_IN_IF_OUT)),
                (&listed.help, Listed::Plain(KeywordKind::Help)),
                (&listed.doubtful, Listed::Doubtful),
            ] {
                for word in words {
                    reader.insert(word, as_what.clone(), Some(*language));
                }
            }
            reader.no_slips.extend(listed.no_slips.iter().map(|word| key(word).replace(' ', "")));
        }
        for (language, listed) in &LANGUAGES.keywords {
            for word in &listed.also {
                let known = reader.words.get_mut(&key(word)).expect("another language lists the word");
                known.languages.push(*language);
            }
        }
        reader
    }
}

impl ReplyReader {
    /// The built-in lists and `further` words. Twilio is taken not to act on those that are not built in.
    pub fn with_further(further: &FurtherWords) -> Result<Self, InvalidWord> {
        let mut reader = Self::default();
        for (words, kind) in
            [(&further.opt_out, OPT_OUT), (&further.opt_in, OPT_IN), (&further.help, KeywordKind::Help)]
        {
            for word in words {
                reader.add(word, kind)?;
            }
        }
        for code in &further.join_codes {
            let code = key(code);
            if code.is_empty() {
                return Err(InvalidWord::Empty(code));
            }
            reader.join_codes.insert(code);
        }
        Ok(reader)
    }

    fn add(&mut self, text: &str, kind: KeywordKind) -> Result<(), InvalidWord> {
        let word = key(text);
        if word.is_empty() {
            return Err(InvalidWord::Empty(text.to_owned()));
        }
        match self.words.get(&word).map(|known| &known.listed) {
            // A word that is in the same list already stays as it is.
            Some(Listed::Plain(known) | Listed::Alone(known)) => {
                let is_same = std::mem::discriminant(known) == std::mem::discriminant(&kind);
                is_same.then_some(()).ok_or_else(|| InvalidWord::Contradiction(text.to_owned()))
            }
            Some(Listed::Doubtful) | None => {
                self.insert(text, Listed::Plain(kind), None);
                Ok(())
            }
        }
    }

    /// Adds a word. Of several languages the first has it, but one that is sure goes before one that doubts.
    fn insert(&mut self, text: &str, listed: Listed, language: Option<Language>) {
        let key = key(text);
        let is_opt_out = matches!(listed, Listed::Plain(KeywordKind::OptOut { .. }) | Listed::Alone(_));
        let letters: Vec<char> = key.chars().collect();
        if is_opt_out && letters.len() >= REJOINED_LETTERS_MIN && letters.iter().all(char::is_ascii_uppercase)
        {
            self.slip_targets.push((letters, language));
        }
        let first = key.split(' ').next().unwrap_or_default();
        let longest = self.longest_from.entry(first.to_owned()).or_default();
        *longest = (*longest).max(key.split(' ').count());
        let word = Word { listed, word: text.trim().to_uppercase(), languages: Vec::from_iter(language) };
        match self.words.get_mut(&key) {
            Some(known) if known.listed == word.listed => known.languages.extend(language),
            Some(known) if known.listed != Listed::Doubtful || word.listed == Listed::Doubtful => {}
            _ => drop(self.words.insert(key, word)),
        }
    }

    /// The language that a person wrote in, as far as the reply tells it. A keyword of several languages is of `expected`,
    /// if that is one of them. STOP, START, HELP and JOIN are English words and used by people of all languages, who also
    /// mistype them and put names beside them: they tell nothing.
    pub fn written_in(&self, reading: &Reading, expected: Language) -> Option<Language> {
        let is_universal = match (&reading.meaning, reading.rule) {
            (Meaning::Keyword(keyword), _) => {
                let word = self.words.get(&key(&keyword.word));
                if word.is_some_and(|word| word.languages.contains(&expected)) {
                    return Some(expected);
                }
                keyword.is_universal()
            }
            (_, Rule::Slip | Rule::KeywordInText | Rule::KeywordAndName) => true,
            _ => false,
        };
        reading.language.filter(|language| *language != Language::English || !is_universal)
    }

    /// Reads an incoming message: its text, and if that says nothing, the button that was pressed.
    pub fn read_message(&self, message: &IncomingMessage) -> Reading {
        let texts = [Some(&message.body), message.button_text.as_ref(), message.button_payload.as_ref()];
        let readings = texts.into_iter().flatten().map(|text| self.read(text, message.channel));
        let says_something = |reading: &Reading| reading.meaning != Meaning::Ordinary;
        let mut readings = readings.peekable();
        let first = readings.peek().cloned();
        readings.find(says_something).or(first).unwrap_or_else(|| ordinary(Rule::Nothing))
    }

    /// Reads a reply that came over `channel`; of its text, as much as Twilio delivers.
    pub fn read(&self, body: &str, channel: Channel) -> Reading {
        let wordings = &LANGUAGES.wordings;
        let folded = fold(body);
        let whole = parts(&folded, wordings);
        if let Some(reading) = self.keyword(&whole, channel) {
            return reading;
        }
        let own = match unquoted(&folded, wordings) {
            Unquoted::Own(own) => own,
            Unquoted::Reaction => return ordinary(Rule::Reaction),
            Unquoted::Forwarded => return ordinary(Rule::Forwarded),
        };
        let mut own_parts = match &own {
            Cow::Borrowed(_) => whole,
            Cow::Owned(own) => parts(own, wordings),
        };
        cut_signature(&mut own_parts, wordings);
        if let Some(reading) = self.keyword(&own_parts, channel) {
            return cut(reading);
        }
        self.join_code(&own)
            .or_else(|| self.slip(&own, &own_parts))
            .unwrap_or_else(|| self.clauses(&own_parts, wordings))
    }

    /// The whole reply is a keyword.
    fn keyword(&self, parts: &[Part<'_>], channel: Channel) -> Option<Reading> {
        let words = all_words(parts, KEYWORD_WORDS_MAX)?;
        let spaced = words.join(" ");
        let written = self.word(&spaced);
        let found = written.or_else(|| self.rejoined(&words))?;
        let kind = match found.listed {
            Listed::Plain(kind) | Listed::Alone(kind) => kind,
            Listed::Doubtful => return Some(reading(Meaning::Review, Rule::DoubtfulWord, found.language())),
        };
        if kind == OPT_IN_IF_OUT && channel == Channel::Whatsapp {
            return Some(ordinary(Rule::Nothing));
        }
        let word = found.word.clone();
        let twilio_acts = written.is_some() && TWILIO_ACTS_ON.contains(&word.as_str());
        Some(reading(Meaning::Keyword(Keyword { kind, word, twilio_acts }), Rule::Keyword, found.language()))
    }

    fn word(&self, word: &str) -> Option<&Word> {
        self.words.get(word).or_else(|| self.words.get(&as_latin(word)?))
    }

    /// The longest opt-out or doubtful word with which these words of a text begin, and how many of them it is.
    fn opt_out_before(&self, words: &[Cow<'_, str>]) -> Option<(usize, &Word)> {
        let first = words.first()?;
        let longest_from = |word: &str| self.longest_from.get(word).copied();
        let longest = longest_from(first).max(as_latin(first).and_then(|latin| longest_from(&latin)))?;
        (1..=longest.min(KEYWORD_WORDS_MAX).min(words.len())).rev().find_map(|length| {
            let word = words[..length].join(" ");
            let listed = self.word(&word).filter(|_| stands_out(&word))?;
            let asks_to_stop = matches!(
                listed.listed,
                Listed::Doubtful | Listed::Alone(_) | Listed::Plain(KeywordKind::OptOut { .. })
            );
            asks_to_stop.then_some((length, listed))
        })
    }

    /// A keyword whose letters were spelled, or parted at the wrong place.
    fn rejoined(&self, words: &[&str]) -> Option<&Word> {
        let joined = words.concat();
        let found = self.word(&joined)?;
        let is_opt_out = matches!(found.listed, Listed::Plain(KeywordKind::OptOut { .. }));
        (is_opt_out && joined.chars().count() >= REJOINED_LETTERS_MIN).then_some(found)
    }

    /// JOIN with a code of the sandbox's form, two words with a hyphen between them, or one of the settings.
    fn join_code(&self, own: &str) -> Option<Reading> {
        let is_decoration = |character: char| !character.is_alphanumeric();
        let (first, code) = own.trim_matches(is_decoration).split_once(char::is_whitespace)?;
        let is_word = |word: &str| !word.is_empty() && word.chars().all(char::is_alphanumeric);
        let has_the_form =
            || code.trim().split_once('-').is_some_and(|(one, other)| is_word(one) && is_word(other));
        (first == JOIN && (has_the_form() || self.join_codes.contains(&words_of(code).join(" ")))).then(
            || {
                let keyword = Keyword { kind: OPT_IN, word: JOIN.into(), twilio_acts: false };
                reading(Meaning::Keyword(keyword), Rule::JoinCode, Some(Language::English))
            },
        )
    }

    /// The whole reply is a keyword with a slip of the thumb.
    fn slip(&self, own: &str, parts: &[Part<'_>]) -> Option<Reading> {
        let joined = all_words(parts, SLIP_WORDS_MAX)?.concat();
        let slip = |meaning, language| Some(reading(meaning, Rule::Slip, language));
        let plain_opt_out = |word: &str| {
            self.words.get(word).filter(|found| {
                matches!(found.listed, Listed::Plain(KeywordKind::OptOut { .. }) | Listed::Alone(_))
            })
        };
        let read_as_letters = words_of(&letters_for_digits(own)).concat();
        let halves = joined.split_at_checked(joined.len() / 2);
        let said_twice = halves.filter(|(one, other)| one == other).map_or("", |(one, _)| one);
        let drawn_out = without_drawn_out_letters(&joined);
        let without_number = joined.trim_end_matches(char::is_numeric);
        for intended in [&read_as_letters, without_number, said_twice, &drawn_out] {
            if let Some(found) = plain_opt_out(intended) {
                return slip(Meaning::Phrase, found.language());
            }
        }
        if self.no_slips.contains(&joined)
            || self.words.contains_key(&joined)
            || LANGUAGES.wordings.knows(&joined)
        {
            return None;
        }
        let letters: Vec<char> = joined.chars().collect();
        self.slip_targets.iter().find_map(|(target, language)| {
            let is_long = target.len() >= LONG_KEYWORD_LETTERS;
            match one_edit(&letters, target)? {
                Edit::Light => slip(Meaning::Phrase, *language),
                Edit::OtherLetter if is_long => slip(Meaning::Phrase, *language),
                Edit::OtherLetter if target.iter().copied().eq(STOP.chars()) => {
                    slip(Meaning::Review, *language)
                }
                Edit::OtherLetter => None,
            }
        })
    }

    /// What the clauses of a reply say together.
    fn clauses(&self, parts: &[Part<'_>], wordings: &Wordings) -> Reading {
        let outcomes: Vec<Outcome> = parts.iter().map(|part| self.clause(&part.clause, wordings)).collect();
        let first = |is_it: fn(&Outcome) -> bool| outcomes.iter().position(is_it);
        let is_courtesy = |outcome: &Outcome| matches!(outcome, Outcome::Courtesy | Outcome::Keywords { .. });
        let condition = first(|outcome| matches!(outcome, Outcome::Condition(_)));
        let language_of = |number: usize| match outcomes[number] {
            Outcome::Request(language) | Outcome::Condition(language) => Some(language),
            _ => None,
        };

        if let Some(request) = first(|outcome| matches!(outcome, Outcome::Request(_))) {
            return match condition.filter(|&condition| condition < request) {
                Some(_) => reading(Meaning::Review, Rule::Condition, language_of(request)),
                None => reading(Meaning::Phrase, Rule::Request, language_of(request)),
            };
        }
        if let Some(&Outcome::Weakened(rule, language)) =
            outcomes.iter().find(|outcome| matches!(outcome, Outcome::Weakened(..)))
        {
            return reading(Meaning::Review, rule, Some(language));
        }
        let is_alone = outcomes.iter().all(is_courtesy);
        for (number, outcome) in outcomes.iter().enumerate() {
            let &Outcome::Keywords { language, certainty, with_name } = outcome else { continue };
            let begins =
                number == 0 || parts[number - 1].ends_sentence || outcomes[..number].iter().all(is_courtesy);
            let is_last = number + 1 == parts.len();
            let is_sentence = begins && parts[number].ends_sentence || is_last;
            let rule = if with_name { Rule::KeywordAndName } else { Rule::KeywordInText };
            return match certainty {
                Certainty::Clear if condition.is_some() => {
                    reading(Meaning::Review, Rule::Condition, language)
                }
                Certainty::Clear if is_alone || is_sentence && !with_name => {
                    reading(Meaning::Phrase, rule, language)
                }
                _ if with_name => continue,
                Certainty::Doubtful if !is_alone => continue,
                Certainty::Clear | Certainty::AfterAssent => reading(Meaning::Review, rule, language),
                Certainty::Doubtful => reading(Meaning::Review, Rule::DoubtfulWord, language),
            };
        }
        if let Some(&Outcome::Review(rule, language)) =
            outcomes.iter().find(|outcome| matches!(outcome, Outcome::Review(..)))
        {
            return reading(Meaning::Review, rule, Some(language));
        }
        match outcomes.iter().find(|outcome| matches!(outcome, Outcome::Negated(_))) {
            Some(&Outcome::Negated(language)) => reading(Meaning::Ordinary, Rule::Negation, Some(language)),
            _ => ordinary(Rule::Nothing),
        }
    }

    fn clause(&self, clause: &Clause<'_>, wordings: &Wordings) -> Outcome {
        let findings = wordings.findings(clause);
        if let Some(request) = findings.first_unnegated(Says::Request) {
            let beside = |says: Says| {
                findings.matters.iter().find(|one| one.says == says && one.language == request.language)
            };
            let is_conditional = beside(Says::Condition).is_some_and(|one| one.start < request.start);
            return if beside(Says::Question).is_some() {
                Outcome::Weakened(Rule::Question, request.language)
            } else if beside(Says::Partial).is_some() {
                Outcome::Weakened(Rule::Partial, request.language)
            } else if is_conditional {
                Outcome::Weakened(Rule::Condition, request.language)
            } else {
                Outcome::Request(request.language)
            };
        }
        if let Some(keywords) = self.keywords_in(clause, &findings, wordings) {
            return keywords;
        }
        for (says, rule) in [
            (Says::Question, Rule::Question),
            (Says::WrongNumber, Rule::WrongNumber),
            (Says::LegalThreat, Rule::LegalThreat),
            (Says::Dismissal, Rule::Dismissal),
        ] {
            if let Some(one) = findings.first_unnegated(says) {
                return Outcome::Review(rule, one.language);
            }
        }
        if let Some(condition) = findings.first(Says::Condition) {
            Outcome::Condition(condition.language)
        } else if findings.is_courtesy() {
            Outcome::Courtesy
        } else if let Some(negation) = findings.first(Says::Negation) {
            Outcome::Negated(negation.language)
        } else {
            Outcome::Other
        }
    }

    /// The clause is made of keywords, courtesy and numbers behind them; or of STOP and a name.
    fn keywords_in(&self, clause: &Clause<'_>, findings: &Findings, wordings: &Wordings) -> Option<Outcome> {
        let words = &clause.words;
        let mut language = None;
        let (mut opt_outs, mut everyday, mut doubtful, mut names) = (0, 0, 0, 0);
        let mut after_assent = false;
        let mut place = 0;
        while place < words.len() {
            if let Some((length, word)) = self.opt_out_before(&words[place..]) {
                match word.listed {
                    Listed::Plain(_) => opt_outs += 1,
                    Listed::Alone(_) => everyday += 1,
                    Listed::Doubtful => doubtful += 1,
                }
                language = language.or(word.language());
                place += length;
                continue;
            }
            let seen = opt_outs + everyday + doubtful;
            if let Some(one) = findings.courtesies_at(place).max_by_key(|one| one.end) {
                after_assent |= one.says == Says::Assent && seen == 0;
                place = one.end;
            } else if opt_outs > 0 && is_number(&words[place]) {
                place += 1;
            } else if place > 0 && words[place - 1] == STOP && names == 0 && is_name(&words[place], wordings)
            {
                names += 1;
                place += 1;
            } else {
                return None;
            }
        }
        let certainty = match (opt_outs, everyday, doubtful) {
            (0, 0, 0) => return None,
            _ if after_assent => Certainty::AfterAssent,
            (0, 0, _) | (0, 1, 0) => Certainty::Doubtful,
            _ => Certainty::Clear,
        };
        // "STOP aub": the word is everyone's, and the courtesy tells the language.
        if language == Some(Language::English) {
            let courtesies = || findings.courtesies.iter().filter(|one| one.says == Says::Courtesy);
            let is_english = courtesies().any(|one| one.language == Language::English);
            language = courtesies().next().filter(|_| !is_english).map(|one| one.language).or(language);
        }
        let is_negation = |one: &Found| one.says == Says::Negation && Some(one.language) == language;
        let is_negated = findings.matters.iter().any(is_negation);
        (!is_negated).then_some(Outcome::Keywords { language, certainty, with_name: names > 0 })
    }
}

/// What a clause says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Request(Language),
    /// A request that a question, a condition or a limit takes back in part.
    Weakened(Rule, Language),
    Keywords {
        language: Option<Language>,
        certainty: Certainty,
        with_name: bool,
    },
    Review(Rule, Language),
    Condition(Language),
    Negated(Language),
    Courtesy,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Clear,
    /// "OK stop" may answer a question of ours.
    AfterAssent,
    Doubtful,
}

fn reading(meaning: Meaning, rule: Rule, language: Option<Language>) -> Reading {
    Reading { meaning, rule, language }
}

fn ordinary(rule: Rule) -> Reading {
    reading(Meaning::Ordinary, rule, None)
}

/// The words of a reply, if there are any, and no more than `words_max`.
fn all_words<'a>(parts: &'a [Part<'_>], words_max: usize) -> Option<Vec<&'a str>> {
    let words = parts.iter().flat_map(|part| &part.clause.words).map(AsRef::as_ref);
    let words: Vec<&str> = words.take(words_max + 1).collect();
    (1..=words_max).contains(&words.len()).then_some(words)
}

/// Whether a keyword is long enough to be looked for in a text.
fn stands_out(word: &str) -> bool {
    !word.is_ascii() || word.len() >= LETTERS_IN_TEXT_MIN
}

/// The reading of a keyword that was not the whole message: Twilio does not see it.
fn cut(mut reading: Reading) -> Reading {
    if let Meaning::Keyword(keyword) = &mut reading.meaning {
        keyword.twilio_acts = false;
    }
    reading
}

/// The form in which words of the lists are compared.
fn key(text: &str) -> String {
    words_of(&fold(text)).join(" ")
}

/// Whether a word behind STOP may name a sender. What somebody does is none ("stop laughing"), nor is a word of which we
/// know another use.
fn is_name(word: &str, wordings: &Wordings) -> bool {
    word.chars().count() > 1 && !word.ends_with("ING") && !is_number(word) && !wordings.knows(word)
}

/// A text with the letters for which people write digits and signs, as in `5TOP` or `$TOP`.
fn letters_for_digits(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '0' => 'O',
            '1' => 'I',
            '3' => 'E',
            '4' | '@' => 'A',
            '5' | '$' => 'S',
            other => other,
        })
        .collect()
}

/// A word with each letter once that was typed three times or more, as in `STOPPPP`.
fn without_drawn_out_letters(word: &str) -> String {
    let letters: Vec<char> = word.chars().collect();
    let runs = letters.chunk_by(|one, other| one == other);
    runs.flat_map(|run| if run.len() < 3 { run } else { &run[..1] }).collect()
}

/// How two words differ.
enum Edit {
    /// Two letters changed places, one was typed twice, or one is missing.
    Light,
    /// A letter is another, or one too many.
    OtherLetter,
}

/// How `typed` differs from `target`, if it does by one step.
fn one_edit(typed: &[char], target: &[char]) -> Option<Edit> {
    if typed.len().abs_diff(target.len()) > 1 {
        return None;
    }
    let same_before = typed.iter().zip(target).take_while(|(one, other)| one == other).count();
    let (typed_rest, target_rest) = (&typed[same_before..], &target[same_before..]);
    let same_behind =
        typed_rest.iter().rev().zip(target_rest.iter().rev()).take_while(|(one, other)| one == other).count();
    let typed_rest = &typed_rest[..typed_rest.len() - same_behind];
    let target_rest = &target_rest[..target_rest.len() - same_behind];
    match (typed_rest, target_rest) {
        ([], [_]) => Some(Edit::Light),
        ([one, other], [first, second]) if one == second && other == first => Some(Edit::Light),
        ([extra], []) if same_before > 0 && typed[same_before - 1] == *extra => Some(Edit::Light),
        ([_], []) | ([_], [_]) => Some(Edit::OtherLetter),
        _ => None,
    }
}
