//! The host's way to entities of other nodes, over real links: a shard that moves, and a node that dies with a call in
//! hand.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use steward_actors::host::{AskError, Context, Entity, EntityId, Fault, Reply};
use steward_actors::receipt_log::LogIdentity;
use steward_actors::service::{NodeParts, Steward, StoredModels};
use steward_adapters::NoHttp;
use steward_cluster::Seat;
use steward_cluster::link::ClusterAuthority;
use steward_inference::{DeviceBudget, ScriptedLoader};
use steward_storage::{MemoryStore, Store};
use steward_types::{Clock, Entropy, SystemClock, SystemEntropy};
use tokio::sync::Semaphore;

#[path = "models/seat.rs"]
mod seat;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the probes of one node share with the test.
#[derive(Clone)]
struct Bench {
    node: u8,
    /// A permit for each call that is held.
    held: Arc<Semaphore>,
}

/// An entity that answers with its node's number, or holds the call for ever. Its calls are idempotent or not.
struct Probe<const IDEMPOTENT: bool>(Bench);

impl<const IDEMPOTENT: bool> Entity for Probe<IDEMPOTENT> {
    const KIND: &'static str = if IDEMPOTENT { "again" } else { "once" };
    const IDEMPOTENT: bool = IDEMPOTENT;
    type Environment = Bench;
    /// The node on which the call is held.
    type Request = Option<u8>;
    type Response = u8;
    type Event = ();

    async fn activate(_: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        Ok(Self(context.environment().clone()))
    }

    async fn handle(&mut self, held: Option<u8>, reply: Reply<u8>, _: &Context<Self>) -> Result<(), Fault> {
        if held == Some(self.0.node) {
            self.0.held.add_permits(1);
            std::future::pending::<()>().await;
        }
        reply.send(self.0.node);
        Ok(())
    }

    async fn on_event(&mut self, (): (), _: &Context<Self>) -> Result<(), Fault> {
        Ok(())
    }

    fn observe(&self) -> Value {
        json!({ "node": self.0.node })
    }

    fn is_idle(&self) -> bool {
        true
    }
}

/// One store, and the authority of its nodes.
struct World {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    authority: ClusterAuthority,
    held: Arc<Semaphore>,
}

/// A node. Dropping it kills it.
struct Node {
    seat: Seat,
    steward: Steward,
}

impl World {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)));
        let authority = ClusterAuthority::create(clock.now()).unwrap();
        Self { store, clock, authority, held: Arc::new(Semaphore::new(0)) }
    }

    async fn node(&self, number: u8) -> Node {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let seat = seat::take(&self.authority, number, &store, &clock).await;
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let loader = Arc::new(ScriptedLoader::with_rules(|model| model));
        let models = Arc::new(StoredModels::new(Arc::clone(&store), loader, DeviceBudget::new("cpu", 1 << 20)));
        let log = Arc::new(LogIdentity::new("test.example".to_owned(), [7; 32]).unwrap());
        let mut parts = NodeParts::new(store, clock, entropy, models, Arc::new(NoHttp), log);
        (parts.lease, parts.router) = (Some(seat.lease()), Some(seat.router()));
        let bench = Bench { node: number, held: Arc::clone(&self.held) };
        parts.register =
            Box::new(move |builder| builder.register::<Probe<true>>(bench.clone()).register::<Probe<false>>(bench));
        let steward = parts.start().await.unwrap();
        seat.serve(&steward);
        self.soon("it takes shards", seat.cluster().ready()).await;
        Node { seat, steward }
    }

    /// Three nodes that share the shards.
    async fn three(&self) -> [Node; 3] {
        let nodes = [self.node(1).await, self.node(2).await, self.node(3).await];
        let view = nodes[0].seat.cluster();
        self.until("the shards are shared", &nodes[0], || {
            view.shards().iter().all(|shard| shard.owner.is_some() && shard.owner == shard.target)
        })
        .await;
        nodes
    }

    /// Waits until something holds of the shards as `node` sees them.
    async fn until(&self, what: &str, node: &Node, holds: impl Fn() -> bool) {
        let waiting = async {
            loop {
                let generation = node.seat.cluster().map().generation();
                if holds() {
                    return;
                }
                node.seat.cluster().map().changed_since(generation).await;
            }
        };
        self.soon(what, waiting).await;
    }

    /// Fails the test when the future takes too long.
    async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        tokio::select! {
            output = future => output,
            () = self.clock.sleep(PATIENCE) => panic!("in vain: {what}"),
        }
    }
}

impl Node {
    /// An entity of a kind that is with another node, as this one sees it, and its shard.
    fn entity_of(&self, kind: &str, other: &Node) -> (EntityId, u32) {
        let map = self.seat.cluster().map();
        let found = (0..).map(|number: u32| EntityId::new(format!("e{number}")).unwrap()).find_map(|id| {
            let shard = self.seat.lease().shard_of(kind, &id);
            map.owner(shard).is_some_and(|owner| owner.node == other.seat.id()).then_some((id, shard))
        });
        found.unwrap()
    }

    /// Asks an entity, wherever it is.
    async fn ask<const IDEMPOTENT: bool>(&self, id: &EntityId, held: Option<u8>) -> Result<u8, AskError> {
        let host = self.steward.host();
        host.ask::<Probe<IDEMPOTENT>>(id, held, host.deadline(PATIENCE)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_follow_an_entity_that_moves_and_none_fails() {
    let world = World::new();
    let [first, second, third] = world.three().await;
    let (id, shard) = first.entity_of("once", &second);
    assert_eq!(first.ask::<false>(&id, None).await, Ok(2));
    first.seat.cluster().move_shard(shard, third.seat.id()).await.unwrap();
    // Not declared idempotent, so that a call which is turned away must not have been carried out.
    let mut asked = 0;
    while first.ask::<false>(&id, None).await.unwrap() != 3 {
        asked += 1;
        assert!(asked < 1_000_000, "the entity never moved");
    }
    // A node whose map is older than the move finds its way too, and its own calls go over the link.
    assert_eq!(second.ask::<false>(&id, None).await, Ok(3));
    assert_eq!(third.ask::<false>(&id, None).await, Ok(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_node_dies_in_the_middle_is_made_again_only_where_that_does_no_harm() {
    let world = World::new();
    let [first, second, third] = world.three().await;
    let (once, _) = first.entity_of("once", &second);
    let (again, _) = first.entity_of("again", &second);
    let dying = async {
        world.held.acquire_many(2).await.unwrap().forget();
        drop(second);
    };
    let (once, again, ()) = tokio::join!(
        world.soon("the end of the one", first.ask::<false>(&once, Some(2))),
        world.soon("the end of the other", first.ask::<true>(&again, Some(2))),
        world.soon("both calls are held", dying),
    );
    // Whether it was carried out, nobody knows: its caller is told that it was sent.
    assert!(matches!(once, Err(AskError::Unreachable { sent: true, .. })), "{once:?}");
    let heir = again.unwrap();
    assert!(heir == 1 || heir == 3, "it was answered by the node that took over: {heir}");
    drop(third);
}
