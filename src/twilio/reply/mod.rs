//! What a person's reply means: a keyword such as STOP, a request in other words, or nothing that concerns consent.
//!
//! US law has let people revoke consent "by any reasonable means" since April 2025, Twilio catches only its
//! keywords, and people write in the language they speak. A wrong reading costs either way, so a reply is read by a
//! few rules that have names ([`Rule`]) and can be explained, over lists of words and wordings in 27 languages
//! (`languages/`). `docs/replies.md` tells each rule with an example.
//!
//! A text is brought into one spelling (`fold.rs`), what is quoted or signed is cut off it (`clauses.rs`), and the rules
//! (`rules.rs`) ask in turn: is it a keyword? nearly one? is a clause of it a request, a negated one, or one that
//! somebody should look at? What a clause says is found by wordings (`wording.rs`) over the words and expressions that
//! stand in it (`vocabulary.rs`). Nothing is learned, guessed by statistics, or compiled for a reply.
//!
//! Sources: <https://help.twilio.com/articles/223134027> (Twilio's default keywords), 47 CFR 64.1200(a)(10).

mod clauses;
mod fold;
mod language;
mod lists;
mod reading;
mod rules;
mod vocabulary;
mod wording;

pub use self::{
    language::{Language, UnknownLanguage},
    reading::{Keyword, KeywordKind, Meaning, Reading, Rule, VERSION},
    rules::{FurtherWords, InvalidWord, ReplyReader},
};
