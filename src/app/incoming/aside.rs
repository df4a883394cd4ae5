//! What one record of the store keeps from being stored: put aside, so that everything else goes on, and tried again.
//!
//! A record that Redis cannot work with, since a key has a value of another type for example, is no reason to take the store for
//! away. What Twilio told and cannot be stored because of it is kept in files of their own, where a person can look at it. Nobody
//! is sent to from here whose own word is among them: it may be a STOP.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Incoming, told::SpoolRecord};
use crate::{
    domain::{Organization, Person},
    spool::{Lane, Spool, SpoolError},
    store,
    twilio::BareAddress,
};

/// The file of each record that is put aside, and whose word it is, if it is anybody's.
type Files = HashMap<String, Option<(Organization, Person)>>;

/// What is put aside; `None` until it was looked at.
#[derive(Default)]
pub(super) struct KnownAside(Mutex<Option<Files>>);

impl KnownAside {
    fn lock(&self) -> MutexGuard<'_, Option<Files>> {
        // Nothing that holds the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_known(&self) -> bool {
        self.lock().is_some()
    }

    /// How many records there are, as was found last.
    pub(super) fn len(&self) -> usize {
        self.lock().as_ref().map_or(0, HashMap::len)
    }

    /// Whether the own word of the person at `address` is among them.
    pub(super) fn holds(&self, organization: &Organization, address: &BareAddress) -> bool {
        let known = self.lock();
        let Some(known) = known.as_ref().filter(|known| !known.is_empty()) else { return false };
        let person = Person::of(address);
        known.values().flatten().any(|(whose, held)| whose == organization && *held == person)
    }
}

impl Incoming {
    /// Puts `told`, received at `at_ms`, aside, since `error` is that of a record of the store. It is on disk when this returns.
    pub(super) async fn put_aside(
        &self,
        spool: &Arc<Spool>,
        lane: Lane,
        at_ms: u64,
        told: &SpoolRecord,
        error: &str,
    ) -> Result<(), SpoolError> {
        let (name, record) = (told.name().to_owned(), self.seal_record(told));
        let put = {
            let spool = spool.clone();
            tokio::task::spawn_blocking(move || spool.aside().put(lane, at_ms, &name, &record)).await
        };
        let file = put.map_err(|error| SpoolError::Unwritable(error.to_string())).flatten();
        let file = file.inspect_err(|why| {
            tracing::error!(
                organization = %told.organization, name = told.name(), error, %why,
                "what Twilio told can neither be stored nor put aside"
            );
        })?;
        tracing::error!(
            organization = %told.organization, name = told.name(), person = told.masked_person(), error, file,
            mend = "mend or remove the record of the store, as docs/operations.md tells; this is tried again by itself, and at a \
                    start",
            "what Twilio told is put aside: a record of the store that it concerns cannot be read"
        );
        self.core.metrics.put_aside();
        let whose = told.person().map(|person| (told.organization.clone(), person));
        self.intake.known_aside.lock().get_or_insert_default().insert(file, whose);
        Ok(())
    }

    /// Learns what is put aside: before anything is sent, and then of what other processes put there.
    pub async fn know_aside(&self) -> Result<(), store::Error> {
        let Some(spool) = &self.intake.spool else { return Ok(()) };
        let broken = |error: String| store::Error::Unavailable(anyhow::anyhow!("what is put aside: {error}"));
        let before = self.intake.known_aside.lock().clone().unwrap_or_default();
        let read = {
            let (spool, before) = (spool.clone(), before.clone());
            tokio::task::spawn_blocking(move || {
                let aside = spool.aside();
                let files = aside.list()?.into_iter().map(|file| match before.get(&file) {
                    Some(whose) => Ok((file, Ok(whose.clone()))),
                    None => aside.read(&file).map(|record| (file, Err(record))),
                });
                files.collect::<std::io::Result<Vec<_>>>()
            })
            .await
        };
        let read =
            read.map_err(|error| broken(error.to_string()))?.map_err(|error| broken(error.to_string()))?;
        let known = read.into_iter().map(|(file, found)| {
            let whose = found.unwrap_or_else(|record| {
                let told = self.open_record(&record?).ok()?;
                Some((told.organization.clone(), told.person()?))
            });
            (file, whose)
        });
        let mut known: HashMap<_, _> = known.collect();
        let mut kept = self.intake.known_aside.lock();
        // What was put aside meanwhile was not seen.
        known.extend(
            kept.take().unwrap_or_default().into_iter().filter(|(file, _)| !before.contains_key(file)),
        );
        *kept = Some(known);
        Ok(())
    }

    /// The same, where what was known goes on to count if it cannot be learned.
    pub(super) async fn know_aside_once(&self) -> Result<(), store::Error> {
        if self.intake.known_aside.is_known() { Ok(()) } else { self.know_aside().await }
    }

    /// Tries to store what is put aside, if the store is there; what cannot be stays.
    pub async fn retry_aside(&self) -> Result<(), store::Error> {
        let Some(spool) = &self.intake.spool else { return Ok(()) };
        if self.intake.is_away() {
            return Ok(());
        }
        self.know_aside().await?;
        let mut files: Vec<String> =
            self.intake.known_aside.lock().iter().flat_map(HashMap::keys).cloned().collect();
        files.sort_unstable();
        for file in files {
            let broken =
                |error: std::io::Error| store::Error::Unavailable(anyhow::anyhow!("{file}: {error}"));
            // Not enough of them, and not often enough, to read them elsewhere.
            let Some(record) = spool.aside().read(&file).map_err(broken)? else { continue };
            // One whose key was taken away waits until it is put back.
            let Ok(told) = self.open_record(&record) else { continue };
            match self.apply(&told).await {
                Ok(()) => {
                    spool.aside().remove(&file).map_err(broken)?;
                    self.intake.known_aside.lock().get_or_insert_default().remove(&file);
                    tracing::info!(
                        organization = %told.organization, name = told.name(), person = told.masked_person(), file,
                        "what was put aside is stored"
                    );
                }
                Err(store::Error::Unreadable(_)) => {}
                // Of this one alone, or of all.
                Err(store::Error::Unavailable(_)) => self.core.store.ping().await?,
                Err(error @ store::Error::NotKnown(_)) => return Err(error),
            }
        }
        Ok(())
    }
}
