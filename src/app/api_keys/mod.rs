//! API keys that are kept in the store: made, listed, rotated and revoked by an organization's administrators.
//!
//! Each is a document of the installation, named by organization and SID. It changes in one step with a counter by which
//! every instance learns that it has keys to load ([`directory`]).

pub mod directory;
mod last_use;

use std::sync::Arc;

use rand::RngExt;
use secrecy::SecretString;

use self::{directory::Directory, last_use::LastUses};
use super::{Core, Scope, audit, scope::scoped};
use crate::{
    domain::{
        KeySid, NewKey, Organization, Principal, PrincipalKind, StoredKey, UnixMs,
        audit::{Action, Facts, Origin, Subject},
        stored_key::SECRET_BYTES,
    },
    store::{self, DocumentChange, Kind, Row, Unreadable, documents::DOCUMENTS_MAX},
};

/// The most keys that an organization may have at a time: enough for every service of a large one, few enough for all
/// keys of all organizations to be known to every instance.
pub const KEYS_MAX: usize = 100;

/// How many expired and revoked keys of an organization are still listed. The oldest make room for others.
const ENDED_KEPT_MAX: usize = 100;

/// How many ended keys make room in one step: more than come in between two.
const ENDED_REMOVED_MAX: usize = 10;

/// How often a change is decided again when others change keys at the same moment, which all share a counter.
const DECISIONS_MAX: usize = 32;

/// The counter's name.
const REVISION: &str = "api_keys";

/// Why a key was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The organization has no such key, or it has ended.
    #[error("this API key is not known, or has ended")]
    Unknown,
    /// There are as many as there may be.
    #[error("the organization has {KEYS_MAX} API keys already")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The key.
    pub key: Arc<StoredKey>,
    /// When it was last used, to the minute; `None` if it never was.
    pub last_used_at: Option<UnixMs>,
}

/// A page of an organization's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKeys {
    /// Those that can be read, by SID.
    pub keys: Vec<ListedKey>,
    /// How many of the organization's cannot be read here, on whichever page they belong. They are good where they can be.
    pub unreadable: usize,
    /// Whether there are more.
    pub is_more: bool,
}

/// The keys of an organization as they are stored.
struct StoredKeys {
    /// Those that can be read, each with its document.
    keys: Vec<(StoredKey, String)>,
    /// How many cannot be.
    unreadable: usize,
}

/// Keeps the keys, and knows all of them.
pub struct ApiKeys {
    core: Arc<Core>,
    directory: Directory,
    last_uses: LastUses,
}

scoped!(ApiKeys);

impl ApiKeys {
    /// The service, with no keys known before [`ApiKeys::follow`] has loaded them.
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, directory: Directory::default(), last_uses: LastUses::default() }
    }

    /// How many messages `by` may ask for in a day, if it is an API key with a limit of its own.
    pub fn daily_limit(&self, by: &Principal) -> Option<u64> {
        let sid = (by.kind == PrincipalKind::ApiKey).then(|| KeySid::parse(&by.name).ok()).flatten()?;
        self.find(&sid)?.daily_limit
    }

    /// Tells that `sid` was used now. Written down later, by [`ApiKeys::write_last_uses`].
    pub fn was_used(&self, sid: &KeySid) {
        self.last_uses.note(sid, self.core.now_ms());
    }

    /// Writes down when keys were used. If the store fails, the rest is written the next time.
    pub async fn write_last_uses(&self) -> Result<(), store::Error> {
        self.last_uses.write(self.core.store.as_ref()).await
    }

    /// Counts one more change of keys.
    async fn revision(&self) -> Result<(Option<String>, String), store::Error> {
        let before =
            self.core.store.document(&Organization::installation(), Kind::Revision, REVISION).await?;
        let count: u64 = before.as_deref().and_then(|count| count.parse().ok()).unwrap_or_default();
        Ok((before, count.wrapping_add(1).to_string()))
    }
}

impl Scope<'_, ApiKeys> {
    /// Makes a key, as `by` asks, and tells its secret this one time. The audit's entry is stored before: one of a key that was
    /// not made after all does less harm than a key whose secret nobody was told.
    pub async fn create(&self, by: &Origin, new: NewKey) -> Result<(StoredKey, SecretString), KeyError> {
        let sid = KeySid::of(rand::rng().random());
        let secret = sid.secret(rand::rng().random::<[u8; SECRET_BYTES]>());
        let now = self.core.now_ms();
        let key = StoredKey::new(sid, self.organization.clone(), new, &secret, by.principal().clone(), now);
        let (name, stored) = (document_name(self.organization, &key.sid), store::encode(&key));
        let mut is_told = false;
        for _ in 0..DECISIONS_MAX {
            let (revision, next) = self.revision().await?;
            let StoredKeys { keys, unreadable } = self.all().await?;
            let (mut ended, usable): (Vec<_>, Vec<_>) =
                keys.into_iter().partition(|(key, _)| key.ends_at() <= now);
            if usable.len() + unreadable >= KEYS_MAX {
                return Err(KeyError::TooMany);
            }
            ended.sort_by_key(|(key, _)| [key.expires_at, key.revoked_at].into_iter().flatten().min());
            ended.truncate(ended.len().saturating_sub(ENDED_KEPT_MAX).min(ENDED_REMOVED_MAX));
            let removed: Vec<_> = ended
                .into_iter()
                .map(|(key, stored)| (document_name(self.organization, &key.sid), stored))
                .collect();
            let made = DocumentChange { kind: Kind::ApiKey, name: &name, before: None, after: Some(&stored) };
            let removals = removed.iter().map(|(name, stored)| DocumentChange {
                kind: Kind::ApiKey,
                name,
                before: Some(stored),
                after: None,
            });
            let changes = [counted(revision.as_deref(), &next), made].into_iter().chain(removals).collect();
            if !is_told {
                self.audit(Action::ApiKeyCreate, by, &key).await?;
                is_told = true;
            }
            if self.make(changes).await? {
                return Ok((key, secret));
            }
        }
        Err(contended().into())
    }

    /// Gives the key `sid` another secret, and tells it this one time. The one before stays good until `overlap` is over. The
    /// daily limit stays unless another one is given.
    pub async fn rotate(
        &self,
        by: &Origin,
        sid: &KeySid,
        overlap: std::time::Duration,
        daily_limit: Option<u64>,
    ) -> Result<(StoredKey, SecretString), KeyError> {
        let secret = sid.secret(rand::rng().random::<[u8; SECRET_BYTES]>());
        let former_until = (!overlap.is_zero()).then(|| self.core.now_ms() + overlap);
        let rotate = |key: &mut StoredKey| {
            key.rotate(&secret, former_until);
            key.daily_limit = daily_limit.or(key.daily_limit);
        };
        let key = self.change(by, Action::ApiKeyRotate, sid, rotate).await?;
        Ok((key, secret))
    }

    /// Ends the key `sid`: here at once, elsewhere as soon as other instances have loaded it.
    pub async fn revoke(&self, by: &Origin, sid: &KeySid) -> Result<(), KeyError> {
        let now = self.core.now_ms();
        self.change(by, Action::ApiKeyRevoke, sid, |key| key.revoked_at = Some(now)).await.map(drop)
    }

    /// At most `limit` keys by SID behind `after`.
    pub async fn list(&self, after: Option<&KeySid>, limit: usize) -> Result<ListedKeys, store::Error> {
        let StoredKeys { mut keys, unreadable } = self.all().await?;
        keys.retain(|(key, _)| after.is_none_or(|after| key.sid > *after));
        let is_more = keys.len() > limit;
        keys.truncate(limit);
        let listed = keys.into_iter().map(|(key, _)| async move {
            let last_used_at = last_use::read(self.core.store.as_ref(), &key.sid).await?;
            Ok::<_, store::Error>(ListedKey { key: Arc::new(key), last_used_at })
        });
        Ok(ListedKeys { keys: futures_util::future::try_join_all(listed).await?, unreadable, is_more })
    }

    /// All keys of the organization by SID, ended ones too, each with its document: never more than fit into one call.
    async fn all(&self) -> Result<StoredKeys, store::Error> {
        let prefix = format!("{}/", self.organization);
        let installation = Organization::installation();
        let page =
            self.core.store.documents(&installation, Kind::ApiKey, Some(&prefix), DOCUMENTS_MAX).await?;
        let own = page.into_iter().take_while(|(name, _)| name.starts_with(&prefix));
        let (mut keys, mut unreadable) = (Vec::new(), 0);
        for (name, stored) in own {
            match self.core.readable(&installation, read_key(&name, &stored)) {
                Some(key) => keys.push((key, stored)),
                None => unreadable += 1,
            }
        }
        Ok(StoredKeys { keys, unreadable })
    }

    /// Changes the key `sid` while it is good. The audit's entry of `action` is stored before, as that of a new key is.
    async fn change(
        &self,
        by: &Origin,
        action: Action,
        sid: &KeySid,
        change: impl Fn(&mut StoredKey),
    ) -> Result<StoredKey, KeyError> {
        let (installation, name) = (Organization::installation(), document_name(self.organization, sid));
        let mut is_told = false;
        for _ in 0..DECISIONS_MAX {
            let (revision, next) = self.revision().await?;
            let stored = self.core.store.document(&installation, Kind::ApiKey, &name).await?;
            let stored = stored.ok_or(KeyError::Unknown)?;
            // One that is not known would be taken for ended, and it is good where it can be read.
            let mut key = read_key(&name, &stored).map_err(store::Error::from)?;
            if key.ends_at() <= self.core.now_ms() {
                return Err(KeyError::Unknown);
            }
            if !is_told {
                self.audit(action, by, &key).await?;
                is_told = true;
            }
            change(&mut key);
            let after = store::encode(&key);
            let changed = DocumentChange {
                kind: Kind::ApiKey,
                name: &name,
                before: Some(&stored),
                after: Some(&after),
            };
            if self.make(vec![counted(revision.as_deref(), &next), changed]).await? {
                return Ok(key);
            }
        }
        Err(contended().into())
    }

    /// Makes `changes`, which this instance knows of from then on, or none of them.
    async fn make(&self, changes: Vec<DocumentChange<'_>>) -> Result<bool, store::Error> {
        if !self.core.store.change_documents(&Organization::installation(), &changes).await? {
            return Ok(false);
        }
        // It is made, and a secret that is not told now is lost; the loop that follows the keys tries again.
        if let Err(error) = self.follow().await {
            tracing::warn!(%error, "API keys were changed, and are loaded later");
        }
        Ok(true)
    }

    async fn audit(&self, action: Action, by: &Origin, key: &StoredKey) -> Result<(), store::Error> {
        let facts = Facts {
            name: Some(key.name.clone()),
            role: Some(key.role.as_str().to_owned()),
            ..Facts::default()
        };
        let entry = by.entry(action).about(Subject::ApiKey(key.sid.clone())).with(facts);
        audit::record(&self.core, self.organization, &entry).await
    }
}

/// Reads the key of the document `name`.
fn read_key(name: &str, stored: &str) -> Row<StoredKey> {
    serde_json::from_str(stored)
        .map_err(|error| Unreadable { record: format!("API key {name}"), error: store::fault(&error) })
}

/// The name of a key's document: an organization's name holds no slash.
fn document_name(organization: &Organization, sid: &KeySid) -> String {
    format!("{organization}/{sid}")
}

fn counted<'a>(before: Option<&'a str>, after: &'a str) -> DocumentChange<'a> {
    DocumentChange { kind: Kind::Revision, name: REVISION, before, after: Some(after) }
}

/// Keys kept changing while we decided.
fn contended() -> store::Error {
    store::Error::Unavailable(anyhow::anyhow!("API keys changed {DECISIONS_MAX} times during one change"))
}
