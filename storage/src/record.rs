//! Records: named fields in MessagePack behind an envelope of name and version, so that a reader knows what it reads.
//!
//! A stored record is the bytes `0x53 0x01`, the record's version (16 bits, big endian), then a MessagePack map of
//! fields by name. Fields may be added with `#[serde(default)]` under the same version; anything else needs a new one.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Isolation, RangeRead, StoreError, Txn};

const ENVELOPE: [u8; 2] = [0x53, 0x01];
const HEADER_BYTES: usize = 4;

/// What a store keeps under a key.
pub trait Record: Serialize + DeserializeOwned {
    /// Its name in errors.
    const NAME: &'static str;
    /// The version this program writes, and the only one it reads unless [`upgrade`](Self::upgrade) says otherwise.
    const VERSION: u16;

    /// Reads a record of an older version. `fields` is the MessagePack map; `None` says that the version is unknown.
    fn upgrade(version: u16, fields: &[u8]) -> Option<Self> {
        let _ = (version, fields);
        None
    }
}

/// One page of a [`Txn::scan`].
#[derive(Debug, Clone)]
pub struct Scanned<R> {
    /// Keys and their records, in the order asked for.
    pub rows: Vec<(Bytes, R)>,
    /// The range that is left when a limit ended the scan.
    pub rest: Option<RangeRead>,
}

/// The bytes of a record.
///
/// # Errors
/// [`StoreError::Corrupt`] when a field cannot be written as MessagePack, such as a map with keys of mixed types.
pub fn encode<R: Record>(record: &R) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(&ENVELOPE);
    bytes.extend_from_slice(&R::VERSION.to_be_bytes());
    record
        .serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map())
        .map_err(|error| StoreError::Corrupt(format!("record {} cannot be encoded: {error}", R::NAME)))?;
    Ok(bytes)
}

/// The record in `bytes`, which lay under `key` (named in errors).
///
/// # Errors
/// [`StoreError::Corrupt`] naming the record, the key, and the version found and expected.
pub fn decode<R: Record>(key: &[u8], bytes: &[u8]) -> Result<R, StoreError> {
    let corrupt =
        |what: String| StoreError::Corrupt(format!("record {} at key {}: {what}", R::NAME, key.escape_ascii()));
    let Some((header, fields)) = bytes.split_at_checked(HEADER_BYTES).filter(|(header, _)| header[..2] == ENVELOPE)
    else {
        return Err(corrupt(format!("not a record ({} bytes, without its envelope)", bytes.len())));
    };
    let version = u16::from_be_bytes([header[2], header[3]]);
    if version != R::VERSION {
        let unknown = || corrupt(format!("version {version} found, version {} expected", R::VERSION));
        return R::upgrade(version, fields).ok_or_else(unknown);
    }
    rmp_serde::from_slice(fields).map_err(|error| corrupt(format!("version {version}: {error}")))
}

impl Txn {
    /// The record under a key.
    ///
    /// # Errors
    /// As [`get`](crate::Transaction::get) and [`decode`].
    pub async fn load<R: Record>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.load_with(key, Isolation::Serializable).await
    }

    /// The record under a key, read without conflict detection.
    ///
    /// # Errors
    /// As [`get`](crate::Transaction::get) and [`decode`].
    pub async fn load_snapshot<R: Record>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.load_with(key, Isolation::Snapshot).await
    }

    async fn load_with<R: Record>(&self, key: &[u8], read: Isolation) -> Result<Option<R>, StoreError> {
        let bytes = self.get(key, read).await?;
        bytes.map(|bytes| decode(key, &bytes)).transpose()
    }

    /// Writes a record under a key.
    ///
    /// # Errors
    /// As [`set`](crate::Transaction::set) and [`encode`].
    pub fn save<R: Record>(&self, key: &[u8], record: &R) -> Result<(), StoreError> {
        self.set(key, &encode(record)?)
    }

    /// The records of a range, as one page; go on with [`Scanned::rest`].
    ///
    /// # Errors
    /// As [`range`](crate::Transaction::range) and [`decode`].
    pub async fn scan<R: Record>(&self, range: RangeRead) -> Result<Scanned<R>, StoreError> {
        let page = self.range(range.clone()).await?;
        let rest = range.after(&page);
        let rows = page.rows.into_iter().map(|(key, bytes)| decode(&key, &bytes).map(|record| (key, record)));
        Ok(Scanned { rows: rows.collect::<Result<_, _>>()?, rest })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Account {
        name: String,
        balance: u64,
        tags: Vec<Option<i32>>,
    }

    impl Record for Account {
        const NAME: &'static str = "account";
        const VERSION: u16 = 3;

        fn upgrade(version: u16, fields: &[u8]) -> Option<Self> {
            let balance = (version == 2).then(|| rmp_serde::from_slice(fields).ok())??;
            Some(Self { name: String::new(), balance, tags: Vec::new() })
        }
    }

    #[test]
    fn an_unknown_version_is_named_with_record_key_and_both_versions() {
        let account = Account { name: "a".into(), balance: 7, tags: vec![] };
        let mut bytes = encode(&account).unwrap();
        bytes[3] = 9;
        let text = decode::<Account>(b"k\x00", &bytes).unwrap_err().to_string();
        assert_eq!(text, "corrupt: record account at key k\\x00: version 9 found, version 3 expected");
    }

    #[test]
    fn an_older_version_is_upgraded_when_the_record_knows_how() {
        let bytes = [&ENVELOPE[..], &[0, 2, 42]].concat();
        assert_eq!(decode::<Account>(b"k", &bytes).unwrap().balance, 42);
    }

    proptest! {
        #[test]
        fn a_record_reads_back(name: String, balance: u64, tags: Vec<Option<i32>>) {
            let account = Account { name, balance, tags };
            prop_assert_eq!(decode::<Account>(b"k", &encode(&account).unwrap()).unwrap(), account);
        }

        #[test]
        fn arbitrary_bytes_never_panic_as_a_record(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode::<Account>(b"k", &bytes);
            let _ = decode::<Account>(b"k", &[&ENVELOPE[..], &[0, 3], &bytes].concat());
        }
    }
}
