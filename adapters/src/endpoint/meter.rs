//! How many requests one call of a driver makes: a driver may need several for one answer, and providers count each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

tokio::task_local! {
    static REQUESTS: Arc<AtomicU32>;
}

/// The requests of one call, which can be read while it is under way, and after it was dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<AtomicU32>);

impl Meter {
    /// The call, counted.
    pub(crate) async fn count<T>(&self, call: impl Future<Output = T>) -> T {
        REQUESTS.scope(Arc::clone(&self.0), call).await
    }

    /// How many requests it made so far.
    pub(crate) fn requests(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A driver's transport says so of each request that it sends, within the call that needs it. Where nobody counts, it is
/// forgotten.
pub fn request_sent() {
    // Whoever asks without a pool has no limit to keep.
    let _ = REQUESTS.try_with(|requests| requests.fetch_add(1, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_call_has_its_own_count_and_keeps_it_when_it_is_dropped() {
        request_sent();
        let (one, two) = (Meter::default(), Meter::default());
        let asks = async |requests: u32| (0..requests).for_each(|_| request_sent());
        tokio::join!(one.count(asks(3)), two.count(asks(1)));
        assert_eq!((one.requests(), two.requests()), (3, 1));
        let dropped = Meter::default();
        tokio::select! {
            biased;
            () = dropped.count(async { request_sent(); std::future::pending().await }) => {}
            () = std::future::ready(()) => {}
        }
        assert_eq!(dropped.requests(), 1);
    }
}
