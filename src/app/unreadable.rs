//! What is stored and cannot be read here: damaged, or written by an instance of a later version during an upgrade.
//!
//! It hides nothing beside it. A list goes on without it and tells that it is not whole; what is to be done waits for an
//! instance that can read it. The operator is told of each such record once, though it is met with every look, and by a
//! counter each time.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use super::{App, Core};
use crate::{
    domain::Organization,
    store::{self, Row, Unreadable},
};

/// Records that are told one by one. Beyond that, they are only counted.
const TOLD_MAX: usize = 10_000;

/// Which records were told.
#[derive(Default)]
pub(super) struct Told(Mutex<HashSet<String>>);

impl Told {
    /// Whether `record` is told for the first time.
    fn is_first(&self, record: String) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was told is not told again, however many there are.
        let is_first = told.len() < TOLD_MAX && told.insert(record);
        if is_first && told.len() == TOLD_MAX {
            tracing::error!(told = TOLD_MAX, "further records that cannot be read are only counted");
        }
        is_first
    }
}

impl Core {
    /// Tells the operator of a record that cannot be read.
    pub(super) fn tell_unreadable(
        &self,
        organization: &Organization,
        Unreadable { record, error }: &Unreadable,
    ) {
        self.metrics.unreadable_record();
        if self.told_unreadable.is_first(format!("{organization} {record}")) {
            tracing::error!(%organization, record, error, "a record cannot be read");
        }
    }

    /// What can be read of `row`; else nothing, and the operator is told.
    pub(super) fn readable<T>(&self, organization: &Organization, row: Row<T>) -> Option<T> {
        row.inspect_err(|unreadable| self.tell_unreadable(organization, unreadable)).ok()
    }

    /// The same of what was `read` of `record`: any other error stays one.
    pub(super) fn if_readable<T>(
        &self,
        organization: &Organization,
        record: impl FnOnce() -> String,
        read: Result<T, store::Error>,
    ) -> Result<Option<T>, store::Error> {
        Ok(self.readable(organization, Unreadable::part(record, read)?))
    }
}

impl App {
    /// Tells the operator of a record that cannot be read.
    pub fn tell_unreadable(&self, organization: &Organization, unreadable: &Unreadable) {
        self.core.tell_unreadable(organization, unreadable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_once_and_beyond_so_many_none_is() {
        let told = Told::default();
        assert!(told.is_first("default message 1".to_owned()));
        assert!(!told.is_first("default message 1".to_owned()));
        for number in 2..=TOLD_MAX {
            assert!(told.is_first(format!("default message {number}")));
        }
        for number in [1, TOLD_MAX, TOLD_MAX + 1] {
            assert!(!told.is_first(format!("default message {number}")));
        }
        assert_eq!(told.0.lock().unwrap().len(), TOLD_MAX);
    }
}
