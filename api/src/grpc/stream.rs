//! What all streams of the services have in common: they end at the caller's deadline and when the node stops.

use std::pin::Pin;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use steward_actors::host::Deadline;
use steward_actors::service::Failure;
use steward_types::ErrorCode;
use tonic::Status;

use super::Services;
use crate::status::status;

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Services {
    /// Turns failures into statuses and ends the stream, with a status that says why, at the deadline and when the node
    /// stops.
    pub(super) fn answers<T: Send + 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Failure>> + Send + 'static,
        deadline: Option<Deadline>,
    ) -> Answers<T> {
        let (clock, ending) = (self.steward.clock().clone(), self.ending.clone());
        let end = async move {
            let late = async {
                match deadline {
                    Some(deadline) => clock.sleep(deadline.remaining(clock.as_ref())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = late => Failure::new(ErrorCode::DeadlineExceeded, "the call's deadline has passed"),
                () = ending.cancelled() => {
                    Failure::new(ErrorCode::NodeDraining, "the node stops; watch again from the last number plus one")
                }
            }
        };
        let parts = Parts { stream: Box::pin(stream), end: Box::pin(end), over: false };
        Box::pin(unfold(parts, |mut parts| async move {
            let item = parts.next().await?;
            Some((item, parts))
        }))
    }
}

/// A stream and what ends it from outside.
struct Parts<T> {
    stream: BoxStream<'static, Result<T, Failure>>,
    end: BoxFuture<'static, Failure>,
    over: bool,
}

impl<T> Parts<T> {
    /// The next answer; the first failure, wherever it is from, is the last thing that is said.
    async fn next(&mut self) -> Option<Result<T, Status>> {
        if self.over {
            return None;
        }
        let item = tokio::select! {
            biased;
            item = self.stream.next() => item?,
            failure = &mut self.end => Err(failure),
        };
        self.over = item.is_err();
        Some(item.map_err(|failure| status(&failure)))
    }
}
