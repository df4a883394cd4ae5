//! A clock that a test shares with the Redis servers that it starts: these stamp streams, and let keys end, by their own.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use textledger::{
    clock::{Clock, ManualClock},
    domain::UnixMs,
};

/// What stands between a server and its system's clock.
const SOURCE: &str = include_str!("made_up_time.c");

/// Whatever time it is made to be.
pub struct MadeUpTime {
    clock: Arc<ManualClock>,
    shown: File,
    folder: tempfile::TempDir,
}

impl MadeUpTime {
    /// It is `now`.
    pub fn begin(now: UnixMs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("made_up_time.c");
        std::fs::write(&source, SOURCE).unwrap();
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("made_up_time.so"))
            .arg(&source)
            .status();
        assert!(made.expect("cc is installed (scripts/test)").success());
        let shown = File::create(folder.path().join("now")).unwrap();
        let time = Self { clock: Arc::new(ManualClock::new(now)), shown, folder };
        time.set(now);
        time
    }

    /// The clock of whatever runs in this process.
    pub fn clock(&self) -> Arc<ManualClock> {
        self.clock.clone()
    }

    /// What time it is.
    pub fn now(&self) -> UnixMs {
        self.clock.now_ms()
    }

    /// Makes it `now`, for all.
    pub fn set(&self, now: UnixMs) {
        self.shown.write_all_at(&now.get().to_ne_bytes(), 0).unwrap();
        self.clock.set(now);
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.set(self.now() + time);
    }

    /// Lets time pass as it does, while `work` is done.
    pub fn pass_during<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let working = scope.spawn(work);
            let (began, now) = (Instant::now(), self.now());
            while !working.is_finished() {
                self.set(now + began.elapsed());
                std::thread::yield_now();
            }
            working.join().unwrap()
        })
    }

    /// What stands before the command of a server that is to live in it.
    pub fn environment(&self) -> Vec<String> {
        let variable = |name, file| format!("{name}={}", self.folder.path().join(file).display());
        vec!["env".to_owned(), variable("LD_PRELOAD", "made_up_time.so"), variable("MADE_UP_TIME", "now")]
    }
}
