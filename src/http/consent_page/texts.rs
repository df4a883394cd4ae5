//! What the page says, in each of its languages: a file for each, in `texts/`, with the same entries.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::{app::consents::link::LANGUAGES, domain::UnixMs, twilio::reply::Language};

/// What the files of [`LANGUAGES`] say, in the same order.
static ALL: LazyLock<[Texts; LANGUAGES.len()]> = LazyLock::new(|| {
    let files = [
        include_str!("texts/en.toml"),
        include_str!("texts/es.toml"),
        include_str!("texts/fr.toml"),
        include_str!("texts/pt.toml"),
        include_str!("texts/de.toml"),
    ];
    std::array::from_fn(|at| Texts::read(LANGUAGES[at], files[at]))
});

/// The texts of one language, as its file has them. In braces is what is filled in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// The two letters of the language.
    #[serde(skip)]
    pub code: &'static str,
    /// The language's own name.
    pub name: String,
    /// What the links to other languages are.
    pub languages: String,
    pub title: String,
    pub title_without_sender: String,
    pub about: String,
    pub about_without_number: String,
    pub expires: String,
    pub help: String,
    /// What helps whatever else fails.
    pub stop_anyway: String,
    pub gets_messages: String,
    pub gets_all_but_marketing: String,
    pub gets_nothing: String,
    /// While a reply is under review.
    pub gets_nothing_yet: String,
    pub since: String,
    /// Twilio's block of one sender.
    pub blocked: String,
    /// Twilio's block of a sender whose number is not known.
    pub blocked_somewhere: String,
    pub stop_all: String,
    pub stopped_all: String,
    date: String,
    /// The first day of a month, as a date has it.
    first_day: String,
    months: [String; 12],
    pub sms: ChannelTexts,
    pub whatsapp: ChannelTexts,
    pub unknown: TroubleTexts,
    pub expired: TroubleTexts,
    pub unavailable: TroubleTexts,
    pub too_many: TroubleTexts,
    pub unreadable: TroubleTexts,
}

/// What is said of one channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelTexts {
    pub name: String,
    /// On the button that stops messages.
    pub stop: String,
    /// On the button that starts them.
    pub start: String,
    /// After they were stopped.
    pub stopped: String,
    /// After they were started.
    pub started: String,
}

/// What is said where there is no page to show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TroubleTexts {
    pub title: String,
    /// What to do about it.
    pub text: String,
}

impl Texts {
    /// Those of every language.
    pub fn all() -> &'static [Texts] {
        &*ALL
    }

    /// Those of the language `code`, if the page has it.
    pub fn of(code: &str) -> Option<&'static Texts> {
        Self::all().iter().find(|texts| texts.code.eq_ignore_ascii_case(code))
    }

    /// Those of the language that `accepted`, an Accept-Language header, ranks highest among the page's; its regions do not
    /// matter.
    pub fn accepted(accepted: &str) -> Option<&'static Texts> {
        let ranked = accepted.split(',').filter_map(|range| {
            let mut parts = range.split(';');
            let texts = Self::of(parts.next()?.trim().split('-').next()?)?;
            let mut parameters = parts.filter_map(|part| part.split_once('='));
            let quality = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
            let quality: f32 = quality.map_or("1", |(_, value)| value.trim()).parse().ok()?;
            (quality > 0.0).then_some((texts, quality))
        });
        // Of equals the first: `max_by` would take the last.
        ranked.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(texts, _)| texts)
    }

    /// Those for whoever reads none of the page's languages.
    pub fn usual() -> &'static Texts {
        &ALL[0]
    }

    /// The day of `at`, in UTC, as the language writes it.
    pub fn date(&self, at: UnixMs) -> String {
        let date = at.to_timestamp().unwrap_or(jiff::Timestamp::MAX).to_zoned(jiff::tz::TimeZone::UTC);
        let month = &self.months[usize::from(date.month().unsigned_abs()) - 1];
        let day = if date.day() == 1 { self.first_day.clone() } else { date.day().to_string() };
        self.date.replace("{day}", &day).replace("{month}", month).replace("{year}", &date.year().to_string())
    }

    fn read(language: Language, file: &str) -> Self {
        let texts = toml::from_str(file).expect("a test reads every language's file");
        Self { code: language.code(), ..texts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_whole_and_fills_in_the_same() {
        let holes = |text: &str| -> Vec<String> {
            let mut holes: Vec<_> =
                text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
            holes.sort();
            holes
        };
        let files = LANGUAGES.map(|language| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/consent_page/texts");
            let file = std::fs::read_to_string(format!("{folder}/{}.toml", language.code())).unwrap();
            assert!(file.starts_with(&format!("# {}\n", language.name())));
            let file: toml::Table = toml::from_str(&file).unwrap();
            assert_eq!(Texts::of(language.code()).unwrap().name, file["name"].as_str().unwrap());
            file
        });
        let english = texts_in(&files[0]);
        for file in &files {
            let texts = texts_in(file);
            assert_eq!(texts.len(), english.len());
            for ((name, text), (_, in_english)) in texts.iter().zip(&english) {
                assert!(!text.trim().is_empty(), "{name}");
                assert_eq!(holes(text), holes(in_english), "{name}: {text}");
            }
        }
    }

    /// Every text of a file with its name, in the order of the names.
    fn texts_in(file: &toml::Table) -> Vec<(&str, &str)> {
        let texts = file.iter().map(|(name, value)| match value {
            toml::Value::Table(table) => texts_in(table),
            value => value.as_str().map(|text| (name.as_str(), text)).into_iter().collect(),
        });
        texts.collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_reader_gets_the_language_that_their_browser_ranks_highest() {
        let code = |accepted: &str| Texts::accepted(accepted).map(|texts| texts.code);
        for (accepted, expected) in [
            ("de", Some("de")),
            ("es-MX,es;q=0.9,en;q=0.8", Some("es")),
            ("nl, fr-CA;q=0.7, en;q=0.8", Some("en")),
            ("PT-br", Some("pt")),
            ("fr;q=0.5,de;q=0.5", Some("fr")),
            ("de;q=0,en;q=0.1", Some("en")),
            ("en;q=0.4,de;Q=0.5", Some("de")),
            ("en;q=0.7,de;q=0.8;x=1", Some("de")),
            ("en;q=0.9,de;x=0", Some("de")),
            ("de ; x=1 ; q = 0.1,en;q=0.2", Some("en")),
            ("de;q=much,en;q=0.1", Some("en")),
            ("*", None),
            ("nl", None),
            ("", None),
            (";;q=,=", None),
        ] {
            assert_eq!(code(accepted), expected, "{accepted}");
        }
    }

    #[test]
    fn a_date_is_written_as_the_language_writes_it() {
        let dates = Texts::all().iter().map(|texts| texts.date(UnixMs::new(1_769_860_800_000)));
        assert_eq!(
            dates.collect::<Vec<_>>(),
            [
                "January 31, 2026",
                "31 de enero de 2026",
                "31 janvier 2026",
                "31 de janeiro de 2026",
                "31. Januar 2026"
            ]
        );
        let firsts = Texts::all().iter().map(|texts| texts.date(UnixMs::new(1_769_947_200_000)));
        assert_eq!(
            firsts.collect::<Vec<_>>(),
            [
                "February 1, 2026",
                "1 de febrero de 2026",
                "1er février 2026",
                "1º de fevereiro de 2026",
                "1. Februar 2026"
            ]
        );
    }
}
