//! A backup: every row of every table at one instant, as one stream of bytes that tells whether it is whole.
//!
//! It is read as the store's own file never can be while that is written, holds no free pages, and is the same for the same rows.
//! Numbers are big-endian:
//!
//! ```text
//! "textledger backup\n"  format: u32
//! for each table         1  length: u32, its name and the types of its rows
//!   for each row         2  length: u32, key  length: u32, value
//! at the end             0  rows: u64, SHA-256 of all before
//! ```

mod socket;

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
};

use redb::{
    Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    TableHandle, Value,
};
use sha2::{Digest, Sha256};

pub use self::socket::{Socket, ask};
use super::{
    EmbeddedStore, Error, FILE_NAME, OpenError,
    damage::unless_damaged,
    file::{DatabaseFile, create, create_folder},
    tables::{QUEUED, Visitor, prepare, visit_all},
    unavailable,
};

/// What every backup begins with.
const MAGIC: &[u8; 18] = b"textledger backup\n";

/// The format that is written, and the only one that is read. Further tables do not change it.
const FORMAT: u32 = 1;

// Tags: what comes next in the stream.
const END: u8 = 0;
const TABLE: u8 = 1;
const ROW: u8 = 2;

/// The length of the number of rows at the end, in bytes.
const ROWS_BYTES: u64 = 8;

/// The length of the digest behind it, in bytes.
const DIGEST_BYTES: u64 = 32;

/// Bytes that are written, or read, at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// Bytes of rows that are restored in one transaction: few enough to be held in memory, enough to make up for its fsync.
const BATCH_BYTES: usize = 16 << 20;

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is something else.
    #[error("it is no backup of textledger")]
    NoBackup,
    /// The file is a backup of another version.
    #[error(
        "it is of format {0}, and this version reads format {FORMAT}: restore it with the version that made it"
    )]
    OtherFormat(u32),
    /// The file's digest is not that of its bytes.
    #[error("it is broken off, or was changed, as its checksum shows: take another copy of it")]
    Damaged,
    /// The file has rows that cannot be put anywhere.
    #[error("this version has no table {0}: restore it with the version that made it")]
    UnknownTable(String),
    /// The folder has a store already.
    #[error("{} is there", path.display())]
    StoreExists {
        /// The store's file.
        path: PathBuf,
    },
    /// The backup cannot be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The store cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Rows of all tables.
    pub rows: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// What was in the backup.
    pub contents: Contents,
    /// Messages that waited in the queue when it was made.
    pub queued: u64,
}

impl EmbeddedStore {
    /// Writes a backup of what is committed now to `output`. This takes long, and is not for an async thread.
    pub fn back_up(&self, output: impl Write) -> Result<(), BackupError> {
        back_up(&self.file, output)
    }

    /// Begins to listen for processes that want a backup; see [`Socket::serve`].
    pub fn listen_for_backups(&self) -> io::Result<Socket> {
        Socket::listen(self.file.clone())
    }
}

/// Writes a backup of what is committed in `file` now to `output`.
fn back_up(file: &DatabaseFile, output: impl Write) -> Result<(), BackupError> {
    let view = file.view()?;
    unless_damaged(|| write(&view, output), |damage| Error::Unreadable(damage.to_string()).into())
}

/// Writes every row that `view` shows to `output`.
fn write(view: &ReadTransaction, output: impl Write) -> Result<(), BackupError> {
    let output = BufWriter::with_capacity(BUFFER_BYTES, Digesting::new(output));
    let mut writer = Writer { view, output, rows: 0 };
    writer.output.write_all(MAGIC)?;
    writer.output.write_all(&FORMAT.to_be_bytes())?;
    visit_all(&mut writer)?;
    writer.output.write_all(&[END])?;
    writer.output.write_all(&writer.rows.to_be_bytes())?;
    let Digesting { mut output, digest } =
        writer.output.into_inner().map_err(io::IntoInnerError::into_error)?;
    output.write_all(&digest.finalize())?;
    Ok(output.flush()?)
}

/// Writes tables.
struct Writer<'a, W: Write> {
    view: &'a ReadTransaction,
    output: BufWriter<Digesting<W>>,
    rows: u64,
}

impl<W: Write> Writer<'_, W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.output.write_all(&length.to_be_bytes())?;
        self.output.write_all(bytes)
    }
}

impl<W: Write> Visitor for Writer<'_, W> {
    type Error = BackupError;

    fn visit<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), BackupError> {
        self.output.write_all(&[TABLE])?;
        self.bytes(described(&table).as_bytes())?;
        for row in self.view.open_table(table).map_err(unavailable)?.iter().map_err(unavailable)? {
            let (key, value) = row.map_err(unavailable)?;
            self.output.write_all(&[ROW])?;
            self.bytes(K::as_bytes(&key.value()).as_ref())?;
            self.bytes(V::as_bytes(&value.value()).as_ref())?;
            self.rows += 1;
        }
        Ok(())
    }
}

/// The name of `table` and the types of its rows, by which redb too knows them again.
fn described<K: Key + 'static, V: Value + 'static>(table: &TableDefinition<'_, K, V>) -> String {
    format!("{} {} => {}", table.name(), K::type_name().name(), V::type_name().name())
}

/// Writes, and takes the digest of what was written.
struct Digesting<W> {
    output: W,
    digest: Sha256,
}

impl<W> Digesting<W> {
    fn new(output: W) -> Self {
        Self { output, digest: Sha256::new() }
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Reads all of `file`, and tells what is in it if it is a whole backup of this format. It is left behind its head.
pub fn check(file: &mut File) -> Result<Contents, BackupError> {
    let mut magic = [0; MAGIC.len()];
    file.rewind()?;
    match file.read_exact(&mut magic) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
        Ok(()) if &magic == MAGIC => {}
        _ => return Err(BackupError::NoBackup),
    }
    let whole = |read: io::Result<_>| {
        read.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => BackupError::Damaged,
            _ => error.into(),
        })
    };
    let mut format = [0; 4];
    whole(file.read_exact(&mut format))?;
    match u32::from_be_bytes(format) {
        FORMAT => {}
        other => return Err(BackupError::OtherFormat(other)),
    }
    let (head, bytes) = (file.stream_position()?, file.metadata()?.len());
    let body = bytes.checked_sub(head + ROWS_BYTES + DIGEST_BYTES).ok_or(BackupError::Damaged)?;
    let mut digesting = Digesting::new(io::sink());
    digesting.write_all(MAGIC)?;
    digesting.write_all(&format)?;
    let mut input = BufReader::with_capacity(BUFFER_BYTES, &*file);
    io::copy(&mut input.by_ref().take(body), &mut digesting)?;
    let (mut rows, mut digest) = ([0; ROWS_BYTES as usize], [0; DIGEST_BYTES as usize]);
    whole(input.read_exact(&mut rows))?;
    whole(input.read_exact(&mut digest))?;
    digesting.write_all(&rows)?;
    if digesting.digest.finalize()[..] != digest {
        return Err(BackupError::Damaged);
    }
    file.seek(io::SeekFrom::Start(head))?;
    Ok(Contents { rows: u64::from_be_bytes(rows), bytes })
}

/// Makes the store of `folder`, which must have none, of the backup in `file`. Nothing is to be seen of it before it is whole.
pub fn restore(folder: &Path, file: &mut File) -> Result<Restored, BackupError> {
    let path = folder.join(FILE_NAME);
    if fs::symlink_metadata(&path).is_ok() {
        return Err(BackupError::StoreExists { path });
    }
    let contents = check(file)?;
    create_folder(folder)?;
    let database = create(folder, &path, |database| {
        if read(file, database)? != contents.rows {
            return Err(BackupError::Damaged);
        }
        prepare(database, &path).map(drop).map_err(|error| unavailable(error).into())
    })?;
    let view = database.begin_read().map_err(unavailable)?;
    let queued = view.open_table(QUEUED).map_err(unavailable)?.len().map_err(unavailable)?;
    Ok(Restored { contents, queued })
}

/// Puts the rows behind the head of a backup into `database`, and returns how many there were.
fn read(file: &File, database: &Database) -> Result<u64, BackupError> {
    let input = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut reader = Reader { database, input, table: String::new(), is_known: true, rows: 0 };
    loop {
        match reader.next_tag()? {
            END => return Ok(reader.rows),
            TABLE => {
                let table = reader.bytes()?;
                reader.table = String::from_utf8_lossy(&table).into_owned();
                reader.is_known = false;
                visit_all(&mut reader)?;
                if !reader.is_known {
                    return Err(BackupError::UnknownTable(reader.table));
                }
            }
            _ => return Err(BackupError::Damaged),
        }
    }
}

/// Reads the rows of one table at a time. The digest has been found right: what does not fit was never a backup.
struct Reader<'a> {
    database: &'a Database,
    input: BufReader<&'a File>,
    /// The table whose rows come next, as [`described`].
    table: String,
    /// Whether it was found.
    is_known: bool,
    rows: u64,
}

impl Reader<'_> {
    /// The next tag, which is read.
    fn next_tag(&mut self) -> Result<u8, BackupError> {
        let tag = self.peek_tag()?;
        self.input.consume(1);
        Ok(tag)
    }

    /// The next tag, which stays there.
    fn peek_tag(&mut self) -> Result<u8, BackupError> {
        self.input.fill_buf()?.first().copied().ok_or(BackupError::Damaged)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, BackupError> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        let mut bytes = Vec::new();
        self.input.by_ref().take(length.into()).read_to_end(&mut bytes)?;
        if bytes.len() == length as usize { Ok(bytes) } else { Err(BackupError::Damaged) }
    }

    /// Puts rows into `table` until it has no more, or a transaction's worth of them.
    fn insert<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), BackupError> {
        let transaction = self.database.begin_write().map_err(unavailable)?;
        {
            let mut table = transaction.open_table(table).map_err(unavailable)?;
            let mut bytes = 0;
            while bytes < BATCH_BYTES && self.peek_tag()? == ROW {
                self.input.consume(1);
                let (key, value) = (self.bytes()?, self.bytes()?);
                table.insert(K::from_bytes(&key), V::from_bytes(&value)).map_err(unavailable)?;
                bytes += key.len() + value.len();
                self.rows += 1;
            }
        }
        transaction.commit().map_err(|error| unavailable(error).into())
    }
}

impl Visitor for Reader<'_> {
    type Error = BackupError;

    fn visit<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), BackupError> {
        if described(&table) == self.table {
            self.is_known = true;
            while self.peek_tag()? == ROW {
                self.insert(table)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;

    /// Puts rows into every table of `store`, and into one of them `bytes` more.
    pub(super) async fn fill(store: &EmbeddedStore, bytes: usize) {
        let text = vec![b'x'; bytes.min(1 << 16)];
        store
            .write(move |tables| {
                for (number, org) in (0_u64..).zip(["", "acme", "d\u{e9}fault"]) {
                    tables.messages.insert((org, "name"), &b"\0\xff"[..]).map_err(unavailable)?;
                    tables.events.insert((org, u64::MAX, number), &b""[..]).map_err(unavailable)?;
                    tables.consents.insert((org, "name"), "opted out").map_err(unavailable)?;
                    tables.erased.insert((org, "pseudonym"), "opted out").map_err(unavailable)?;
                    tables.names.insert((org, "name", "other"), ()).map_err(unavailable)?;
                    tables.consent_counts.insert(org, number).map_err(unavailable)?;
                    tables.marks.insert(org, "mark").map_err(unavailable)?;
                    tables.recipients.insert((org, "name"), "person").map_err(unavailable)?;
                    tables.trimmed.insert(org, (number, 0)).map_err(unavailable)?;
                    tables.changes.insert((org, "name", number), &b"change"[..]).map_err(unavailable)?;
                    tables.outbound.insert((org, "name"), &b"message"[..]).map_err(unavailable)?;
                    tables.queue.insert((org, "flow", number, "name"), ()).map_err(unavailable)?;
                    tables.queued.insert((org, "name"), number).map_err(unavailable)?;
                    tables.due_flows.insert((org, false, number, "flow"), ()).map_err(unavailable)?;
                    tables.queue_sizes.insert(org, (number, u64::MAX)).map_err(unavailable)?;
                    tables.pace.insert((org, "name"), number).map_err(unavailable)?;
                    tables.history.insert((org, number, 0), "name").map_err(unavailable)?;
                    tables.history_of.insert((org, "name", number, 0), "").map_err(unavailable)?;
                    tables.received.insert((org, "name"), &b"answer"[..]).map_err(unavailable)?;
                    tables.due.insert((org, "line", number, "name"), ()).map_err(unavailable)?;
                    tables.planned.insert((org, "name"), number).map_err(unavailable)?;
                    tables.documents.insert((org, "kind", "name"), (number, "text")).map_err(unavailable)?;
                    tables.ending.insert((number, org, "kind", "name"), ()).map_err(unavailable)?;
                    tables.counts.insert((org, number, 0, "name"), number).map_err(unavailable)?;
                    tables.audit.insert((org, number, 0), &b"entry"[..]).map_err(unavailable)?;
                }
                for number in 0..bytes / text.len().max(1) {
                    let number = number.to_string();
                    tables.messages.insert(("large", number.as_str()), &text[..]).map_err(unavailable)?;
                }
                Ok(())
            })
            .await
            .unwrap();
    }

    fn backup_of(store: &EmbeddedStore) -> Vec<u8> {
        let mut bytes = Vec::new();
        store.back_up(&mut bytes).unwrap();
        bytes
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn open(folder: &Path) -> EmbeddedStore {
        EmbeddedStore::open(folder, Arc::new(SystemClock)).unwrap()
    }

    /// How many rows each table has.
    struct Lengths(ReadTransaction, Vec<(String, u64)>);

    impl Visitor for Lengths {
        type Error = BackupError;

        fn visit<K: Key + 'static, V: Value + 'static>(
            &mut self,
            table: TableDefinition<'static, K, V>,
        ) -> Result<(), BackupError> {
            let rows = self.0.open_table(table).map_err(unavailable)?.len().map_err(unavailable)?;
            self.1.push((described(&table), rows));
            Ok(())
        }
    }

    fn lengths_of(store: &EmbeddedStore) -> Vec<(String, u64)> {
        let mut lengths = Lengths(store.file.view().unwrap(), Vec::new());
        visit_all(&mut lengths).unwrap();
        lengths.1
    }

    #[tokio::test]
    async fn every_row_of_every_table_is_restored_over_more_than_one_transaction() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(folder.path());
        fill(&store, BATCH_BYTES * 2).await;
        let lengths = lengths_of(&store);
        for (table, rows) in &lengths {
            assert!(*rows > 0, "fill() puts nothing into {table}");
        }

        let bytes = backup_of(&store);
        let into = other.path().join("data");
        let Restored { contents, queued } = restore(&into, &mut file_of(&bytes)).unwrap();
        assert_eq!((contents.bytes, queued), (bytes.len() as u64, 3));
        assert_eq!(contents.rows, lengths.iter().map(|(_, rows)| rows).sum::<u64>());
        assert_eq!(fs::read_dir(&into).unwrap().count(), 1);
        let restored = open(&into);
        assert_eq!(lengths_of(&restored), lengths);
        assert!(backup_of(&restored) == bytes);
    }

    /// After an error of the disk nothing could be written before a backup has come to its end.
    #[tokio::test]
    async fn a_backup_that_is_under_way_does_not_keep_the_file_from_being_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store, 1 << 20).await;
        let bytes = backup_of(&store);
        let view = store.file.view().unwrap();
        store.file.open_again().unwrap();
        let broken_off = write(&view, io::sink()).unwrap_err();
        assert!(matches!(broken_off, BackupError::Store(Error::Unavailable(_))), "{broken_off}");
        assert!(backup_of(&store) == bytes);
    }

    #[tokio::test]
    async fn what_is_not_whole_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store, 0).await;
        let bytes = backup_of(&store);
        let into = tempfile::tempdir().unwrap();
        let refused = |bytes: &[u8]| {
            let error = restore(into.path(), &mut file_of(bytes)).unwrap_err();
            assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0);
            error
        };
        for length in 0..bytes.len() {
            let error = refused(&bytes[..length]);
            match length < MAGIC.len() {
                true => assert!(matches!(error, BackupError::NoBackup), "{length}: {error}"),
                false => assert!(matches!(error, BackupError::Damaged), "{length}: {error}"),
            }
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let error = refused(&changed);
            match place {
                ..18 => assert!(matches!(error, BackupError::NoBackup), "{place}: {error}"),
                18..22 => assert!(matches!(error, BackupError::OtherFormat(_)), "{place}: {error}"),
                _ => assert!(matches!(error, BackupError::Damaged), "{place}: {error}"),
            }
        }
        assert!(matches!(refused(&[&bytes[..], b"\n"].concat()), BackupError::Damaged));
    }

    #[tokio::test]
    async fn a_table_of_a_later_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = backup_of(&open(folder.path()));
        let mut body = bytes[..bytes.len() - 41].to_vec();
        let name = b"later u64 => u64";
        body.extend([&[TABLE][..], &(name.len() as u32).to_be_bytes(), name, &[END]].concat());
        body.extend(0_u64.to_be_bytes());
        let digest = Sha256::digest(&body);
        body.extend_from_slice(&digest);
        let into = tempfile::tempdir().unwrap();
        let error = restore(into.path(), &mut file_of(&body)).unwrap_err();
        assert!(matches!(&error, BackupError::UnknownTable(table) if table == "later u64 => u64"), "{error}");
        assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_store_that_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store, 0).await;
        let bytes = backup_of(&store);
        let error = restore(folder.path(), &mut file_of(&bytes)).unwrap_err();
        assert!(matches!(error, BackupError::StoreExists { .. }), "{error}");
        assert!(backup_of(&store) == bytes);
    }
}
