//! `textledger consent import`, `textledger consent export`, `textledger consent read` and `textledger consent link`.

mod link;
mod remote;

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use tempfile::NamedTempFile;

use super::{
    Misuse, actor, block_on, complain, configure, folder_of, say,
    through::{Place, Through},
};
use crate::{
    app::{
        App,
        consents::{
            csv,
            record::{FileRecord, Imported},
        },
    },
    clock::{Clock, SystemClock},
    domain::{
        Organization, OwnReplies, Principal,
        audit::{Action, Origin},
        consent::Answer,
    },
    printable::PrintableLines,
    twilio::{
        Channel,
        reply::{self, KeywordKind, Meaning},
    },
};

/// How many lines are imported at a time: few enough for a service to answer within seconds, and to tell each that it
/// left out.
const LINES_AT_ONCE: usize = csv::KEPT_MAX;

/// After how many further lines the progress of an export is told.
const PROGRESS_LINES: usize = 50_000;

/// Who may be sent to, and what makes it so.
///
/// A CSV file of consent has the columns phone_number, channel (sms, whatsapp or all), state (opted_in or opted_out),
/// source, at (RFC 3339) and evidence, named on line 1; the first three are needed.
#[derive(Args)]
pub(super) struct Consent {
    #[command(subcommand)]
    command: Which,
}

#[derive(Subcommand)]
enum Which {
    /// Take over what a file knows.
    Import(Import),
    /// Write everything down that is known.
    Export(Export),
    /// Say what a reply means, and which rule says so.
    Read(Read),
    /// Print a link by which one person sees and changes their own consent.
    Link(link::Link),
}

/// Lines that cannot be read are told by number and left out; the exit code is 1 then. Lines that are older than what
/// is known, or known already, change nothing, so that a file may be imported again once it is mended. Nor do lines that
/// would opt somebody in who has opted out in their own words; they are told by number.
#[derive(Args)]
#[command(after_help = "Examples:
  textledger consent import opt-outs.csv
  textledger consent import opt-outs.csv --url http://127.0.0.1:8080")]
struct Import {
    /// The file.
    file: PathBuf,
    /// Who imports it, as the history tells it; without it, the user whom the operating system knows.
    #[arg(long, value_name = "NAME", value_parser = actor::parse)]
    actor: Option<String>,
    #[command(flatten)]
    through: Through,
}

/// Personal data: the file is its owner's alone.
#[derive(Args)]
#[command(after_help = "Examples:
  textledger consent export --output consent.csv
  textledger consent export --url http://127.0.0.1:8080 | grep opted_out")]
struct Export {
    /// The file to write, in place of standard output; it appears when it is whole.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    through: Through,
}

/// Nothing is stored and nobody is asked: only the settings count. The answer is the one where Twilio gives none and the
/// organization has saved no words of its own. docs/replies.md explains the rules.
#[derive(Args)]
#[command(after_help = "Examples:
  textledger consent read 'Please stop texting me'
  textledger consent read YES --channel whatsapp")]
struct Read {
    /// What the person wrote.
    text: String,
    /// Where: sms, whatsapp or rcs.
    #[arg(long, default_value = "sms", value_parser = channel)]
    channel: Channel,
}

fn channel(text: &str) -> Result<Channel, String> {
    Channel::parse(text).ok_or_else(|| "give sms, whatsapp or rcs".to_owned())
}

impl Consent {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        match self.command {
            Which::Import(command) => command.run(config),
            Which::Export(command) => command.run(config),
            Which::Read(command) => command.run(config),
            Which::Link(command) => command.run(config),
        }
    }
}

impl Import {
    fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let name = self.file.display();
        let text = fs::read(&self.file).map_err(|error| Misuse(format!("cannot read {name}: {error}")))?;
        let config = configure(config)?;
        let read = csv::read(&text, config.default_region, SystemClock.now_ms())
            .map_err(|error| Misuse(format!("{name}: {error}")))?;
        let actor = self.actor.unwrap_or_else(actor::of_process);
        let Imported { applied, unchanged, kept } = block_on(async {
            let place = self.through.open(&config, &actor).await?;
            import(&place, read.records, &actor).await
        })?;
        let (left_out, kept_count) = (read.faulty, kept.len());
        say(format_args!(
            "{applied} imported, {unchanged} unchanged, {left_out} with errors, {kept_count} kept opted out"
        ))?;
        for fault in read.faults.iter().chain(&kept) {
            complain(format_args!("{name}: line {}: {}", fault.line, fault.detail));
        }
        match read.faulty {
            0 => Ok(()),
            1 => Err(anyhow!("1 line was left out: mend it and import the file again")),
            more if more > read.faults.len() => {
                Err(anyhow!("{more} lines were left out, of which the first {} are told", read.faults.len()))
            }
            more => Err(anyhow!("{more} lines were left out: mend them and import the file again")),
        }
    }
}

async fn import(place: &Place, mut records: Vec<FileRecord>, actor: &str) -> anyhow::Result<Imported> {
    let (all, mut done) = (records.len(), 0);
    let mut sum = Imported::default();
    while !records.is_empty() {
        let rest = records.split_off(LINES_AT_ONCE.min(records.len()));
        let lines = records.len();
        let imported = match place {
            Place::Here(app, organization) => import_here(app, organization, records, actor).await,
            Place::There(service) => remote::import(service, &records).await,
        };
        let imported = imported.with_context(|| {
            format!("{done} of {all} lines are done; importing the file again does the rest")
        })?;
        sum = sum + imported;
        done += lines;
        records = rest;
        if all > LINES_AT_ONCE {
            complain(format_args!("{done} of {all} lines"));
        }
    }
    Ok(sum)
}

async fn import_here(
    app: &App,
    organization: &Organization,
    records: Vec<FileRecord>,
    actor: &str,
) -> anyhow::Result<Imported> {
    let by = Origin::new(&Principal::command(actor), None);
    // The lines that are left out are told to whoever runs the command: they are of the file, and these are a part of it.
    Ok(app.consents.of(organization).import_consent(&by, actor, records, None).await?)
}

impl Read {
    fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        let reading = config.reader.read(&self.text, self.channel);
        say(format_args!("meaning:  {}", in_words(&reading.meaning)))?;
        say(format_args!("rule:     {} (version {})", reading.rule.name(), reply::VERSION))?;
        if let Meaning::Keyword(keyword) = &reading.meaning {
            say(format_args!("word:     {}", keyword.word))?;
        }
        if let Some(language) = reading.language {
            say(format_args!("language: {} ({})", language.code(), language.name()))?;
        }
        let own = OwnReplies::default();
        let written_in = config.reader.written_in(&reading, config.replies.language_of(&own));
        match config.replies.say(answer_to(&reading.meaning), written_in, &own, &config.identity) {
            Some(answer) => say(format_args!("answer:   {answer}")),
            None => Ok(()),
        }
    }
}

/// What a reply is answered where Twilio leaves it to us and it changes something.
fn answer_to(meaning: &Meaning) -> Answer {
    match meaning {
        Meaning::Phrase => Answer::OptedOut,
        Meaning::Review | Meaning::Ordinary => Answer::Nothing,
        Meaning::Keyword(keyword) => match keyword.kind {
            KeywordKind::OptOut { .. } => Answer::OptedOut,
            KeywordKind::OptIn { .. } => Answer::OptedIn,
            KeywordKind::Help => Answer::Help,
        },
    }
}

fn in_words(meaning: &Meaning) -> &'static str {
    match meaning {
        Meaning::Phrase => "opt-out: a request in other words than a keyword",
        Meaning::Review => "review: perhaps a request; somebody should look at it",
        Meaning::Ordinary => "ordinary: consent stays as it is",
        Meaning::Keyword(keyword) => match keyword.kind {
            KeywordKind::OptOut { all: false } => "opt-out",
            KeywordKind::OptOut { all: true } => "opt-out on every channel",
            KeywordKind::OptIn { only_if_opted_out: false } => "opt-in",
            KeywordKind::OptIn { only_if_opted_out: true } => {
                "opt-in, from a person who is opted out; ordinary otherwise"
            }
            KeywordKind::Help => "help",
        },
    }
}

impl Export {
    fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let (config, actor) = (configure(config)?, actor::of_process());
        let Some(path) = &self.output else {
            return block_on(async {
                let place = self.through.open_to_read(&config).await?;
                let mut output = io::stdout().lock();
                if output.is_terminal() {
                    export(place, &actor, &mut PrintableLines::new(output)).await.map(drop)
                } else {
                    export(place, &actor, &mut output).await.map(drop)
                }
            });
        };
        let cannot = |error: io::Error| Misuse(format!("cannot write {}: {error}", path.display()));
        let mut draft = NamedTempFile::new_in(folder_of(path)).map_err(cannot)?;
        let lines = block_on(async {
            let place = self.through.open_to_read(&config).await?;
            export(place, &actor, draft.as_file_mut()).await
        })?;
        draft.as_file().sync_all().map_err(cannot)?;
        draft.persist(path).map_err(|error| cannot(error.error))?;
        complain(format_args!("{lines} lines in {}", path.display()));
        Ok(())
    }
}

/// Writes everything to `output`, and returns how many lines there were behind the header.
async fn export(place: Place, actor: &str, output: &mut impl Write) -> anyhow::Result<usize> {
    let mut told = Told { output, ends: 0, told: 0 };
    match place {
        Place::Here(app, organization) => {
            let entry = Origin::new(&Principal::command(actor), None).entry(Action::ConsentExport);
            app.audit.of(&organization).record(entry).await?;
            told.write(csv::header().as_bytes())?;
            let mut after = None;
            loop {
                let (lines, next) = app.consents.of(&organization).export_consent(after.as_ref()).await?;
                told.write(csv::write(&lines).as_bytes())?;
                match next {
                    Some(_) => after = next,
                    None => break,
                }
            }
        }
        Place::There(service) => {
            let mut answer = remote::export(&service).await?;
            while let Some(text) = answer.chunk().await.context("the answer was broken off; try again")? {
                told.write(&text)?;
            }
        }
    }
    told.output.flush()?;
    Ok(told.ends.saturating_sub(1))
}

/// Writes, and tells how far it is.
struct Told<'a, W> {
    output: &'a mut W,
    ends: usize,
    told: usize,
}

impl<W: Write> Told<'_, W> {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.output.write_all(text)?;
        self.ends += text.iter().filter(|&&byte| byte == b'\n').count();
        if self.ends >= self.told + PROGRESS_LINES {
            self.told = self.ends;
            complain(format_args!("{} lines", self.told));
        }
        Ok(())
    }
}
