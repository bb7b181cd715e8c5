//! What the store holds, by the first word of its keys. Each part is counted up to a bound, so that looking at a large
//! store stays cheap.

use std::time::Duration;

use steward_storage::{RangeRead, StoreCondition, StoreError, StoreExt, key};
use steward_types::limits::STORE_STATS_ROWS_MAX;

use super::{Failure, Steward};

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// The kind of store.
    pub store: String,
    /// How long one read took.
    pub read_time: Duration,
    /// How the store's client says that it is on this node, where it has one that says.
    pub condition: Option<StoreCondition>,
    /// Its parts, by name.
    pub parts: Vec<StorePart>,
}

/// The rows whose keys begin with one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePart {
    /// The word.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Whether the count ended at its bound.
    pub at_least: bool,
}

impl Steward {
    /// Counts what the store holds, at most [`STORE_STATS_ROWS_MAX`] rows of each part.
    ///
    /// # Errors
    /// The store's.
    pub async fn store_stats(&self) -> Result<StoreStats, Failure> {
        let read_time = self.probe_store().await?;
        let mut parts = Vec::new();
        let mut begin = Vec::new();
        while let Some(first) = self.first_key_from(begin).await? {
            let name: String = first_word(&first)?;
            let prefix = key::pack(&(name.as_str(),));
            parts.push(self.count_part(name, &prefix).await?);
            begin = key::prefix_range(&prefix).1;
        }
        Ok(StoreStats { store: self.store().name().to_owned(), read_time, condition: self.store().condition(), parts })
    }

    async fn first_key_from(&self, begin: Vec<u8>) -> Result<Option<Vec<u8>>, Failure> {
        let range = &RangeRead::new(begin, [0xff]).limit(1).snapshot();
        let page = self.store().run(|txn| async move { txn.range(range.clone()).await }).await?;
        Ok(page.rows.first().map(|(key, _)| key.to_vec()))
    }

    async fn count_part(&self, name: String, prefix: &[u8]) -> Result<StorePart, Failure> {
        let mut part = StorePart { name, rows: 0, bytes: 0, at_least: false };
        let mut rest = Some(RangeRead::prefix(prefix).snapshot());
        while let Some(range) = rest.take() {
            if part.rows >= STORE_STATS_ROWS_MAX {
                part.at_least = true;
                break;
            }
            // A transaction of its own for each page, because none may last longer than a few seconds.
            let range = &range;
            let page = self.store().run(|txn| async move { txn.range(range.clone()).await }).await?;
            part.rows += page.rows.len() as u64;
            part.bytes += page.rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
            rest = range.after(&page);
        }
        Ok(part)
    }
}

/// The first element of a key, which is text in every key of Steward's.
fn first_word(row: &[u8]) -> Result<String, StoreError> {
    // A packed text is 0x02, its bytes, and a zero: FoundationDB's tuple layer. No first word holds a zero itself.
    let text = row.strip_prefix(&[0x02]).and_then(|rest| rest.split(|byte| *byte == 0).next());
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    text.map(str::to_owned).ok_or_else(|| StoreError::Corrupt(format!("key {}", row.escape_ascii())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_a_key_is_read_without_knowing_the_rest() {
        assert_eq!(first_word(&key::pack(&("session", &[1u8, 0, 2][..], "record"))).unwrap(), "session");
        assert!(first_word(&[7]).is_err());
    }
}
