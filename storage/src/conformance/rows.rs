//! What a transaction reads: its own writes, ranges in pages, one version throughout.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use steward_types::limits::{RANGE_BYTES_MAX, VALUE_BYTES_MAX};

use super::history::{Generator, Operation};
use super::{Outcome, SuiteClock, put};
use crate::{Isolation, RangeRead, Store};

pub(super) async fn a_transaction_reads_its_own_writes(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let mut model = BTreeMap::new();
    for seed in 0..40 {
        let (mut generator, txn) = (Generator::new(seed), store.begin());
        for _ in 0..60 {
            let operation = generator.operation();
            let (seen, expected) = (operation.run(&txn).await?, operation.replay(&mut model));
            assert_eq!(seen, expected, "seed {seed}, {operation:?}");
        }
        txn.commit().await?;
        let all = Operation::read_all();
        assert_eq!(all.run(&store.begin()).await?, all.replay(&mut model), "after the commit of seed {seed}");
    }
    Ok(())
}

pub(super) async fn a_range_read_pages_both_ways(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let keys: Vec<[u8; 2]> = (0..100u8).map(|n| [b'k', n]).collect();
    let rows: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (&key[..], &key[1..])).collect();
    put(&*store, &rows).await?;
    let txn = store.begin();
    for (limit, reverse) in [(1, false), (1, true), (7, false), (7, true), (100, false), (100, true), (1000, true)] {
        let first = RangeRead { reverse, ..RangeRead::prefix(b"k").limit(limit) };
        let (mut found, mut next) = (Vec::new(), Some(first));
        while let Some(range) = next {
            let page = txn.range(range.clone()).await?;
            assert!(page.rows.len() <= limit);
            found.extend(page.rows.iter().map(|(key, _)| key.to_vec()));
            next = range.after(&page);
        }
        let mut expected: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
        if reverse {
            expected.reverse();
        }
        assert_eq!(found, expected, "limit {limit}, reverse {reverse}");
    }
    assert!(txn.range(RangeRead::prefix(b"k").limit(0)).await?.rows.is_empty());
    assert!(txn.range(RangeRead::new(*b"k", *b"k")).await?.rows.is_empty());
    assert!(txn.range(RangeRead::new(*b"l", *b"k")).await.is_err(), "a range that ends before it begins");
    Ok(())
}

pub(super) async fn a_range_read_is_bounded_in_rows_and_bytes(
    store: Arc<dyn Store>,
    _clock: Arc<SuiteClock>,
) -> Outcome {
    let value = vec![7; VALUE_BYTES_MAX];
    let count = RANGE_BYTES_MAX / VALUE_BYTES_MAX + 2;
    for n in 0..count {
        put(&*store, &[(format!("big/{n:04}").as_bytes(), &value)]).await?;
    }
    let txn = store.begin();
    let page = txn.range(RangeRead::prefix(b"big/")).await?;
    let bytes: usize = page.rows.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(page.more && bytes <= RANGE_BYTES_MAX && page.rows.len() < count, "{} rows", page.rows.len());
    Ok(())
}

pub(super) async fn a_snapshot_does_not_see_later_commits(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    put(&*store, &[(b"a", b"1"), (b"b", b"1")]).await?;
    let txn = store.begin();
    assert_eq!(txn.get(b"a", Isolation::Snapshot).await?, Some(Bytes::from_static(b"1")));
    for round in 0..20u8 {
        put(&*store, &[(b"a", &[round]), (b"b", &[round]), (b"c", &[round])]).await?;
    }
    assert_eq!(txn.get(b"b", Isolation::Snapshot).await?, Some(Bytes::from_static(b"1")));
    assert_eq!(txn.get(b"c", Isolation::Snapshot).await?, None);
    assert_eq!(txn.range(RangeRead::new(*b"a", *b"z").snapshot()).await?.rows.len(), 2);
    assert_eq!(store.begin().range(RangeRead::new(*b"a", *b"z")).await?.rows.len(), 3);
    Ok(())
}
