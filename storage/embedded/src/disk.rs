//! The engine (fjall) behind the store: its folder, its format, its rows, and what its errors mean.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use steward_storage::optimistic::{KeyRange, Snapshot};
use steward_storage::{CommitVersion, StoreError};

use crate::store::EmbeddedConfig;

/// The layout of keyspaces and keys that this program writes and reads.
const FORMAT: u16 = 1;
const FORMAT_KEY: &[u8] = b"format";
const VERSION_KEY: &[u8] = b"commit-version";

/// An open folder. Rows lie in one keyspace, the store's own facts in another.
pub(crate) struct Disk {
    database: Database,
    rows: Keyspace,
    facts: Keyspace,
    folder: String,
}

impl Disk {
    /// Opens the folder and checks its format; a new folder has none yet.
    pub(crate) fn open(config: &EmbeddedConfig) -> Result<Self, StoreError> {
        let folder = config.folder.display().to_string();
        let failed = |error| store_error(error, &folder, "opening");
        let database = Database::builder(&config.folder)
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes_max.max(64 << 20))
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).map_err(failed)?;
        let facts = database.keyspace("facts", KeyspaceCreateOptions::default).map_err(failed)?;
        let disk = Self { database, rows, facts, folder };
        match disk.fact(FORMAT_KEY)? {
            Some(FORMAT_U64) => Ok(disk),
            Some(found) => Err(StoreError::Corrupt(format!(
                "the store in {} has format {found}, this program reads format {FORMAT}",
                disk.folder
            ))),
            None if disk.is_empty()? => Ok(disk),
            None => Err(StoreError::Corrupt(format!(
                "a restore into {} was not finished; remove the folder and restore again",
                disk.folder
            ))),
        }
    }

    /// Starts a life of the store: secures what was recovered and gives a commit version above all earlier ones.
    pub(crate) fn begin_epoch(&self) -> Result<CommitVersion, StoreError> {
        let version = CommitVersion(self.fact(VERSION_KEY)?.unwrap_or_default() + 1);
        self.write(std::iter::empty(), version)?;
        Ok(version)
    }

    /// Writes rows and the version that they bring the store to, in one piece, and syncs.
    pub(crate) fn write(
        &self,
        rows: impl Iterator<Item = (Bytes, Option<Bytes>)>,
        version: CommitVersion,
    ) -> Result<(), StoreError> {
        self.write_with(rows, |batch| {
            batch.insert(&self.facts, VERSION_KEY, version.0.to_be_bytes());
            batch.insert(&self.facts, FORMAT_KEY, FORMAT_U64.to_be_bytes());
        })
    }

    /// Writes rows of a store that is not whole yet: without its format, so that it cannot be opened.
    pub(crate) fn write_unfinished(&self, rows: Vec<(Bytes, Bytes)>) -> Result<(), StoreError> {
        self.write_with(rows.into_iter().map(|(key, value)| (key, Some(value))), |_| {})
    }

    fn write_with(
        &self,
        rows: impl Iterator<Item = (Bytes, Option<Bytes>)>,
        facts: impl FnOnce(&mut fjall::OwnedWriteBatch),
    ) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(&self.rows, &key[..], &value[..]),
                None => batch.remove(&self.rows, &key[..]),
            }
        }
        facts(&mut batch);
        batch.commit().map_err(|error| store_error(error, &self.folder, "writing to"))
    }

    /// The present state, called `version`.
    pub(crate) fn snapshot(&self, version: CommitVersion) -> DiskSnapshot {
        let (snapshot, rows, folder) = (self.database.snapshot(), self.rows.clone(), self.folder.clone());
        DiskSnapshot { snapshot, rows, version, folder }
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> Result<bool, StoreError> {
        self.rows.is_empty().map_err(|error| store_error(error, &self.folder, "reading"))
    }

    /// Whether this folder has never been a store.
    pub(crate) fn is_new(&self) -> Result<bool, StoreError> {
        Ok(self.fact(FORMAT_KEY)?.is_none() && self.is_empty()?)
    }

    /// The folder's name, for people.
    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }

    fn fact(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let bytes = self.facts.get(key).map_err(|error| store_error(error, &self.folder, "reading"))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let word = <[u8; 8]>::try_from(&bytes[..]);
        let unreadable = |_| {
            StoreError::Corrupt(format!("the {} of the store in {} is unreadable", key.escape_ascii(), self.folder))
        };
        word.map(|word| Some(u64::from_be_bytes(word))).map_err(unreadable)
    }
}

const FORMAT_U64: u64 = FORMAT as u64;

/// The rows at one version, for as long as somebody holds this.
pub(crate) struct DiskSnapshot {
    snapshot: fjall::Snapshot,
    rows: Keyspace,
    version: CommitVersion,
    folder: String,
}

impl fmt::Debug for DiskSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskSnapshot").field("version", &self.version).finish_non_exhaustive()
    }
}

impl DiskSnapshot {
    /// All rows in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Result<(Bytes, Bytes), StoreError>> + '_ {
        self.snapshot.iter(&self.rows).map(|guard| self.row(guard))
    }

    fn row(&self, guard: Guard) -> Result<(Bytes, Bytes), StoreError> {
        let (key, value) = guard.into_inner().map_err(|error| store_error(error, &self.folder, "reading"))?;
        Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
    }
}

impl Snapshot for DiskSnapshot {
    fn version(&self) -> CommitVersion {
        self.version
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.snapshot.get(&self.rows, key);
        let value = value.map_err(|error| store_error(error, &self.folder, "reading"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn rows(&self, range: &KeyRange, limit: usize, reverse: bool) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let begin = if range.begin.is_empty() { Bound::Unbounded } else { Bound::Included(&range.begin) };
        let rows = self.snapshot.range::<&Bytes, _>(&self.rows, (begin, Bound::Excluded(&range.end)));
        if reverse {
            rows.rev().take(limit).map(|guard| self.row(guard)).collect()
        } else {
            rows.take(limit).map(|guard| self.row(guard)).collect()
        }
    }
}

/// What the engine's error means to a caller. `doing` reads "opening", "reading" or "writing to".
fn store_error(error: fjall::Error, folder: &str, doing: &str) -> StoreError {
    let on_disk = |source: io::Error| match source.kind() {
        // What the engine says of files that are cut, missing or not its own.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
            StoreError::Corrupt(format!("{doing} {folder}: {source}; restore a backup"))
        }
        io::ErrorKind::StorageFull => StoreError::Unavailable {
            reason: format!("the disk of {folder} is full; free some space and start again"),
            source: Some(source),
        },
        _ => StoreError::Unavailable { reason: format!("{doing} {folder} failed"), source: Some(source) },
    };
    match error {
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => on_disk(source),
        fjall::Error::Locked => StoreError::Locked { folder: folder.to_owned() },
        fjall::Error::Poisoned => {
            StoreError::unavailable(format!("an earlier write to {folder} failed; start again to recover"))
        }
        other => StoreError::Corrupt(format!("{doing} {folder}: {other}; restore a backup")),
    }
}

/// An error of a file beside the store, such as a backup.
pub(crate) fn file_error(source: io::Error, file: &Path, doing: &str) -> StoreError {
    StoreError::Unavailable { reason: format!("{doing} {} failed", file.display()), source: Some(source) }
}
