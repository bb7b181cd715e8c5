//! Waiting with a bound.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use steward_types::Clock;

/// What `future` gives, or `None` when `time` passed before. A future that is ready costs no timer.
pub(crate) async fn within<F: Future>(clock: &dyn Clock, time: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = futures::poll!(future.as_mut()) {
        return Some(output);
    }
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep(time) => None,
    }
}
