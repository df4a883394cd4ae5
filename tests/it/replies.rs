//! What replies mean, measured over files of replies with the right answers, and told in `docs/replies.md`.

use std::{collections::BTreeMap, fmt::Write, fs};

use serde::Deserialize;
use textledger::twilio::{
    Channel,
    reply::{FurtherWords, KeywordKind, Language, Meaning, ReplyReader, Rule, VERSION},
};

const DOCUMENT: &str = "docs/replies.md";

/// Between these the document holds the figures.
const FIGURES_BEGIN: &str = "<!-- figures -->\n";
const FIGURES_END: &str = "<!-- end of figures -->";

/// The files, and what they are.
const FILES: [&str; 2] = ["given", "own"];

#[derive(Deserialize)]
struct Reply {
    text: String,
    channel: String,
    lang: String,
    state_before: String,
    expected: Vec<String>,
}

/// How a number of replies was read.
#[derive(Default, Clone, Copy)]
struct Figures {
    replies: u32,
    /// Replies that can mean nothing but an opt-out.
    clear_requests: u32,
    obeyed: u32,
    false_opt_outs: u32,
    false_opt_ins: u32,
    needless_reviews: u32,
}

impl Figures {
    fn count(&mut self, reply: &Reply, meaning: &str) {
        let is_right = reply.expected.iter().any(|expected| expected == meaning);
        let is_clear = reply.expected == ["opt_out"];
        let wrongly = |wrong: &str| u32::from(!is_right && meaning == wrong);
        self.replies += 1;
        self.clear_requests += u32::from(is_clear);
        self.obeyed += u32::from(is_clear && is_right);
        self.false_opt_outs += wrongly("opt_out");
        self.false_opt_ins += wrongly("opt_in");
        self.needless_reviews += wrongly("review");
    }

    fn row(&self, name: &str) -> String {
        let Self { replies, clear_requests, obeyed, false_opt_outs, false_opt_ins, needless_reviews } = self;
        format!(
            "| {name} | {replies} | {clear_requests} | {obeyed} | {false_opt_outs} | {false_opt_ins} | \
             {needless_reviews} |\n"
        )
    }
}

/// What `reply` is taken for, given what was known of the person.
fn meaning(reader: &ReplyReader, reply: &Reply) -> &'static str {
    let channel = Channel::parse(&reply.channel).unwrap();
    match reader.read(&reply.text, channel).meaning {
        Meaning::Phrase => "opt_out",
        Meaning::Review => "review",
        Meaning::Ordinary => "ordinary",
        Meaning::Keyword(keyword) => match keyword.kind {
            KeywordKind::OptOut { .. } => "opt_out",
            KeywordKind::OptIn { only_if_opted_out: true } if reply.state_before != "opted_out" => "ordinary",
            KeywordKind::OptIn { .. } => "opt_in",
            KeywordKind::Help => "help",
        },
    }
}

fn replies(file: &str) -> Vec<Reply> {
    let text = fs::read_to_string(format!("fixtures/replies/{file}.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The figures of both files by language, as the document has them; fails where a goal is missed.
fn figures() -> String {
    // The files hold JOIN with this code.
    let further = FurtherWords { join_codes: vec!["acme".into()], ..Default::default() };
    let reader = ReplyReader::with_further(&further).unwrap();
    let mut table = String::new();
    for file in FILES {
        let mut by_language: BTreeMap<String, Figures> = BTreeMap::new();
        let mut all = Figures::default();
        for reply in replies(file) {
            let meaning = meaning(&reader, &reply);
            by_language.entry(reply.lang.clone()).or_default().count(&reply, meaning);
            all.count(&reply, meaning);
            if !reply.expected.iter().any(|expected| expected == meaning) {
                println!("{file}: {:?} ({}) was read as {meaning}", reply.text, reply.lang);
            }
        }
        let _ = write!(
            table,
            "\n`fixtures/replies/{file}.jsonl`:\n\n\
             | language | replies | clear requests | obeyed | false opt-outs | false opt-ins | needless reviews |\n\
             | --- | --: | --: | --: | --: | --: | --: |\n"
        );
        for (language, figures) in
            by_language.iter().map(|(name, one)| (name.as_str(), one)).chain([("all", &all)])
        {
            table.push_str(&figures.row(language));
            assert!(
                figures.obeyed * 100 >= figures.clear_requests * 98,
                "{file}, {language}: requests are missed"
            );
            assert_eq!(figures.false_opt_outs, 0, "{file}, {language}: false opt-outs");
            assert_eq!(figures.false_opt_ins, 0, "{file}, {language}: false opt-ins");
            assert!(
                figures.needless_reviews * 100 <= figures.replies * 2,
                "{file}, {language}: needless reviews"
            );
        }
    }
    table.push('\n');
    table
}

/// `WRITE_REPLIES=1` renews the table.
#[test]
fn replies_are_read_as_the_documents_figures_say() {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once(FIGURES_BEGIN).unwrap();
    let (_, after) = rest.split_once(FIGURES_END).unwrap();
    let figures = figures();
    println!("{figures}");
    let renewed = format!("{before}{FIGURES_BEGIN}{figures}{FIGURES_END}{after}");
    if std::env::var_os("WRITE_REPLIES").is_some() {
        fs::write(DOCUMENT, &renewed).unwrap();
    }
    assert!(
        renewed == document || std::env::var_os("WRITE_REPLIES").is_some(),
        "the figures are others: WRITE_REPLIES=1 cargo test --test it replies"
    );
}

#[test]
fn the_document_of_replies_has_every_rule_and_language_and_the_version() {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    for rule in Rule::ALL {
        assert!(
            document.contains(&format!("| `{}` |", rule.name())),
            "{} has no line for {rule:?}",
            DOCUMENT
        );
    }
    for language in Language::ALL {
        assert!(
            document.contains(&format!("{} (`{language}`)", language.name())),
            "{} lacks {language}",
            DOCUMENT
        );
    }
    assert!(document.contains(&format!("version {VERSION}")));
}

/// A row of the document's table of rules: rule, sentence, example, meaning.
#[test]
fn every_example_in_the_document_of_replies_is_read_by_its_rule() {
    let reader = ReplyReader::default();
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let mut examples = 0;
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [rule, _, example, _] = cells[..] else { continue };
        let text = example.trim_matches('`').replace("⏎", "\n");
        assert_eq!(reader.read(&text, Channel::Sms).rule.name(), rule.trim_matches('`'), "{text}");
        examples += 1;
    }
    assert_eq!(examples, Rule::ALL.len());
}
