//! Which transactions conflict, and which do not.

use std::sync::Arc;

use super::{Outcome, SuiteClock, assert_conflict, put};
use crate::{ConflictRange, Isolation, RangeRead, Store};

pub(super) async fn a_changed_read_conflicts(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    put(&*store, &[(b"a", b"1")]).await?;
    for key in [b"a", b"x"] {
        let txn = store.begin();
        txn.get(key, Isolation::Serializable).await?;
        txn.set(b"out", b"1")?;
        put(&*store, &[(b"unrelated", b"1"), (key, b"2")]).await?;
        assert_conflict(&txn, "the key that was read, present or not, changed").await;
        assert_eq!(super::value(&*store, b"out").await?, None, "nothing of a failed commit is written");
    }
    let reader = store.begin();
    reader.get(b"a", Isolation::Serializable).await?;
    put(&*store, &[(b"a", b"3")]).await?;
    reader.commit().await?;
    Ok(())
}

pub(super) async fn a_phantom_conflicts(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    put(&*store, &[(b"r/1", b"1"), (b"r/9", b"1")]).await?;
    for reverse in [false, true] {
        let txn = store.begin();
        txn.range(RangeRead { reverse, ..RangeRead::prefix(b"r/") }).await?;
        txn.set(b"out", b"1")?;
        put(&*store, &[(if reverse { b"r/6" } else { b"r/5" }, b"1")]).await?;
        assert_conflict(&txn, "a row came into the range that was read").await;
    }
    Ok(())
}

pub(super) async fn a_limited_range_read_does_not_conflict_behind_its_last_row(
    store: Arc<dyn Store>,
    _clock: Arc<SuiteClock>,
) -> Outcome {
    put(&*store, &[(b"r/1", b"1"), (b"r/5", b"1"), (b"r/9", b"1")]).await?;
    for (reverse, outside, inside) in [(false, b"r/6", b"r/0"), (true, b"r/2", b"r/a")]
        .map(|(reverse, outside, inside)| (reverse, &outside[..], &inside[..]))
    {
        let read = RangeRead { reverse, ..RangeRead::prefix(b"r/").limit(2) };
        let txn = store.begin();
        assert!(txn.range(read.clone()).await?.more);
        txn.set(b"out", b"1")?;
        put(&*store, &[(outside, b"1")]).await?;
        txn.commit().await?;

        let txn = store.begin();
        txn.range(read).await?;
        txn.set(b"out", b"1")?;
        put(&*store, &[(inside, b"1")]).await?;
        assert_conflict(&txn, "a row came in before the last that was read").await;
        let cleaning = store.begin();
        cleaning.clear(outside)?;
        cleaning.clear(inside)?;
        cleaning.commit().await?;
    }
    Ok(())
}

pub(super) async fn a_snapshot_read_does_not_conflict(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    put(&*store, &[(b"a", b"1")]).await?;
    let txn = store.begin();
    txn.get(b"a", Isolation::Snapshot).await?;
    txn.range(RangeRead::new(*b"a", *b"z").snapshot()).await?;
    txn.set(b"out", b"1")?;
    put(&*store, &[(b"a", b"2")]).await?;
    txn.commit().await?;
    Ok(())
}

pub(super) async fn blind_writes_do_not_conflict(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let (first, second) = (store.begin(), store.begin());
    for (txn, value) in [(&first, b"1"), (&second, b"2")] {
        txn.set(b"a", value)?;
        // What a transaction wrote itself is no dependence on others when it reads it.
        assert_eq!(txn.get(b"a", Isolation::Serializable).await?.as_deref(), Some(&value[..]));
    }
    let (second, first) = (second.commit().await?, first.commit().await?);
    assert!(second < first, "commit versions grow");
    assert_eq!(super::value(&*store, b"a").await?.as_deref(), Some(&b"1"[..]));
    Ok(())
}

pub(super) async fn explicit_ranges_conflict(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let reader = store.begin();
    reader.add_conflict(ConflictRange::Read(b"m".to_vec(), b"n".to_vec()))?;
    reader.set(b"out", b"1")?;
    put(&*store, &[(b"mm", b"1")]).await?;
    assert_conflict(&reader, "a key in the explicit read range changed").await;

    let reader = store.begin();
    reader.get(b"q", Isolation::Serializable).await?;
    reader.set(b"out", b"1")?;
    let marker = store.begin();
    marker.add_conflict(ConflictRange::Write(b"p".to_vec(), b"r".to_vec()))?;
    marker.commit().await?;
    assert_conflict(&reader, "the key read lies in an explicit write range").await;

    let reader = store.begin();
    reader.get(b"q", Isolation::Serializable).await?;
    reader.get(b"s", Isolation::Serializable).await?;
    reader.set(b"out", b"1")?;
    let marker = store.begin();
    marker.add_conflict(ConflictRange::Write(b"r".to_vec(), b"s".to_vec()))?;
    marker.commit().await?;
    reader.commit().await?;
    Ok(())
}

pub(super) async fn a_cleared_range_conflicts_with_its_readers(
    store: Arc<dyn Store>,
    _clock: Arc<SuiteClock>,
) -> Outcome {
    put(&*store, &[(b"c/1", b"1"), (b"c/2", b"1"), (b"d", b"1")]).await?;
    let txn = store.begin();
    txn.get(b"c/2", Isolation::Serializable).await?;
    txn.set(b"out", b"1")?;
    let clearing = store.begin();
    clearing.clear_range(b"c/", b"c0")?;
    clearing.commit().await?;
    assert_conflict(&txn, "the key that was read was cleared with its range").await;
    let left = store.begin().range(RangeRead::new(*b"a", *b"z")).await?;
    assert_eq!(left.rows.len(), 1, "the range is gone and nothing else");
    Ok(())
}
