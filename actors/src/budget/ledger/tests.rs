//! The ledger on the in-memory store: examples, then random interleavings with crashes.

use std::sync::Arc;
use std::time::Duration;

use steward_storage::{MemoryStore, Store};
use steward_types::{Clock as _, HoldId, ManualClock, SessionId, StepPath};

use super::*;
use crate::budget::{
    AuditReceipts, LevelName, Owner, Scope, StatementRequest, Sweep, audit, statement, step_hold, sweep,
};
use crate::lease::{Fence, Unleased};

mod interleaving;

const START: Timestamp = Timestamp::from_millis(1_795_262_399_999);

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::with_clock(Arc::new(ManualClock::new(START))))
}

fn alone() -> Fence {
    Fence::new(Arc::new(Unleased), 0)
}

fn project() -> ProjectId {
    "acme".parse().unwrap()
}

fn account(number: u8) -> AccountId {
    let agent = if number.is_multiple_of(2) { "even" } else { "odd" };
    AccountId::session(project(), agent.parse().unwrap(), SessionId::from_bytes([number; 16]))
}

fn request(hold: HoldId, micros: u64) -> HoldRequest {
    let worst_case = Micros::new(micros);
    HoldRequest { hold, step: "1/1".to_owned(), function: "chat".to_owned(), worst_case, expires_at: None }
}

fn hold(session: u8, number: u32) -> HoldId {
    step_hold(SessionId::from_bytes([session; 16]), 1, &StepPath::top(number))
}

async fn open(store: &dyn Store, limit: u64, slice: u64, session_limit: Option<u64>) {
    let txn = store.begin();
    open_project(&txn, &project(), Some(Micros::new(limit)), Period::Daily, START).await.unwrap();
    set_slice(&txn, &project(), Micros::new(slice)).await.unwrap();
    for number in 0..4 {
        open_session(&txn, &account(number), session_limit.map(Micros::new), START).await.unwrap();
    }
    txn.commit().await.unwrap();
}

async fn level(store: &dyn Store) -> Level {
    store.begin().load(&records::level(&project())).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_session_takes_a_slice_and_then_leaves_the_shared_rows_alone() {
    let store = store();
    open(&*store, 1_000, 100, None).await;
    let (one, two) = (store.begin(), store.begin());
    reserve(&one, &account(0), &request(hold(0, 1), 40), START).await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(level(&*store).await.outstanding, Micros::new(100));
    // Two sessions that have their allowance never conflict.
    reserve(&two, &account(1), &request(hold(1, 1), 40), START).await.unwrap();
    two.commit().await.unwrap();
    let (one, two) = (store.begin(), store.begin());
    reserve(&one, &account(0), &request(hold(0, 2), 60), START).await.unwrap();
    reserve(&two, &account(1), &request(hold(1, 2), 60), START).await.unwrap();
    settle(&one, &account(0), hold(0, 1), Micros::new(39), START).await.unwrap();
    one.commit().await.unwrap();
    two.commit().await.unwrap();
    assert!(audit(&*store, &project(), AuditReceipts::Ignore).await.unwrap().is_exact());
}

#[tokio::test]
async fn what_is_short_of_a_slice_is_taken_exactly_and_what_is_short_of_that_is_refused() {
    let store = store();
    open(&*store, 130, 100, None).await;
    let txn = store.begin();
    reserve(&txn, &account(0), &request(hold(0, 1), 10), START).await.unwrap();
    reserve(&txn, &account(1), &request(hold(1, 1), 25), START).await.unwrap();
    let error = reserve(&txn, &account(1), &request(hold(1, 2), 6), START).await.unwrap_err();
    let LedgerError::Exhausted { level: LevelName::Project, needed, available } = error else { panic!("{error:?}") };
    assert_eq!((needed.get(), available.get()), (6, 5));
    assert_eq!(affordable(&txn, &account(1), START).await.unwrap(), Micros::new(5));
    reserve(&txn, &account(1), &request(hold(1, 2), 5), START).await.unwrap();
    txn.commit().await.unwrap();
    // The first session sits on 90: an idle sweep gives them back.
    let swept = sweep(&*store, &alone(), &project(), Sweep::Idle, START).await.unwrap();
    assert_eq!(swept.returned, Micros::new(90));
    assert_eq!(level(&*store).await.available(), Micros::new(90));
}

#[tokio::test]
async fn the_agents_and_the_sessions_limits_count_too() {
    let store = store();
    open(&*store, 1_000, 100, Some(70)).await;
    let txn = store.begin();
    let agent: AgentId = "odd".parse().unwrap();
    set_agent_limit(&txn, &project(), &agent, Some(Micros::new(50)), Period::None, START).await.unwrap();
    let refused = |error: LedgerError| match error {
        LedgerError::Exhausted { level, available, .. } => (level, available.get()),
        other => panic!("{other:?}"),
    };
    let ask = async |session, number, micros| {
        reserve(&txn, &account(session), &request(hold(session, number), micros), START).await
    };
    assert_eq!(refused(ask(1, 1, 51).await.unwrap_err()), (LevelName::Agent, 50));
    assert_eq!(refused(ask(1, 1, 71).await.unwrap_err()), (LevelName::Session, 50));
    assert_eq!(refused(ask(0, 1, 71).await.unwrap_err()), (LevelName::Session, 70));
    ask(1, 1, 50).await.unwrap();
    ask(0, 1, 70).await.unwrap();
    assert_eq!(refused(ask(0, 2, 1).await.unwrap_err()), (LevelName::Session, 0));
}

#[tokio::test]
async fn a_stream_stops_exactly_at_its_ceiling() {
    let store = store();
    open(&*store, 100, 30, None).await;
    let (spender, id) = (account(0), hold(0, 1));
    let txn = store.begin();
    reserve(&txn, &spender, &request(id, 16), START).await.unwrap();
    txn.commit().await.unwrap();
    let mut held = 16;
    loop {
        let txn = store.begin();
        let now_held = grow_up_to(&txn, &spender, id, Micros::new(held + 16), START).await.unwrap().get();
        txn.commit().await.unwrap();
        if now_held < held + 16 {
            held = now_held;
            break;
        }
        held = now_held;
    }
    assert_eq!(held, 100);
    let txn = store.begin();
    settle(&txn, &spender, id, Micros::new(100), START).await.unwrap();
    close_account(&txn, &spender, START).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(level(&*store).await.settled, Micros::new(100));
}

#[tokio::test]
async fn asking_twice_changes_nothing_and_another_answer_is_refused() {
    let store = store();
    open(&*store, 1_000, 10, None).await;
    let (spender, id) = (account(0), hold(0, 1));
    for _ in 0..2 {
        let txn = store.begin();
        assert_eq!(reserve(&txn, &spender, &request(id, 30), START).await.unwrap(), Micros::new(30));
        txn.commit().await.unwrap();
    }
    let txn = store.begin();
    assert!(matches!(
        settle(&txn, &spender, id, Micros::new(31), START).await,
        Err(LedgerError::PriceAboveHold { .. })
    ));
    let first = settle(&txn, &spender, id, Micros::new(12), START).await.unwrap();
    let later = START.saturating_add(Duration::from_secs(5));
    assert_eq!(settle(&txn, &spender, id, Micros::new(12), later).await.unwrap(), first);
    assert_eq!((first.released.get(), first.held.get()), (18, 30));
    assert!(settle(&txn, &spender, id, Micros::new(13), START).await.is_err());
    assert!(release(&txn, &spender, id, START).await.is_err());
    assert!(reserve(&txn, &spender, &request(id, 30), START).await.is_err());
    txn.commit().await.unwrap();
    let page = statement(&*store, &project(), &StatementRequest::all(Scope::Project), START).await.unwrap();
    assert_eq!((page.totals.steps, page.totals.settled.get(), page.totals.released.get()), (1, 12, 18));
}

#[tokio::test]
async fn a_closed_session_returns_what_its_last_hold_leaves() {
    let store = store();
    open(&*store, 1_000, 100, None).await;
    let txn = store.begin();
    reserve(&txn, &account(0), &request(hold(0, 1), 60), START).await.unwrap();
    assert_eq!(close_account(&txn, &account(0), START).await.unwrap(), Micros::new(40));
    assert!(matches!(
        reserve(&txn, &account(0), &request(hold(0, 2), 1), START).await,
        Err(LedgerError::AccountNotOpen { .. })
    ));
    settle(&txn, &account(0), hold(0, 1), Micros::new(7), START).await.unwrap();
    txn.commit().await.unwrap();
    let level = level(&*store).await;
    assert_eq!((level.settled.get(), level.outstanding.get()), (7, 0));
}

#[tokio::test]
async fn what_nobody_uses_or_finishes_comes_back_by_itself() {
    let store = store();
    open(&*store, 1_000, 100, None).await;
    let txn = store.begin();
    let direct = AccountId::key(project(), "ci".to_owned(), 3);
    let forgotten =
        HoldRequest { expires_at: Some(START.saturating_add(Duration::from_secs(60))), ..request(hold(9, 1), 5) };
    reserve(&txn, &direct, &forgotten, START).await.unwrap();
    reserve(&txn, &account(0), &request(hold(0, 1), 30), START).await.unwrap();
    txn.commit().await.unwrap();
    let later = |seconds| START.saturating_add(Duration::from_secs(seconds));
    assert_eq!(sweep(&*store, &alone(), &project(), Sweep::Expired, later(59)).await.unwrap().holds_released, 0);
    assert_eq!(sweep(&*store, &alone(), &project(), Sweep::Expired, later(60)).await.unwrap().holds_released, 1);
    assert_eq!(level(&*store).await.outstanding, Micros::new(200));
    // The session's allowance goes after its lease, the direct call's a minute later, because it was used then.
    assert_eq!(
        sweep(&*store, &alone(), &project(), Sweep::Expired, later(900)).await.unwrap().returned,
        Micros::new(70)
    );
    assert_eq!(
        sweep(&*store, &alone(), &project(), Sweep::Expired, later(960)).await.unwrap().returned,
        Micros::new(100)
    );
    let txn = store.begin();
    settle(&txn, &account(0), hold(0, 1), Micros::new(10), later(2_000)).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(
        sweep(&*store, &alone(), &project(), Sweep::Expired, later(4_000)).await.unwrap().returned,
        Micros::new(20)
    );
    let level = level(&*store).await;
    assert_eq!((level.outstanding.get(), level.settled_ever.get()), (0, 10));
}

#[tokio::test]
async fn a_statement_lists_steps_by_owner_agent_and_time_in_pages() {
    let store = store();
    open(&*store, 10_000, 100, None).await;
    let txn = store.begin();
    for number in 1..=5 {
        for session in 0..4 {
            let at = START.saturating_add(Duration::from_secs(u64::from(number)));
            reserve(&txn, &account(session), &request(hold(session, number), 20), at).await.unwrap();
            settle(&txn, &account(session), hold(session, number), Micros::new(u64::from(number)), at).await.unwrap();
        }
    }
    txn.commit().await.unwrap();
    let list = async |scope: Scope, entries_max, from: Option<u64>| {
        let from = from.map(|seconds| START.saturating_add(Duration::from_secs(seconds)));
        let mut request = StatementRequest { entries_max, from, ..StatementRequest::all(scope) };
        let mut steps = Vec::new();
        loop {
            let page = statement(&*store, &project(), &request, START).await.unwrap();
            assert!(page.entries.len() <= entries_max);
            steps.extend(page.entries.iter().map(|entry| (entry.owner.clone(), entry.hold.settled.get())));
            match page.next {
                Some(next) => request.after = Some(next),
                None => return steps,
            }
        }
    };
    let settled = |steps: Vec<(Owner, u64)>| steps.into_iter().map(|(_, micros)| micros).collect::<Vec<_>>();
    assert_eq!(settled(list(Scope::Owner(account(2).owner), 2, None).await), [1, 2, 3, 4, 5]);
    assert_eq!(settled(list(Scope::Owner(account(2).owner), 1_000, Some(4)).await), [4, 5]);
    assert_eq!(list(Scope::Project, 3, None).await.len(), 20);
    let even = list(Scope::Agent("even".parse().unwrap()), 4, None).await;
    assert_eq!((even.len(), settled(even).iter().sum::<u64>()), (10, 30));
}

#[tokio::test]
async fn a_daily_limit_starts_from_nothing_at_midnight_and_a_hold_counts_in_the_day_that_settles_it() {
    const DAY_MILLIS: u64 = 24 * 3600 * 1000;
    let midnight = (START.as_millis() / DAY_MILLIS + 1) * DAY_MILLIS;
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(midnight - 1)));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::with_clock(Arc::clone(&clock) as _));
    open(&*store, 100, 100, None).await;
    let ask = async |number, micros| {
        let txn = store.begin();
        let asked = reserve(&txn, &account(0), &request(hold(0, number), micros), clock.now()).await;
        txn.commit().await.unwrap();
        asked
    };
    let pay = async |number, micros| {
        let txn = store.begin();
        settle(&txn, &account(0), hold(0, number), Micros::new(micros), clock.now()).await.unwrap();
        txn.commit().await.unwrap();
    };
    ask(1, 60).await.unwrap();
    pay(1, 60).await;
    ask(2, 30).await.unwrap();
    assert!(matches!(ask(3, 11).await, Err(LedgerError::Exhausted { level: LevelName::Project, .. })));

    clock.advance(Duration::from_millis(1));
    // Yesterday's hold is still held, and takes its part of today's limit.
    assert!(matches!(ask(3, 71).await, Err(LedgerError::Exhausted { level: LevelName::Project, .. })));
    ask(3, 70).await.unwrap();
    pay(2, 30).await;
    pay(3, 70).await;
    assert!(matches!(ask(4, 1).await, Err(LedgerError::Exhausted { level: LevelName::Project, .. })));

    clock.advance(Duration::from_millis(DAY_MILLIS));
    ask(4, 100).await.unwrap();
    assert!(audit(&*store, &project(), AuditReceipts::Ignore).await.unwrap().is_exact());
}
