//! Watches resolve on a change, on no other event, and never hang when they cannot.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use steward_types::limits::WATCHES_MAX;

use super::{Outcome, SuiteClock, put};
use crate::{AtomicOp, Store, StoreError, Watch};

fn is_pending(watch: &mut Watch) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(std::pin::Pin::new(watch).poll(&mut context), Poll::Pending)
}

pub(super) async fn a_watch_resolves_when_its_key_changes(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    put(&*store, &[(b"w", b"1")]).await?;
    let mut watches = Vec::new();
    for _ in 0..4 {
        let txn = store.begin();
        watches.push(txn.watch(b"w")?);
        txn.commit().await?;
    }
    put(&*store, &[(b"v", b"1"), (b"w0", b"1")]).await?;
    assert!(watches.iter_mut().all(is_pending), "other keys changed, not the watched one");
    let [set, cleared, cleared_range, added] = <[Watch; 4]>::try_from(watches).expect("four watches");
    drop(set);
    put(&*store, &[(b"w", b"2")]).await?;
    for watch in [cleared, cleared_range, added] {
        watch.await?;
    }
    for change in 0..3 {
        let watching = store.begin();
        let mut watch = watching.watch(b"w")?;
        watching.commit().await?;
        assert!(is_pending(&mut watch));
        let txn = store.begin();
        match change {
            0 => txn.clear(b"w")?,
            1 => txn.atomic(b"w", AtomicOp::Add, 1)?,
            _ => txn.clear_range(b"a", b"z")?,
        }
        txn.commit().await?;
        watch.await?;
    }
    Ok(())
}

pub(super) async fn a_watch_sees_a_change_before_its_commit(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let txn = store.begin();
    let watch = txn.watch(b"w")?;
    put(&*store, &[(b"w", b"1")]).await?;
    txn.commit().await?;
    watch.await
}

pub(super) async fn a_watch_compares_with_its_own_write(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let txn = store.begin();
    let mut watch = txn.watch(b"w")?;
    txn.set(b"w", b"mine")?;
    txn.commit().await?;
    assert!(is_pending(&mut watch), "the transaction's own write is no change");
    put(&*store, &[(b"w", b"theirs")]).await?;
    watch.await
}

pub(super) async fn a_watch_fails_when_nothing_can_resolve_it(
    store: Arc<dyn Store>,
    _clock: Arc<SuiteClock>,
) -> Outcome {
    let abandoned = store.begin();
    let watch = abandoned.watch(b"w")?;
    drop(abandoned);
    assert!(watch.await.is_err(), "its transaction never committed");
    let txn = store.begin();
    let watch = txn.watch(b"w")?;
    txn.commit().await?;
    store.close().await?;
    assert!(watch.await.is_err(), "the store is closed");
    Ok(())
}

pub(super) async fn watches_are_bounded(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let txn = store.begin();
    let mut watches = Vec::new();
    for _ in 0..WATCHES_MAX {
        watches.push(txn.watch(b"w")?);
    }
    let over = store.begin().watch(b"w");
    assert!(matches!(over, Err(StoreError::TooLarge { what: "watches", .. })), "{over:?}");
    watches.pop();
    store.begin().watch(b"w").map(drop)
}
