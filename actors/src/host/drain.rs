//! How entities leave memory for good: one that an operator stops, and all of them when the node drains.

use std::collections::HashSet;

use serde::Serialize;

use super::deadline::Deadline;
use super::error::AskError;
use super::id::EntityId;
use super::node::Host;
use super::snapshot::EntitySummary;

/// How an entity stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopOutcome {
    /// It was not in memory.
    NotLive,
    /// It finished what it had in hand and left memory.
    Stopped,
    /// It did not finish in time and was ended in the middle of what it did.
    Killed,
}

/// How a drain went.
#[derive(Debug, Clone, Serialize)]
pub struct DrainReport {
    /// Entities that finished what they had in hand.
    pub finished: usize,
    /// Entities that did not finish in time and were ended in the middle of what they did.
    pub left: Vec<EntitySummary>,
}

impl Host {
    /// Makes an entity leave memory once it is idle and its mailbox empty; ends it at the deadline if it is not.
    /// Its next message activates it again.
    ///
    /// # Errors
    /// [`AskError::UnknownKind`]. Dropping the future leaves the entity on its way out.
    pub async fn stop(&self, kind: &str, id: &EntityId, deadline: Deadline) -> Result<StopOutcome, AskError> {
        Ok(self.inner().kind(kind)?.stop(self, id, deadline).await)
    }

    /// Takes no new work, lets every entity finish what it has in hand, and makes them all leave memory. What has not
    /// finished after [`drain_time_max`](super::HostLimits::drain_time_max) is ended where it stands: its transactions
    /// either committed or they did not.
    pub async fn drain(&self) -> DrainReport {
        let inner = self.inner();
        inner.stop_accepting();
        let live = inner.live();
        inner.kinds().for_each(|kind| kind.leave_all());
        let deadline = self.deadline(inner.limits().drain_time_max);
        let left = match self.until(deadline, self.nothing_live()).await {
            Ok(()) => Vec::new(),
            Err(_) => inner.kinds().flat_map(|kind| kind.kill_all(self)).collect(),
        };
        if !left.is_empty() {
            tracing::warn!(left = left.len(), "entities did not finish before the end of the drain");
        }
        DrainReport { finished: live.saturating_sub(left.len()), left }
    }

    /// Makes every entity of a shard leave memory once it has finished what it has in hand; ends those that have not
    /// at the deadline: their transactions either committed or they did not. The caller sees to it that the shard
    /// takes no new work: [`Lease::holds`](crate::lease::Lease::holds) is false for it. Returns how many were cut off.
    pub async fn release_shard(&self, shard: u32, deadline: Deadline) -> usize {
        let inner = self.inner();
        loop {
            let changed = inner.live_changed().notified();
            // Again each time: one may have come in just before the shard was closed.
            let live: usize = inner.kinds().map(|kind| kind.leave_shard(shard)).sum();
            if live == 0 {
                return 0;
            }
            if self.until(deadline, changed).await.is_err() {
                return self.stop_shards(&HashSet::from([shard]));
            }
        }
    }

    /// Ends every entity of the shards at once, because their leases are lost. Returns how many there were.
    pub fn stop_shards(&self, shards: &HashSet<u32>) -> usize {
        self.inner().kinds().map(|kind| kind.kill_shards(shards)).sum()
    }

    async fn nothing_live(&self) {
        loop {
            let changed = self.inner().live_changed().notified();
            if self.inner().live() == 0 {
                return;
            }
            changed.await;
        }
    }
}
