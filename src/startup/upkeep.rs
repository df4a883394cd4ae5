//! What commands do to the file of an embedded store while no service runs.

use std::path::Path;

use anyhow::anyhow;

use crate::store::embedded::{OpenError, upkeep};

/// Gives the disk back what the file of the store in `folder` no longer needs.
pub fn compact(folder: &Path) -> anyhow::Result<upkeep::Compacted> {
    upkeep::compact(folder).map_err(not_done)
}

/// Compares every page of the file of the store in `folder` with its checksum, and returns the file's length in bytes.
pub fn check_pages(folder: &Path) -> anyhow::Result<u64> {
    upkeep::check_pages(folder).map_err(not_done)
}

fn not_done(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::Folder { path, error } if error.kind() == std::io::ErrorKind::NotFound => {
            anyhow!("there is no store in {}: check TEXTLEDGER_STORE", path.display())
        }
        OpenError::InUse { path } => {
            anyhow!("{} is in use by a running service: stop it before", path.display())
        }
        error => super::not_opened(error),
    }
}
