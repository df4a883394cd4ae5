//! The API keys that an instance knows: all of them, as it loaded them last.
//!
//! A document counts the changes of keys. It is read often, and the keys when it has changed. What signs in with a key that
//! is not known yet waits until the counter was read once more, so that a new key is good on every instance at once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::{ApiKeys, REVISION, read_key};
use crate::{
    app::recognition,
    domain::{KeySid, Organization, StoredKey, UnixMs},
    store::{self, Kind, documents::DOCUMENTS_MAX},
};

/// How long keys stay good after they were last compared with the store. While it is away nobody can revoke one; but nor may
/// an instance that alone has lost it go on for ever with keys that were revoked elsewhere.
pub const KEYS_GOOD_WITHOUT_STORE: Duration = Duration::from_secs(15 * 60);

/// How long a key that is not known waits for others of the kind, so that one look at the store serves all of them: guesses
/// then cost 50 reads a second at the most.
const GATHER_PERIOD: Duration = Duration::from_millis(20);

/// The keys by SID.
type Keys = HashMap<KeySid, Arc<StoredKey>>;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Directory {
    keys: ArcSwap<Keys>,
    /// When it was last known that they are those in the store, in [`UnixMs`].
    compared_at: AtomicU64,
    /// How many looks for unknown keys have begun.
    looks: AtomicU64,
    /// The last of these looks that came to its end: one may end with the request that it is for. Held during one.
    looked: Mutex<Look>,
    /// The revision that was loaded, `None` before the first time. Held while the store is read, so that what was read
    /// earlier never replaces what was read later.
    loaded: Mutex<Option<Option<String>>>,
}

/// A look for unknown keys.
#[derive(Default)]
struct Look {
    number: u64,
    has_failed: bool,
}

/// The store could not be asked for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store could not be asked for the API key")]
pub struct NotAsked;

impl ApiKeys {
    /// The key `sid`, if it is known here.
    pub fn find(&self, sid: &KeySid) -> Option<Arc<StoredKey>> {
        self.directory.keys.load().get(sid).cloned()
    }

    /// Whether the keys were compared with the store lately enough to be relied on.
    pub fn are_current(&self) -> bool {
        let compared_at = UnixMs::new(self.directory.compared_at.load(Ordering::Relaxed));
        self.core.now_ms().since(compared_at) < KEYS_GOOD_WITHOUT_STORE
    }

    /// The key `sid`, which is not known here, if it is in the store.
    pub async fn look_for(&self, sid: &KeySid) -> Result<Option<Arc<StoredKey>>, NotAsked> {
        let begun_before = self.directory.looks.load(Ordering::SeqCst);
        let mut looked = self.directory.looked.lock().await;
        // A look that began later than this request is as good as one of its own; so is its failure, for which the others
        // would wait one after the other.
        if looked.number <= begun_before {
            tokio::time::sleep(GATHER_PERIOD).await;
            let number = self.directory.looks.fetch_add(1, Ordering::SeqCst) + 1;
            let has_failed = self.follow().await.is_err();
            *looked = Look { number, has_failed };
        }
        if looked.has_failed { Err(NotAsked) } else { Ok(self.find(sid)) }
    }

    /// Loads the keys again if the revision counter has moved. If the store fails, or is not the known one, those loaded last stay
    /// in use.
    pub async fn follow(&self) -> Result<(), store::Error> {
        let mut loaded = self.directory.loaded.lock().await;
        self.core.store.known().check()?;
        // Asked for first: a change during the reading is read next time.
        let now = self.core.now_ms();
        let revision =
            self.core.store.document(&Organization::installation(), Kind::Revision, REVISION).await?;
        if loaded.as_ref() != Some(&revision) {
            let keys = self.load().await?;
            // Asked for last: a store that was emptied meanwhile, or before, has no keys that count.
            recognition::compare_identity(&*self.core.store).await?;
            self.directory.keys.store(Arc::new(keys));
            *loaded = Some(revision);
        }
        self.directory.compared_at.store(now.get(), Ordering::Relaxed);
        Ok(())
    }

    async fn load(&self) -> Result<Keys, store::Error> {
        let installation = Organization::installation();
        let (mut keys, mut after) = (Keys::new(), None::<String>);
        loop {
            let page = self
                .core
                .store
                .documents(&installation, Kind::ApiKey, after.as_deref(), DOCUMENTS_MAX)
                .await?;
            let Some((last, _)) = page.last() else { return Ok(keys) };
            after = Some(last.clone());
            for (name, stored) in page {
                if let Some(key) = self.core.readable(&installation, read_key(&name, &stored)) {
                    keys.insert(key.sid.clone(), Arc::new(key));
                }
            }
        }
    }
}
