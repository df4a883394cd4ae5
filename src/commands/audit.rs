//! `textledger audit`.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    block_on, configure,
    remote::{Method, Remote},
    say_as_is,
    through::{Place, Through},
};
use crate::{
    app::{App, audit::EntryFilter},
    domain::{
        Organization, UnixMs,
        audit::{Place as At, RecordedEntry},
    },
    printable::PrintableJson,
};

/// Entries that are read in one go.
const READ_AT_ONCE: usize = 499;

/// Oldest first, in the form in which GET /api/sms/audit shows entries. Nothing is changed by looking.
#[derive(Args)]
#[command(after_help = "Examples:
  textledger audit --since 2026-01-31T00:00:00Z
  textledger audit --url http://127.0.0.1:8080 | jq -r '[.at, .actor, .action, .subject] | @tsv'")]
pub(super) struct Audit {
    /// Only what was done at this time (RFC 3339) or later.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<UnixMs>,
    /// Only what they did, such as user:ada.
    #[arg(long)]
    actor: Option<String>,
    #[command(flatten)]
    through: Through,
}

/// A page of a service's audit.
#[derive(Deserialize)]
struct Page {
    entries: Vec<Value>,
    next_cursor: Option<String>,
}

impl Audit {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        block_on(async {
            match self.through.open_to_read(&config).await? {
                Place::Here(app, organization) => {
                    let filter =
                        EntryFilter { actor: self.actor, since: self.since, ..EntryFilter::default() };
                    print(&app, &organization, &filter).await
                }
                Place::There(service) => {
                    let mut query = vec![("limit", READ_AT_ONCE.to_string())];
                    query.extend(self.since.map(|since| ("since", written(since))));
                    query.extend(self.actor.map(|actor| ("actor", actor)));
                    loop {
                        let page = page(&service, &query).await?;
                        page.entries.iter().try_for_each(|entry| say_as_is(PrintableJson(entry)))?;
                        let Some(next) = page.next_cursor else { return Ok(()) };
                        query.retain(|(name, _)| *name != "cursor");
                        query.push(("cursor", next));
                    }
                }
            }
        })
    }
}

/// The page of the service's audit that `query` asks for.
async fn page(service: &Remote, query: &[(&str, String)]) -> anyhow::Result<Page> {
    service.ask_for(service.request(Method::GET, "/api/sms/audit").query(query)).await
}

async fn print(app: &App, organization: &Organization, filter: &EntryFilter) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let (entries, next) = app.audit.of(organization).entries(filter, after, READ_AT_ONCE).await?;
        for (at, entry) in entries {
            say_as_is(PrintableJson(&line(at, entry)))?;
        }
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

/// An entry as the API shows it.
fn line(at: At, entry: RecordedEntry) -> serde_json::Value {
    json!({
        "id": at.to_string(),
        "at": written(at.ms),
        "actor": entry.agent,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.facts,
        "request_id": entry.request_id,
    })
}

fn written(at: UnixMs) -> String {
    format!("{:.3}", at.to_timestamp().unwrap_or(Timestamp::MAX))
}

fn time(text: &str) -> Result<UnixMs, String> {
    let at = text.parse().ok().and_then(UnixMs::from_timestamp);
    at.ok_or_else(|| "expected a time in RFC 3339, such as 2026-01-31T09:00:00Z".to_owned())
}
