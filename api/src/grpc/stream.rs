//! What all streams of the services have in common: they end at the caller's deadline and when the node stops.

use std::pin::Pin;

use futures::{Stream, StreamExt, TryStreamExt};
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
        let end = futures::stream::once(async move { Err(Some(end.await)) });
        let whole = stream.map(|item| item.map_err(Some)).chain(futures::stream::once(async { Err(None) }));
        // Whichever comes first, the stream's own end or the other, is the last thing that is sent.
        let until = futures::stream::select(whole, end).scan(false, |over, item| {
            let before = std::mem::replace(over, item.is_err());
            std::future::ready(if before { None } else { Some(item) })
        });
        let said = until.filter_map(|item| {
            std::future::ready(match item {
                Ok(item) => Some(Ok(item)),
                Err(Some(failure)) => Some(Err(failure)),
                Err(None) => None,
            })
        });
        Box::pin(said.map_err(|failure| status(&failure)))
    }
}
