//! Damaged pages: redb returns an error where it sees that a page is not as it was written, and panics where it does not.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use redb::Error;

thread_local! {
    /// Whether a panic on this thread is told by who catches it.
    static IS_TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Runs `job`, in which redb may panic on a damaged page: that is an error like those that it returns, and nothing is printed of it.
/// Nothing that `job` used may be used after that.
pub(super) fn unless_damaged<T, E>(
    job: impl FnOnce() -> Result<T, E>,
    error: impl FnOnce(Error) -> E,
) -> Result<T, E> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            if !IS_TOLD.get() {
                print(panicked);
            }
        }));
    });
    let is_told = IS_TOLD.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(job));
    IS_TOLD.set(is_told);
    done.unwrap_or_else(|_| Err(error(Error::Corrupted("a page is not as it was written".to_owned()))))
}

/// Whether redb says that what it read is not what it wrote.
pub(super) fn is_damage(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Corrupted(_)))
}
