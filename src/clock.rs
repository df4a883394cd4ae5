//! The time, as a parameter: the system's, or one that a test sets.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::domain::UnixMs;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The present time.
    fn now_ms(&self) -> UnixMs;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> UnixMs {
        #[expect(clippy::disallowed_methods, reason = "the one place where the system's clock is read")]
        let now = SystemTime::now();
        UnixMs::EPOCH + now.duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A clock that stands where it is put.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: UnixMs) -> Self {
        Self(AtomicU64::new(now.get()))
    }

    /// Puts the clock to `now`, forwards or backwards.
    pub fn set(&self, now: UnixMs) {
        self.0.store(now.get(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> UnixMs {
        UnixMs::new(self.0.load(Ordering::Relaxed))
    }
}
