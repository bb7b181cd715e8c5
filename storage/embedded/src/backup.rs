//! A backup file: all rows at one version in checksummed blocks.
//!
//! Numbers are big endian. The file is `STWDBKP1`, the commit version (u64) and its CRC-32; then blocks, each its
//! length (u32, not zero), its CRC-32 and its rows (key length u32, value length u32, key, value); then a zero u32,
//! the number of rows (u64) and its CRC-32, and nothing behind it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use steward_storage::optimistic::Snapshot;
use steward_storage::{CommitVersion, StoreError};
use steward_types::limits::{BACKUP_BLOCK_BYTES, KEY_BYTES_MAX, VALUE_BYTES_MAX};

use crate::disk::{Disk, DiskSnapshot, file_error};
use crate::store::EmbeddedConfig;

const MAGIC: &[u8; 8] = b"STWDBKP1";
/// A block is closed by the row that fills it, so it may be longer by one row.
const BLOCK_BYTES_MAX: usize = BACKUP_BLOCK_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX + 8;

/// How far a backup or a restore has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupProgress {
    /// Rows done.
    pub rows: u64,
    /// Bytes of keys and values done.
    pub bytes: u64,
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupSummary {
    /// The last commit that it has.
    pub version: CommitVersion,
    /// Its rows and their bytes.
    pub total: BackupProgress,
}

/// Writes a backup beside `file` and moves it there when it is whole.
pub(crate) fn write(
    snapshot: &DiskSnapshot,
    file: &Path,
    progress: impl FnMut(BackupProgress),
) -> Result<BackupSummary, StoreError> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write_partial(snapshot, &partial, progress).and_then(|summary| {
        std::fs::rename(&partial, file).and_then(|()| sync_folder(file)).map_err(|e| file_error(e, file, "writing"))?;
        Ok(summary)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

fn write_partial(
    snapshot: &DiskSnapshot,
    partial: &Path,
    mut progress: impl FnMut(BackupProgress),
) -> Result<BackupSummary, StoreError> {
    let failed = |error| file_error(error, partial, "writing");
    let mut out = BufWriter::new(File::create(partial).map_err(failed)?);
    out.write_all(MAGIC).and_then(|()| write_number(&mut out, snapshot.version().0)).map_err(failed)?;
    let (mut total, mut block) = (BackupProgress { rows: 0, bytes: 0 }, Vec::with_capacity(BLOCK_BYTES_MAX));
    for row in snapshot.all() {
        let (key, value) = row?;
        put_row(&mut block, &key, &value);
        total.rows += 1;
        total.bytes += (key.len() + value.len()) as u64;
        if block.len() >= BACKUP_BLOCK_BYTES {
            write_block(&mut out, &mut block).map_err(failed)?;
            progress(total);
        }
    }
    write_block(&mut out, &mut block).map_err(failed)?;
    out.write_all(&[0; 4]).and_then(|()| write_number(&mut out, total.rows)).map_err(failed)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    progress(total);
    Ok(BackupSummary { version: snapshot.version(), total })
}

fn put_row(block: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The limits on keys and values are far below 2^32.
    block.put_u32(key.len() as u32);
    block.put_u32(value.len() as u32);
    block.put_slice(key);
    block.put_slice(value);
}

fn write_block(out: &mut impl Write, block: &mut Vec<u8>) -> io::Result<()> {
    if !block.is_empty() {
        out.write_all(&(block.len() as u32).to_be_bytes())?;
        out.write_all(&crc32fast::hash(block).to_be_bytes())?;
        out.write_all(block)?;
        block.clear();
    }
    Ok(())
}

fn write_number(out: &mut impl Write, number: u64) -> io::Result<()> {
    out.write_all(&number.to_be_bytes())?;
    out.write_all(&crc32fast::hash(&number.to_be_bytes()).to_be_bytes())
}

/// Makes the file's name last: it is an entry of its folder, which has a sync of its own.
fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Verifies `file` from end to end, then writes its rows into a new store.
pub(crate) fn restore(
    file: &Path,
    config: &EmbeddedConfig,
    mut progress: impl FnMut(BackupProgress),
) -> Result<BackupSummary, StoreError> {
    let verified = read(file, |_, _| Ok(()))?;
    let disk = Disk::open(config)?;
    if !disk.is_new()? {
        let reason = format!("{} already holds a store; restore into an empty folder", disk.folder());
        return Err(StoreError::unavailable(reason));
    }
    let restored = read(file, |rows, total| {
        disk.write_unfinished(rows)?;
        progress(total);
        Ok(())
    })?;
    if restored != verified {
        return Err(corrupt(file, "it changed while it was read"));
    }
    disk.write(std::iter::empty(), restored.version)?;
    Ok(restored)
}

/// Reads all blocks, giving each block's rows and how far the reading has come.
fn read(
    file: &Path,
    mut each: impl FnMut(Vec<(Bytes, Bytes)>, BackupProgress) -> Result<(), StoreError>,
) -> Result<BackupSummary, StoreError> {
    let mut source = BufReader::new(File::open(file).map_err(|error| file_error(error, file, "reading"))?);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => corrupt(file, "it ends too early"),
        _ => file_error(error, file, "reading"),
    };
    if read_array(&mut source).map_err(failed)? != *MAGIC {
        return Err(corrupt(file, "it does not begin like a backup"));
    }
    let wrong_sum = || corrupt(file, "a checksum does not match");
    let version = CommitVersion(read_number(&mut source).map_err(failed)?.ok_or_else(wrong_sum)?);
    let mut total = BackupProgress { rows: 0, bytes: 0 };
    loop {
        let length = u32::from_be_bytes(read_array(&mut source).map_err(failed)?) as usize;
        if length == 0 {
            break;
        }
        if length > BLOCK_BYTES_MAX {
            return Err(corrupt(file, "a block is longer than any can be"));
        }
        let sum = u32::from_be_bytes(read_array(&mut source).map_err(failed)?);
        let mut block = vec![0; length];
        source.read_exact(&mut block).map_err(failed)?;
        if crc32fast::hash(&block) != sum {
            return Err(wrong_sum());
        }
        let rows = parse_block(block.into()).ok_or_else(|| corrupt(file, "a block's rows do not fill it"))?;
        total.rows += rows.len() as u64;
        total.bytes += rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        each(rows, total)?;
    }
    let rows = read_number(&mut source).map_err(failed)?.ok_or_else(wrong_sum)?;
    if rows != total.rows || source.read(&mut [0]).map_err(failed)? != 0 {
        return Err(corrupt(file, "its end does not fit what comes before"));
    }
    Ok(BackupSummary { version, total })
}

fn parse_block(mut block: Bytes) -> Option<Vec<(Bytes, Bytes)>> {
    let mut rows = Vec::new();
    while block.has_remaining() {
        let (key, value) = (block.try_get_u32().ok()? as usize, block.try_get_u32().ok()? as usize);
        if key == 0 || block.remaining() < key.checked_add(value)? {
            return None;
        }
        rows.push((block.split_to(key), block.split_to(value)));
    }
    Some(rows)
}

fn read_array<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A number behind which its checksum stands; `None` when that does not match.
fn read_number(source: &mut impl Read) -> io::Result<Option<u64>> {
    let bytes = read_array::<8>(source)?;
    let sum = u32::from_be_bytes(read_array(source)?);
    Ok((crc32fast::hash(&bytes) == sum).then_some(u64::from_be_bytes(bytes)))
}

fn corrupt(file: &Path, what: &str) -> StoreError {
    StoreError::Corrupt(format!("backup {}: {what}", file.display()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_as_a_block(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_block(bytes.into());
        }

        #[test]
        fn rows_read_back_from_a_block(rows in proptest::collection::vec((vec(1..20), vec(0..20)), 0..20)) {
            let mut block = Vec::new();
            rows.iter().for_each(|(key, value)| put_row(&mut block, key, value));
            let expected: Vec<(Bytes, Bytes)> = rows.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
            prop_assert_eq!(parse_block(block.into()), Some(expected));
        }
    }

    fn vec(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), length)
    }
}
