//! Where a subscription to a chain's events stands: which blocks to ask about next, and which events of the answer are
//! new. Pure: it asks nobody.
//!
//! It moves over final blocks only, and past an event only once that is taken.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use steward_types::limits::CHAIN_EVENT_BLOCKS_MAX;
use thiserror::Error;

use crate::chain::{EmittedEvent, EventId};

/// A place among a chain's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// The first block of which not every event is known to be taken.
    pub block: u64,
    /// How many events of that block are taken: the first ones.
    pub taken: u64,
}

/// How many blocks to ask about at once: fewer when there are too many events in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(u64);

/// An answer does not fit what was asked, or what was answered before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Misfit {
    /// An event of a block that was not asked about, or in the wrong order, or twice.
    #[error("the event {event} does not belong where it stands in the answer about the blocks {from} to {to}")]
    Misplaced {
        /// The event.
        event: EventId,
        /// The first block that was asked about.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Events of a block are gone that were there before.
    #[error("block {block} has {found} events, and {taken} of it were taken before: an endpoint leaves some out")]
    Missing {
        /// The block.
        block: u64,
        /// How many were taken.
        taken: u64,
        /// How many are there.
        found: u64,
    },
}

impl Cursor {
    /// Before every event of this block.
    pub const fn before(block: u64) -> Self {
        Self { block, taken: 0 }
    }

    /// The blocks to ask about when those up to this one are final; nothing when there is none.
    pub fn range(&self, final_block: u64, span: Span) -> Option<RangeInclusive<u64>> {
        let last = final_block.min(self.block.saturating_add(span.0 - 1));
        (self.block <= last).then_some(self.block..=last)
    }

    /// The events of an answer about the blocks from this place's to `to` that are not taken yet.
    ///
    /// # Errors
    /// [`Misfit`]: the answer is not to be believed.
    pub fn fresh(&self, to: u64, events: Vec<EmittedEvent>) -> Result<Vec<EmittedEvent>, Misfit> {
        let (from, mut last, mut seen) = (self.block, self.block, HashSet::new());
        for EmittedEvent { id, .. } in &events {
            if id.block < last || id.block > to || !seen.insert(id) {
                return Err(Misfit::Misplaced { event: id.clone(), from, to });
            }
            last = id.block;
        }
        let found = events.iter().take_while(|event| event.id.block == self.block).count() as u64;
        if found < self.taken {
            return Err(Misfit::Missing { block: self.block, taken: self.taken, found });
        }
        let taken = usize::try_from(self.taken).unwrap_or(usize::MAX);
        Ok(events.into_iter().skip(taken).collect())
    }

    /// Moves past an event: the next one of those that [`fresh`](Self::fresh) gave.
    pub const fn take(&mut self, event: &EventId) {
        if event.block == self.block {
            self.taken += 1;
        } else {
            *self = Self { block: event.block, taken: 1 };
        }
    }

    /// Moves past a block, every event up to the end of which is taken. It never moves back.
    pub const fn pass(&mut self, block: u64) {
        if block >= self.block {
            *self = Self::before(block.saturating_add(1));
        }
    }
}

impl Span {
    /// Half as many; false when it is one block already.
    pub const fn halve(&mut self) -> bool {
        let can = self.0 > 1;
        self.0 = self.0.div_ceil(2);
        can
    }

    /// Twice as many again, up to a bound.
    pub fn grow(&mut self) {
        self.0 = self.0.saturating_mul(2).min(CHAIN_EVENT_BLOCKS_MAX);
    }
}

impl Default for Span {
    fn default() -> Self {
        Self(CHAIN_EVENT_BLOCKS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;

    fn event(block: u64, index: u64) -> EmittedEvent {
        let id = EventId { block, transaction: format!("t{block}"), index };
        EmittedEvent { id, name: "Transfer".to_owned(), arguments: Ok(Map::new()) }
    }

    fn chain(counts: &[u64]) -> Vec<EmittedEvent> {
        let blocks = counts.iter().zip(0..);
        blocks.flat_map(|(count, block)| (0..*count).map(move |index| event(block, index))).collect()
    }

    proptest! {
        /// A reader that may be killed after any event, and then asks again with another span, takes each event once and
        /// in order.
        #[test]
        fn every_event_is_taken_once_whatever_is_asked_at_once(
            counts in prop::collection::vec(0..4_u64, 1..12), begin in 0..12_u64,
            spans in prop::collection::vec(1..6_u64, 1..8), lives in prop::collection::vec(0..9_usize, 1..20),
        ) {
            let (all, last) = (chain(&counts), counts.len() as u64 - 1);
            let expected: Vec<EventId> =
                all.iter().map(|event| event.id.clone()).filter(|id| id.block >= begin).collect();
            let (mut cursor, mut taken) = (Cursor::before(begin), Vec::new());
            let mut spans = spans.into_iter().cycle();
            let mut lives = lives.into_iter().chain([usize::MAX]).cycle();
            while let Some(range) = cursor.range(last, Span(spans.next().unwrap())) {
                let (from, to) = (*range.start(), *range.end());
                let answer = all.iter().filter(|event| range.contains(&event.id.block)).cloned().collect();
                prop_assert_eq!(from, cursor.block);
                let fresh = cursor.fresh(to, answer).unwrap();
                let life = lives.next().unwrap();
                let is_killed = life < fresh.len();
                for event in fresh.into_iter().take(life) {
                    cursor.take(&event.id);
                    taken.push(event.id);
                }
                if !is_killed {
                    cursor.pass(to);
                }
            }
            prop_assert_eq!(taken, expected);
        }
    }

    #[test]
    fn an_answer_that_cannot_be_true_is_not_believed() {
        let cursor = Cursor { block: 5, taken: 2 };
        let check = |events: Vec<EmittedEvent>, good: bool| {
            let fresh = cursor.fresh(9, events.clone());
            assert_eq!(fresh.is_ok(), good, "{events:?}: {fresh:?}");
        };
        check(vec![event(5, 0), event(5, 1), event(9, 0)], true);
        check(vec![event(5, 0), event(9, 0)], false);
        check(vec![], false);
        check(vec![event(5, 0), event(5, 1), event(10, 0)], false);
        check(vec![event(5, 0), event(5, 1), event(9, 0), event(8, 0)], false);
        check(vec![event(5, 0), event(5, 0), event(9, 0)], false);
        check(vec![event(4, 0), event(5, 0), event(5, 1)], false);
    }

    #[test]
    fn a_span_shrinks_to_one_block_and_grows_again() {
        let mut span = Span::default();
        while span.halve() {}
        assert_eq!(Cursor::before(7).range(100, span), Some(7..=7));
        span.grow();
        assert_eq!(Cursor::before(7).range(100, span), Some(7..=8));
        assert_eq!(Cursor::before(7).range(7, span), Some(7..=7));
        assert_eq!(Cursor::before(7).range(6, span), None);
    }
}
