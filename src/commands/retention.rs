//! `textledger retention`.

use std::path::Path;

use clap::Args;
use serde::Deserialize;

use super::{
    block_on, configure,
    remote::Method,
    say,
    through::{Place, Through},
};
use crate::app::retention::Removed;

/// What is older than TEXTLEDGER_RETENTION_DAYS is taken away by the service while it runs; this only tells what that would be now,
/// a line for each kind.
#[derive(Args)]
#[command(after_help = "Examples:
  textledger retention --dry-run
  textledger retention --dry-run --url http://127.0.0.1:8080")]
pub(super) struct Retention {
    /// Tell what would be taken away, and take nothing.
    #[arg(long, required = true)]
    dry_run: bool,
    #[command(flatten)]
    through: Through,
}

/// What a service answers.
#[derive(Deserialize)]
struct Answer {
    would_remove: Counts,
}

#[derive(Deserialize)]
struct Counts {
    messages: u64,
    deliveries: u64,
    inbound: u64,
    consents: u64,
}

impl Retention {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        block_on(async {
            let would_remove = match self.through.open_to_read(&config).await? {
                Place::Here(app, organization) => app.retention.of(&organization).would_remove().await?,
                Place::There(service) => {
                    let asked = service.request(Method::GET, "/api/sms/retention");
                    let Answer { would_remove } = service.ask_for(asked).await?;
                    let Counts { messages, deliveries, inbound, consents } = would_remove;
                    Removed { messages, deliveries, inbound, consents }
                }
            };
            would_remove.by_kind().iter().try_for_each(|(kind, count)| say(format_args!("{kind} {count}")))
        })
    }
}
