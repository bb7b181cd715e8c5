//! The time of one exact search through as many vectors as a project may remember, in 384 dimensions.
//! Run with `cargo bench -p steward-actors --bench recall`; `STEWARD_BENCH_VECTORS` changes how many.

use std::error::Error;
use std::sync::Arc;

use steward_actors::memory::{Memories, MemoryError, MemoryId, NewMemory, remember};
use steward_storage::{MemoryStore, Store, StoreExt, Txn};
use steward_types::limits::MEMORY_VECTORS_MAX;
use steward_types::{Clock, Entropy, ProjectId, SeededEntropy, SystemClock, Timestamp};

const DIMENSIONS: usize = 384;
const BATCH: usize = 500;
const RUNS: usize = 21;

fn vector(entropy: &SeededEntropy) -> Vec<f32> {
    (0..DIMENSIONS).map(|_| (entropy.next_u64() % 2_001) as f32 / 1_000.0 - 1.0).collect()
}

async fn fill(store: &dyn Store, project: &ProjectId, count: usize) -> Result<(), MemoryError> {
    let entropy = SeededEntropy::new(1);
    for start in (0..count).step_by(BATCH) {
        let new = |_| NewMemory {
            id: MemoryId::from_bytes(entropy.bytes_16()),
            text: "a fact".to_owned(),
            metadata: serde_json::Value::Null,
            vector: vector(&entropy),
        };
        let batch: Vec<NewMemory> = (start..count.min(start + BATCH)).map(new).collect();
        let write = async |txn: Txn| {
            for memory in &batch {
                remember(&txn, project, memory, Timestamp::EPOCH).await?;
            }
            Ok::<_, MemoryError>(())
        };
        store.run(write).await?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::var("STEWARD_BENCH_VECTORS").ok().and_then(|text| text.parse().ok());
    let count = count.unwrap_or(MEMORY_VECTORS_MAX);
    let (clock, entropy) = (SystemClock::new(), SeededEntropy::new(2));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let project: ProjectId = "bench".parse()?;
    fill(&*store, &project, count).await?;
    let memories = Memories::new(Arc::clone(&store));
    let mut times = Vec::new();
    let started = clock.monotonic();
    memories.recall(&project, &vector(&entropy), 10).await?;
    let first = clock.monotonic() - started;
    for _ in 0..RUNS {
        let query = vector(&entropy);
        let started = clock.monotonic();
        memories.recall(&project, &query, 10).await?;
        times.push(clock.monotonic() - started);
    }
    times.sort();
    println!(
        "{count} vectors of {DIMENSIONS} numbers: first search with load {first:?}, then median {:?}, slowest {:?}",
        times[RUNS / 2],
        times[RUNS - 1]
    );
    Ok(())
}
