//! Remembering and recalling on the in-memory store.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use steward_storage::{MemoryStore, Store};
use steward_types::limits::MEMORY_VECTORS_MAX;
use steward_types::{Entropy, ProjectId, SeededEntropy, Timestamp};

use super::*;

fn project(name: &str) -> ProjectId {
    name.parse().unwrap()
}

fn new(number: u32, vector: Vec<f32>) -> NewMemory {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let text = format!("memory {number}");
    NewMemory { id: MemoryId::from_bytes(id), text, metadata: json!({ "number": number }), vector }
}

async fn write(store: &dyn Store, project: &ProjectId, memories: &[NewMemory]) {
    let txn = store.begin();
    for memory in memories {
        remember(&txn, project, memory, Timestamp::EPOCH).await.unwrap();
    }
    txn.commit().await.unwrap();
}

fn texts(recalled: &[Recalled]) -> Vec<&str> {
    recalled.iter().map(|recalled| recalled.text.as_str()).collect()
}

#[tokio::test]
async fn the_nearest_come_first_and_equals_in_the_order_of_their_ids() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (acme, memories) = (project("acme"), Memories::new(Arc::clone(&store)));
    assert_eq!(memories.recall(&acme, &[1.0, 0.0], 3).await.unwrap(), []);
    write(&*store, &acme, &[new(4, vec![0.0, 2.0]), new(3, vec![5.0, 0.0]), new(2, vec![1.0, 0.0])]).await;
    let found = memories.recall(&acme, &[0.5, 0.0], 2).await.unwrap();
    assert_eq!(texts(&found), ["memory 2", "memory 3"]);
    assert_eq!((found[0].score, &found[0].metadata["number"]), (1.0, &json!(2)));
    // What another node commits later is seen by the next search.
    write(&*store, &acme, &[new(1, vec![9.0, 0.0]), new(5, vec![-1.0, 0.0])]).await;
    let found = memories.recall(&acme, &[0.5, 0.0], 9).await.unwrap();
    assert_eq!(texts(&found), ["memory 1", "memory 2", "memory 3", "memory 4", "memory 5"]);
    assert_eq!(texts(&memories.recall(&project("other"), &[1.0], 9).await.unwrap()), [""; 0]);
}

#[tokio::test]
async fn a_step_remembers_once() {
    let store = MemoryStore::new();
    let acme = project("acme");
    for expected in [Remembered::New, Remembered::Already] {
        let txn = store.begin();
        let remembered = remember(&txn, &acme, &new(1, vec![1.0]), Timestamp::EPOCH).await.unwrap();
        assert_eq!(remembered, expected);
        txn.commit().await.unwrap();
    }
    assert_eq!(count(&store.begin(), &acme).await.unwrap(), 1);
}

#[tokio::test]
async fn steps_that_remember_at_the_same_time_do_not_conflict() {
    let store = MemoryStore::new();
    let acme = project("acme");
    write(&store, &acme, &[new(1, vec![1.0])]).await;
    let (one, two) = (store.begin(), store.begin());
    remember(&one, &acme, &new(2, vec![1.0]), Timestamp::EPOCH).await.unwrap();
    remember(&two, &acme, &new(3, vec![1.0]), Timestamp::EPOCH).await.unwrap();
    one.commit().await.unwrap();
    two.commit().await.unwrap();
    assert_eq!(count(&store.begin(), &acme).await.unwrap(), 3);
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (acme, memories) = (project("acme"), Memories::new(Arc::clone(&store)));
    write(&*store, &acme, &[new(1, vec![1.0, 2.0])]).await;
    let check = async |vector: Vec<f32>, text: &str| {
        let error = remember(&store.begin(), &acme, &new(2, vector.clone()), Timestamp::EPOCH).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        let error = memories.recall(&acme, &vector, 1).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    };
    check(vec![], "empty or zero").await;
    check(vec![0.0, 0.0], "empty or zero").await;
    check(vec![1.0, f32::NAN], "not finite").await;
    check(vec![1.0], "1 dimensions, the project's memory has 2").await;
    check(vec![1.0; 5_000], "over the limit of 4096").await;
    assert!(memories.recall(&acme, &[1.0, 1.0], 101).await.is_err());
}

#[tokio::test]
async fn a_project_remembers_no_more_than_it_may_and_what_it_has_stays() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (acme, memories) = (project("acme"), Memories::new(Arc::clone(&store)));
    write(&*store, &acme, &[new(1, vec![1.0, 0.0])]).await;
    // As if all but one of the others were there: the count alone decides.
    let txn = store.begin();
    let count = MEMORY_VECTORS_MAX as u64 - 1;
    txn.set(&records::count(&acme), &count.to_le_bytes()).unwrap();
    txn.commit().await.unwrap();
    write(&*store, &acme, &[new(2, vec![0.0, 1.0])]).await;
    let full = remember(&store.begin(), &acme, &new(3, vec![1.0, 1.0]), Timestamp::EPOCH).await.unwrap_err();
    assert_eq!(full.to_string(), "the project remembers 100000 vectors, the most that it may");
    // A step that has remembered before its crash does so once more, and others' projects are not concerned.
    let again = remember(&store.begin(), &acme, &new(2, vec![0.0, 1.0]), Timestamp::EPOCH).await.unwrap();
    assert_eq!(again, Remembered::Already);
    write(&*store, &project("other"), &[new(3, vec![1.0, 1.0])]).await;
    assert_eq!(texts(&memories.recall(&acme, &[1.0, 0.1], 5).await.unwrap()), ["memory 1", "memory 2"]);
}

#[tokio::test]
async fn the_longest_unused_project_leaves_memory_first_and_comes_back() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let names = ["a", "b", "c"].map(project);
    for name in &names {
        write(&*store, name, &[new(1, vec![1.0; 256])]).await;
    }
    let memories = Memories::with_bytes_max(Arc::clone(&store), 2_500);
    for name in [&names[0], &names[1], &names[0], &names[2], &names[1]] {
        assert_eq!(memories.recall(name, &[1.0; 256], 1).await.unwrap().len(), 1);
        assert!(memories.bytes() <= 2_500, "{}", memories.bytes());
    }
}

#[tokio::test]
async fn a_search_through_many_blocks_finds_what_comparing_one_by_one_finds() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (acme, entropy) = (project("acme"), SeededEntropy::new(1));
    let number = || (entropy.next_u64() % 2_001) as f32 / 1_000.0 - 1.0;
    let all: Vec<NewMemory> = (0..2_500).map(|id| new(id, (0..19).map(|_| number()).collect())).collect();
    for part in all.chunks(500) {
        write(&*store, &acme, part).await;
    }
    let query: Vec<f32> = (0..19).map(|_| number()).collect();
    let cosine = |vector: &[f32]| {
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        product(vector, &query) / (product(vector, vector) * product(&query, &query)).sqrt()
    };
    let mut expected: Vec<_> = all.iter().map(|memory| (cosine(&memory.vector), memory.text.as_str())).collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    let found = Memories::new(store).recall(&acme, &query, 20).await.unwrap();
    assert_eq!(texts(&found), expected[..20].iter().map(|(_, text)| *text).collect::<Vec<_>>());
    for (found, (score, _)) in found.iter().zip(&expected) {
        assert!((f64::from(found.score) - score).abs() < 1e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_never_depends_on_the_order_of_remembering(
        vectors in prop::collection::vec(prop::array::uniform2(-2_i8..=2), 1..12), turn in 0_usize..12, matches in 0_usize..14,
    ) {
        let nonzero = vectors.into_iter().filter(|vector| *vector != [0, 0]);
        let memories: Vec<NewMemory> = nonzero.zip(0..).map(|(vector, id)| new(id, vector.map(f32::from).to_vec())).collect();
        let mut turned = memories.clone();
        turned.rotate_left(turn.min(memories.len()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let recall = |memories: Vec<NewMemory>| runtime.block_on(async move {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            for memory in &memories {
                write(&*store, &project("acme"), std::slice::from_ref(memory)).await;
            }
            Memories::new(store).recall(&project("acme"), &[1.0, 0.5], matches).await.unwrap()
        });
        prop_assert_eq!(recall(memories), recall(turned));
    }
}
