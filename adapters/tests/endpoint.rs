//! The state machine of one endpoint: every change with its reason, and what holds whatever happens.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use steward_adapters::breaker::{BreakerPolicy, Forced};
use steward_adapters::endpoint::{
    Change, Class, Costs, Endpoint, EndpointPolicy, EndpointStatus, Lag, RefusalReason, Transition,
};
use steward_types::{Timestamp, limits};

const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

const MS: Duration = Duration::from_millis(1);

fn policy() -> EndpointPolicy {
    EndpointPolicy {
        breaker: BreakerPolicy { failures_max: 2, open_ms_min: 100, open_ms_max: 400 },
        throttled_ms_min: 50,
        throttled_ms_max: 1_000,
        wrong_answers_max: 2,
        wrong_window_ms: 1_000,
        punished_ms_min: 200,
        punished_ms_max: 800,
        ..EndpointPolicy::default()
    }
}

fn endpoint() -> Endpoint {
    Endpoint::new("host:1".to_owned(), policy(), at(0))
}

fn transitions(endpoint: &Endpoint) -> Vec<Transition> {
    endpoint.status(false, at(0)).transitions
}

fn changes(endpoint: &Endpoint) -> Vec<Change> {
    transitions(endpoint).into_iter().map(|transition| transition.change).collect()
}

fn refused(endpoint: &mut Endpoint, class: Class, now: u64) -> (RefusalReason, u64) {
    let refusal = endpoint.admit(class, at(now)).unwrap_err();
    (refusal.reason, refusal.retry_at.as_millis())
}

#[test]
fn a_class_that_fails_is_left_alone_and_the_others_are_not() {
    let mut endpoint = endpoint();
    for _ in 0..2 {
        endpoint.admit(Class::Broadcast, at(0)).unwrap();
        endpoint.failed(Class::Broadcast, MS, "HTTP 502", at(0));
    }
    assert_eq!(refused(&mut endpoint, Class::Broadcast, 99), (RefusalReason::Open, 100));
    endpoint.admit(Class::Read, at(99)).unwrap();
    endpoint.admit(Class::Broadcast, at(100)).unwrap();
    assert_eq!(refused(&mut endpoint, Class::Broadcast, 100).0, RefusalReason::Open, "one probe at a time");
    endpoint.served(Class::Broadcast, MS, at(101));
    endpoint.admit(Class::Broadcast, at(101)).unwrap();
    let class = Class::Broadcast;
    assert_eq!(changes(&endpoint), [Change::Opened(class), Change::HalfOpened(class), Change::Closed(class)]);
    assert_eq!(transitions(&endpoint)[0].reason, "HTTP 502");
}

#[test]
fn one_that_throttles_is_left_alone_as_long_as_it_says_or_twice_as_long_each_time() {
    let mut endpoint = endpoint();
    endpoint.throttled(Class::Read, Some(Duration::from_millis(70)), "HTTP 429", at(0));
    assert_eq!(refused(&mut endpoint, Class::History, 69), (RefusalReason::Throttled, 70));
    endpoint.admit(Class::Read, at(70)).unwrap();
    // The second and the third in a row, which name no time.
    for (now, until) in [(100, 200), (300, 500)] {
        endpoint.throttled(Class::Read, None, "HTTP 429", at(now));
        assert_eq!(refused(&mut endpoint, Class::Read, now), (RefusalReason::Throttled, until));
    }
    endpoint.throttled(Class::Read, Some(Duration::from_secs(86_400)), "come back tomorrow", at(500));
    assert_eq!(refused(&mut endpoint, Class::Read, 500), (RefusalReason::Throttled, 1_500), "within our bound");
    endpoint.admit(Class::Read, at(1_500)).unwrap();
    endpoint.served(Class::Read, MS, at(1_500));
    endpoint.throttled(Class::Read, None, "HTTP 429", at(1_500));
    assert_eq!(refused(&mut endpoint, Class::Read, 1_500), (RefusalReason::Throttled, 1_550), "it began anew");
}

#[test]
fn spent_units_come_back_with_time() {
    let costs = Costs { read: 1, broadcast: 10, history: 20 };
    let policy = EndpointPolicy { units_per_second: Some(10), units_burst: 20, costs, ..policy() };
    let mut endpoint = Endpoint::new("host:1".to_owned(), policy, at(0));
    endpoint.admit(Class::Broadcast, at(0)).unwrap();
    endpoint.admit(Class::Broadcast, at(0)).unwrap();
    assert_eq!(refused(&mut endpoint, Class::Read, 0), (RefusalReason::Spent, 100));
    assert_eq!(refused(&mut endpoint, Class::History, 0), (RefusalReason::Spent, 2_000));
    assert_eq!(endpoint.status(true, at(1_000)).units_left, Some(10));
    endpoint.admit(Class::Read, at(100)).unwrap();
}

#[test]
fn who_is_contradicted_too_often_is_punished_each_time_longer() {
    let mut endpoint = endpoint();
    endpoint.contradicted("a balance", at(0));
    endpoint.admit(Class::Read, at(0)).unwrap();
    assert_eq!(endpoint.score(at(0)), 700);
    endpoint.contradicted("another balance", at(10));
    assert_eq!(refused(&mut endpoint, Class::Read, 10), (RefusalReason::Punished, 210));
    endpoint.admit(Class::Read, at(210)).unwrap();
    // What lies further back than the window is forgotten.
    endpoint.contradicted("x", at(300));
    endpoint.contradicted("x", at(1_301));
    endpoint.admit(Class::Read, at(1_301)).unwrap();
    endpoint.contradicted("x", at(1_302));
    assert_eq!(refused(&mut endpoint, Class::Read, 1_302), (RefusalReason::Punished, 1_702));
    assert_eq!(endpoint.status(false, at(1_302)).wrong_answers, 5);
}

#[test]
fn who_takes_much_longer_than_usual_has_failed_and_who_is_only_slow_has_not() {
    let mut endpoint = endpoint();
    for _ in 0..10 {
        endpoint.served(Class::Read, Duration::from_millis(20), at(0));
    }
    endpoint.overtaken(Class::Read, Duration::from_millis(79), at(0));
    assert_eq!(endpoint.status(false, at(0)).errors_permille, 0);
    for _ in 0..2 {
        endpoint.overtaken(Class::Read, Duration::from_millis(80), at(0));
    }
    assert_eq!(refused(&mut endpoint, Class::Read, 0).0, RefusalReason::Open);
}

#[test]
fn an_operator_overrules_everything_and_forgives() {
    let mut endpoint = endpoint();
    endpoint.force(Some(Forced::Open), at(0));
    assert_eq!(refused(&mut endpoint, Class::Read, 0).0, RefusalReason::Forced);
    endpoint.force(Some(Forced::Closed), at(0));
    for _ in 0..2 {
        endpoint.contradicted("a lie", at(0));
        endpoint.failed(Class::Read, MS, "down", at(0));
        endpoint.throttled(Class::Read, None, "HTTP 429", at(0));
    }
    endpoint.admit(Class::Read, at(1)).unwrap();
    endpoint.force(None, at(1));
    assert_eq!(refused(&mut endpoint, Class::Read, 1), (RefusalReason::Open, 100), "the breaker decides for itself");
    endpoint.admit(Class::Broadcast, at(1)).unwrap();
}

#[test]
fn a_status_says_all_of_it_and_comes_back_from_json() {
    let mut endpoint = endpoint();
    endpoint.served(Class::Read, Duration::from_millis(12), at(5));
    endpoint.failed(Class::Broadcast, MS, "HTTP 502", at(5));
    endpoint.saw_block(90);
    endpoint.set_lag(Lag { blocks: 10, final_blocks: 0 }, at(6));
    let status = endpoint.status(true, at(6));
    assert_eq!((status.block, status.lag_blocks, status.latency_p70_ms), (Some(90), 10, Some(12)));
    assert_eq!((status.errors_permille, status.score), (500, 1_000 - 200 - 1 - 100));
    assert_eq!(status.transitions[0].reason, "10 blocks behind, 0 final ones");
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<EndpointStatus>(&text).unwrap(), status);
}

#[derive(Debug, Clone)]
enum Step {
    Admit(Class),
    Served(Class),
    Failed(Class),
    Throttled(Option<u64>),
    Overtaken(u64),
    Contradicted,
    Lag(u64),
    Force(Option<Forced>),
    Primary,
}

fn any_step() -> impl Strategy<Value = Step> {
    let class = || prop::sample::select(Class::ALL.to_vec());
    let forced = prop::sample::select(vec![None, Some(Forced::Open), Some(Forced::Closed)]);
    prop_oneof![
        6 => class().prop_map(Step::Admit),
        4 => class().prop_map(Step::Served),
        4 => class().prop_map(Step::Failed),
        1 => prop::option::of(0..3_000u64).prop_map(Step::Throttled),
        1 => (0..500u64).prop_map(Step::Overtaken),
        1 => Just(Step::Contradicted),
        2 => (0..8u64).prop_map(Step::Lag),
        1 => forced.prop_map(Step::Force),
        1 => Just(Step::Primary),
    ]
}

fn take(endpoint: &mut Endpoint, step: &Step, now: Timestamp) {
    match step {
        Step::Admit(class) => drop(endpoint.admit(*class, now)),
        Step::Served(class) => endpoint.served(*class, MS, now),
        Step::Failed(class) => endpoint.failed(*class, MS, "it failed", now),
        Step::Throttled(wait) => endpoint.throttled(Class::Read, wait.map(Duration::from_millis), "429", now),
        Step::Overtaken(waited) => endpoint.overtaken(Class::Read, Duration::from_millis(*waited), now),
        Step::Contradicted => endpoint.contradicted("a lie", now),
        Step::Lag(blocks) => endpoint.set_lag(Lag { blocks: *blocks, final_blocks: *blocks }, now),
        Step::Force(forced) => endpoint.force(*forced, now),
        Step::Primary => endpoint.became_primary("it is better".to_owned(), now),
    }
}

proptest! {
    #[test]
    fn whatever_happens_it_is_asked_again_within_its_bounds(
        steps in prop::collection::vec((any_step(), 0..300u64), 0..80), class in prop::sample::select(Class::ALL.to_vec())
    ) {
        let mut endpoint = endpoint();
        let mut now = 0;
        for (step, wait) in steps {
            now += wait;
            take(&mut endpoint, &step, at(now));
            prop_assert!(endpoint.score(at(now)) <= 1_000);
            prop_assert!(transitions(&endpoint).len() <= limits::ENDPOINT_TRANSITIONS_MAX);
            // What is said beforehand is what happens.
            let said = endpoint.refusal(class, at(now));
            prop_assert_eq!(endpoint.clone().admit(class, at(now)).err(), said.clone());
            if let Some(refusal) = said {
                prop_assert!(refusal.retry_at > at(now));
            }
        }
        endpoint.force(None, at(now));
        let bound = 400 + 1_000 + 800;
        prop_assert_eq!(endpoint.admit(class, at(now + bound)), Ok(()));
    }

    #[test]
    fn every_change_of_a_breaker_is_noted_in_its_order(steps in prop::collection::vec((any_step(), 1..300u64), 0..80)) {
        let mut endpoint = endpoint();
        let (mut now, mut last) = (0, Change::Closed(Class::Read));
        for (step, wait) in steps {
            now += wait;
            take(&mut endpoint, &step, at(now));
            let just_now = transitions(&endpoint).into_iter().filter(|transition| transition.at == at(now));
            for change in just_now.map(|transition| transition.change) {
                let is_of_read = [Change::Opened, Change::HalfOpened, Change::Closed].map(|of| of(Class::Read)).contains(&change);
                if !is_of_read {
                    continue;
                }
                let fits = match change {
                    Change::Opened(_) => last != change,
                    Change::HalfOpened(class) => last == Change::Opened(class),
                    _ => last != change,
                };
                prop_assert!(fits, "{last:?} was followed by {change:?}");
                last = change;
            }
        }
    }
}

#[test]
fn every_change_happens() {
    let mut all: BTreeSet<Change> = [
        Change::Throttled,
        Change::Unthrottled,
        Change::Lagging,
        Change::CaughtUp,
        Change::Contradicted,
        Change::Punished,
        Change::Pardoned,
        Change::BecamePrimary,
        Change::ForcedOpen,
        Change::ForcedClosed,
        Change::Unforced,
    ]
    .into();
    for class in Class::ALL {
        all.extend([Change::Opened(class), Change::HalfOpened(class), Change::Closed(class)]);
    }
    let mut seen = BTreeSet::new();
    let mut endpoint = endpoint();
    let script = Class::ALL
        .into_iter()
        .flat_map(|class| [Step::Failed(class), Step::Failed(class), Step::Admit(class), Step::Served(class)]);
    let rest = [
        Step::Throttled(Some(10)),
        Step::Admit(Class::Read),
        Step::Lag(9),
        Step::Lag(0),
        Step::Contradicted,
        Step::Contradicted,
        Step::Admit(Class::Read),
        Step::Primary,
        Step::Force(Some(Forced::Open)),
        Step::Force(Some(Forced::Closed)),
        Step::Force(None),
    ];
    for (number, step) in script.chain(rest).enumerate() {
        take(&mut endpoint, &step, at(500 * number as u64));
        seen.extend(changes(&endpoint));
        for change in changes(&endpoint) {
            assert!(!change.to_string().is_empty());
        }
    }
    assert_eq!(seen, all);
}
