//! When API keys were last used, written down beside the requests and not often: what administrators want to know is which
//! keys are used at all.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    domain::{KeySid, Organization, UnixMs},
    store::{self, Kind, Store},
};

/// How exactly it is known: a key's document is written no more often than this.
const PRECISION: Duration = Duration::from_secs(60);

/// How long a use is known, counted from the last one: longer than anybody keeps a key that is not used.
const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// What an instance has seen of uses.
#[derive(Default)]
pub(super) struct LastUses(Mutex<HashMap<KeySid, Use>>);

/// The use of a key that is to be written, or was written last.
struct Use {
    at: UnixMs,
    is_written: bool,
}

impl LastUses {
    /// Notes that `sid` was used `now`, unless it was within the same minute.
    pub(super) fn note(&self, sid: &KeySid, now: UnixMs) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.get(sid).is_none_or(|known| now.since(known.at) >= PRECISION) {
            uses.insert(sid.clone(), Use { at: now, is_written: false });
        }
    }

    /// Writes down what was noted since the last time.
    pub(super) async fn write(&self, store: &dyn Store) -> Result<(), store::Error> {
        let noted: Vec<(KeySid, UnixMs)> = {
            let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let noted = uses.iter().filter(|(_, known)| !known.is_written);
            noted.map(|(sid, known)| (sid.clone(), known.at)).collect()
        };
        for (sid, at) in noted {
            write(store, &sid, at).await?;
            let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = uses.get_mut(&sid).filter(|known| known.at == at) {
                known.is_written = true;
            }
        }
        Ok(())
    }
}

/// When `sid` was last used.
pub(super) async fn read(store: &dyn Store, sid: &KeySid) -> Result<Option<UnixMs>, store::Error> {
    let stored = store.document(&Organization::installation(), Kind::ApiKeyUse, sid.as_str()).await?;
    Ok(stored.and_then(|at| at.parse().ok()))
}

/// Writes a use down, unless another instance has written a later one or one of the same minute.
async fn write(store: &dyn Store, sid: &KeySid, at: UnixMs) -> Result<(), store::Error> {
    let installation = Organization::installation();
    let before = store.document(&installation, Kind::ApiKeyUse, sid.as_str()).await?;
    let known: Option<UnixMs> = before.as_deref().and_then(|at| at.parse().ok());
    if known.is_some_and(|known| at.since(known) < PRECISION) {
        return Ok(());
    }
    let after = at.to_string();
    // Where another one came first, its time is as good.
    store
        .change_document(
            &installation,
            Kind::ApiKeyUse,
            sid.as_str(),
            before.as_deref(),
            Some(&after),
            Some(KEPT),
        )
        .await
        .map(drop)
}
