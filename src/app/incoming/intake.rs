//! What Twilio told us, verified, on its way to the store: in turn when there is much of it, and by way of the spool
//! while the store is away, or too slow for Twilio's patience.
//!
//! Twilio gives up after seconds, so what cannot be stored in time is put on this machine's disk and answered as if it
//! were. When the store is back it is applied in order, replies first, and only then do sends go out again: a STOP may
//! be among them. Applying twice does no harm, because the store knows what it has. What one record of the store keeps from
//! being stored is put aside ([`super::aside`]).

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    Incoming,
    admission::{Admission, Overloaded, Priority, WAIT_MAX},
    aside::KnownAside,
    replay::Tries,
    reply::{Receipt, Received},
    told::{SpoolRecord, SpooledItem},
};
use crate::{
    app::{Core, Scope, consents::reassigned::Reassignment, recognition},
    domain::{
        Organization, StatusChange, UnixMs,
        delivery::{self, Recorded},
    },
    spool::{self, Size, Spool, SpoolError},
    store,
    twilio::BareAddress,
};

/// How long a webhook waits for its turn before it is spooled. With [`STORE_TIME_MAX`] and the time that the disk takes it is
/// less than the 4 s within which Twilio wants an answer, by the connection overrides we ask for.
const TURN_TIME_MAX: Duration = Duration::from_millis(1_500);

/// How long the store may take before what it was given is spooled.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);

/// For how long webhooks are spooled at once after the store did not take one in time: so that not each of them waits for as
/// long, and a store that is slow is not tried anew with every one.
const SLOW_TIME: Duration = Duration::from_secs(10);

/// What became of something that Twilio told us. Either way it is safe on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted<T> {
    /// In the store.
    Stored(T),
    /// On this machine: in the spool, or put aside.
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

/// The way in.
pub struct Intake {
    core: Arc<Core>,
    admission: Admission,
    pub(super) spool: Option<Arc<Spool>>,
    /// The store has failed, and has not been seen to work since.
    away: AtomicBool,
    pace: Mutex<Pace>,
    pub(super) known_aside: KnownAside,
    pub(super) tries: Tries,
    /// The organizations of which what an earlier version left is in the form of this one.
    upgraded: Mutex<BTreeSet<Organization>>,
    /// Notified when the store goes away, and when something is spooled.
    wanted: Notify,
}

/// How the store keeps up.
#[derive(Default)]
struct Pace {
    /// Until when it counts as slow.
    slow_until: Option<Instant>,
    /// Since when the operator knows that something is wrong with the store, if they were not told yet that it is over.
    told: Option<Instant>,
}

impl Pace {
    /// Notes that the operator is told now; whether they were already.
    fn note_told(&mut self) -> bool {
        let since = self.told;
        self.told = since.or(Some(Instant::now()));
        since.is_some()
    }
}

impl Intake {
    /// A way in; without a spool, what cannot be stored is turned away. With one, the store counts as away until it has
    /// been seen to work.
    pub fn new(core: Arc<Core>, spool: Option<Spool>) -> Self {
        let wait_max = if spool.is_some() { TURN_TIME_MAX } else { WAIT_MAX };
        Self {
            admission: Admission::new(core.metrics.clone(), wait_max),
            core,
            away: AtomicBool::new(spool.is_some()),
            spool: spool.map(Arc::new),
            pace: Mutex::default(),
            known_aside: KnownAside::default(),
            tries: Tries::default(),
            upgraded: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        // Nothing that holds the lock can panic half-way.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// How many records are put aside, as was found last.
    pub fn aside(&self) -> usize {
        self.known_aside.len()
    }

    /// Whether the own word of the person at `address` is put aside, so that nobody knows whether they may be sent to.
    pub fn holds(&self, organization: &Organization, address: &BareAddress) -> bool {
        self.known_aside.holds(organization, address)
    }

    /// Whether the spool would take what arrives now; not if there is none.
    pub(super) async fn spool_takes(&self) -> bool {
        self.probe_spool().await;
        self.spool.as_ref().is_some_and(|spool| spool.fault().is_none())
    }

    /// Whether this process holds what Twilio told and the store does not have.
    pub(in crate::app) fn holds_anything(&self) -> bool {
        self.spooled().entries > 0 || self.aside() > 0
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    fn is_slow(&self) -> bool {
        self.pace().slow_until.is_some_and(|until| Instant::now() < until)
    }

    /// What is wrong with the store, in a word.
    pub fn store_fault(&self) -> Option<&'static str> {
        if self.is_away() { Some("away") } else { self.is_slow().then_some("slow") }
    }

    fn must_spool(&self, spool: &Spool, lane: spool::Lane) -> bool {
        // A reply waits behind those before it; the order of statuses does not matter.
        self.is_away()
            || !self.is_known()
            || (lane == spool::Lane::Replies && spool.entries(lane) > 0)
            || self.is_slow()
    }
}

/// What the store did with something in the time that it has.
enum Tried<T> {
    Stored(T),
    /// A record of the store keeps it from being stored.
    Unreadable(String),
    NotInTime,
}

impl Scope<'_, Incoming> {
    /// Takes a status that Twilio told. It is stored or spooled when this returns.
    pub async fn take_status(&self, change: StatusChange) -> Result<Accepted<Recorded>, IntakeError> {
        let is_final = delivery::is_final(&change.status);
        let priority = if is_final { Priority::Final } else { Priority::Intermediate };
        let statuses = self.statuses.of(self.organization);
        let store = || statuses.record_status(change.clone());
        self.store_or_spool(priority, change.at, store, || SpooledItem::Status(change.clone())).await
    }

    /// Takes a message that a person wrote. It is stored or spooled when this returns.
    pub async fn take_reply(&self, receipt: Receipt) -> Result<Accepted<Received>, IntakeError> {
        let store = || self.record_inbound(&receipt);
        let told = || SpooledItem::Reply(receipt.clone());
        self.store_or_spool(Priority::Reply, receipt.entry.at, store, told).await
    }

    /// Takes that a number has another owner; whether that was news. It is stored or spooled when this returns.
    pub async fn take_reassignment(&self, told: Reassignment) -> Result<Accepted<bool>, IntakeError> {
        let consents = self.consents.of(self.organization);
        let store = || consents.opt_out_reassigned(&told);
        self.store_or_spool(Priority::Reply, told.at, store, || SpooledItem::Reassigned(told.clone())).await
    }

    async fn store_or_spool<T>(
        &self,
        priority: Priority,
        at: UnixMs,
        store: impl AsyncFnOnce() -> Result<T, store::Error>,
        told: impl FnOnce() -> SpooledItem,
    ) -> Result<Accepted<T>, IntakeError> {
        let intake = &self.intake;
        let Some(spool) = &intake.spool else {
            let _permit = intake.admission.enter(self.organization, priority).await?;
            return store().await.map(Accepted::Stored).map_err(IntakeError::Store);
        };
        let lane = match priority {
            Priority::Reply => spool::Lane::Replies,
            Priority::Final | Priority::Intermediate => spool::Lane::Statuses,
        };
        let tried = match intake.must_spool(spool, lane) {
            true => Tried::NotInTime,
            false => self.store_in_time(spool, priority, lane, store).await,
        };
        let record = || SpoolRecord { organization: self.organization.clone(), told: told() };
        match tried {
            Tried::Stored(stored) => return Ok(Accepted::Stored(stored)),
            Tried::Unreadable(error) => self.put_aside(spool, lane, at.get(), &record(), &error).await?,
            Tried::NotInTime => {
                spool.append(lane, at.get(), &self.seal_record(&record())).await?;
                // The store may have come back in the meantime, and nobody looked here again.
                intake.wanted.notify_one();
            }
        }
        Ok(Accepted::Spooled)
    }

    async fn store_in_time<T>(
        &self,
        spool: &Spool,
        priority: Priority,
        lane: spool::Lane,
        store: impl AsyncFnOnce() -> Result<T, store::Error>,
    ) -> Tried<T> {
        let intake = &self.intake;
        let Ok(_permit) = intake.admission.enter(self.organization, priority).await else {
            self.store_is_slow("more webhooks arrive than it takes");
            return Tried::NotInTime;
        };
        // Those before may have been spooled while this one waited.
        if intake.must_spool(spool, lane) {
            return Tried::NotInTime;
        }
        match tokio::time::timeout(STORE_TIME_MAX, store()).await {
            Ok(Ok(stored)) => return Tried::Stored(stored),
            Ok(Err(store::Error::Unreadable(error))) => return Tried::Unreadable(error),
            Ok(Err(store::Error::Unavailable(error))) => self.store_went_away(&error.to_string()),
            Ok(Err(store::Error::NotKnown(_))) => {}
            Err(_) => self.store_is_slow("it did not answer in time"),
        }
        Tried::NotInTime
    }
}

impl Incoming {
    /// Notes that the store is away, which the operator is told once.
    pub fn store_went_away(&self, error: &str) {
        self.intake.away.store(true, Ordering::Release);
        let mut pace = self.intake.pace();
        if !pace.note_told() {
            tracing::error!(
                error,
                "the store is away: webhooks are spooled and sends are refused until it is back"
            );
        }
        self.intake.wanted.notify_one();
    }

    fn store_is_slow(&self, error: &str) {
        let mut pace = self.intake.pace();
        pace.slow_until = Some(Instant::now() + SLOW_TIME);
        if !pace.note_told() {
            tracing::error!(
                error,
                "the store is slow: webhooks are spooled, and sends wait for those that are, until it keeps up"
            );
        }
        self.intake.wanted.notify_one();
    }

    /// Tells the operator, who was told that the store is away or slow, once that is over.
    pub fn note_recovery(&self) {
        if !self.intake.is_clear() || self.intake.is_slow() {
            return;
        }
        if let Some(since) = self.intake.pace().told.take() {
            tracing::info!(
                away_s = since.elapsed().as_secs(),
                "the store is there and has everything that was spooled"
            );
        }
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
        if self.intake.is_away() || !self.intake.is_known() {
            return Ok(());
        }
        let stores = self.core.store.known().mark().map(|mark| mark.names());
        let take_over = move || {
            if let Some(stores) = stores {
                spool.keep_for(stores)?;
            }
            spool.take_over()
        };
        let taken = tokio::task::spawn_blocking(take_over).await.map_err(io::Error::other)?;
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
        let found = recognition::look(&*self.core.store, &self.core.store.known().organizations()).await;
        let upgraded = || self.intake.upgraded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(store::Error::NotKnown(_)) = found {
            // One that is accepted in its place may be of an earlier version.
            upgraded().clear();
        }
        found?;
        self.know_aside_once().await?;
        let installation = Organization::installation();
        let organizations = self.accounts.organizations().await;
        let organizations =
            self.core.if_readable(&installation, || "the list of organizations".to_owned(), organizations)?;
        let known = upgraded().clone();
        for organization in organizations.unwrap_or_default().difference(&known) {
            let result = self.consents.of(organization).upgrade().await;
            // What cannot be read of one organization keeps nobody else waiting.
            let record = || "what an earlier version kept".to_owned();
            if self.core.if_readable(organization, record, result)?.is_some() {
                upgraded().insert(organization.clone());
            }
        }
        self.intake.away.store(false, Ordering::Release);
        Ok(())
    }
}
