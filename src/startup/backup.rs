//! Backups of the embedded store: how the service hands them out, and how a command gets and restores one.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, anyhow};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::store::embedded::backup::{Contents, Restored};
use crate::{
    clock::SystemClock,
    config::{Config, Invalid, Store},
    store::embedded::{
        EmbeddedStore, FILE_NAME,
        backup::{self, BackupError},
    },
};

/// Hands out backups of `store` until `stop`. If that is not possible, the service runs all the same.
pub(super) fn hand_out(store: &EmbeddedStore, tracker: &TaskTracker, stop: &CancellationToken) {
    match store.listen_for_backups() {
        Ok(socket) => {
            let stop = stop.clone();
            tracker.spawn(async move { socket.serve(&stop).await });
        }
        Err(error) => tracing::warn!(
            %error,
            mend = "give the store a folder with a shorter path, on a disk of this machine, or stop the service to back it up",
            "no backup can be made while the service runs"
        ),
    }
}

/// The folder of the embedded store that `config` names.
pub fn folder(config: &Config) -> Result<&Path, Invalid> {
    match &config.store {
        Store::Embedded(folder) => Ok(folder),
        Store::Redis(_) => Err(Invalid(vec![
            "TEXTLEDGER_STORE names Redis, which is backed up and restored as Redis is, by its dump or its append-only folder: \
             see Backup in docs/operations.md"
                .to_owned(),
        ])),
    }
}

/// Writes a backup of the store in `folder` to `output`; one that a service has open is asked for through it.
pub fn write(folder: &Path, mut output: impl Write) -> anyhow::Result<()> {
    if !folder.join(FILE_NAME).exists() {
        return Err(anyhow!("there is no store in {}: check TEXTLEDGER_STORE", folder.display()));
    }
    let broken_off = "the backup was broken off";
    match super::open_embedded(folder, Arc::new(SystemClock)) {
        Ok(store) => store.back_up(output).map_err(|error| match error {
            BackupError::Store(error) => {
                anyhow!("{error}: look for what is wrong with the disk, or restore a former backup")
            }
            error => anyhow::Error::new(error).context(broken_off),
        }),
        Err(error) if super::is_in_use(&error) => {
            let mut service = backup::ask(folder).map_err(|error| {
                anyhow!(
                    "the store in {} is in use by a textledger that hands out no backup ({error}): if it is a service, its log says \
                     why; if it is a command, wait for its end",
                    folder.display()
                )
            })?;
            io::copy(&mut service, &mut output).and_then(|_| output.flush()).context(broken_off)
        }
        Err(error) => Err(error),
    }
}

/// What is in the backup that was just written to `file`.
pub fn check(file: &mut File) -> anyhow::Result<Contents> {
    backup::check(file).map_err(|error| match error {
        BackupError::File(error) => error.into(),
        _ => anyhow!("the backup did not come to its end: try again, and see in the service's log why"),
    })
}

/// Makes the store in `folder`, which has none, of the backup in `file`.
pub fn restore(folder: &Path, file: &mut File) -> anyhow::Result<Restored> {
    backup::restore(folder, file).map_err(|error| match error {
        BackupError::StoreExists { .. } => anyhow!(
            "{error}: a backup is restored where there is no store; name another folder in TEXTLEDGER_STORE, or stop the service and \
             move the file away"
        ),
        BackupError::Open(error) => super::not_opened(error),
        error => error.into(),
    })
}
