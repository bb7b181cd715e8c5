//! A trigger that is killed between any two steps, over a chain and a store that both remember.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Map;
use steward_adapters::chain::EventFilter;
use steward_scripting::TriggerFrom;

use super::*;
use crate::trigger::record::TriggerSpec;

/// What outlives a trigger: its stored state, the sessions that there are, and ids that never come twice.
struct World {
    chain: Vec<EmittedEvent>,
    stored: TriggerState,
    sessions: BTreeMap<SessionId, EventId>,
    ids: u8,
}

/// How a session's start goes wrong, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Good,
    /// The session is there, and the answer is lost.
    AnswerLost,
    NotNow,
    /// The trigger is killed before it is asked for.
    KilledBefore,
    /// The trigger is killed when the session is there and nothing of that is stored.
    KilledAfter,
}

fn event(block: u64, index: u64) -> EmittedEvent {
    let id = EventId { block, transaction: format!("t{block}"), index };
    EmittedEvent { id, name: "Transfer".to_owned(), arguments: Ok(Map::new()) }
}

fn state() -> TriggerState {
    let filter = EventFilter { address: "somebody".to_owned(), event: "Transfer".to_owned() };
    TriggerState::new(&TriggerSpec { chain: "test:memory".to_owned(), filter, from: TriggerFrom::Now, version: 1 })
}

impl World {
    fn new(counts: &[u64]) -> Self {
        let blocks = (0..).zip(counts);
        let chain = blocks.flat_map(|(block, count)| (0..*count).map(move |index| event(block, index))).collect();
        Self { chain, stored: state(), sessions: BTreeMap::new(), ids: 0 }
    }

    /// One step of a trigger. False when it is killed in it.
    fn step(&mut self, feed: &mut Feed, last: u64, luck: &mut impl Iterator<Item = Luck>) -> bool {
        feed.begin(0);
        if let Some(range) = feed.range(last) {
            let answer = self.chain.iter().filter(|event| range.contains(&event.id.block)).cloned().collect();
            feed.found(*range.end(), answer).unwrap();
        }
        let ids = &mut self.ids;
        let starts = feed.assign(|| {
            *ids += 1;
            SessionId::from_bytes([*ids; 16])
        });
        self.stored = feed.state.clone();
        let mut outcomes = Vec::new();
        for Start { event, session } in starts {
            let luck = luck.next().unwrap_or(Luck::Good);
            if luck == Luck::KilledBefore {
                return false;
            }
            if luck != Luck::NotNow {
                let known = self.sessions.insert(session, event.id.clone());
                assert!(known.is_none_or(|known| known == event.id), "an id is one event's");
            }
            match luck {
                Luck::KilledAfter => return false,
                Luck::Good => outcomes.push(Outcome::Started),
                _ => {
                    outcomes.push(Outcome::Later("not now".to_owned()));
                    break;
                }
            }
        }
        feed.concluded(outcomes, Timestamp::EPOCH);
        let open = feed.state.open.clone();
        feed.closed(&open);
        self.stored = feed.state.clone();
        true
    }
}

fn any_luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        4 => Just(Luck::Good),
        1 => Just(Luck::AnswerLost),
        1 => Just(Luck::NotNow),
        1 => Just(Luck::KilledBefore),
        1 => Just(Luck::KilledAfter),
    ]
}

proptest! {
    #[test]
    fn every_event_has_exactly_one_session(
        counts in prop::collection::vec(0..6_u64, 1..8), luck in prop::collection::vec(any_luck(), 0..40),
    ) {
        let (mut world, last) = (World::new(&counts), counts.len() as u64 - 1);
        let mut luck = luck.into_iter();
        let mut feed = Feed::new(world.stored.clone());
        while feed.state.cursor.is_none_or(|cursor| cursor.block <= last) {
            if !world.step(&mut feed, last, &mut luck) {
                feed = Feed::new(world.stored.clone());
            }
        }
        let mut of_sessions: Vec<EventId> = world.sessions.values().cloned().collect();
        of_sessions.sort();
        let expected: Vec<EventId> = world.chain.iter().map(|event| event.id.clone()).collect();
        prop_assert_eq!(of_sessions, expected);
        prop_assert!(feed.state.assigned.is_empty() && feed.state.skipped == 0);
        prop_assert_eq!(feed.state.started, world.chain.len() as u64);
    }
}

fn fed(events: Vec<EmittedEvent>) -> Feed {
    let mut feed = Feed::new(state());
    feed.begin(0);
    feed.found(9, events).unwrap();
    feed
}

fn ids() -> impl FnMut() -> SessionId {
    let mut next = 0_u8;
    move || {
        next += 1;
        SessionId::from_bytes([next; 16])
    }
}

#[test]
fn an_event_that_is_refused_for_its_own_sake_is_skipped_after_some_tries_and_the_next_goes_on() {
    let mut feed = fed(vec![event(1, 0), event(2, 0)]);
    feed.assign(ids());
    let refused =
        |for_good| Outcome::Refused { code: ErrorCode::RequestTooLarge, reason: "large".to_owned(), for_good };
    for _ in 1..TRIGGER_TRIES_MAX {
        let (skipped, problem) = feed.concluded(vec![refused(false)], Timestamp::EPOCH);
        assert_eq!((skipped.len(), problem.as_deref()), (0, Some("large")));
    }
    let (skipped, problem) = feed.concluded(vec![refused(false), Outcome::Started], Timestamp::EPOCH);
    assert_eq!((skipped[0].event.block, skipped[0].code), (1, ErrorCode::RequestTooLarge));
    assert_eq!((problem, feed.state.started, feed.state.skipped), (None, 1, 1));
    assert_eq!(feed.state.cursor, Some(Cursor::before(10)));
    let mut feed = fed(vec![event(1, 0)]);
    feed.assign(ids());
    let (skipped, _) = feed.concluded(vec![refused(true)], Timestamp::EPOCH);
    assert_eq!(skipped.len(), 1, "what can never be taken is not tried again");
}

#[test]
fn no_more_sessions_are_started_than_may_be_open() {
    let events: Vec<EmittedEvent> = (0..200).map(|index| event(1, index)).collect();
    let mut feed = fed(events);
    let mut fresh = ids();
    while feed.room() > 0 {
        let starts = feed.assign(&mut fresh);
        assert!((1..=TRIGGER_SESSIONS_AT_ONCE).contains(&starts.len()));
        feed.concluded(starts.iter().map(|_| Outcome::Started).collect(), Timestamp::EPOCH);
    }
    assert_eq!(feed.state.open.len(), TRIGGER_SESSIONS_OPEN_MAX);
    assert!(feed.assign(&mut fresh).is_empty() && feed.has_events());
    let ended = feed.state.open[..3].to_vec();
    feed.closed(&ended);
    assert_eq!(feed.assign(&mut fresh).len(), 3);
}

#[test]
fn an_answer_that_contradicts_an_earlier_one_is_not_used() {
    let mut feed = fed(vec![event(1, 0), event(1, 1)]);
    feed.assign(ids());
    feed.concluded(vec![Outcome::Started], Timestamp::EPOCH);
    // Killed here; the next endpoint leaves out what was taken.
    let mut feed = Feed::new(feed.state.clone());
    let before = feed.state.clone();
    assert!(matches!(feed.found(9, Vec::new()), Err(Misfit::Missing { block: 1, taken: 1, found: 0 })));
    assert_eq!(feed.state, before);
}
