//! The files of one lane, and how far they have been read.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{Lane, record};

/// Records that are read at once.
const BATCH_RECORDS_MAX: u64 = 512;

/// Bytes that are read at once, roughly: a record is far shorter.
const BATCH_BYTES_MAX: u64 = 1 << 20;

/// What a segment with records that could not be read is renamed to, for a person to look at.
const DAMAGED: &str = "damaged";

/// The name of the segment `number` of `lane`: names sort as numbers do.
pub(super) fn file_name(lane: Lane, number: u64) -> String {
    format!("{}-{number:020}.spool", lane.as_str())
}

/// What [`file_name`] was made of.
pub(super) fn name_of(path: &Path) -> Option<(Lane, u64)> {
    let (lane, number) = path.file_name()?.to_str()?.strip_suffix(".spool")?.split_once('-')?;
    let lane = Lane::ALL.into_iter().find(|known| known.as_str() == lane)?;
    Some((lane, number.parse().ok()?))
}

/// One file.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    /// What is on disk.
    bytes: u64,
    /// What of it is confirmed.
    confirmed: u64,
    /// Records that are not confirmed.
    entries: u64,
    oldest_ms: Option<u64>,
    /// A write is under way, so that more will be in it soon.
    writing: bool,
    /// It holds something that cannot be read.
    damaged: bool,
}

impl Segment {
    /// A file that an earlier process left behind.
    pub(super) fn found(path: &Path) -> io::Result<Self> {
        let mut segment = Self::new(path.to_owned());
        segment.bytes = fs::metadata(path)?.len();
        let mut batch = Batch::of(&segment);
        loop {
            batch = batch.read()?;
            segment.entries += batch.records.len() as u64;
            segment.oldest_ms = segment.oldest_ms.or(batch.first_ms);
            segment.damaged |= batch.unreadable > 0;
            if batch.end >= batch.limit {
                return Ok(segment);
            }
            batch.start = batch.end;
        }
    }

    fn new(path: PathBuf) -> Self {
        Self { path, bytes: 0, confirmed: 0, entries: 0, oldest_ms: None, writing: false, damaged: false }
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether there is nothing in it, not even anything that cannot be read.
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0 && !self.damaged
    }

    /// Renames the file to `path`.
    pub(super) fn move_to(&mut self, path: PathBuf) -> io::Result<()> {
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// Deletes the file, or puts it aside if there is something in it that could not be read.
    pub(super) fn remove(self) -> io::Result<()> {
        match self.damaged {
            true => fs::rename(&self.path, self.path.with_extension(DAMAGED)),
            false => fs::remove_file(&self.path),
        }
    }
}

/// The segments of one lane, the oldest first. The last one may be written to.
#[derive(Debug, Default)]
pub(super) struct Queue {
    segments: VecDeque<Segment>,
    newest_number: u64,
    /// The last segment takes further records.
    open: bool,
}

impl Queue {
    /// Adds a segment behind all others. None of those takes another write.
    pub(super) fn add(&mut self, segment: Segment) {
        let number = name_of(&segment.path).map_or(0, |(_, number)| number);
        self.newest_number = self.newest_number.max(number);
        self.segments.push_back(segment);
        self.open = false;
    }

    /// Whether the file at `path` is one of its segments.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.segments.iter().any(|segment| segment.path == path)
    }

    /// Forgets the segment that `batch` is of, since its file is gone; with how many records.
    pub(super) fn forget(&mut self, batch: &Batch) -> u64 {
        let Some(index) = self.segments.iter().position(|segment| segment.path == batch.path) else {
            return 0;
        };
        if index + 1 == self.segments.len() {
            self.open = false;
        }
        self.segments.remove(index).map_or(0, |segment| segment.entries)
    }

    pub(super) fn next_number(&self) -> u64 {
        self.newest_number + 1
    }

    /// Begins a segment at `path`, which is about to be written to.
    pub(super) fn begin(&mut self, path: PathBuf) {
        self.add(Segment { writing: true, ..Segment::new(path) });
        self.open = true;
    }

    /// The file of the last segment, if that takes another write, which is then under way; not if it has `bytes_max` bytes.
    pub(super) fn begin_write(&mut self, bytes_max: u64) -> Option<PathBuf> {
        let last = self.segments.back_mut().filter(|last| self.open && last.bytes < bytes_max)?;
        last.writing = true;
        Some(last.path.clone())
    }

    /// The write under way has put so many records on disk.
    pub(super) fn wrote(&mut self, entries: u64, bytes: u64, first_ms: u64) {
        // Others may have been added behind it meanwhile.
        let Some(index) = self.written() else { return };
        let segment = &mut self.segments[index];
        segment.entries += entries;
        segment.bytes += bytes;
        segment.oldest_ms = segment.oldest_ms.or(Some(first_ms));
        segment.writing = false;
    }

    /// The write under way has failed: its segment takes no more. Returns it if there is nothing in it.
    pub(super) fn seal(&mut self) -> Option<Segment> {
        let index = self.written()?;
        if index + 1 == self.segments.len() {
            self.open = false;
        }
        self.segments[index].writing = false;
        if self.segments[index].bytes == 0 { self.segments.remove(index) } else { None }
    }

    /// Where the segment is that is written to.
    fn written(&self) -> Option<usize> {
        self.segments.iter().rposition(|segment| segment.writing)
    }

    /// Where the oldest records are.
    pub(super) fn front(&self) -> Option<Batch> {
        self.segments.iter().find(|segment| segment.confirmed < segment.bytes).map(Batch::of)
    }

    /// Takes the records of `batch` off, and returns the segment if that was all of it.
    pub(super) fn confirm(&mut self, batch: &Batch) -> Option<Segment> {
        let index = self.segments.iter().position(|segment| segment.path == batch.path)?;
        let is_last = index + 1 == self.segments.len();
        let segment = &mut self.segments[index];
        segment.confirmed = batch.end;
        segment.entries -= batch.records.len() as u64;
        segment.oldest_ms = if segment.entries > 0 { batch.last_ms } else { None };
        segment.damaged |= batch.unreadable > 0;
        if segment.confirmed < segment.bytes || segment.writing {
            return None;
        }
        if is_last {
            self.open = false;
        }
        self.segments.remove(index)
    }

    pub(super) fn entries(&self) -> u64 {
        self.segments.iter().map(|segment| segment.entries).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.segments.iter().filter_map(|segment| segment.oldest_ms).min()
    }
}

/// Records that were read together.
#[derive(Debug, Clone)]
pub struct Batch {
    path: PathBuf,
    start: u64,
    end: u64,
    /// As far as is known to be on disk: a write may be under way behind it.
    limit: u64,
    first_ms: Option<u64>,
    last_ms: Option<u64>,
    /// The records, in the order in which they were appended: when they were received, and their text.
    pub records: Vec<(u64, String)>,
    /// Lines that are damaged. With any, the file is put aside instead of deleted once it is confirmed; whoever reads the
    /// batch may add what it could not make sense of.
    pub unreadable: u64,
    /// The file ends in a part of a record: it was being written during a crash and nobody was told that it is kept.
    pub torn: bool,
}

impl Batch {
    fn of(segment: &Segment) -> Self {
        Self {
            path: segment.path.clone(),
            start: segment.confirmed,
            end: segment.confirmed,
            limit: segment.bytes,
            first_ms: None,
            last_ms: None,
            records: Vec::new(),
            unreadable: 0,
            torn: false,
        }
    }

    /// Reads from `start` on, at most up to `limit`.
    pub(super) fn read(self) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(&self.path)?);
        file.seek(SeekFrom::Start(self.start))?;
        let mut batch = Self { end: self.start, records: Vec::new(), unreadable: 0, ..self };
        let mut line = Vec::new();
        while batch.end < batch.limit
            && (batch.records.len() as u64) < BATCH_RECORDS_MAX
            && batch.end - batch.start < BATCH_BYTES_MAX
        {
            line.clear();
            let read = file.read_until(b'\n', &mut line)? as u64;
            batch.end += read;
            match line.strip_suffix(b"\n").and_then(record::parse) {
                Some((at_ms, text)) => {
                    batch.first_ms = batch.first_ms.or(Some(at_ms));
                    batch.last_ms = Some(at_ms);
                    batch.records.push((at_ms, text.to_owned()));
                }
                None if line.ends_with(b"\n") => batch.unreadable += 1,
                None => {
                    batch.torn = true;
                    batch.end = batch.limit;
                }
            }
        }
        Ok(batch)
    }
}
