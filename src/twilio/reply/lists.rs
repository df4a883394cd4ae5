//! The files of all languages, read: their keywords, and their wordings in one index.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use super::{
    language::Language,
    wording::{Classes, Says, Wordings},
};

/// What a language's file holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LanguageFile {
    pub(super) keywords: ListedKeywords,
    /// Lists that patterns name.
    #[serde(default)]
    classes: Classes,
    /// The patterns, by what they say.
    wordings: BTreeMap<Says, Vec<String>>,
}

/// Replies of a word or two that say all by themselves.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListedKeywords {
    pub(super) opt_out: Vec<String>,
    /// They opt out too, and are so common elsewhere that a word of courtesy beside them makes them doubtful.
    pub(super) opt_out_alone: Vec<String>,
    pub(super) opt_out_all: Vec<String>,
    pub(super) opt_in: Vec<String>,
    pub(super) opt_in_if_opted_out: Vec<String>,
    pub(super) help: Vec<String>,
    /// Another language lists them, which has them first; they are used in this one too.
    pub(super) also: Vec<String>,
    /// They may be a request: somebody should look.
    pub(super) doubtful: Vec<String>,
    /// Words that are one letter away from a keyword and mean something else.
    pub(super) no_slips: Vec<String>,
}

/// The files of all languages, read.
pub(super) struct Languages {
    pub(super) keywords: Vec<(Language, ListedKeywords)>,
    pub(super) wordings: Wordings,
}

/// Read at the first reply. That every file can be read is held by a test.
pub(super) static LANGUAGES: LazyLock<Languages> = LazyLock::new(|| {
    let mut languages = Languages { keywords: Vec::new(), wordings: Wordings::default() };
    for &language in Language::ALL {
        let file: LanguageFile = toml::from_str(language.file())
            .unwrap_or_else(|error| panic!("the words of {} are malformed: {error}", language.name()));
        languages
            .wordings
            .add_all(language, &file.classes, &file.wordings)
            .unwrap_or_else(|error| panic!("the words of {}: {error}", language.name()));
        languages.keywords.push((language, file.keywords));
    }
    languages.wordings.complete();
    languages
});
