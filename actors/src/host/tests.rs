//! How the host behaves, seen from outside.

mod calls;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::{ManualClock, SystemClock, Timestamp};
use tokio::sync::Notify;

use super::*;
use crate::lease::Unleased;

/// An entity that does what it is told, and counts what happens to it.
pub(super) struct Probe {
    total: u64,
    world: World,
    busy: bool,
}

/// What the tests see of all probes, and how they steer them.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) activations: Arc<AtomicUsize>,
    pub(super) live: Arc<AtomicUsize>,
    pub(super) overlapped: Arc<AtomicUsize>,
    pub(super) handled: Arc<AtomicUsize>,
    pub(super) failing_activations: Arc<AtomicUsize>,
    pub(super) activation_fault: Arc<parking_lot::Mutex<Option<&'static str>>>,
    pub(super) gate: Arc<Notify>,
    pub(super) entered: Arc<Notify>,
    pub(super) workers: Arc<AtomicUsize>,
    pub(super) live_by_id: Arc<parking_lot::Mutex<std::collections::HashMap<EntityId, usize>>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    Add(u64),
    Fail(String),
    Panic,
    /// Waits until the gate opens.
    Hold,
    /// Drops the reply unanswered.
    Ignore,
    /// Starts a worker that adds.
    Work(u64),
    WorkAndPanic,
    /// Starts a worker that never ends.
    WorkForever,
    /// Asks another probe to hold.
    Forward(EntityId),
    Busy(bool),
    Large(Vec<u8>),
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.world.live.fetch_sub(1, Ordering::SeqCst);
    }
}

fn fault_named(name: &str) -> Fault {
    match name {
        "transient" => Fault::transient("the store is away"),
        "poison" => Fault::poison("no such thing"),
        "corrupt" => Fault::corrupt("record is garbage"),
        _ => Fault::Fenced,
    }
}

/// Leaves the count of live activations of one id when a probe's activation ends.
pub(super) struct LiveMark(World, EntityId);

impl Drop for LiveMark {
    fn drop(&mut self) {
        if let Some(count) = self.0.live_by_id.lock().get_mut(&self.1) {
            *count -= 1;
        }
    }
}

pub(super) struct MarkedProbe {
    probe: Probe,
    _mark: LiveMark,
}

impl Entity for MarkedProbe {
    const KIND: &'static str = "probe";
    type Environment = World;
    type Request = Order;
    type Response = u64;
    type Event = u64;

    async fn activate(id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        let world = context.environment().clone();
        world.activations.fetch_add(1, Ordering::SeqCst);
        let live = {
            let mut counts = world.live_by_id.lock();
            let count = counts.entry(id.clone()).or_default();
            *count += 1;
            *count
        };
        let mark = LiveMark(world.clone(), id);
        if live > 1 {
            world.overlapped.fetch_add(1, Ordering::SeqCst);
        }
        tokio::task::yield_now().await;
        let failing = world.failing_activations.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if failing.is_ok() {
            let fault = *world.activation_fault.lock();
            match fault {
                Some(name) => return Err(fault_named(name)),
                None => panic!("activation fails"),
            }
        }
        world.live.fetch_add(1, Ordering::SeqCst);
        Ok(Self { probe: Probe { total: 0, world, busy: false }, _mark: mark })
    }

    async fn handle(&mut self, order: Order, reply: Reply<u64>, context: &Context<Self>) -> Result<(), Fault> {
        let probe = &mut self.probe;
        probe.world.handled.fetch_add(1, Ordering::SeqCst);
        match order {
            Order::Add(more) => probe.total += more,
            Order::Fail(name) => return Err(fault_named(&name)),
            Order::Panic => panic!("told to panic"),
            Order::Hold => {
                probe.world.entered.notify_one();
                probe.world.gate.notified().await;
            }
            Order::Ignore => return Ok(()),
            Order::Work(more) => {
                context.work(async move { more });
            }
            Order::WorkAndPanic => {
                context.work(async { panic!("worker panics") });
            }
            Order::WorkForever => {
                let workers = Arc::clone(&probe.world.workers);
                workers.fetch_add(1, Ordering::SeqCst);
                let gone = scopeguard(move || {
                    workers.fetch_sub(1, Ordering::SeqCst);
                });
                context.run(async move {
                    let _gone = gone;
                    std::future::pending::<()>().await;
                });
            }
            Order::Forward(other) => {
                let answer = context.ask::<Self>(&other, Order::Hold).await;
                if answer == Err(AskError::DeadlineExceeded) {
                    reply.send(context.remaining().as_millis() as u64);
                    return Ok(());
                }
            }
            Order::Busy(busy) => probe.busy = busy,
            Order::Large(bytes) => probe.total += bytes.len() as u64,
        }
        reply.send(probe.total);
        Ok(())
    }

    async fn on_event(&mut self, more: u64, _context: &Context<Self>) -> Result<(), Fault> {
        self.probe.total += more;
        self.probe.world.entered.notify_one();
        Ok(())
    }

    fn observe(&self) -> serde_json::Value {
        serde_json::json!({ "total": self.probe.total })
    }

    fn is_idle(&self) -> bool {
        !self.probe.busy
    }

    fn size_bytes(order: &Order) -> usize {
        match order {
            Order::Large(bytes) => bytes.len(),
            _ => 64,
        }
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn scopeguard<F: FnMut()>(on_drop: F) -> OnDrop<F> {
    OnDrop(on_drop)
}

pub(super) fn id(text: &str) -> EntityId {
    EntityId::new(text).unwrap()
}

/// A host of probes on the machine's clock, with short back-offs.
pub(super) async fn host(limits: HostLimits) -> (Host, World) {
    let world = World::default();
    let builder = HostBuilder::new(Arc::new(SystemClock::new()), Arc::new(Unleased));
    (builder.limits(limits).register::<MarkedProbe>(world.clone()).start().await.unwrap(), world)
}

/// A host of probes on a clock that only the test moves.
pub(super) async fn host_at_will(limits: HostLimits) -> (Host, World, Arc<ManualClock>) {
    let (world, clock) = (World::default(), Arc::new(ManualClock::new(Timestamp::from_millis(1_000))));
    let builder = HostBuilder::new(Arc::clone(&clock) as _, Arc::new(Unleased));
    (builder.limits(limits).register::<MarkedProbe>(world.clone()).start().await.unwrap(), world, clock)
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
    host.ask::<MarkedProbe>(&id(name), order, host.deadline_default()).await
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
