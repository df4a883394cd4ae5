//! The languages that replies are read in, each with a file of its words and wordings.

use std::{collections::HashMap, fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};

use super::wording::{Says, Wordings};

macro_rules! languages {
    ($($language:ident $code:literal $name:literal,)*) => {
        /// A language that replies are read in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Language {
            $(
                #[doc = $name]
                #[serde(rename = $code)]
                $language,
            )*
        }

        impl Language {
            /// All of them. A word of several languages counts as one of the first.
            pub const ALL: &[Language] = &[$(Language::$language),*];

            /// The two letters of ISO 639-1.
            pub fn code(self) -> &'static str {
                match self { $(Language::$language => $code,)* }
            }

            /// The language's name in English.
            pub fn name(self) -> &'static str {
                match self { $(Language::$language => $name,)* }
            }

            fn file(self) -> &'static str {
                match self { $(Language::$language => include_str!(concat!("languages/", $code, ".toml")),)* }
            }
        }
    };
}

languages! {
    English "en" "English",
    Spanish "es" "Spanish",
    French "fr" "French",
    German "de" "German",
    Portuguese "pt" "Portuguese",
    Italian "it" "Italian",
    Dutch "nl" "Dutch",
    Polish "pl" "Polish",
    Turkish "tr" "Turkish",
    Swedish "sv" "Swedish",
    Danish "da" "Danish",
    Norwegian "no" "Norwegian",
    Finnish "fi" "Finnish",
    Romanian "ro" "Romanian",
    Czech "cs" "Czech",
    Hungarian "hu" "Hungarian",
    Greek "el" "Greek",
    Russian "ru" "Russian",
    Ukrainian "uk" "Ukrainian",
    Arabic "ar" "Arabic",
    Hebrew "he" "Hebrew",
    Hindi "hi" "Hindi",
    Vietnamese "vi" "Vietnamese",
    Chinese "zh" "Chinese",
    Japanese "ja" "Japanese",
    Korean "ko" "Korean",
    Tagalog "tl" "Tagalog",
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

/// What a language's file holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LanguageFile {
    pub(super) keywords: ListedKeywords,
    /// Lists that patterns name.
    #[serde(default)]
    classes: HashMap<String, Vec<String>>,
    /// The patterns, by what they say.
    wordings: HashMap<Says, Vec<String>>,
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
        for (&says, patterns) in &file.wordings {
            for pattern in patterns {
                languages
                    .wordings
                    .add(language, says, pattern, &file.classes)
                    .unwrap_or_else(|error| panic!("the words of {}: {error}", language.name()));
            }
        }
        languages.keywords.push((language, file.keywords));
    }
    languages
});
