//! How the host behaves, seen from outside.

mod calls;
mod faults;
mod leaving;
mod operations;
mod races;
mod routing;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use steward_types::{ManualClock, SystemClock, Timestamp};
use tokio::sync::Semaphore;

use super::*;
use crate::lease::Unleased;

/// An entity that does what it is told.
pub(super) struct Probe {
    total: u64,
    busy: bool,
    world: World,
    _alive: Alive,
}

/// What the tests see of all probes, and how they steer them.
#[derive(Clone)]
pub(super) struct World {
    pub(super) activations: Arc<AtomicUsize>,
    /// Activations that found another of the same id alive.
    pub(super) overlaps: Arc<AtomicUsize>,
    pub(super) handled: Arc<AtomicUsize>,
    pub(super) workers: Arc<AtomicUsize>,
    /// How many of the next activations fail, and with which fault; a panic without one.
    pub(super) activations_to_fail: Arc<AtomicUsize>,
    pub(super) activation_fault: Arc<Mutex<Option<Weakness>>>,
    /// Opens for one `Hold`.
    pub(super) gate: Arc<Semaphore>,
    /// A permit for each `Hold` that was entered.
    pub(super) entered: Arc<Semaphore>,
    alive: Arc<Mutex<HashMap<EntityId, usize>>>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Weakness {
    Transient,
    Poison,
    Corrupt,
    Fenced,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    Add(u64),
    Fail(Weakness),
    Panic,
    /// Waits until the gate opens.
    Hold,
    /// Drops the reply unanswered.
    Ignore,
    /// Starts a worker that adds.
    Work(u64),
    WorkAndPanic,
    WorkForever,
    /// Asks another probe to hold, and answers how many milliseconds are left then.
    Forward(EntityId),
    Busy(bool),
    Large(Vec<u8>),
}

impl World {
    fn new() -> Self {
        Self {
            activations: Arc::default(),
            overlaps: Arc::default(),
            handled: Arc::default(),
            workers: Arc::default(),
            activations_to_fail: Arc::default(),
            activation_fault: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            entered: Arc::new(Semaphore::new(0)),
            alive: Arc::default(),
        }
    }

    /// Returns once one more `Hold` was entered or one more event handled.
    pub(super) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    pub(super) fn activations(&self) -> usize {
        self.activations.load(Ordering::SeqCst)
    }
}

impl Weakness {
    fn fault(self) -> Fault {
        match self {
            Self::Transient => Fault::transient("the store is away"),
            Self::Poison => Fault::poison("no such thing"),
            Self::Corrupt => Fault::corrupt("the record is garbage"),
            Self::Fenced => Fault::Fenced,
        }
    }
}

/// Counts the activations of one id that are alive at the same time.
struct Alive(World, EntityId);

impl Alive {
    fn new(world: &World, id: &EntityId) -> Self {
        let mut alive = world.alive.lock();
        let count = alive.entry(id.clone()).or_default();
        *count += 1;
        if *count > 1 {
            world.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        Self(world.clone(), id.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut alive = self.0.alive.lock();
        if let Some(count) = alive.get_mut(&self.1) {
            *count -= 1;
        }
        if alive.get(&self.1) == Some(&0) {
            alive.remove(&self.1);
        }
    }
}

/// Counts down when dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Entity for Probe {
    const KIND: &'static str = "probe";
    type Environment = World;
    type Request = Order;
    type Response = u64;
    type Event = u64;

    async fn activate(id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        let world = context.environment().clone();
        world.activations.fetch_add(1, Ordering::SeqCst);
        let alive = Alive::new(&world, &id);
        tokio::task::yield_now().await;
        let fails = |left: usize| left.checked_sub(1);
        if world.activations_to_fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            let weakness = *world.activation_fault.lock();
            return Err(weakness.expect("activation panics").fault());
        }
        Ok(Self { total: 0, busy: false, world, _alive: alive })
    }

    async fn handle(&mut self, order: Order, reply: Reply<u64>, context: &Context<Self>) -> Result<(), Fault> {
        self.world.handled.fetch_add(1, Ordering::SeqCst);
        match order {
            Order::Add(more) => self.total += more,
            Order::Fail(weakness) => return Err(weakness.fault()),
            Order::Panic => panic!("told to panic"),
            Order::Hold => {
                self.world.entered.add_permits(1);
                self.world.gate.acquire().await.unwrap().forget();
            }
            Order::Ignore => return Ok(()),
            Order::Work(more) => drop(context.work(async move { more })),
            Order::WorkAndPanic => drop(context.run(async { panic!("worker panics") })),
            Order::WorkForever => {
                // It holds a context, as workers that ask others do.
                let held = (Counted::new(&self.world.workers), context.clone());
                context.run(async move {
                    let _held = held;
                    std::future::pending::<()>().await;
                });
            }
            Order::Forward(other) => {
                let answer = context.ask::<Self>(&other, Order::Hold).await;
                let left = u64::try_from(context.remaining().as_millis()).unwrap();
                reply.send(if answer.is_ok() { left } else { u64::MAX });
                return Ok(());
            }
            Order::Busy(busy) => self.busy = busy,
            Order::Large(bytes) => self.total += bytes.len() as u64,
        }
        reply.send(self.total);
        Ok(())
    }

    async fn on_event(&mut self, more: u64, _context: &Context<Self>) -> Result<(), Fault> {
        self.total += more;
        self.world.entered.add_permits(1);
        Ok(())
    }

    fn observe(&self) -> serde_json::Value {
        serde_json::json!({ "total": self.total })
    }

    fn is_idle(&self) -> bool {
        !self.busy
    }

    fn size_bytes(order: &Order) -> usize {
        match order {
            Order::Large(bytes) => bytes.len(),
            _ => 64,
        }
    }
}

pub(super) fn id(text: &str) -> EntityId {
    EntityId::new(text).unwrap()
}

/// A host of probes on the machine's clock, with short back-offs.
pub(super) async fn host(limits: HostLimits) -> (Host, World) {
    let world = World::new();
    let builder = HostBuilder::new(Arc::new(SystemClock::new()), Arc::new(Unleased));
    (builder.limits(limits).register::<Probe>(world.clone()).start().await.unwrap(), world)
}

/// A host of probes on a clock that only the test moves.
pub(super) async fn host_at_will(limits: HostLimits) -> (Host, World, Arc<ManualClock>) {
    let (world, clock) = (World::new(), Arc::new(ManualClock::new(Timestamp::from_millis(1_000))));
    let builder = HostBuilder::new(Arc::clone(&clock) as _, Arc::new(Unleased));
    (builder.limits(limits).register::<Probe>(world.clone()).start().await.unwrap(), world, clock)
}

pub(super) fn quick() -> HostLimits {
    HostLimits {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(4),
        call_time_default: Duration::from_secs(60),
        ..HostLimits::default()
    }
}

pub(super) async fn ask(host: &Host, name: &str, order: Order) -> Result<u64, AskError> {
    host.ask::<Probe>(&id(name), order, host.deadline_default()).await
}

/// Waits until `condition` holds, for at most a minute.
pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

/// Starts an ask that the test waits for later.
pub(super) fn asking(host: &Host, name: &str, order: Order) -> tokio::task::JoinSet<Result<u64, AskError>> {
    let (host, name) = (host.clone(), name.to_owned());
    let mut asker = tokio::task::JoinSet::new();
    asker.spawn(async move { ask(&host, &name, order).await });
    asker
}

pub(super) async fn answer(mut asker: tokio::task::JoinSet<Result<u64, AskError>>) -> Result<u64, AskError> {
    asker.join_next().await.unwrap().unwrap()
}

pub(super) async fn state(host: &Host, name: &str) -> EntityState {
    host.inspect(Probe::KIND, &id(name), host.deadline_default()).await.unwrap().state
}
