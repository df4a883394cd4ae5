//! Whether the spool would take a record now.

use std::io::{self, Write};

use super::{Spool, SpoolError};

/// Room for a record of ordinary size, in bytes: with less than this left, most are turned away.
const RECORD_BYTES: u64 = 2_048;

impl Spool {
    /// Whether a record of ordinary size would be kept. It writes to the disk, beside the segments, and blocks on it.
    pub fn probe(&self) -> Result<(), SpoolError> {
        if self.size().bytes + RECORD_BYTES > self.shared.bytes_max {
            return Err(SpoolError::Full);
        }
        let written = tempfile::tempfile_in(&self.shared.folder).and_then(|mut file| {
            file.write_all(&[0; RECORD_BYTES as usize])?;
            file.sync_data()
        });
        written.map_err(|error: io::Error| SpoolError::Unwritable(error.to_string()))
    }
}
