//! `textledger store`.

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::anyhow;
use clap::{Args, Subcommand};

use super::{Misuse, block_on, complain, configure, say};
use crate::{
    app::recognition::{self, Changes, KnownStore, Mark, StoreId, in_all},
    clock::{Clock, SystemClock},
    config::{self, Config},
    domain::Organization,
    startup::{self, known, upkeep},
};

#[derive(Args)]
pub(super) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Accept(Accept),
    Compact(Compact),
}

/// Accept the store of TEXTLEDGER_STORE in place of the one that this installation knew.
///
/// While the store is another one, or has fewer changes of consent than were seen, nothing is sent: it may not know who has opted
/// out. This says that it is to be used from now on all the same. Put the right store back instead if there is any: then nothing
/// has to be accepted.
///
/// It works beside running services on Redis, which go on within seconds. A service on an embedded store is stopped before.
#[derive(Args)]
#[command(after_help = "Example:
  textledger store accept")]
struct Accept {
    /// The identity of the store in place of which this one is accepted, as /readyz tells it: for a machine whose data folder knows
    /// none.
    #[arg(long, value_name = "ID", value_parser = StoreId::parse)]
    known: Option<StoreId>,
}

/// Give the disk back what an embedded store's file no longer needs.
///
/// The file reuses what is taken away from it, so that it does not grow from month to month. This is for when much less is kept than
/// before, as after a shorter TEXTLEDGER_RETENTION_DAYS. Stop the service before; an end in the middle harms nothing.
#[derive(Args)]
#[command(after_help = "Example:
  TEXTLEDGER_STORE=embedded:/var/lib/textledger textledger store compact")]
struct Compact {}

impl Store {
    pub(super) fn run(self, file: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(file)?;
        match self.command {
            Command::Accept(accept) => block_on(accept.run(&config)),
            Command::Compact(Compact {}) => compact(&config),
        }
    }
}

fn compact(config: &Config) -> anyhow::Result<()> {
    let config::Store::Embedded(folder) = &config.store else {
        return Err(Misuse("TEXTLEDGER_STORE names Redis, which has no file to compact".to_owned()).into());
    };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let began = Instant::now();
    complain(format_args!("moving what is stored in {} together, which may take a while", folder.display()));
    let compacted = upkeep::compact(folder)?;
    say(format_args!(
        "{:.1} MB before, {:.1} MB after, in {:.1} s",
        megabytes(compacted.before),
        megabytes(compacted.after),
        began.elapsed().as_secs_f64()
    ))
}

impl Accept {
    async fn run(self, config: &Config) -> anyhow::Result<()> {
        let known = self.known(config)?;
        let store =
            startup::open_store_without_keys(config, Arc::new(SystemClock)).await.map_err(|error| {
                match startup::is_in_use(&error) {
                    true => anyhow!("{error:#}; an embedded store is accepted while no service runs"),
                    false => error,
                }
            })?;
        store.ping().await.map_err(|error| anyhow!("{error}: check TEXTLEDGER_STORE and that Redis runs"))?;
        let app = startup::assemble(config, "", store.clone(), None, Arc::new(SystemClock))?;
        let mut organizations = app.accounts.organizations().await?;
        organizations.extend(known.changes.keys().cloned());
        let organizations: Vec<Organization> = organizations.into_iter().collect();
        let mark = store.mark().await?;
        let changes = recognition::counts(&*store, &organizations).await?;
        say(format_args!("known:    {}", told(&known.mark, &known.changes)))?;
        match &mark {
            Some(mark) => say(format_args!("there:    {}", told(mark, &changes)))?,
            None => say(format_args!("there:    no identity, {}", counted(&changes)))?,
        }
        if mark.as_ref().is_some_and(|mark| mark.stands_for(&known.mark.id))
            && has_all(&changes, &known.changes)
        {
            return say("the store is the known one: there is nothing to accept");
        }
        let now = SystemClock.now_ms();
        match recognition::accept(&*store, mark.as_ref(), &changes, &known, now).await? {
            Some(accepted) => say(format_args!(
                "accepted: the store is {} from now on; running services go on within seconds",
                accepted.id
            )),
            None => Err(anyhow!("the store was given another identity meanwhile: look at it again")),
        }
    }

    /// What was known before: by the data folder, or by whoever runs the command.
    fn known(&self, config: &Config) -> anyhow::Result<KnownStore> {
        let (file, copied) = known::in_folder(config)?;
        match (&self.known, copied) {
            (Some(id), Some(copied)) if copied.mark.id == *id => Ok(copied),
            (Some(id), _) => Ok(KnownStore {
                mark: Mark { id: id.clone(), in_place_of: Vec::new() },
                changes: Changes::new(),
            }),
            (None, Some(copied)) => Ok(copied),
            (None, None) => Err(Misuse(format!(
                "nothing is known of a store here, since there is no {}: run the command with the service's TEXTLEDGER_DATA_DIR, or \
                 name the identity that the service knows with --known, as its /readyz tells it",
                file.display()
            ))
            .into()),
        }
    }
}

/// A store in a line.
fn told(mark: &Mark, changes: &Changes) -> String {
    format!("{}, {}", mark.id, counted(changes))
}

fn counted(changes: &Changes) -> String {
    let by_organization: Vec<String> = changes
        .iter()
        .map(|(organization, partitions)| (organization, partitions.values().sum::<u64>()))
        .filter(|(_, count)| *count > 0)
        .map(|(organization, count)| format!("{organization} {count}"))
        .collect();
    let in_all = in_all(changes);
    match by_organization.is_empty() {
        true => format!("changes of consent: {in_all}"),
        false => format!("changes of consent: {in_all} ({})", by_organization.join(", ")),
    }
}

/// Whether no partition has fewer changes than are `known`.
fn has_all(changes: &Changes, known: &Changes) -> bool {
    known.iter().all(|(organization, partitions)| {
        partitions.iter().all(|(partition, known)| {
            let there = changes.get(organization).and_then(|partitions| partitions.get(partition));
            there.copied().unwrap_or_default() >= *known
        })
    })
}
