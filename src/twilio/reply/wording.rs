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

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{
    language::Language,
    vocabulary::{Clause, ExpressionId, List, Vocabulary, bit, is_number},
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

impl Says {
    /// Whether it tells what is not the person's own.
    fn is_frame(self) -> bool {
        matches!(self, Says::Forwarded | Says::Signature | Says::SignOff | Says::Reaction)
    }

    fn is_courtesy(self) -> bool {
        matches!(self, Says::Courtesy | Says::Assent)
    }
}

/// All wordings of all languages.
///
/// There are thousands, and a clause shall not take longer to read for it: a wording is tried only at words that may
/// begin it, and only if the rarest of the lists that it needs besides has an expression somewhere in the clause.
#[derive(Debug, Default)]
pub(super) struct Wordings {
    vocabulary: Vocabulary,
    /// What stands around a person's words.
    frames: Group,
    courtesies: Group,
    /// All others.
    matters: Group,
}

/// Wordings that are looked for together.
#[derive(Debug, Default)]
struct Group {
    wordings: Vec<Wording>,
    /// For each word or beginning, the wordings that may begin with it.
    beginning_with: Vec<Vec<Candidate>>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// The number of the wording.
    wording: u32,
    /// Of the lists that it needs behind its beginning, if it does, the one with the fewest expressions.
    rarest: Option<List>,
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
    OneOf { list: List, optional: bool, repeated: bool },
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

/// What a clause says: the wordings in it, each as far as it reaches, in the order of their first words.
#[derive(Debug)]
pub(super) struct Findings {
    /// Those of courtesy and assent.
    pub(super) courtesies: Vec<Found>,
    /// All others.
    pub(super) matters: Vec<Found>,
    places: Vec<Place>,
}

/// A place in a clause: that of a word, or behind the last.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The lengths of the wordings of courtesy that begin here, as bits.
    courtesies: u64,
    /// Whether nothing but courtesy stands before it.
    is_led: bool,
    /// Whether nothing but courtesy and numbers stands behind it.
    is_closed: bool,
    /// The languages in which the word is part of a negation, as bits.
    negated_in: u32,
}

/// The classes of a language: lists that its patterns name.
pub(super) type Classes = HashMap<String, Vec<String>>;

/// Why a pattern cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wording \"{pattern}\": {fault}")]
pub(super) struct InvalidPattern {
    pattern: String,
    fault: &'static str,
}

const ANY_BEGINNING: &str = "any text could begin it";

impl Wordings {
    /// Adds the patterns of a language.
    pub(super) fn add_all(
        &mut self,
        language: Language,
        classes: &Classes,
        patterns: &BTreeMap<Says, Vec<String>>,
    ) -> Result<(), InvalidPattern> {
        let invalid = |text: &str, fault| InvalidPattern { pattern: text.to_owned(), fault };
        let mut expressions = HashMap::new();
        for (name, entries) in classes {
            let of_class = entries.iter().map(|entry| {
                let expression = self.vocabulary.expression(language, entry);
                expression.ok_or_else(|| invalid(entry, "it holds no word"))
            });
            expressions.insert(name.as_str(), of_class.collect::<Result<_, _>>()?);
        }
        for (&says, patterns) in patterns {
            for pattern in patterns {
                self.add(language, says, pattern, &expressions).map_err(|fault| invalid(pattern, fault))?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        language: Language,
        says: Says,
        pattern: &str,
        classes: &HashMap<&str, Vec<ExpressionId>>,
    ) -> Result<(), &'static str> {
        let (after_courtesy, rest) = match pattern.strip_prefix("^ ") {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        if (says.is_frame() || says.is_courtesy()) && (after_courtesy || rest.ends_with('$')) {
            return Err("it is looked for before courtesy is known");
        }
        let elements = rest.split(' ').map(|text| self.element(language, text, classes));
        let elements: Vec<(Element, Vec<ExpressionId>)> = elements.collect::<Result<_, _>>()?;
        // It begins with the first element that must be there, or with one before that may be.
        let needed = elements.iter().position(|(element, _)| element.needs().is_some());
        let (beginning, rest) = elements.split_at(needed.ok_or(ANY_BEGINNING)? + 1);
        if !beginning.iter().all(|(element, _)| matches!(element, Element::OneOf { .. })) {
            return Err(ANY_BEGINNING);
        }
        let first_words = beginning.iter().flat_map(|(_, expressions)| expressions);
        let first_words = first_words.map(|&one| self.vocabulary.first_word(one)).collect();
        let rarity = |(element, expressions): &(Element, Vec<_>)| Some((expressions.len(), element.needs()?));
        let rarest = rest.iter().filter_map(rarity).min().map(|(_, list)| list);
        let group = match says {
            _ if says.is_frame() => &mut self.frames,
            _ if says.is_courtesy() => &mut self.courtesies,
            _ => &mut self.matters,
        };
        let elements = elements.into_iter().map(|(element, _)| element).collect();
        group.add(Wording { says, language, after_courtesy, elements }, first_words, rarest);
        Ok(())
    }

    /// An element of a pattern, and the expressions of which it is one.
    fn element(
        &mut self,
        language: Language,
        text: &str,
        classes: &HashMap<&str, Vec<ExpressionId>>,
    ) -> Result<(Element, Vec<ExpressionId>), &'static str> {
        match text {
            ".." => {
                let is_by_characters =
                    matches!(language, Language::Chinese | Language::Japanese | Language::Korean);
                let words_max = if is_by_characters { GAP_CHARACTERS_MAX } else { GAP_WORDS_MAX };
                return Ok((Element::Gap { words_max }, Vec::new()));
            }
            "_" => return Ok((Element::AnyWord, Vec::new())),
            "$" => return Ok((Element::End, Vec::new())),
            _ => {}
        }
        let (alternatives, optional, repeated) = match (text.strip_suffix('?'), text.strip_suffix('+')) {
            (Some(text), _) => (text, true, false),
            (_, Some(text)) => (text, true, true),
            _ => (text, false, false),
        };
        let mut expressions = Vec::new();
        for alternative in alternatives.split('|') {
            match alternative.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
                Some(class) => {
                    expressions.extend(classes.get(class).ok_or("it names a class that is not there")?)
                }
                None => {
                    let entry = alternative.replace('_', " ");
                    expressions.push(self.vocabulary.expression(language, &entry).ok_or("it holds no word")?);
                }
            }
        }
        let list = self.vocabulary.list(&expressions);
        Ok((Element::OneOf { list, optional, repeated }, expressions))
    }

    /// To be called when the patterns of all languages are there.
    pub(super) fn complete(&mut self) {
        self.vocabulary.link();
    }

    /// Whether some wording holds this very word.
    pub(super) fn knows(&self, word: &str) -> bool {
        self.vocabulary.knows(word)
    }

    /// Looks the words of a clause up.
    pub(super) fn clause<'a>(&'a self, words: Vec<Cow<'a, str>>) -> Clause<'a> {
        self.vocabulary.clause(words)
    }

    /// Whether a clause as a whole is a frame that says `says`.
    pub(super) fn is_whole(&self, clause: &Clause<'_>, says: Says) -> bool {
        self.frames(clause, 0, says).any(|one| one.end == clause.words.len())
    }

    /// Where the first frame that says `says` begins.
    pub(super) fn first(&self, clause: &Clause<'_>, says: Says) -> Option<usize> {
        (0..clause.words.len()).find(|&start| self.frames(clause, start, says).next().is_some())
    }

    fn frames<'a>(
        &'a self,
        clause: &'a Clause<'_>,
        start: usize,
        says: Says,
    ) -> impl Iterator<Item = Found> + 'a {
        let wordings = self.frames.beginning(clause, start).filter(move |wording| wording.says == says);
        wordings.filter_map(move |wording| wording.found(clause, start, wording.ends(clause, &[], start)))
    }

    /// What a clause says.
    pub(super) fn findings(&self, clause: &Clause<'_>) -> Findings {
        let end = clause.words.len();
        let mut places = vec![Place::default(); end + 1];
        let mut courtesies = Vec::new();
        places[0].is_led = true;
        for start in 0..end {
            let mut lengths = 0;
            for wording in self.courtesies.beginning(clause, start) {
                let ends = wording.ends(clause, &[], start);
                lengths |= ends;
                courtesies.extend(wording.found(clause, start, ends));
            }
            places[start].courtesies = lengths;
            if places[start].is_led {
                ones(lengths).for_each(|length| places[start + length].is_led = true);
            }
        }
        places[end].is_closed = true;
        for start in (0..end).rev() {
            let mut lengths = ones(places[start].courtesies);
            places[start].is_closed = lengths.any(|length| places[start + length].is_closed)
                || places[start + 1].is_closed && is_number(&clause.words[start]);
        }
        let mut matters = Vec::new();
        for start in 0..end {
            let wordings = self.matters.beginning(clause, start);
            let is_led = places[start].is_led;
            for wording in wordings.filter(|wording| is_led || !wording.after_courtesy) {
                let found = wording.found(clause, start, wording.ends(clause, &places, start));
                if let Some(Found { says: Says::Negation, language, end, .. }) = found {
                    places[start..end].iter_mut().for_each(|place| place.negated_in |= bit(language));
                }
                matters.extend(found);
            }
        }
        Findings { courtesies, matters, places }
    }
}

impl Findings {
    /// Whether all of the clause is courtesy, and numbers.
    pub(super) fn is_courtesy(&self) -> bool {
        self.places[0].is_closed
    }

    /// The first wording that says `says`.
    pub(super) fn first(&self, says: Says) -> Option<&Found> {
        self.matters.iter().find(|one| one.says == says)
    }

    /// The first wording that says `says` and does not begin inside a negation of its language.
    pub(super) fn first_unnegated(&self, says: Says) -> Option<&Found> {
        let is_negated = |one: &Found| self.places[one.start].negated_in & bit(one.language) != 0;
        self.matters.iter().find(|one| one.says == says && !is_negated(one))
    }

    /// The courtesies that begin at a word.
    pub(super) fn courtesies_at(&self, start: usize) -> impl Iterator<Item = &Found> {
        let first = self.courtesies.partition_point(|one| one.start < start);
        self.courtesies[first..].iter().take_while(move |one| one.start == start)
    }
}

impl Group {
    fn add(&mut self, wording: Wording, first_words: BTreeSet<ExpressionId>, rarest: Option<List>) {
        let number = u32::try_from(self.wordings.len()).expect("wordings are few");
        self.wordings.push(wording);
        for word in first_words.into_iter().map(|word| word as usize) {
            if self.beginning_with.len() <= word {
                self.beginning_with.resize_with(word + 1, Vec::new);
            }
            self.beginning_with[word].push(Candidate { wording: number, rarest });
        }
    }

    /// The wordings that may begin at a word of the clause.
    fn beginning<'a>(&'a self, clause: &'a Clause<'_>, start: usize) -> impl Iterator<Item = &'a Wording> {
        let candidates =
            clause.counts_as(start).iter().filter_map(|&word| self.beginning_with.get(word as usize));
        let candidates =
            candidates.flatten().filter(|candidate| candidate.rarest.is_none_or(|list| clause.holds(list)));
        candidates.map(|candidate| &self.wordings[candidate.wording as usize])
    }
}

impl Element {
    /// The list of which an expression must stand there.
    fn needs(&self) -> Option<List> {
        match self {
            Self::OneOf { list, optional: false, .. } => Some(*list),
            _ => None,
        }
    }
}

impl Wording {
    /// The wording as it was found with these lengths, as bits: as far as it reaches.
    fn found(&self, clause: &Clause<'_>, start: usize, ends: u64) -> Option<Found> {
        let end = start + ends.checked_ilog2()? as usize;
        let found = Found { says: self.says, language: self.language, start, end };
        clause.is_of(self.language, start..end).then_some(found)
    }

    /// The lengths with which the wording stands at `start`, as bits.
    fn ends(&self, clause: &Clause<'_>, places: &[Place], start: usize) -> u64 {
        let words = (clause.words.len() - start).min(SPAN_WORDS_MAX);
        let within = u64::MAX >> (SPAN_WORDS_MAX - words);
        let mut reached: u64 = 1;
        for element in &self.elements {
            reached = within
                & match *element {
                    Element::OneOf { list, optional, repeated } => {
                        let behind =
                            |place| clause.lengths(list, start + place).map(move |length| place + length);
                        let step = |from| bits(ones(from).flat_map(behind));
                        let mut next = step(reached);
                        let mut newest = next;
                        while repeated && newest != 0 {
                            newest = step(newest) & !next;
                            next |= newest;
                        }
                        if optional { next | reached } else { next }
                    }
                    Element::Gap { words_max } => {
                        (0..=words_max).fold(0, |all, words| all | reached << words)
                    }
                    Element::AnyWord => reached << 1,
                    Element::End => bits(ones(reached).filter(|place| places[start + place].is_closed)),
                };
            if reached == 0 {
                break;
            }
        }
        reached
    }
}

/// The number in which these bits are set.
fn bits(places: impl Iterator<Item = usize>) -> u64 {
    places.filter(|&place| place <= SPAN_WORDS_MAX).fold(0, |all, place| all | 1 << place)
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
