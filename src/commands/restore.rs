//! `textledger restore`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use clap::Args;

use super::{Misuse, block_on, complain, configure, say};
use crate::{
    clock::SystemClock,
    startup::{self, backup, known},
};

/// The store is made in the folder of TEXTLEDGER_STORE, which must have none. Run it as the user that the service runs as, whose
/// store it is then. A file that is broken off, or was changed, is refused, and leaves nothing.
#[derive(Args)]
#[command(after_help = "Example:
  TEXTLEDGER_STORE=embedded:/var/lib/textledger textledger restore /backup/textledger-2026-01-31")]
pub(super) struct Restore {
    /// The file that `textledger backup` has written.
    file: PathBuf,
}

impl Restore {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        let (store, name) = (backup::folder(&config)?, self.file.display());
        let mut file =
            File::open(&self.file).map_err(|error| Misuse(format!("cannot read {name}: {error}")))?;
        let restored = backup::restore(store, &mut file).with_context(|| format!("cannot restore {name}"))?;
        say(format_args!("{} rows are in {}", restored.contents.rows, store.display()))?;
        if restored.queued > 0 {
            say(format_args!(
                "{} messages waited when the backup was made: those of them that have left since then will leave again",
                restored.queued
            ))?;
        }
        let compared = block_on(async {
            let restored = startup::open_store_without_keys(&config, Arc::new(SystemClock)).await?;
            known::compare(&config, &*restored).await
        });
        if let Err(error) = compared {
            complain(format_args!(
                "{error:#}. Until then a service takes what Twilio posts, and sends nothing"
            ));
        }
        if let Some(key) = startup::secret_file(&config, startup::MASTER_KEY).filter(|key| !key.exists()) {
            complain(format_args!(
                "before the service starts, put the master key of that time into {}, or set {}: it would make another one, which opens \
                 nothing that is sealed in the backup",
                key.display(),
                startup::MASTER_KEY
            ));
        }
        Ok(())
    }
}
