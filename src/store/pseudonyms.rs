//! The key of the pseudonyms under which the opt-outs of erased persons are kept.
//!
//! It is random, made once, and kept in the store itself, sealed with the master keys: so it is in every backup, is the same
//! for all instances, and stays the same when the master keys are rotated. Nobody's consent is read without it: who has
//! opted out and was erased would count as somebody of whom nothing is known.

use std::sync::Arc;

use rand::RngExt;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::{Documents, Error, Kind, decode, encode};
use crate::{
    domain::{Organization, PseudonymKey, pseudonym::PSEUDONYM_KEY_BYTES},
    sealing::MasterKeys,
};

/// The name of the key's document, and what it is sealed for.
const NAME: &str = "pseudonyms";

/// How often it is tried to store the key, or to note that it is in use, while other instances do so too.
const TRIES_MAX: usize = 8;

/// The key, once it has been read.
#[derive(Default)]
pub(super) struct Pseudonyms {
    /// What opens it; `None` in a process that asks for nobody's consent.
    keys: Option<MasterKeys>,
    known: OnceCell<Arc<PseudonymKey>>,
}

/// The key as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredKey {
    /// The key, sealed.
    sealed: String,
    /// Whether somebody may be known by it. A key that names nobody and cannot be opened is replaced by another.
    is_used: bool,
}

impl Pseudonyms {
    /// The key, to be opened with `keys` and not read yet.
    pub(super) fn new(keys: Option<MasterKeys>) -> Self {
        Self { keys, known: OnceCell::new() }
    }

    /// The key: read from `documents` once, made there if there is none, and sealed anew after a rotation.
    pub(super) async fn key(&self, documents: &(impl Documents + Sync)) -> Result<Arc<PseudonymKey>, Error> {
        self.known.get_or_try_init(|| self.read(documents, false)).await.cloned()
    }

    /// The same, for whoever is about to keep something under a pseudonym: from then on the key is never replaced.
    pub(super) async fn key_to_use(
        &self,
        documents: &(impl Documents + Sync),
    ) -> Result<Arc<PseudonymKey>, Error> {
        let known = self.key(documents).await?;
        let stored = self.read(documents, true).await?;
        if known == stored {
            Ok(known)
        } else {
            Err(Error::Unreadable(
                "another key of pseudonyms is stored than was read: start again".to_owned(),
            ))
        }
    }

    /// Reads the key, or makes it; if it `is_used` from now on, that is noted.
    async fn read(
        &self,
        documents: &(impl Documents + Sync),
        is_used: bool,
    ) -> Result<Arc<PseudonymKey>, Error> {
        let keys = self.keys.as_ref().ok_or_else(|| {
            Error::Unavailable(anyhow::anyhow!("the store was opened without the master keys"))
        })?;
        let organization = Organization::installation();
        for _ in 0..TRIES_MAX {
            let text = documents.document(&organization, Kind::PseudonymKey, NAME).await?;
            let stored = text.as_deref().map(|text| decode::<StoredKey>("the key of pseudonyms", text));
            let stored = stored.transpose()?;
            let was_used = stored.as_ref().is_some_and(|stored| stored.is_used);
            let opened = stored.as_ref().map(|stored| open(keys, stored)).transpose();
            let bytes = match opened {
                Ok(Some(bytes)) => bytes,
                Ok(None) => rand::rng().random(),
                Err(_) if !was_used => rand::rng().random(),
                Err(error) => return Err(error),
            };
            let is_current = stored.is_some_and(|stored| keys.is_current(&stored.sealed));
            if !is_current || (is_used && !was_used) {
                let sealed = keys.seal(NAME, &bytes);
                let after = encode(&StoredKey { sealed, is_used: is_used || was_used });
                let (before, after) = (text.as_deref(), Some(after.as_str()));
                let kind = Kind::PseudonymKey;
                if !documents.change_document(&organization, kind, NAME, before, after, None).await? {
                    continue;
                }
            }
            return Ok(Arc::new(PseudonymKey::new(&bytes)));
        }
        Err(Error::Unavailable(anyhow::anyhow!("the key of pseudonyms changed {TRIES_MAX} times")))
    }
}

fn open(keys: &MasterKeys, stored: &StoredKey) -> Result<[u8; PSEUDONYM_KEY_BYTES], Error> {
    let unreadable = |error: String| {
        Error::Unreadable(format!(
            "the key by which erased persons are still known to have opted out: {error}"
        ))
    };
    let bytes = keys.open(NAME, &stored.sealed).map_err(|error| unreadable(error.to_string()))?;
    bytes.expose_secret().try_into().map_err(|_| unreadable("it has another length".to_owned()))
}
