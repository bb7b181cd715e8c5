//! The pool over three endpoints of one chain in memory: dead, hanging, throttling, behind, lying and swallowing ones.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod bench;
mod tending;

use std::sync::Arc;
use std::time::Duration;

use steward_adapters::breaker::Forced;
use steward_adapters::chain::{
    Action, Amount, Broadcast, Chain, ChainError, Consistency, EventFilter, Inclusion, TransactionStatus,
};
use steward_adapters::conformance;
use steward_adapters::endpoint::{Change, Class, Lag};
use steward_adapters::fee::Fee;
use steward_adapters::ledger::Ledger;
use steward_adapters::memory::{Fault, MemoryChain, Mining};
use steward_adapters::pool::{Pool, PoolError, PoolPolicy, Roster};
use steward_types::{Clock as _, SystemClock, Timestamp, limits};

use crate::bench::{Bench, NAMES, SOMEBODY, endpoints, named};

#[tokio::test]
async fn a_pool_is_a_chain_like_any_other() {
    for quorum in [1, 2, 3] {
        let policy = PoolPolicy { quorum, ..PoolPolicy::default() };
        let chains = endpoints(2, Mining::Automatic);
        let pool = Pool::new(named(&chains), policy, Arc::new(SystemClock::new())).unwrap();
        conformance::check(&pool, SOMEBODY).await;
    }
}

#[tokio::test]
async fn a_dead_primary_is_replaced_and_its_breaker_closes_when_it_is_back() {
    let bench = Bench::new(1);
    bench.break_one(0, Fault::Down);
    for _ in 0..10 {
        assert_eq!(bench.balance(Consistency::Final).await.unwrap(), 5);
    }
    assert_eq!(bench.primary(), "b:2");
    assert_eq!(bench.chains[0].calls(), 1, "once was enough");
    for _ in 0..4 {
        bench.until_done(bench.pool.look()).await.unwrap();
    }
    assert_eq!(bench.changes(0), [Change::Opened(Class::Read)]);
    let calls = bench.chains[0].calls();
    bench.until_done(bench.pool.look()).await.unwrap();
    assert_eq!(bench.chains[0].calls(), calls, "it is left alone");
    bench.chains[0].set_fault(None);
    bench.clock.advance(Duration::from_millis(500));
    bench.until_done(bench.pool.look()).await.unwrap();
    let read = Class::Read;
    assert_eq!(bench.changes(0), [Change::Opened(read), Change::HalfOpened(read), Change::Closed(read)]);
}

#[tokio::test]
async fn one_that_hangs_is_overtaken_and_then_left_alone() {
    let bench = Bench::new(1);
    bench.break_one(0, Fault::Hangs);
    for _ in 0..3 {
        assert_eq!(bench.balance(Consistency::Latest).await.unwrap(), 5);
    }
    let failure = &bench.pool.status()[0].breakers[0].last_failure;
    assert!(failure.contains("no answer after"), "{failure}");
    assert_eq!(bench.primary(), "b:2");
}

#[tokio::test]
async fn signing_is_never_hedged_but_given_up_and_tried_elsewhere() {
    let bench = Bench::new(1);
    bench.break_one(0, Fault::Hangs);
    let fee = Fee::default();
    let before: Vec<u64> = bench.chains.iter().map(|chain| chain.calls()).collect();
    let begun = bench.clock.monotonic();
    bench.until_done(bench.pool.sign(&Action::Fill, 1, fee)).await.unwrap();
    assert!(bench.clock.monotonic() - begun >= limits::CHAIN_ATTEMPT_TIME_MAX);
    let after: Vec<u64> = bench.chains.iter().map(|chain| chain.calls()).collect();
    assert_eq!(after.iter().zip(before).map(|(after, before)| after - before).collect::<Vec<_>>(), [1, 1, 0]);
}

#[tokio::test]
async fn one_that_refuses_to_sign_what_the_others_sign_ends_nothing() {
    let sign = async |bench: &Bench| bench.until_done(bench.pool.sign(&Action::Fill, 1, Fee::default())).await;
    let bench = Bench::new(2);
    bench.break_one(0, Fault::Refuses);
    assert_eq!(bench.primary(), NAMES[0]);
    assert!(sign(&bench).await.is_ok(), "the second one signs");
    for (second, third) in [(Fault::Down, Fault::Refuses), (Fault::Refuses, Fault::Refuses)] {
        bench.break_one(1, second);
        bench.break_one(2, third);
        let error = sign(&bench).await.unwrap_err();
        assert!(matches!(error, ChainError::Rejected { .. }), "two of them say it: {error}");
    }
    bench.break_one(1, Fault::Down);
    bench.break_one(2, Fault::Down);
    let error = sign(&bench).await.unwrap_err();
    assert!(matches!(error, ChainError::Unavailable { .. }), "one says it, and nobody else is there: {error}");
    let bench = Bench::new(1);
    bench.break_one(0, Fault::Refuses);
    let error = sign(&bench).await.unwrap_err();
    assert!(matches!(error, ChainError::Rejected { .. }), "its word is enough: {error}");
}

#[tokio::test]
async fn one_that_throttles_is_left_alone_as_long_as_it_asks_for() {
    let bench = Bench::new(1);
    bench.break_one(0, Fault::Throttled(Some(Duration::from_secs(20))));
    assert_eq!(bench.balance(Consistency::Final).await.unwrap(), 5);
    bench.chains[0].set_fault(None);
    let calls = bench.chains[0].calls();
    bench.until_done(bench.pool.look()).await.unwrap();
    assert_eq!(bench.chains[0].calls(), calls);
    bench.clock.advance(Duration::from_secs(20));
    bench.until_done(bench.pool.look()).await.unwrap();
    assert_eq!(bench.chains[0].calls(), calls + 1);
    assert_eq!(bench.changes(0)[..2], [Change::Throttled, Change::Unthrottled]);
}

#[tokio::test]
async fn one_that_is_behind_is_asked_last_and_first_again_when_it_has_caught_up() {
    let bench = Bench::new(1);
    bench.break_one(0, Fault::Behind(20));
    bench.until_done(bench.pool.look()).await.unwrap();
    assert_eq!(bench.balance(Consistency::Final).await.unwrap(), 5);
    assert_eq!((bench.primary().as_str(), bench.pool.status()[0].lag_blocks), ("b:2", 20));
    bench.chains[0].set_fault(None);
    bench.until_done(bench.pool.look()).await.unwrap();
    assert_eq!(bench.changes(0), [Change::Lagging, Change::CaughtUp]);
    assert_eq!(bench.balance(Consistency::Final).await.unwrap(), 5);
    assert_eq!(bench.primary(), "b:2", "the new one is no worse: nothing changes without a need");
}

#[tokio::test]
async fn what_is_final_is_right_whoever_lies_and_the_liar_is_named_and_left_out() {
    for liar in 0..3 {
        let bench = Bench::new(2);
        bench.break_one(liar, Fault::Lies);
        for _ in 0..30 {
            assert_eq!(bench.balance(Consistency::Final).await.unwrap(), 5, "{liar} lies");
            let sequence = bench.until_done(bench.pool.sequence(Consistency::Final)).await.unwrap();
            assert_eq!(sequence, Some(1), "{liar} lies");
            let latest = bench.until_done(bench.pool.sequence(Consistency::Latest)).await.unwrap();
            assert_eq!(latest, Some(1), "{liar} lies");
            assert_eq!(bench.until_done(bench.pool.genesis()).await.unwrap(), "block-0-0", "{liar} lies");
            assert_eq!(bench.until_done(bench.pool.head()).await.unwrap().block, 100, "{liar} lies");
        }
        // The last of three is asked only when the first two disagree, and they do not.
        if liar < 2 {
            let status = bench.pool.status().remove(liar);
            assert!(bench.changes(liar).contains(&Change::Contradicted) && !status.is_primary, "{status:?}");
            assert!(bench.pool.status()[liar].transitions[0].reason.contains("the others say"));
        }
        for honest in (0..3).filter(|number| *number != liar) {
            assert_eq!(bench.pool.status()[honest].wrong_answers, 0);
        }
    }
}

#[tokio::test]
async fn what_is_final_is_right_whoever_is_behind() {
    for behind in 0..3 {
        let bench = Bench::new(2);
        bench.break_one(behind, Fault::Behind(50));
        for _ in 0..10 {
            assert_eq!(bench.balance(Consistency::Final).await.unwrap(), 5, "{behind} is behind");
        }
        assert_eq!(bench.pool.status()[behind].wrong_answers, 0, "to be behind is no lie");
        assert!(bench.changes(behind).contains(&Change::Lagging));
    }
}

#[tokio::test]
async fn without_enough_voices_nothing_is_believed() {
    let bench = Bench::new(2);
    bench.break_one(0, Fault::Down);
    bench.break_one(1, Fault::Down);
    let error = bench.balance(Consistency::Final).await.unwrap_err();
    assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
    let error = bench.until_done(bench.pool.genesis()).await.unwrap_err();
    assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
    bench.chains[1].set_fault(Some(Fault::Lies));
    let error = bench.until_done(bench.pool.genesis()).await.unwrap_err().in_full();
    assert!(error.contains("disagree") && error.contains("b:2") && error.contains("c:3"), "{error}");
}

#[tokio::test]
async fn a_chain_that_nobody_serves_says_so_at_once_and_of_each() {
    let bench = Bench::new(1);
    (0..3).for_each(|number| bench.break_one(number, Fault::Down));
    for _ in 0..3 {
        bench.balance(Consistency::Latest).await.unwrap_err();
    }
    let before = bench.clock.monotonic();
    let error = bench.pool.balance(SOMEBODY, None, Consistency::Latest).await.unwrap_err().in_full();
    assert!(NAMES.iter().all(|name| error.contains(&format!("{name}: its breaker is open"))), "{error}");
    assert_eq!(bench.clock.monotonic(), before, "no time passed");
}

#[tokio::test]
async fn an_operator_takes_an_endpoint_out_and_puts_it_back() {
    let bench = Bench::new(1);
    assert!(bench.pool.force("a:1", Some(Forced::Open)));
    assert!(!bench.pool.force("nobody", Some(Forced::Open)));
    let calls = bench.chains[0].calls();
    assert_eq!(bench.balance(Consistency::Latest).await.unwrap(), 5);
    assert_eq!((bench.primary().as_str(), bench.chains[0].calls()), ("b:2", calls));
    bench.pool.force("a:1", None);
    assert_eq!(bench.changes(0), [Change::ForcedOpen, Change::Unforced]);
}

#[tokio::test]
async fn the_same_bytes_go_to_the_next_and_one_that_only_pretends_is_not_alone() {
    for (quorum, fault) in [(1, Fault::RepliesLost), (1, Fault::Down), (1, Fault::Hangs), (2, Fault::Swallows)] {
        let bench = Bench::new(quorum);
        bench.break_one(0, fault);
        let fee = Fee::default();
        let signed = bench.until_done(bench.pool.sign(&Action::Fill, 1, fee)).await.unwrap();
        let taken = bench.until_done(bench.pool.broadcast(&signed.bytes)).await.unwrap();
        assert_eq!(taken, Broadcast::Accepted, "{fault:?}");
        assert_eq!(bench.chains[0].with_ledger(|ledger| ledger.pool_len()), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_transactions_end_is_believed_only_when_enough_say_so() {
    let bench = Bench::new(2);
    let payment = Action::Transfer { to: SOMEBODY.to_owned(), amount: Amount::new(5), asset: None };
    let sent = bench.chains[0].with_ledger(|ledger| ledger.sign(&payment, 0, Fee::default()));
    for liar in 0..3 {
        bench.chains.iter().for_each(|chain| chain.set_fault(None));
        bench.break_one(liar, Fault::Lies);
        let status = bench.until_done(Chain::status(&bench.pool, &sent)).await.unwrap();
        assert!(matches!(status, TransactionStatus::Included(Inclusion { is_final: true, .. })), "{status:?}");
    }
    bench.chains.iter().for_each(|chain| chain.set_fault(None));
    bench.chains[0].with_ledger(|ledger| ledger.mine_stranger());
    bench.pool.force("a:1", None);
    let displaced = bench.chains[0].with_ledger(|ledger| ledger.sign(&payment, 1, Fee::default()));
    let status = bench.until_done(Chain::status(&bench.pool, &displaced)).await.unwrap();
    assert_eq!(status, TransactionStatus::Replaced { is_final: false });
}

#[test]
fn the_primary_changes_only_for_a_reason() {
    let now = Timestamp::from_millis(1);
    let mut roster = Roster::new(NAMES.map(str::to_owned), PoolPolicy::default(), now);
    let order = |roster: &mut Roster| roster.order(Class::Read, now).unwrap();
    assert_eq!(order(&mut roster), [0, 1, 2]);
    // Somewhat worse is no reason.
    roster.endpoint(0).served(Class::Read, Duration::from_millis(1_500), now);
    assert_eq!(order(&mut roster), [0, 1, 2]);
    roster.endpoint(0).failed(Class::Read, Duration::ZERO, "down", now);
    assert_eq!(order(&mut roster), [1, 2, 0]);
    roster.endpoint(1).set_lag(Lag { blocks: 9, final_blocks: 0 }, now);
    assert_eq!(order(&mut roster), [2, 0, 1], "those who are behind come last");
    let reasons: Vec<String> =
        roster.status(now).into_iter().flat_map(|endpoint| endpoint.transitions).map(|t| t.reason).collect();
    assert_eq!(reasons, ["a:1 scores 650, this one 1000", "9 blocks behind, 0 final ones", "b:2 is behind"]);
}

#[test]
fn endpoints_that_do_not_fit_are_refused() {
    let chains = endpoints(1, Mining::Manual);
    let make = |drivers, quorum| {
        let policy = PoolPolicy { quorum, ..PoolPolicy::default() };
        Pool::new(drivers, policy, Arc::new(SystemClock::new())).unwrap_err()
    };
    assert_eq!(make(Vec::new(), 1), PoolError::Count { found: 0 });
    assert_eq!(make(named(&chains), 4), PoolError::Quorum { quorum: 4, endpoints: 3 });
    assert_eq!(make(named(&chains), 0), PoolError::Quorum { quorum: 0, endpoints: 3 });
    let mut twice = named(&chains);
    twice[2].0 = "a:1".to_owned();
    assert_eq!(make(twice, 1), PoolError::Twice("a:1".to_owned()));
    let mut other = named(&chains);
    let stranger = MemoryChain::new("test:other".parse().unwrap(), Ledger::new(1), Mining::Manual);
    other[1].1 = Arc::new(stranger);
    assert_eq!(make(other, 1), PoolError::Differs("b:2".to_owned()));
}

/// The payment that stands in block 96 of the bench.
fn payments() -> EventFilter {
    EventFilter { address: SOMEBODY.to_owned(), event: "Transfer".to_owned() }
}

#[tokio::test]
async fn events_are_asked_of_who_has_the_blocks() {
    let bench = Bench::new(1);
    let newest = bench.pool.head().await.unwrap().final_block;
    bench.break_one(0, Fault::Behind(20));
    let events = bench.pool.events(&payments(), 0, newest).await.unwrap();
    assert_eq!(events.len(), 1, "the first endpoint does not have the block, and is not believed to have no event");
    for number in [1, 2] {
        bench.break_one(number, Fault::Behind(20));
    }
    let error = bench.pool.events(&payments(), 0, newest).await.unwrap_err();
    assert!(matches!(error, ChainError::Behind { .. }), "{error}");
}

#[tokio::test]
async fn an_event_that_one_endpoint_leaves_out_is_told_all_the_same_where_two_must_agree() {
    let bench = Bench::new(2);
    bench.break_one(0, Fault::Lies);
    let events = bench.pool.events(&payments(), 0, 97).await.unwrap();
    assert_eq!(events.len(), 1, "two of three have it");
    let liar = &bench.pool.status()[0];
    assert!(liar.transitions.iter().any(|transition| transition.change == Change::Contradicted), "{liar:#?}");
}
