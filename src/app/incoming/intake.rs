//! What Twilio told us, verified, on its way to the store: in turn when there is much of it, and by way of the spool
//! while the store is away.
//!
//! Twilio gives up after seconds, so what cannot be stored now is put on this machine's disk and answered as if it
//! were. When the store is back it is applied in order, replies first, and only then do sends go out again: a STOP may
//! be among them. Applying twice does no harm, because the store knows what it has.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{
    Incoming,
    admission::{Admission, Overloaded, Priority},
    reply::{Receipt, Received},
};
use crate::{
    app::{Core, Scope, consents::reassigned::Reassignment, recognition},
    domain::{
        Organization, StatusChange, UnixMs,
        delivery::{self, Recorded},
    },
    sealing,
    spool::{self, Size, Spool, SpoolError},
    store,
};

/// How long the store may take before it counts as away. Twilio wants an answer within 4 s, by the connection overrides
/// we ask for.
const STORE_TIME_MAX: Duration = Duration::from_millis(2_500);

/// Spooled statuses that are stored at the same time.
const REPLAYED_AT_ONCE: usize = 64;

/// What records of the spool are sealed for.
const SPOOL_CONTEXT: &str = "spool";

/// What became of something that Twilio told us. Either way it is safe on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted<T> {
    /// In the store.
    Stored(T),
    /// In the spool.
    Spooled,
}

/// Why something that Twilio told us was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Too much arrives.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The store failed, and there is no spool.
    #[error(transparent)]
    Store(store::Error),
    /// The store is away, and the spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Something that Twilio told, as it is spooled.
#[derive(Serialize, Deserialize)]
struct SpoolRecord {
    organization: Organization,
    told: SpooledItem,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SpooledItem {
    Status(StatusChange),
    Reply(Receipt),
    Reassigned(Reassignment),
}

/// The way in.
pub struct Intake {
    core: Arc<Core>,
    admission: Admission,
    spool: Option<Arc<Spool>>,
    /// The store has failed, and has not been seen to work since.
    away: AtomicBool,
    /// Notified when the store goes away, and when something is spooled.
    wanted: Notify,
}

impl Intake {
    /// A way in; without a spool, what cannot be stored is turned away. With one, the store counts as away until it has
    /// been seen to work.
    pub fn new(core: Arc<Core>, spool: Option<Spool>) -> Self {
        let away = AtomicBool::new(spool.is_some());
        let admission = Admission::new(core.metrics.clone());
        Self { core, admission, spool: spool.map(Arc::new), away, wanted: Notify::new() }
    }

    /// How much waits in the spool.
    pub fn spooled(&self) -> Size {
        self.spool.as_ref().map(|spool| spool.size()).unwrap_or_default()
    }

    /// Why the spool would turn away what it was given now, if it would, in a word.
    pub fn spool_fault(&self) -> Option<&'static str> {
        self.spool.as_ref().and_then(|spool| spool.fault()).map(|fault| fault.as_str())
    }

    /// How many records of the spool were lost.
    pub fn spool_lost(&self) -> u64 {
        self.spool.as_ref().map(|spool| spool.lost()).unwrap_or_default()
    }

    /// Looks whether the spool can be written; [`Intake::spool_fault`] then tells.
    pub async fn probe_spool(&self) {
        if let Some(spool) = self.spool.clone() {
            // A panic has been reported by the panic hook already.
            drop(tokio::task::spawn_blocking(move || spool.probe()).await);
        }
    }

    /// Whether the store is there, is the known one, and has everything that Twilio told this process. Only then may messages
    /// leave.
    pub fn is_clear(&self) -> bool {
        !self.is_away() && self.is_known() && self.spooled().entries == 0
    }

    fn is_known(&self) -> bool {
        self.core.store.known().mismatch().is_none()
    }

    /// Whether the spool would take what arrives now; not if there is none.
    pub(super) async fn spool_takes(&self) -> bool {
        self.probe_spool().await;
        self.spool.as_ref().is_some_and(|spool| spool.fault().is_none())
    }

    /// Whether this process holds what Twilio told and the store has not taken yet.
    pub(in crate::app) fn holds_anything(&self) -> bool {
        self.spooled().entries > 0
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    fn must_spool(&self, spool: &Spool, lane: spool::Lane) -> bool {
        // A reply waits behind those before it; the order of statuses does not matter.
        self.is_away() || !self.is_known() || (lane == spool::Lane::Replies && spool.entries(lane) > 0)
    }
}

impl Scope<'_, Incoming> {
    /// Takes a status that Twilio told. It is stored or spooled when this returns.
    pub async fn take_status(&self, change: StatusChange) -> Result<Accepted<Recorded>, IntakeError> {
        let is_final = delivery::is_final(&change.status);
        let lane = if is_final { Priority::Final } else { Priority::Intermediate };
        let _permit = self.intake.admission.enter(self.organization, lane).await?;
        let statuses = self.statuses.of(self.organization);
        let store = || statuses.record_status(change.clone());
        let told = || SpooledItem::Status(change.clone());
        self.store_or_spool(spool::Lane::Statuses, change.at, store, told).await
    }

    /// Takes a message that a person wrote. It is stored or spooled when this returns.
    pub async fn take_reply(&self, receipt: Receipt) -> Result<Accepted<Received>, IntakeError> {
        let _permit = self.intake.admission.enter(self.organization, Priority::Reply).await?;
        let store = || self.record_inbound(&receipt);
        let told = || SpooledItem::Reply(receipt.clone());
        self.store_or_spool(spool::Lane::Replies, receipt.entry.at, store, told).await
    }

    /// Takes that a number has another owner; whether that was news. It is stored or spooled when this returns.
    pub async fn take_reassignment(&self, told: Reassignment) -> Result<Accepted<bool>, IntakeError> {
        let _permit = self.intake.admission.enter(self.organization, Priority::Reply).await?;
        let consents = self.consents.of(self.organization);
        let store = || consents.opt_out_reassigned(&told);
        let spooled = || SpooledItem::Reassigned(told.clone());
        self.store_or_spool(spool::Lane::Replies, told.at, store, spooled).await
    }

    async fn store_or_spool<T>(
        &self,
        lane: spool::Lane,
        at: UnixMs,
        store: impl AsyncFnOnce() -> Result<T, store::Error>,
        told: impl FnOnce() -> SpooledItem,
    ) -> Result<Accepted<T>, IntakeError> {
        let Some(spool) = &self.intake.spool else {
            return store().await.map(Accepted::Stored).map_err(IntakeError::Store);
        };
        if !self.intake.must_spool(spool, lane) {
            match tokio::time::timeout(STORE_TIME_MAX, store()).await {
                Ok(Ok(stored)) => return Ok(Accepted::Stored(stored)),
                Ok(Err(store::Error::Unavailable(error))) => self.store_went_away(&error.to_string()),
                Ok(Err(store::Error::NotKnown(_))) => {}
                Ok(Err(error)) => return Err(IntakeError::Store(error)),
                Err(_) => self.store_went_away("it did not answer in time"),
            }
        }
        let spooled = SpoolRecord { organization: self.organization.clone(), told: told() };
        spool.append(lane, at.get(), &self.seal_record(&spooled)).await?;
        // The store may have come back in the meantime, and nobody looked here again.
        self.intake.wanted.notify_one();
        Ok(Accepted::Spooled)
    }
}

impl Incoming {
    fn store_went_away(&self, error: &str) {
        if !self.intake.away.swap(true, Ordering::AcqRel) {
            tracing::error!(
                error,
                "the store is away: webhooks are spooled and sends are refused until it is back"
            );
        }
        self.intake.wanted.notify_one();
    }

    /// Returns when the store is away or something is in the spool.
    pub async fn replay_wanted(&self) {
        while self.intake.is_clear() {
            self.intake.wanted.notified().await;
        }
    }

    /// Takes over what processes that have ended left in the spool, if the store is there to take it.
    pub async fn take_over_spools(&self) -> io::Result<()> {
        let Some(spool) = self.intake.spool.clone() else { return Ok(()) };
        if self.intake.is_away() {
            return Ok(());
        }
        let taken = tokio::task::spawn_blocking(move || spool.take_over()).await.map_err(io::Error::other)?;
        if let Ok(records) = &taken
            && *records > 0
        {
            self.core.metrics.taken_over(*records);
            tracing::warn!(
                records,
                "what a process that has ended left in the spool was taken over: sends are refused until it is stored"
            );
            self.intake.wanted.notify_one();
        }
        taken.map(drop)
    }

    /// The store was found not to be the known one.
    pub fn store_is_not_known(&self) {
        self.intake.wanted.notify_one();
    }

    /// Looks whether the store is there, and the known one; if so, it is used again, once what an earlier version left there is in
    /// the form of this one.
    pub async fn find_store(&self) -> Result<(), store::Error> {
        self.core.store.ping().await?;
        recognition::look(&*self.core.store, &self.core.store.known().organizations()).await?;
        for organization in self.accounts.organizations().await? {
            self.consents.of(&organization).upgrade().await?;
        }
        self.intake.away.store(false, Ordering::Release);
        Ok(())
    }

    /// Looks whether the store is back, and applies what is in the spool. An error means that it is away again; what
    /// has been applied by then is no longer in the spool.
    pub async fn replay(&self) -> Result<(), store::Error> {
        self.find_store().await?;
        let Some(spool) = &self.intake.spool else { return Ok(()) };
        for lane in spool::Lane::ALL {
            let replayed = self.replay_lane(spool, lane).await;
            if replayed.is_err() {
                self.intake.away.store(true, Ordering::Release);
            }
            replayed?;
        }
        Ok(())
    }

    async fn replay_lane(&self, spool: &Arc<Spool>, lane: spool::Lane) -> Result<(), store::Error> {
        let broken = |error: String| store::Error::Unavailable(anyhow::anyhow!("the spool: {error}"));
        loop {
            let read = {
                let spool = spool.clone();
                tokio::task::spawn_blocking(move || spool.read(lane)).await
            };
            let read = read.map_err(|error| broken(error.to_string()))?;
            let Some(mut batch) = read.map_err(|error| broken(error.to_string()))? else { return Ok(()) };
            if batch.torn {
                tracing::warn!(
                    "the spool ends in a record that a crash cut short; nobody was told that it is kept"
                );
            }
            let at_once = match lane {
                spool::Lane::Replies => 1,
                spool::Lane::Statuses => REPLAYED_AT_ONCE,
            };
            let passed_over = futures_util::stream::iter(0..batch.records.len())
                .map(|index| Ok(self.apply(&batch.records[index].1)))
                .try_buffered(at_once)
                .try_fold(0, |count, applied| std::future::ready(Ok(count + u64::from(!applied))))
                .await?;
            batch.unreadable += passed_over;
            if batch.unreadable > 0 {
                self.core.metrics.unreadable(batch.unreadable);
                tracing::error!(
                    records = batch.unreadable,
                    "records of the spool cannot be read; their file is put aside"
                );
            }
            spool.confirm(lane, &batch).map_err(|error| broken(error.to_string()))?;
            self.core.metrics.replayed(batch.records.len() as u64);
        }
    }

    /// A record as it is spooled: sealed, since it tells who wrote to whom, and may hold what Twilio said in words.
    fn seal_record(&self, record: &SpoolRecord) -> String {
        let text = serde_json::to_vec(record).expect("what is told has string keys");
        self.core.keys.seal(SPOOL_CONTEXT, &text)
    }

    /// Reads a record of the spool; version 0.1.0 left them in clear.
    fn open_record(&self, record: &str) -> anyhow::Result<SpoolRecord> {
        let unreadable = |error: serde_json::Error| anyhow::anyhow!(store::fault(&error));
        if !sealing::has_form(record) {
            return serde_json::from_str(record).map_err(unreadable);
        }
        let text = self.core.keys.open(SPOOL_CONTEXT, record)?;
        serde_json::from_slice(text.expose_secret()).map_err(unreadable)
    }

    /// Applies one record of the spool; returns whether it could be. One that cannot must not stand in the way for ever.
    async fn apply(&self, record: &str) -> Result<bool, store::Error> {
        let spooled = match self.open_record(record) {
            Ok(spooled) => spooled,
            Err(error) => {
                // Whole, and yet not ours: of a later version, or sealed with a key that was taken away.
                tracing::error!(%error, "a record of the spool cannot be read by this process");
                return Ok(false);
            }
        };
        let result = match spooled.told {
            SpooledItem::Status(change) => {
                self.statuses.of(&spooled.organization).record_status(change).await.map(drop)
            }
            SpooledItem::Reply(receipt) => {
                self.of(&spooled.organization).record_inbound(&receipt.heard_late()).await.map(drop)
            }
            SpooledItem::Reassigned(told) => {
                self.consents.of(&spooled.organization).opt_out_reassigned(&told).await.map(drop)
            }
        };
        match result {
            Ok(()) => Ok(true),
            Err(store::Error::Unreadable(error)) => {
                tracing::error!(error, "a record of the spool could not be applied");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
