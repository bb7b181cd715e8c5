//! An event that was emitted is told once it is final, under one name, whatever blocks are asked about at once.

use std::time::Duration;

use steward_types::{Clock, SystemClock};

use super::send;
use crate::chain::{Action, Chain, ChainError, EmittedEvent, EventFilter, EventId};

/// How many events the suite makes.
const EVENTS: u64 = 3;

/// What makes events on a chain.
pub struct Emission<'a> {
    /// The action of this number, which emits one event of the filter.
    pub action: &'a (dyn Fn(u64) -> Action + Sync),
    /// Which events they are.
    pub filter: EventFilter,
    /// The same kind of event about an address that has none.
    pub silent: EventFilter,
    /// What is no kind of event on this chain.
    pub wrong: EventFilter,
}

/// Runs the part of the suite that is about events. Panics where the driver is wrong.
pub async fn check_events(chain: &dyn Chain, emission: &Emission<'_>) {
    let begin = chain.head().await.expect("the chain answers").final_block + 1;
    let mut emitted = Vec::new();
    for number in 0..EVENTS {
        let outcome = send(chain, &format!("event {number}"), (emission.action)(number)).await;
        assert!(outcome.succeeded, "event {number} was emitted");
        emitted.push((outcome.block, outcome.hash));
    }
    let end = emitted.last().expect("there are some").0;
    until_final(chain, end).await;
    let all = events(chain, &emission.filter, begin, end).await;
    let told: Vec<(u64, String)> = all.iter().map(|event| (event.id.block, event.id.transaction.clone())).collect();
    assert_eq!(told, emitted, "each event once, in the order of the chain");
    assert!(all.iter().all(|event| event.arguments.is_ok()), "{all:?}");
    a_range_in_two_parts_has_the_same_events(chain, &emission.filter, (begin, end), &all).await;
    what_is_not_there_is_not_told(chain, emission, (begin, end)).await;
}

async fn events(chain: &dyn Chain, filter: &EventFilter, from: u64, to: u64) -> Vec<EmittedEvent> {
    match chain.events(filter, from, to).await {
        Ok(events) => events,
        Err(ChainError::TooMany { .. }) if from < to => {
            let middle = from + (to - from) / 2;
            let first = Box::pin(events(chain, filter, from, middle)).await;
            let second = Box::pin(events(chain, filter, middle + 1, to)).await;
            [first, second].concat()
        }
        Err(error) => panic!("{}", error.in_full()),
    }
}

async fn a_range_in_two_parts_has_the_same_events(
    chain: &dyn Chain,
    filter: &EventFilter,
    (begin, end): (u64, u64),
    all: &[EmittedEvent],
) {
    for EmittedEvent { id: EventId { block, .. }, .. } in all {
        let before = events(chain, filter, begin, *block).await;
        let after = events(chain, filter, block + 1, end).await;
        assert_eq!([before, after].concat(), all, "parted after block {block}");
        let alone = events(chain, filter, *block, *block).await;
        assert!(!alone.is_empty() && alone.iter().all(|event| event.id.block == *block), "{alone:?}");
    }
    assert_eq!(events(chain, filter, end, begin.saturating_sub(1)).await, [], "no block, no event");
}

async fn what_is_not_there_is_not_told(chain: &dyn Chain, emission: &Emission<'_>, (begin, end): (u64, u64)) {
    assert_eq!(events(chain, &emission.silent, begin, end).await, []);
    let beyond = u64::MAX / 4;
    let answer = chain.events(&emission.filter, beyond, beyond).await;
    assert!(matches!(answer, Err(ChainError::Behind { .. })), "{answer:?}");
    for refused in
        [chain.canonical_filter(&emission.wrong).map(drop), chain.events(&emission.wrong, end, end).await.map(drop)]
    {
        assert!(matches!(refused, Err(ChainError::Rejected { .. })), "{refused:?}");
    }
    let canonical = chain.canonical_filter(&emission.filter).expect("a good filter is one before anything is asked");
    assert_eq!(chain.canonical_filter(&canonical).expect("what is canonical is good"), canonical);
    assert_eq!(events(chain, &canonical, begin, end).await, events(chain, &emission.filter, begin, end).await);
}

async fn until_final(chain: &dyn Chain, block: u64) {
    let clock = SystemClock::new();
    while chain.head().await.expect("the chain answers").final_block < block {
        clock.sleep(Duration::from_millis(5)).await;
    }
}
