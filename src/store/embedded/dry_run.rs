//! A file that redb reads, and writes in memory alone: looking at a store changes nothing of it, even where redb would mend it.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Bound,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend, backends::FileBackend};

/// Bytes that are kept in memory together once one of them was written.
const CHUNK: u64 = 4096;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct DryRun {
    file: FileBackend,
    written: Mutex<Written>,
}

/// What was written, and is not in the file.
#[derive(Debug)]
struct Written {
    length: u64,
    /// The length up to which the file counts: what was behind it is gone once it was cut off.
    file_length: u64,
    /// By their places in the file.
    chunks: BTreeMap<u64, Vec<u8>>,
}

impl DryRun {
    /// Opens the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, redb::Error> {
        // Its lock wants a file that may be written.
        let file = File::options().read(true).write(true).open(path)?;
        let file = FileBackend::new(file)?;
        let length = StorageBackend::len(&file)?;
        let written = Written { length, file_length: length, chunks: BTreeMap::new() };
        Ok(Self { file, written: Mutex::new(written) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in the chunk at `place`, zeros behind the file's end.
    fn chunk(&self, written: &Written, place: u64) -> Result<Vec<u8>, io::Error> {
        if let Some(chunk) = written.chunks.get(&place) {
            return Ok(chunk.clone());
        }
        let mut chunk = vec![0; CHUNK as usize];
        let in_file = written.file_length.saturating_sub(place).min(CHUNK) as usize;
        self.file.read(place, &mut chunk[..in_file])?;
        Ok(chunk)
    }
}

/// The parts of `length` bytes at `offset` by chunk: the chunk's place, where they begin in it, and how many.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, end) = (offset, offset + length as u64);
    std::iter::from_fn(move || {
        let place = at - at % CHUNK;
        let count = (place + CHUNK).min(end).checked_sub(at).filter(|count| *count > 0)?;
        let part = (place, (at - place) as usize, count as usize);
        at += count;
        Some(part)
    })
}

impl StorageBackend for DryRun {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> Result<(), io::Error> {
        let written = self.written();
        if offset + out.len() as u64 > written.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (place, from, count) in parts(offset, out.len()) {
            let chunk = self.chunk(&written, place)?;
            let (part, rest) = out.split_at_mut(count);
            part.copy_from_slice(&chunk[from..from + count]);
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let mut written = self.written();
        if length < written.length {
            // What comes after that is zero again.
            let place = length - length % CHUNK;
            let mut last = self.chunk(&written, place)?;
            last[(length - place) as usize..].fill(0);
            written.chunks.split_off(&place);
            written.chunks.insert(place, last);
            written.file_length = written.file_length.min(length);
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut written = self.written();
        let mut rest = data;
        for (place, from, count) in parts(offset, data.len()) {
            let mut chunk = self.chunk(&written, place)?;
            let (part, behind) = rest.split_at(count);
            chunk[from..from + count].copy_from_slice(part);
            written.chunks.insert(place, chunk);
            rest = behind;
        }
        written.length = written.length.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_is_not_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let before: Vec<u8> = (0..10_000_u32).map(|place| place as u8).collect();
        fs::write(&path, &before).unwrap();
        let dry_run = DryRun::open(&path).unwrap();
        let mut expected = before.clone();
        let read = |offset: u64, length: usize| {
            let mut out = vec![0; length];
            dry_run.read(offset, &mut out).map(|()| out)
        };
        assert_eq!(read(0, 10_000).unwrap(), expected);
        // Over the borders of chunks, behind the end, and cut off in between.
        for (offset, length) in [(4_000, 5_000), (9_990, 20), (12_000, 10)] {
            dry_run.set_len(expected.len().max(offset + length) as u64).unwrap();
            dry_run.write(offset as u64, &vec![b'x'; length]).unwrap();
            expected.resize(expected.len().max(offset + length), 0);
            expected[offset..offset + length].fill(b'x');
            assert_eq!(dry_run.len().unwrap(), expected.len() as u64);
            assert_eq!(read(0, expected.len()).unwrap(), expected);
        }
        for length in [5_000, 11_000] {
            dry_run.set_len(length).unwrap();
            expected.resize(length as usize, 0);
            assert_eq!(read(0, expected.len()).unwrap(), expected);
            assert!(read(length - 1, 2).is_err());
        }
        dry_run.sync_data().unwrap();
        dry_run.close().unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
