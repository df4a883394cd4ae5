//! What the data folder knows of the store, compared with the store before anything is done with it.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context, anyhow};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use crate::{
    app::recognition,
    config::{Config, Store as StoreConfig},
    domain::Organization,
    store::{
        self, KnownStore, Store,
        known_copy::{Copied, KnownCopy},
    },
};

/// What to do about a store that is not the known one.
pub const MEND: &str =
    "put the right store back, or run textledger store accept if this one is to be used from now on";

/// Compares `store` with what the data folder knows of it, for a service: one that is not the known one is taken all the same, since
/// what Twilio posts is spooled meanwhile. A store of which nothing is known is known from now on.
pub(super) async fn recognize(config: &Config, store: &dyn Store) -> anyhow::Result<KnownCopy> {
    let (copy, place) = (KnownCopy::of(&config.data_dir), place(config));
    let copied = read(&copy)?;
    let was_reached = copied.as_ref().is_some_and(|copied| copied.place == place);
    if let Some(Copied { store: known, .. }) = copied {
        store.known().take(known);
    }
    match recognition::look(store, &organizations(config, store)).await {
        Ok(()) | Err(store::Error::NotKnown(_)) => {}
        // It may be away; what is then known is what the folder knows.
        Err(store::Error::Unavailable(_)) if was_reached => {}
        Err(error) => match config.store {
            StoreConfig::Redis(_) => {
                return Err(anyhow!("{error}: check TEXTLEDGER_STORE and that Redis runs"));
            }
            StoreConfig::Embedded(_) => return Err(error.into()),
        },
    }
    if store.known().mismatch().is_none()
        && let Some(known) = store.known().store()
    {
        copy.write(&Copied { store: known, place }).with_context(|| {
            let path = copy.path().display();
            format!("cannot write {path}: make the folder writable, or name another TEXTLEDGER_DATA_DIR")
        })?;
    }
    Ok(copy)
}

/// Compares `store` with what the data folder knows of it, for a command, which does nothing in another one. If nothing is known
/// here, nothing is compared.
pub async fn compare(config: &Config, store: &dyn Store) -> anyhow::Result<()> {
    let Some(copied) = read(&KnownCopy::of(&config.data_dir))? else { return Ok(()) };
    store.known().take(copied.store);
    match recognition::look(store, &organizations(config, store)).await {
        Err(error @ store::Error::NotKnown(_)) => Err(anyhow!("{error}: {MEND}")),
        result => Ok(result?),
    }
}

/// What the data folder of `config` knows, and the file in which it stands or would stand.
pub fn in_folder(config: &Config) -> anyhow::Result<(PathBuf, Option<KnownStore>)> {
    let copy = KnownCopy::of(&config.data_dir);
    Ok((copy.path().to_owned(), read(&copy)?.map(|copied| copied.store)))
}

fn read(copy: &KnownCopy) -> anyhow::Result<Option<Copied>> {
    copy.read().map_err(|error| {
        let path = copy.path().display();
        anyhow!("{path}: {error}; put back what was there, or remove it once you have made sure that the store is the right one")
    })
}

/// Whose changes of consent are compared: those that were seen, and those of the configuration.
fn organizations(config: &Config, store: &dyn Store) -> Vec<Organization> {
    let configured = config.accounts.iter().map(|account| account.organization.clone());
    let organizations: BTreeSet<Organization> =
        store.known().organizations().into_iter().chain(configured).collect();
    organizations.into_iter().collect()
}

/// A digest of where the store is, since a URL may hold a password.
pub(super) fn place(config: &Config) -> String {
    match &config.store {
        StoreConfig::Embedded(folder) => hex::encode(Sha256::digest(folder.as_os_str().as_encoded_bytes())),
        StoreConfig::Redis(address) => {
            hex::encode(Sha256::digest(format!("{} {}", address.url.expose_secret(), config.key_prefix)))
        }
    }
}
