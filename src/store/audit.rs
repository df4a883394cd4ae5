//! Who did what: a record to which entries are added, and in which nothing is changed or taken away.
//!
//! What changes a message, a person's consent or a document adds its entry in the step that makes the change
//! ([`NewOutbound::entry`](super::NewOutbound), [`Step::entry`](super::Step), [`ConsentUpdate::audit_entry`](super::ConsentUpdate),
//! [`Documents::change_with_entry`](super::Documents)), so that there is never the one without the other. All others are
//! added by [`Audit::add_entry`]. Entries are kept without end, and read whatever version has written them.

use async_trait::async_trait;

use super::Error;
use crate::domain::{
    Organization,
    audit::{Entry, Place, RecordedEntry},
};

/// The most entries that one call of [`Audit::entries`] returns.
pub const ENTRIES_MAX: usize = 500;

/// See the [module](self), and the store's promises. Entries of one organization have growing places: one that has been
/// read is never preceded by one that is added later.
#[async_trait]
pub trait Audit {
    /// Adds an entry. Its time is the store's.
    async fn add_entry(&self, organization: &Organization, entry: &Entry) -> Result<(), Error>;

    /// The entries after `after`, oldest first, at most `limit` and [`ENTRIES_MAX`] of them.
    async fn entries(
        &self,
        organization: &Organization,
        after: Place,
        limit: usize,
    ) -> Result<Vec<(Place, RecordedEntry)>, Error>;
}
