//! The words and expressions that wordings are made of, and which of them stand in a clause.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use super::{
    fold::{fold, is_of_word, is_word_by_itself},
    language::Language,
};

/// The number of an expression.
pub(super) type ExpressionId = u32;

/// The number of a list of expressions of which one is wanted, as in `<messages>|<this>`.
pub(super) type List = u32;

/// The words and expressions of all languages.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    words: HashMap<String, ExpressionId>,
    /// The beginnings of words, in a pattern with a star behind them.
    beginnings: HashMap<String, ExpressionId>,
    beginning_bytes_max: usize,
    expressions: Vec<Expression>,
    lists: HashMap<Vec<ExpressionId>, List>,
}

/// A word, the beginning of words, or several of them in a row.
#[derive(Debug, Default)]
struct Expression {
    /// Its first word, or the beginning of it.
    first_word: ExpressionId,
    /// The lists that hold it, in ascending order.
    lists: Vec<List>,
    /// Each word or beginning that can follow, and what it makes of this expression.
    longer: Vec<(ExpressionId, ExpressionId)>,
    /// What a word counts as: this word, and all that it begins with.
    counts_as: Vec<ExpressionId>,
    /// The languages whose wordings hold it, as bits.
    languages: u32,
}

/// A clause whose words were looked up.
#[derive(Debug)]
pub(super) struct Clause<'a> {
    pub(super) words: Vec<Cow<'a, str>>,
    known: Vec<Known<'a>>,
    /// The expressions of some list that stand in the clause, in the order of their first words.
    standing: Vec<Standing<'a>>,
    /// The lists of all of them, as bits.
    lists: Vec<u64>,
}

/// What is known of a word of a clause.
#[derive(Debug)]
struct Known<'a> {
    /// The word itself, or the longest beginning of it that wordings hold.
    word: Option<&'a Expression>,
    /// How many expressions begin in the clause with this word or before it.
    standing: usize,
}

/// An expression that stands in a clause.
#[derive(Debug)]
struct Standing<'a> {
    /// How many words it has.
    words: usize,
    lists: &'a [List],
}

impl Vocabulary {
    /// The expression that an entry such as `unsubscrib*` or `mailing list` stands for; none if it holds no word.
    pub(super) fn expression(&mut self, language: Language, entry: &str) -> Option<ExpressionId> {
        let mut expression = None;
        for part in entry.split(' ') {
            let (text, is_beginning) = match part.strip_suffix('*') {
                Some(beginning) => (beginning, true),
                None => (part, false),
            };
            let folded = fold(text);
            let words = words_of(&folded);
            for (place, word) in words.iter().enumerate() {
                // Of several words in one the beginning is all but the last: `d'arret*`.
                let single = self.single(word, is_beginning && place + 1 == words.len());
                self.expressions[single as usize].languages |= bit(language);
                expression = Some(expression.map_or(single, |shorter| self.longer(shorter, single)));
            }
        }
        expression
    }

    fn single(&mut self, word: &str, is_beginning: bool) -> ExpressionId {
        // In scripts without blanks every character is a word, and a beginning is the character itself.
        let is_beginning = is_beginning && !word.chars().all(is_word_by_itself);
        if is_beginning {
            self.beginning_bytes_max = self.beginning_bytes_max.max(word.len());
        }
        let next = self.next();
        let singles = if is_beginning { &mut self.beginnings } else { &mut self.words };
        let single = *singles.entry(word.to_owned()).or_insert(next);
        if single == next {
            self.expressions.push(Expression { first_word: single, ..Expression::default() });
        }
        single
    }

    fn longer(&mut self, shorter: ExpressionId, single: ExpressionId) -> ExpressionId {
        let known = self.expressions[shorter as usize].longer.iter().find(|(next, _)| *next == single);
        if let Some(&(_, longer)) = known {
            return longer;
        }
        let longer = self.next();
        let first_word = self.first_word(shorter);
        self.expressions[shorter as usize].longer.push((single, longer));
        self.expressions.push(Expression { first_word, ..Expression::default() });
        longer
    }

    fn next(&self) -> ExpressionId {
        ExpressionId::try_from(self.expressions.len()).expect("expressions are few")
    }

    /// The first word of an expression, or the beginning of it.
    pub(super) fn first_word(&self, expression: ExpressionId) -> ExpressionId {
        self.expressions[expression as usize].first_word
    }

    /// The list of these expressions.
    pub(super) fn list(&mut self, expressions: &[ExpressionId]) -> List {
        let mut expressions = expressions.to_vec();
        expressions.sort_unstable();
        expressions.dedup();
        let next = u32::try_from(self.lists.len()).expect("lists are few");
        let list = *self.lists.entry(expressions.clone()).or_insert(next);
        if list == next {
            expressions.iter().for_each(|&one| self.expressions[one as usize].lists.push(list));
        }
        list
    }

    /// Notes what each word begins with; to be called when all words are known.
    pub(super) fn link(&mut self) {
        let begins_with = |text: &str| -> Vec<ExpressionId> {
            (1..=text.len()).filter_map(|end| self.beginnings.get(text.get(..end)?)).copied().collect()
        };
        let words = self.words.iter().map(|(word, &id)| (id, [vec![id], begins_with(word)].concat()));
        let beginnings = self.beginnings.iter().map(|(text, &id)| (id, begins_with(text)));
        for (id, counts_as) in words.chain(beginnings) {
            let languages = |all, &one: &ExpressionId| all | self.expressions[one as usize].languages;
            self.expressions[id as usize].languages = counts_as.iter().fold(0, languages);
            self.expressions[id as usize].counts_as = counts_as;
        }
    }

    /// Whether some wording holds this very word.
    pub(super) fn knows(&self, word: &str) -> bool {
        self.words.contains_key(word)
    }

    /// The word, or the longest beginning of it that wordings hold.
    fn look_up(&self, word: &str) -> Option<&Expression> {
        let longest_beginning = || {
            let ends = (1..=self.beginning_bytes_max.min(word.len())).rev();
            ends.filter_map(|end| word.get(..end)).find_map(|beginning| self.beginnings.get(beginning))
        };
        let id = self.words.get(word).or_else(longest_beginning)?;
        Some(&self.expressions[*id as usize])
    }

    /// Looks the words of a clause up.
    pub(super) fn clause<'a>(&'a self, words: Vec<Cow<'a, str>>) -> Clause<'a> {
        let known = words.iter().map(|word| Known { word: self.look_up(word), standing: 0 }).collect();
        let lists = vec![0; self.lists.len().div_ceil(64)];
        let mut clause = Clause { words, known, standing: Vec::new(), lists };
        for start in 0..clause.words.len() {
            for &single in clause.counts_as(start) {
                self.note(&mut clause, start, 1, single);
            }
            clause.known[start].standing = clause.standing.len();
        }
        clause
    }

    /// Notes that the expression stands in the clause, and each longer one that does.
    fn note<'a>(&'a self, clause: &mut Clause<'a>, start: usize, words: usize, expression: ExpressionId) {
        let expression = &self.expressions[expression as usize];
        if !expression.lists.is_empty() {
            clause.standing.push(Standing { words, lists: &expression.lists });
            for &list in &expression.lists {
                clause.lists[list as usize / 64] |= 1 << (list % 64);
            }
        }
        for &(next, longer) in &expression.longer {
            if clause.counts_as(start + words).contains(&next) {
                self.note(clause, start, words + 1, longer);
            }
        }
    }
}

impl<'a> Clause<'a> {
    /// The words and beginnings of wordings that the word at `place` is; none if there is no word.
    pub(super) fn counts_as(&self, place: usize) -> &'a [ExpressionId] {
        self.known.get(place).and_then(|known| known.word).map_or(&[], |word| &word.counts_as)
    }

    /// Whether an expression of the list stands anywhere in the clause.
    pub(super) fn holds(&self, list: List) -> bool {
        self.lists[list as usize / 64] >> (list % 64) & 1 == 1
    }

    /// How many words the expressions of the list have that stand at `place`.
    pub(super) fn lengths(&self, list: List, place: usize) -> impl Iterator<Item = usize> {
        let behind = |place: usize| self.known.get(place).map_or(self.standing.len(), |known| known.standing);
        let before = place.checked_sub(1).map_or(0, behind);
        self.standing[before..behind(place)]
            .iter()
            .filter(move |one| one.lists.binary_search(&list).is_ok())
            .map(|one| one.words)
    }

    /// Whether one of these words is of `language`, and not of English. Other languages have borrowed English words, and
    /// what those say in a row is for English to say.
    pub(super) fn is_of(&self, language: Language, words: Range<usize>) -> bool {
        let (own, english) = (bit(language), bit(Language::English));
        language == Language::English
            || self.known[words]
                .iter()
                .filter_map(|known| known.word)
                .any(|word| word.languages & (own | english) == own)
    }
}

/// A set of languages that holds one.
pub(super) fn bit(language: Language) -> u32 {
    1 << language as u32
}

pub(super) fn is_number(word: &str) -> bool {
    word.chars().all(char::is_numeric)
}

/// The words of a folded text. Apostrophes go ("don't" is also written "dont") except behind the short words that
/// Romance languages tie to the next by one (`m'envoyer`).
pub(super) fn words_of(folded: &str) -> Vec<Cow<'_, str>> {
    const TIED: [&str; 10] = ["C", "D", "J", "L", "M", "N", "QU", "S", "T", "ALL"];
    let mut words = Vec::new();
    let mut word = Cow::default();
    // Behind what `word` already holds.
    let mut begin = 0;
    for (at, character) in folded.char_indices() {
        if !is_word_by_itself(character) && is_of_word(character) {
            continue;
        }
        word += &folded[begin..at];
        begin = at + character.len_utf8();
        let mut behind = folded[begin..].chars().map(is_of_word);
        let joins = matches!(character, '\'' | '’' | '‘' | 'ʼ' | '´' | '`' | 'ʻ')
            && behind.next() == Some(true)
            && !(TIED.contains(&&*word) && behind.next() == Some(true));
        if !joins && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if is_word_by_itself(character) {
            words.push(folded[at..begin].into());
        }
    }
    word += &folded[begin..];
    if !word.is_empty() {
        words.push(word);
    }
    words
}
