//! Whether everything that is stored can be read.

use super::{
    Found::{self, Failed, Warning, Well},
    is_new,
};
use crate::{
    app::{App, inventory},
    commands::complain,
    config::{self, Config},
    startup::upkeep,
};

/// Whether every page of the embedded store's file is as it was written: nothing if there is no such file.
pub(super) fn pages(config: &Config) -> Option<Found> {
    let config::Store::Embedded(folder) = &config.store else { return None };
    if is_new(config) {
        return None;
    }
    complain("comparing every page of the store's file with its checksum");
    Some(match upkeep::check_pages(folder) {
        Ok(bytes) => Well(format!("file: its {:.1} MB are as they were written", bytes as f64 / 1e6)),
        Err(error) => Failed(format!("file: {error:#}")),
    })
}

/// Whether every event, message and change of consent can be read.
pub(super) async fn records(app: &App) -> Found {
    let progress = |read| complain(format_args!("{read} records were read"));
    match inventory::read_all(app, progress).await {
        Ok(inventory) if inventory.unreadable == 0 => {
            Well(format!("records: {} events, messages and changes of consent can be read", inventory.read))
        }
        Ok(inventory) => Failed(format!(
            "records: {} of {} cannot be read: {}; docs/operations.md tells what to do under `a record cannot be read`",
            inventory.unreadable,
            inventory.read,
            inventory.named.join("; ")
        )),
        Err(error) => Failed(format!("records: {error}; check the store and try again")),
    }
}

/// In place of [`records`] where the store could not be opened.
pub(super) fn unread_records() -> Found {
    Warning(
        "records: they could not be looked at; stop the service to have all of an embedded store read, or make a backup, which \
         reads every row of it"
            .to_owned(),
    )
}
