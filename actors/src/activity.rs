//! What a node has done since its start, as counters that cost nothing to raise: for `steward top`, and for work that
//! waits while the node has enough of it.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// The counters of one node.
#[derive(Debug, Default)]
pub struct Activity {
    turns_in_flight: AtomicU64,
    turns: AtomicU64,
    commits: AtomicU64,
    tokens: AtomicU64,
    turn_left: Notify,
}

/// The counters at one moment. All but the first only grow while the node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ActivityCount {
    /// Turns that a worker runs now.
    pub turns_in_flight: u64,
    /// Turns that workers have taken up.
    pub turns: u64,
    /// Transactions that turns have committed.
    pub commits: u64,
    /// Tokens that models have made for turns.
    pub tokens: u64,
}

impl ActivityCount {
    /// Turns that workers have left.
    pub(crate) fn turns_ended(&self) -> u64 {
        self.turns.saturating_sub(self.turns_in_flight)
    }
}

/// A turn in a worker's hands, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct TurnInFlight<'a>(&'a Activity);

impl Activity {
    /// The counters now.
    pub fn count(&self) -> ActivityCount {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ActivityCount {
            turns_in_flight: read(&self.turns_in_flight),
            turns: read(&self.turns),
            commits: read(&self.commits),
            tokens: read(&self.tokens),
        }
    }

    pub(crate) fn turn(&self) -> TurnInFlight<'_> {
        self.turns_in_flight.fetch_add(1, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
        TurnInFlight(self)
    }

    /// Waits until fewer turns than `most` are in flight. Dropping the future changes nothing.
    pub(crate) async fn room(&self, most: u64) {
        let mut left = pin!(self.turn_left.notified());
        loop {
            // Listening before looking, so that a turn that ends in between is heard.
            left.as_mut().enable();
            if self.turns_in_flight.load(Ordering::Relaxed) < most {
                return;
            }
            left.as_mut().await;
            left.set(self.turn_left.notified());
        }
    }

    pub(crate) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn generated(&self, tokens: u64) {
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
    }
}

impl Drop for TurnInFlight<'_> {
    fn drop(&mut self) {
        self.0.turns_in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.turn_left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_in_flight_until_it_is_dropped() {
        let activity = Activity::default();
        let turn = activity.turn();
        activity.generated(7);
        assert_eq!(activity.count(), ActivityCount { turns_in_flight: 1, turns: 1, commits: 0, tokens: 7 });
        drop(turn);
        assert_eq!(activity.count().turns_in_flight, 0);
    }

    #[tokio::test]
    async fn there_is_room_once_enough_turns_have_left() {
        let activity = Activity::default();
        let (first, second) = (activity.turn(), activity.turn());
        let mut room = pin!(activity.room(1));
        assert!(futures::poll!(room.as_mut()).is_pending());
        drop(first);
        assert!(futures::poll!(room.as_mut()).is_pending());
        drop(second);
        room.await;
        activity.room(1).await;
    }
}
