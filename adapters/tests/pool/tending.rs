//! How fast a dead endpoint is left alone and a well one used again, and that no endpoint decides alone when a
//! transaction has expired. Times are the clock's, which is moved by hand: they are the same on every machine.

use std::time::Duration;

use steward_adapters::breaker::BreakerState;
use steward_adapters::chain::{Action, Amount, Chain, Consistency};
use steward_adapters::courier::carry_out;
use steward_adapters::endpoint::Class;
use steward_adapters::fee::{Fee, FeePolicy};
use steward_adapters::ledger::Ledger;
use steward_adapters::memory::Fault;
use steward_adapters::outbox::{Event, Outbox, OutboxPolicy};
use steward_types::limits::{BREAKER_OPEN_TIME_MAX, EXPIRY_BLOCKS_AHEAD_MAX};
use steward_types::{Clock as _, Timestamp};

use crate::bench::{Bench, SOMEBODY};

/// As on Ethereum.
const BLOCK_TIME: Duration = Duration::from_secs(12);
/// In how many blocks what waited must have landed.
const RECOVERY_BLOCKS_MAX: u64 = 3;

fn state(bench: &Bench, number: usize) -> BreakerState {
    let status = bench.pool.status().remove(number);
    status.breakers.into_iter().find(|breaker| breaker.class == Class::Read).unwrap().state
}

fn is_closed(bench: &Bench, number: usize) -> bool {
    matches!(state(bench, number), BreakerState::Closed { .. })
}

/// Tends the endpoints as a chain without work does, until it holds or nothing is left to tend. How long it took.
async fn tend_until(bench: &Bench, holds: impl Fn(&Bench) -> bool) -> Duration {
    let begun = bench.clock.now();
    while !holds(bench) {
        let tend_at = bench.pool.tend_at().expect("an endpoint is not well");
        bench.clock.advance(tend_at.saturating_since(bench.clock.now()));
        bench.until_done(bench.pool.tend()).await;
    }
    bench.clock.now().saturating_since(begun)
}

#[tokio::test]
async fn an_endpoint_that_dies_is_left_alone_within_two_seconds_and_used_again_without_any_work() {
    for fault in [Fault::Down, Fault::Hangs] {
        let bench = Bench::new(1);
        assert_eq!(bench.pool.tend_at(), None, "while all are well nobody is asked");
        bench.break_one(0, fault);
        let died = bench.clock.now();
        assert_eq!(bench.balance(Consistency::Latest).await.unwrap(), 5);
        let others = bench.chains[1].calls() + bench.chains[2].calls();
        if fault == Fault::Down {
            tend_until(&bench, |bench| !is_closed(bench, 0)).await;
        } else {
            // One that hangs is found out by those who need an answer.
            while is_closed(&bench, 0) {
                assert_eq!(bench.until_done(bench.pool.look()).await.ok(), Some(()));
            }
        }
        let opened = bench.clock.now().saturating_since(died);
        assert!(opened <= Duration::from_secs(2), "{fault:?}: open after {opened:?}");
        // It stays dead for a while, and is asked less and less often.
        let calls = bench.chains[0].calls();
        let dead_until = bench.clock.now().saturating_add(Duration::from_secs(600));
        tend_until(&bench, |bench| bench.clock.now() >= dead_until).await;
        let probes = bench.chains[0].calls() - calls;
        assert!((20..=90).contains(&probes), "{fault:?}: {probes} probes in ten minutes");
        bench.chains[0].set_fault(None);
        let closed = tend_until(&bench, |bench| is_closed(bench, 0)).await;
        assert!(closed <= BREAKER_OPEN_TIME_MAX + Duration::from_secs(1), "{fault:?}: closed after {closed:?}");
        assert_eq!(bench.pool.tend_at(), None, "{fault:?}");
        if fault == Fault::Down {
            assert_eq!(bench.chains[1].calls() + bench.chains[2].calls(), others, "who is well is not asked");
        }
    }
}

#[tokio::test]
async fn who_was_throttled_or_punished_is_asked_when_that_is_over_and_who_was_forced_is_not() {
    let bench = Bench::new(1);
    bench.break_one(0, Fault::Throttled(Some(Duration::from_secs(20))));
    assert_eq!(bench.balance(Consistency::Latest).await.unwrap(), 5);
    let throttled = bench.clock.now();
    bench.chains[0].set_fault(None);
    tend_until(&bench, |bench| bench.pool.tend_at().is_none()).await;
    assert!(bench.clock.now().saturating_since(throttled) >= Duration::from_secs(19), "not before it said");
    bench.break_one(0, Fault::Down);
    bench.until_done(bench.pool.look()).await.unwrap();
    bench.pool.force("a:1", Some(steward_adapters::Forced::Open));
    assert_eq!(bench.pool.tend_at(), None);
}

#[tokio::test]
async fn what_waited_while_no_endpoint_answered_lands_within_three_blocks() {
    let (bench, policy) = (Bench::new(2), OutboxPolicy::default());
    let mut outbox = Outbox::default();
    for number in 0..10 {
        let action = Action::Transfer { to: SOMEBODY.to_owned(), amount: Amount::new(1), asset: None };
        outbox.apply(Event::Submitted { key: format!("payment {number}"), action }, Timestamp::EPOCH, &policy).unwrap();
    }
    (0..3).for_each(|number| bench.break_one(number, Fault::Down));
    for second in 0..3_600 {
        pass_a_second(&bench, &mut outbox, &policy).await;
        assert!(outbox.intents().values().all(|intent| intent.landing.is_none()), "{second}");
    }
    (0..3).for_each(|number| bench.chains[number].set_fault(None));
    let newest = bench.chains[0].with_ledger(|ledger| ledger.head().block);
    let mut seconds = 0;
    while outbox.intents().values().any(|intent| intent.landing.is_none()) {
        pass_a_second(&bench, &mut outbox, &policy).await;
        seconds += 1;
        if seconds % BLOCK_TIME.as_secs() == 0 {
            bench.chains[0].with_ledger(Ledger::mine);
        }
    }
    let last = outbox.intents().values().filter_map(|intent| intent.landing.as_ref()).map(|l| l.inclusion.block).max();
    assert!(last.unwrap() - newest <= RECOVERY_BLOCKS_MAX, "{last:?}, and the newest was {newest}");
}

/// A second of a chain's entity: what is due is done, and endpoints are tended.
async fn pass_a_second(bench: &Bench, outbox: &mut Outbox, policy: &OutboxPolicy) {
    if bench.pool.tend_at().is_some_and(|at| at <= bench.clock.now()) {
        bench.until_done(bench.pool.tend()).await;
    }
    for effect in outbox.next(bench.clock.now(), policy) {
        let carried = bench.until_done(carry_out(&bench.pool, &FeePolicy::default(), effect)).await;
        if let Some(event) = carried.event {
            outbox.apply(event, bench.clock.now(), policy).unwrap();
        }
    }
    bench.clock.advance(Duration::from_secs(1));
}

#[tokio::test]
async fn no_endpoint_alone_says_when_a_transaction_has_expired() {
    let sign = async |quorum: usize, liar: usize| {
        let bench = Bench::on(Ledger::expiring(3, 20), quorum);
        bench.break_one(liar, Fault::Lies);
        let newest = bench.chains[0].with_ledger(|ledger| ledger.head().block);
        let signed = bench.until_done(bench.pool.sign(&Action::Fill, 1, Fee::default())).await.unwrap();
        (signed.expires.unwrap(), newest + 20)
    };
    for liar in 0..3 {
        let (expires, truth) = sign(2, liar).await;
        assert!((truth..=truth + EXPIRY_BLOCKS_AHEAD_MAX).contains(&expires), "{liar} lies: {expires}");
    }
    assert_eq!(sign(1, 0).await.0, 0, "where one endpoint's word is enough it is believed");
}
