//! Random interleavings of sessions, sweeps and changed limits, with crashes and repeated transactions: whatever
//! happens, no level is overspent and every balance is the sum of its steps and of its receipts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use steward_receipts::{Hash, Leaf};
use steward_storage::StoreError;

use super::*;
use crate::receipt_log::append_pending;

fn leaf(session: u8, hold: HoldId, price: Micros) -> Leaf {
    Leaf {
        project: project(),
        agent: account(session).agent.unwrap(),
        session: SessionId::from_bytes([session; 16]),
        turn: 1,
        step: StepPath::top(1),
        hold,
        function: "chat".parse().unwrap(),
        model: None,
        prompt_hash: Hash::of(b"prompt"),
        response_hash: Hash::of(b"response"),
        tokens_in: 1,
        tokens_out: 1,
        duration_ms: 1,
        price,
        time: START,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Reserve { session: u8, micros: u64 },
    Grow { session: u8, by: u64, exact: bool },
    Settle { session: u8, percent: u64 },
    Release { session: u8 },
    Return { session: u8 },
    Close { session: u8 },
    Open { session: u8 },
    Sweep { idle: bool },
    Wait { minutes: u64 },
    Limit { micros: u64 },
}

/// How a step's transaction ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    /// Committed, and run once more as after an unknown commit.
    CommitTwice,
    /// The process dies before the commit.
    Crash,
    /// The next step's transaction begins before this one commits, and commits first.
    Overtaken,
}

fn any_step() -> impl Strategy<Value = (Step, End)> {
    let session = 0_u8..4;
    let step = prop_oneof![
        6 => (session.clone(), 0_u64..90).prop_map(|(session, micros)| Step::Reserve { session, micros }),
        3 => (session.clone(), 0_u64..60, any::<bool>()).prop_map(|(session, by, exact)| Step::Grow { session, by, exact }),
        5 => (session.clone(), 0_u64..=100).prop_map(|(session, percent)| Step::Settle { session, percent }),
        2 => session.clone().prop_map(|session| Step::Release { session }),
        1 => session.clone().prop_map(|session| Step::Return { session }),
        1 => session.clone().prop_map(|session| Step::Close { session }),
        1 => session.prop_map(|session| Step::Open { session }),
        1 => any::<bool>().prop_map(|idle| Step::Sweep { idle }),
        1 => (0_u64..700).prop_map(|minutes| Step::Wait { minutes }),
        1 => (100_u64..400).prop_map(|micros| Step::Limit { micros }),
    ];
    let end = prop_oneof![4 => Just(End::Commit), 2 => Just(End::CommitTwice), 1 => Just(End::Crash), 2 => Just(End::Overtaken)];
    (step, end)
}

/// What the outside world knows: holds that were granted, and money that was paid.
#[derive(Default)]
struct World {
    now: Timestamp,
    holds: u32,
    open: BTreeMap<u8, Vec<(HoldId, u64)>>,
    paid: u64,
    paid_by_day: BTreeMap<Day, u64>,
    limit: u64,
    limit_most: BTreeMap<Day, u64>,
}

/// What a step's transaction did, once it is committed.
#[derive(Debug, Clone)]
enum Effect {
    Nothing,
    Held(u8, HoldId, u64),
    Paid(u8, HoldId, u64),
    Released(u8, HoldId),
    Limited(u64),
}

impl Effect {
    /// A hold that did not grow may have been finished by another transaction: nothing was written, so nothing met.
    fn grown(session: u8, hold: HoldId, held: u64, total: Micros) -> Self {
        if total.get() == held { Self::Nothing } else { Self::Held(session, hold, total.get()) }
    }
}

/// A step with its random choices made, so that it can be run twice.
#[derive(Debug, Clone)]
struct Chosen {
    step: Step,
    hold: HoldId,
    held: u64,
    now: Timestamp,
}

impl World {
    fn choose(&mut self, step: Step) -> Option<Chosen> {
        let (hold, held) = match &step {
            Step::Reserve { session, .. } => {
                self.holds += 1;
                (hold(*session, self.holds), 0)
            }
            Step::Grow { session, .. } | Step::Settle { session, .. } | Step::Release { session } => {
                *self.open.get(session)?.last()?
            }
            _ => (HoldId::from_bytes([0; 16]), 0),
        };
        Some(Chosen { step, hold, held, now: self.now })
    }

    fn learn(&mut self, effect: &Effect) {
        match *effect {
            Effect::Nothing => {}
            Effect::Held(session, hold, micros) => {
                let open = self.open.entry(session).or_default();
                open.retain(|(other, _)| *other != hold);
                open.push((hold, micros));
            }
            Effect::Paid(session, hold, micros) => {
                self.open.entry(session).or_default().retain(|(other, _)| *other != hold);
                self.paid += micros;
                *self.paid_by_day.entry(Day::of(self.now)).or_default() += micros;
            }
            Effect::Released(session, hold) => {
                self.open.entry(session).or_default().retain(|(other, _)| *other != hold);
            }
            Effect::Limited(micros) => self.limit = micros,
        }
        // Allowances that were out when a limit fell may still be spent, so a day's bound is the highest of its limits.
        let most = self.limit_most.entry(Day::of(self.now)).or_default();
        *most = (*most).max(self.limit);
    }
}

async fn run_step(txn: &Txn, chosen: &Chosen) -> Result<Effect, LedgerError> {
    let Chosen { step, hold, held, now } = chosen.clone();
    Ok(match step {
        Step::Reserve { session, micros } => {
            reserve(txn, &account(session), &request(hold, micros), now).await?;
            Effect::Held(session, hold, micros)
        }
        Step::Grow { session, by, exact: true } => {
            let total = grow_to(txn, &account(session), hold, Micros::new(held + by), now).await?;
            Effect::grown(session, hold, held, total)
        }
        Step::Grow { session, by, exact: false } => {
            let total = grow_up_to(txn, &account(session), hold, Micros::new(held + by), now).await?;
            Effect::grown(session, hold, held, total)
        }
        Step::Settle { session, percent } => {
            let price = Micros::new(held * percent / 100);
            settle(txn, &account(session), hold, price, now).await?;
            append_pending(txn, &leaf(session, hold, price)).await?;
            Effect::Paid(session, hold, price.get())
        }
        Step::Release { session } => {
            release(txn, &account(session), hold, now).await?;
            Effect::Released(session, hold)
        }
        Step::Return { session } => {
            return_allowance(txn, &account(session), now).await?;
            Effect::Nothing
        }
        Step::Close { session } => {
            close_account(txn, &account(session), now).await?;
            Effect::Nothing
        }
        Step::Open { session } => {
            open_session(txn, &account(session), None, now).await?;
            Effect::Nothing
        }
        Step::Limit { micros } => {
            set_limit(txn, &project(), Some(Micros::new(micros)), Period::Daily, now).await?;
            Effect::Limited(micros)
        }
        Step::Sweep { .. } | Step::Wait { .. } => Effect::Nothing,
    })
}

/// Runs a step and returns its effect, which is nothing when the ledger refused; then nothing may be written either.
async fn attempt(txn: &Txn, chosen: &Chosen) -> Effect {
    match run_step(txn, chosen).await {
        Ok(effect) => effect,
        Err(LedgerError::Exhausted { .. } | LedgerError::AccountNotOpen { .. } | LedgerError::HoldNotOpen { .. }) => {
            Effect::Nothing
        }
        Err(error) => panic!("{error:?} at {chosen:?}"),
    }
}

async fn commit(txn: &Txn, effect: &Effect, world: &mut World) {
    match txn.commit().await {
        Ok(_) => world.learn(effect),
        Err(StoreError::Conflict) => {}
        Err(error) => panic!("{error:?}"),
    }
}

async fn check(store: &dyn Store, world: &World) {
    let found = audit(store, &project(), AuditReceipts::Compare).await.unwrap();
    assert!(found.is_exact(), "{found:#?}");
    assert_eq!(found.settled.get(), world.paid);
    assert_eq!(found.receipts_sum.get(), world.paid);
    let held: u64 = world.open.values().flatten().map(|(_, micros)| micros).sum();
    assert_eq!(found.held.get(), held);
    for (day, paid) in &world.paid_by_day {
        let most = world.limit_most.range(..=day).map(|(_, limit)| *limit).max().unwrap();
        assert!(*paid <= most, "{paid} of {most} on {day:?}");
    }
}

async fn interleave(steps: Vec<(Step, End)>) {
    let store = store();
    open(&*store, 300, 40, Some(200)).await;
    let txn = store.begin();
    let even: AgentId = "even".parse().unwrap();
    set_agent_limit(&txn, &project(), &even, Some(Micros::new(150)), Period::None, START).await.unwrap();
    txn.commit().await.unwrap();
    let mut world = World { now: START, limit: 300, ..World::default() };
    world.learn(&Effect::Nothing);
    let mut overtaken: Option<(Txn, Effect)> = None;
    for (step, end) in steps {
        match step {
            Step::Sweep { idle } => {
                let kind = if idle { Sweep::Idle } else { Sweep::Expired };
                sweep(&*store, &alone(), &project(), kind, world.now).await.unwrap();
                continue;
            }
            // Time stands still while a transaction is open, so that the world knows on which day it paid.
            Step::Wait { minutes } if overtaken.is_none() => {
                world.now = world.now.saturating_add(Duration::from_secs(60 * minutes));
                world.learn(&Effect::Nothing);
                continue;
            }
            _ => {}
        }
        let Some(chosen) = world.choose(step) else { continue };
        let txn = store.begin();
        let effect = attempt(&txn, &chosen).await;
        match end {
            End::Crash => {}
            End::Overtaken if overtaken.is_none() => {
                overtaken = Some((txn, effect));
                continue;
            }
            End::Commit | End::Overtaken => commit(&txn, &effect, &mut world).await,
            End::CommitTwice => {
                commit(&txn, &effect, &mut world).await;
                let again = store.begin();
                attempt(&again, &chosen).await;
                again.commit().await.unwrap();
            }
        }
        if let Some((txn, effect)) = overtaken.take() {
            commit(&txn, &effect, &mut world).await;
        }
        check(&*store, &world).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_interleaving_overspends_or_loses_one_micro_unit(steps in prop::collection::vec(any_step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(interleave(steps));
    }
}
