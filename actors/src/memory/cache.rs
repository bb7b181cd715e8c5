//! The vectors of recently used projects, and the search through them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use steward_storage::{Isolation, RangeRead, Store, StoreError, key, record};
use steward_types::limits::{MEMORY_CACHE_BYTES_MAX, RECALL_MATCHES_MAX};
use steward_types::{ProjectId, Timestamp};

use super::error::{MemoryError, check_size};
use super::records::{self, Memory, MemoryId};
use super::remember::dimensions;
use super::search::{BLOCK_VECTORS, Block, direction, nearest};

/// Above so many numbers to compare, a search leaves the runtime's threads.
const INLINE_NUMBERS_MAX: usize = 1 << 20;

/// A memory that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recalled {
    /// The memory.
    pub id: MemoryId,
    /// Its text.
    pub text: String,
    /// What was noted beside it.
    pub metadata: serde_json::Value,
    /// When it was remembered.
    pub at: Timestamp,
    /// How near it is: the cosine of the angle between the vectors, from -1 to 1.
    pub score: f32,
}

/// Searches the memories of all projects on a store. Clones are the same.
#[derive(Debug, Clone)]
pub struct Memories(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    bytes_max: usize,
    projects: Mutex<HashMap<ProjectId, Arc<Cached>>>,
    uses: AtomicU64,
}

/// One project's vectors.
#[derive(Debug, Default)]
struct Cached {
    rows: tokio::sync::Mutex<Rows>,
    bytes: AtomicUsize,
    used: AtomicU64,
}

#[derive(Debug, Default)]
struct Rows {
    blocks: Vec<Arc<Block>>,
    last: Option<bytes::Bytes>,
}

impl Memories {
    /// With at most [`MEMORY_CACHE_BYTES_MAX`] bytes of vectors in memory.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::with_bytes_max(store, MEMORY_CACHE_BYTES_MAX)
    }

    /// With another bound. The project in hand may pass it while it is searched.
    pub fn with_bytes_max(store: Arc<dyn Store>, bytes_max: usize) -> Self {
        let (projects, uses) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Inner { store, bytes_max, projects, uses }))
    }

    /// The `matches` memories nearest to `vector`: the nearest first, of those equally near the lowest id first. Sees
    /// everything that was committed before the call. Dropping the future is safe.
    ///
    /// # Errors
    /// [`MemoryError`]. A project that remembers nothing gives no matches.
    pub async fn recall(
        &self,
        project: &ProjectId,
        vector: &[f32],
        matches: usize,
    ) -> Result<Vec<Recalled>, MemoryError> {
        check_size("number of matches", matches, RECALL_MATCHES_MAX)?;
        let query = direction(vector)?;
        let txn = self.0.store.begin();
        let Some(expected) = dimensions(&txn, project).await? else { return Ok(Vec::new()) };
        if expected != query.len() {
            return Err(MemoryError::Dimensions { expected, given: query.len() });
        }
        let cached = self.cached(project);
        let blocks = {
            let mut rows = cached.rows.lock().await;
            rows.read_on(&*self.0.store, project, expected).await?;
            cached.bytes.store(rows.bytes(), Ordering::Relaxed);
            rows.blocks.clone()
        };
        self.evict();
        let numbers: usize = blocks.iter().map(|block| block.vectors.len()).sum();
        let found = if numbers <= INLINE_NUMBERS_MAX {
            nearest(&query, &blocks, matches)
        } else {
            let search = tokio::task::spawn_blocking(move || nearest(&query, &blocks, matches));
            search.await.map_err(|_| StoreError::unavailable("the node is shutting down"))?
        };
        let txn = self.0.store.begin();
        let mut recalled = Vec::with_capacity(found.len());
        for row in found {
            let bytes = txn.get(&row.key, Isolation::Snapshot).await?.ok_or_else(|| records::corrupt(&row.key))?;
            let Memory { text, metadata, at, .. } = record::decode(&row.key, &bytes)?;
            let metadata = serde_json::from_str(&metadata).map_err(|_| records::corrupt(&row.key))?;
            recalled.push(Recalled { id: row.id, text, metadata, at, score: row.score });
        }
        Ok(recalled)
    }

    /// Bytes of vectors in memory.
    pub fn bytes(&self) -> usize {
        self.0.projects.lock().values().map(|cached| cached.bytes.load(Ordering::Relaxed)).sum()
    }

    fn cached(&self, project: &ProjectId) -> Arc<Cached> {
        let mut projects = self.0.projects.lock();
        let cached = Arc::clone(projects.entry(project.clone()).or_default());
        cached.used.store(self.0.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        cached
    }

    /// Forgets the projects that were not used for longest, until the rest fits.
    fn evict(&self) {
        let mut projects = self.0.projects.lock();
        let bytes = |cached: &Arc<Cached>| cached.bytes.load(Ordering::Relaxed);
        let mut sum: usize = projects.values().map(bytes).sum();
        while sum > self.0.bytes_max {
            let oldest = projects.iter().min_by_key(|(_, cached)| cached.used.load(Ordering::Relaxed));
            let Some((oldest, cached)) = oldest.map(|(project, cached)| (project.clone(), Arc::clone(cached))) else {
                return;
            };
            sum -= bytes(&cached);
            projects.remove(&oldest);
        }
    }
}

impl Rows {
    /// Reads what was committed behind the last row. Rows only ever come behind, because they lie in commit order.
    async fn read_on(&mut self, store: &dyn Store, project: &ProjectId, dimensions: usize) -> Result<(), StoreError> {
        let prefix = records::rows(project);
        let mut rest = Some(RangeRead::prefix(&prefix).snapshot());
        while let Some(mut range) = rest {
            if let Some(last) = &self.last {
                range.begin = key::successor(last).to_vec();
            }
            // Each page has a transaction of its own, so that a long load never grows too old.
            let page = store.begin().range(range.clone()).await?;
            for (key, value) in &page.rows {
                self.push(&prefix, key, record::decode(key, value)?, dimensions)?;
            }
            rest = range.after(&page);
        }
        Ok(())
    }

    fn push(&mut self, prefix: &[u8], key: &bytes::Bytes, memory: Memory, dimensions: usize) -> Result<(), StoreError> {
        let id = records::row_id(prefix, key)?;
        let (numbers, rest) = memory.vector.as_chunks::<4>();
        if numbers.len() != dimensions || !rest.is_empty() {
            return Err(records::corrupt(key));
        }
        if self.blocks.last().is_none_or(|block| block.ids.len() == BLOCK_VECTORS) {
            self.blocks.push(Arc::default());
        }
        // A search in hand keeps the block as it was.
        if let Some(block) = self.blocks.last_mut().map(Arc::make_mut) {
            block.vectors.extend(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            block.ids.push(id);
            block.keys.push(bytes::Bytes::copy_from_slice(key));
        }
        self.last = Some(bytes::Bytes::copy_from_slice(key));
        Ok(())
    }

    fn bytes(&self) -> usize {
        let row = size_of::<MemoryId>() + size_of::<bytes::Bytes>() + self.last.as_ref().map_or(0, bytes::Bytes::len);
        self.blocks.iter().map(|block| block.vectors.len() * size_of::<f32>() + block.ids.len() * row).sum()
    }
}
