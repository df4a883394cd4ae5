//! The languages that replies are read in, each with a file of its words and wordings.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

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
            pub const fn code(self) -> &'static str {
                match self { $(Language::$language => $code,)* }
            }

            /// The language's name in English.
            pub const fn name(self) -> &'static str {
                match self { $(Language::$language => $name,)* }
            }

            /// What the language's file says.
            pub(super) fn file(self) -> &'static str {
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

/// A code that is none of [`Language::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the code of a language that replies are read in")]
pub struct UnknownLanguage;

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(code: &str) -> Result<Self, UnknownLanguage> {
        Self::ALL.iter().find(|language| language.code() == code).copied().ok_or(UnknownLanguage)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}
