//! Watching a session's log: from any sequence number, on any node, without a gap and without a repeat.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::Stream;
use futures::stream::try_unfold;
use steward_storage::{RangeRead, Store, StoreError, StoreExt};
use steward_types::SessionId;
use steward_types::limits::WATCH_PAGE_EVENTS;

use super::event::SessionEvent;
use super::key;
use super::read::ReadError;
use super::record::SessionHead;

/// The session's events from `from_seq` on (0 and 1 both mean the first), then each new one once it is committed. Ends
/// behind the session's last event. Dropping it costs nothing; watching again from the next number goes on.
///
/// At most [`WATCH_PAGE_EVENTS`] events wait in memory, however slow the reader is.
///
/// The stream fails with [`ReadError::NotFound`] when there is no such session, and when the store fails.
pub fn watch(
    store: Arc<dyn Store>,
    session: SessionId,
    from_seq: u64,
) -> impl Stream<Item = Result<SessionEvent, ReadError>> + Send + 'static {
    let watcher = Watcher { store, session, next: from_seq.max(1), page: VecDeque::new(), ended: false };
    try_unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Ok(event.map(|event| (event, watcher)))
    })
}

struct Watcher {
    store: Arc<dyn Store>,
    session: SessionId,
    next: u64,
    page: VecDeque<SessionEvent>,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Result<Option<SessionEvent>, ReadError> {
        while self.page.is_empty() {
            if self.ended {
                return Ok(None);
            }
            self.fetch().await?;
        }
        let event = self.page.pop_front();
        if let Some(event) = &event {
            self.next = event.seq + 1;
            self.ended = event.body.is_last();
        }
        Ok(event)
    }

    /// Reads the next page; with none there, waits until the head row changes.
    async fn fetch(&mut self) -> Result<(), ReadError> {
        let (session, next) = (self.session, self.next);
        let head = key::head(session);
        let (page, changed) = self
            .store
            .run(|txn| {
                let head = head.clone();
                async move {
                    let Some(row) = txn.load::<SessionHead>(&head).await? else {
                        return Err(ReadError::NotFound(session));
                    };
                    if row.last_seq < next {
                        return Ok((Vec::new(), Some(txn.watch(&head)?)));
                    }
                    let range = RangeRead::new(key::event(session, next), key::event(session, row.last_seq + 1));
                    let page = txn.scan::<SessionEvent>(range.limit(WATCH_PAGE_EVENTS).snapshot()).await?;
                    Ok((page.rows, None))
                }
            })
            .await?;
        self.page = page.into_iter().map(|(_, event)| event).collect();
        if let Some(event) = self.page.front().filter(|event| event.seq != next) {
            let what = format!("the log of {session} goes on at {} where {next} was expected", event.seq);
            return Err(StoreError::Corrupt(what).into());
        }
        if let Some(changed) = changed {
            changed.await?;
        }
        Ok(())
    }
}
