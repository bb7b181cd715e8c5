//! Limits, alike on every backend, each with an error that says which.

use std::sync::Arc;
use std::time::Duration;

use steward_types::limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_TIME_MAX, VALUE_BYTES_MAX};

use super::{Outcome, SuiteClock, put};
use crate::{AtomicOp, CommitVersion, Isolation, RangeRead, Store, StoreError};

fn assert_too_large(outcome: Result<(), StoreError>, expected: &str) {
    match outcome {
        Err(StoreError::TooLarge { what, size, limit }) => assert!(what == expected && size > limit),
        other => panic!("{expected} too large was expected, not {other:?}"),
    }
}

pub(super) async fn sizes_are_limited_with_clear_errors(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let (key, value) = (vec![b'k'; KEY_BYTES_MAX], vec![b'v'; VALUE_BYTES_MAX]);
    let (key_over, value_over) = ([&key[..], b"k"].concat(), [&value[..], b"v"].concat());
    put(&*store, &[(&key, &value)]).await?;
    assert_eq!(super::value(&*store, &key).await?.as_deref(), Some(&value[..]));
    let txn = store.begin();
    assert_too_large(txn.set(&key_over, b""), "key");
    assert_too_large(txn.clear(&key_over), "key");
    assert_too_large(txn.atomic(&key_over, AtomicOp::Add, 1), "key");
    assert_too_large(txn.get(&key_over, Isolation::Snapshot).await.map(drop), "key");
    assert_too_large(txn.set_versionstamped_key(&key, b"", b""), "key");
    assert_too_large(txn.set(b"k", &value_over), "value");
    for bad in [&b"\xff"[..], b"\xff\xff/x", b""] {
        assert!(matches!(txn.set(bad, b""), Err(StoreError::Invalid(_))), "key {}", bad.escape_ascii());
    }
    let whole = store.begin();
    for n in 0..TRANSACTION_BYTES_MAX / (VALUE_BYTES_MAX + 4) {
        whole.set(format!("{n:04}").as_bytes(), &value)?;
    }
    assert_too_large(whole.set(b"last", &value), "transaction");
    assert_eq!(whole.get(b"last", Isolation::Serializable).await?, None);
    whole.commit().await.map(drop)
}

pub(super) async fn a_transaction_is_too_old_after_five_seconds(
    store: Arc<dyn Store>,
    clock: Arc<SuiteClock>,
) -> Outcome {
    let (reading, writing, blind) = (store.begin(), store.begin(), store.begin());
    blind.set(b"blind", b"1")?;
    reading.get(b"a", Isolation::Serializable).await?;
    writing.get(b"a", Isolation::Serializable).await?;
    writing.set(b"out", b"1")?;
    clock.advance(TRANSACTION_TIME_MAX);
    reading.get(b"a", Isolation::Serializable).await?;
    clock.advance(Duration::from_millis(1));
    let too_old = |error: StoreError| assert!(matches!(error, StoreError::TooOld { .. }), "{error:?}");
    too_old(reading.get(b"a", Isolation::Snapshot).await.expect_err("a read too late"));
    too_old(reading.range(RangeRead::prefix(b"a")).await.expect_err("a range read too late"));
    too_old(reading.set(b"a", b"1").expect_err("a write too late"));
    too_old(writing.commit().await.expect_err("a commit too late"));
    // A transaction that read nothing has no age.
    blind.commit().await?;
    assert_eq!(super::value(&*store, b"out").await?, None);
    Ok(())
}

pub(super) async fn an_ended_transaction_takes_no_calls(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let txn = store.begin();
    txn.set(b"a", b"1")?;
    let version = txn.commit().await?;
    assert!(version > CommitVersion(0));
    let refused = |error: StoreError| assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
    refused(txn.get(b"a", Isolation::Serializable).await.expect_err("a read after the commit"));
    refused(txn.set(b"a", b"2").expect_err("a write after the commit"));
    refused(txn.commit().await.expect_err("a second commit"));
    Ok(())
}

pub(super) async fn a_closed_store_is_unavailable(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    put(&*store, &[(b"a", b"1")]).await?;
    store.close().await?;
    store.close().await?;
    let unavailable = |error: StoreError| assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    unavailable(put(&*store, &[(b"a", b"2")]).await.expect_err("a commit on a closed store"));
    unavailable(super::value(&*store, b"a").await.expect_err("a read on a closed store"));
    Ok(())
}
