//! The chain's entity over a chain in memory: each root once, whatever is lost or killed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use steward_adapters::breaker::{BreakerPolicy, BreakerState, Forced};
use steward_adapters::chain::{Action, Chain, Consistency};
use steward_adapters::ledger::Ledger;
use steward_adapters::memory::{Anchoring, Fault as Outage, MemoryChain, Mining};
use steward_adapters::outbox::OutboxPolicy;
use steward_adapters::pool::{Pool, PoolPolicy};
use steward_receipts::{Hash, Leaf};
use steward_storage::{MemoryStore, Store, StoreExt};
use steward_types::{Clock, ErrorCode, HoldId, Micros, ProjectId, SessionId, StepPath, SystemClock, Timestamp};

use super::*;
use crate::host::{Deadline, EntityId, Host, HostBuilder};
use crate::lease::SoleLease;
use crate::pause::{self, Pause, PauseSubject};
use crate::receipt_log::{
    self, LogIdentity, ProveUnder, ReceiptLog, ReceiptLogEnvironment, ReceiptLogRequest, append_pending,
};

mod deploying;
mod followed;
mod ordering;
mod resumed;
mod rows;
mod shown;
mod undone;

const CHAIN: &str = "test:memory";

struct Node {
    host: Host,
    store: Arc<dyn Store>,
}

impl Node {
    /// A node on the store. One that ran on it before is fenced off from now on, as if it had been killed.
    async fn start(store: &Arc<dyn Store>, chain: &Arc<MemoryChain>) -> Self {
        Self::start_with(store, ChainSettings::new(Arc::clone(chain) as _)).await
    }

    async fn start_with(store: &Arc<dyn Store>, settings: ChainSettings) -> Self {
        Self::try_start_with(store, settings).await.unwrap()
    }

    /// None when the store fails at once.
    async fn try_start(store: &Arc<dyn Store>, chain: &Arc<MemoryChain>) -> Option<Self> {
        Self::try_start_with(store, ChainSettings::new(Arc::clone(chain) as _)).await
    }

    async fn try_start_with(store: &Arc<dyn Store>, settings: ChainSettings) -> Option<Self> {
        let identity = Arc::new(LogIdentity::new("steward.example".to_owned(), [7; 32]).unwrap());
        let settings = ChainSettings {
            outbox: OutboxPolicy { poll_ms: 2, retry_ms: 2, ..settings.outbox },
            breaker: BreakerPolicy { failures_max: 2, open_ms_min: 5, open_ms_max: 20 },
            ..settings
        };
        let chains = Arc::new(BTreeMap::from([(CHAIN.to_owned(), settings)]));
        let environment = ChainEnvironment { store: Arc::clone(store), identity: Arc::clone(&identity), chains };
        let lease = SoleLease::take(&**store).await.ok()?;
        let builder = HostBuilder::new(Arc::new(SystemClock::new()), Arc::new(lease))
            .register::<ReceiptLog>(ReceiptLogEnvironment { store: Arc::clone(store), identity })
            .register::<ChainActor>(environment);
        Some(Self { host: builder.start().await.ok()?, store: Arc::clone(store) })
    }

    /// Wakes the chain and the project's log, as a start does.
    fn wake(&self, project: &ProjectId) {
        self.host.tell::<ReceiptLog>(&EntityId::from(project), ReceiptLogRequest::Wake).unwrap();
        self.host.tell::<ChainActor>(&EntityId::new(CHAIN).unwrap(), ChainRequest::Wake).unwrap();
    }

    fn deadline(&self) -> Deadline {
        self.host.deadline(Duration::from_secs(30))
    }

    async fn ask(&self, request: ChainRequest) -> ChainResponse {
        self.host.ask::<ChainActor>(&EntityId::new(CHAIN).unwrap(), request, self.deadline()).await.unwrap()
    }

    /// Settles a step, and waits until its receipt is in the log.
    async fn append(&self, project: &ProjectId, number: u32) {
        let txn = self.store.begin();
        append_pending(&txn, &leaf(project, number)).await.unwrap();
        txn.commit().await.unwrap();
        let log = EntityId::new(project.as_str()).unwrap();
        self.host.ask::<ReceiptLog>(&log, ReceiptLogRequest::Flush, self.deadline()).await.unwrap();
    }

    /// Waits until the chain has the project's log at this size.
    async fn until_anchored(&self, project: &ProjectId, size: u64) {
        until_anchored(&self.store, project, size).await;
    }
}

async fn until_anchored(store: &Arc<dyn Store>, project: &ProjectId, size: u64) {
    let clock = SystemClock::new();
    let end = clock.now().saturating_add(Duration::from_secs(30));
    loop {
        let newest = receipt_log::newest_anchor_on(&**store, project, CHAIN).await.unwrap();
        if newest.is_some_and(|anchored| anchored.size >= size) {
            return;
        }
        assert!(clock.now() < end, "not anchored in time");
        clock.sleep(Duration::from_millis(2)).await;
    }
}

fn project(name: &str) -> ProjectId {
    name.parse().unwrap()
}

fn leaf(project: &ProjectId, number: u32) -> Leaf {
    Leaf {
        project: project.clone(),
        agent: "bot".parse().unwrap(),
        session: SessionId::from_bytes([1; 16]),
        turn: 1,
        step: StepPath::top(number + 1),
        hold: hold(number),
        function: "chat".parse().unwrap(),
        model: None,
        prompt_hash: Hash::of(b"prompt"),
        response_hash: Hash::of(&number.to_be_bytes()),
        tokens_in: 1,
        tokens_out: 2,
        duration_ms: 3,
        price: Micros::new(4),
        time: Timestamp::from_millis(5),
    }
}

fn hold(number: u32) -> HoldId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    HoldId::from_bytes(bytes)
}

fn parts(confirmations: u64) -> (Arc<dyn Store>, Arc<MemoryChain>) {
    let ledger = Ledger::new(confirmations);
    (Arc::new(MemoryStore::new()), Arc::new(MemoryChain::new(CHAIN.parse().unwrap(), ledger, Mining::Automatic)))
}

/// The same with a chain whose anchors are memos, so that what lands is roots and nothing else.
fn memos(confirmations: u64, mining: Mining) -> (Arc<dyn Store>, Arc<MemoryChain>) {
    let chain = MemoryChain::new(CHAIN.parse().unwrap(), Ledger::new(confirmations), mining);
    (Arc::new(MemoryStore::new()), Arc::new(chain.with_anchoring(Anchoring::Memo)))
}

/// What landed, with each thing at most once.
fn landed(chain: &MemoryChain) -> Vec<Action> {
    let landed: Vec<Action> = chain.with_ledger(|ledger| ledger.landed().cloned().collect());
    let different: HashSet<String> = landed.iter().map(|action| format!("{action:?}")).collect();
    assert_eq!(different.len(), landed.len(), "something landed twice: {landed:?}");
    landed
}

#[tokio::test]
async fn a_log_is_anchored_once_and_its_receipts_prove_it() {
    let (store, chain) = parts(3);
    let node = Node::start(&store, &chain).await;
    let acme = project("acme");
    let empty = node.ask(ChainRequest::Anchor(acme.clone())).await;
    assert!(matches!(empty, ChainResponse::Refused(ErrorCode::ReceiptPending, _)), "{empty:?}");
    node.append(&acme, 0).await;
    let ChainResponse::Anchored(first) = node.ask(ChainRequest::Anchor(acme.clone())).await else { panic!() };
    let ChainResponse::Anchored(again) = node.ask(ChainRequest::Anchor(acme.clone())).await else { panic!() };
    assert_eq!(first, again);
    assert_eq!(landed(&chain).len(), 2, "the contract and one root");
    let proof = receipt_log::prove(&*store, &acme, hold(0), ProveUnder::Anchored).await.unwrap().proof;
    assert_eq!(proof.anchors, std::slice::from_ref(&first.anchor));
    node.append(&acme, 1).await;
    let ChainResponse::Anchored(second) = node.ask(ChainRequest::Anchor(acme.clone())).await else { panic!() };
    assert_eq!((second.size, landed(&chain).len()), (2, 3));
    let observed = node.host.inspect("chain", &EntityId::new(CHAIN).unwrap(), node.deadline()).await.unwrap();
    assert!(serde_json::to_string(&observed).unwrap().contains("contract-0"), "{observed:?}");
}

#[tokio::test]
async fn a_chain_that_needs_no_contract_gets_none() {
    let (store, chain) = memos(2, Mining::Automatic);
    let node = Node::start(&store, &chain).await;
    let acme = project("acme");
    node.append(&acme, 0).await;
    let ChainResponse::Anchored(root) = node.ask(ChainRequest::Anchor(acme.clone())).await else { panic!() };
    assert_eq!((root.size, root.anchor.contract.as_str()), (1, ""));
    assert!(matches!(&landed(&chain)[..], [Action::Anchor { contract, .. }] if contract.is_empty()));
}

#[tokio::test]
async fn projects_share_a_chain_and_a_contract() {
    let (store, chain) = parts(1);
    let node = Node::start(&store, &chain).await;
    let projects: Vec<ProjectId> = ["acme", "beta", "gamma"].map(project).to_vec();
    for project in &projects {
        node.append(project, 7).await;
    }
    let asks = projects.iter().map(|project| node.ask(ChainRequest::Anchor(project.clone())));
    for answer in futures::future::join_all(asks).await {
        assert!(matches!(answer, ChainResponse::Anchored(_)), "{answer:?}");
    }
    assert_eq!(landed(&chain).len(), 4);
}

#[tokio::test]
async fn a_chain_that_is_down_is_refused_at_once_and_catches_up_by_itself() {
    let (store, chain) = parts(1);
    let node = Node::start(&store, &chain).await;
    let acme = project("acme");
    node.append(&acme, 0).await;
    chain.set_fault(Some(Outage::Down));
    let answer = node.ask(ChainRequest::Anchor(acme.clone())).await;
    assert!(matches!(answer, ChainResponse::Refused(ErrorCode::ChainUnavailable, _)), "{answer:?}");
    node.append(&acme, 1).await;
    chain.set_fault(None);
    node.until_anchored(&acme, 2).await;
    assert_eq!(landed(&chain).len(), 2);
}

#[tokio::test]
async fn an_operator_can_hold_a_chain_back() {
    let (store, chain) = parts(1);
    let node = Node::start(&store, &chain).await;
    let acme = project("acme");
    node.append(&acme, 0).await;
    force(&store, None, Some(Forced::Open), 1).await;
    // The order outlives the node.
    let node = Node::start(&store, &chain).await;
    let answer = node.ask(ChainRequest::Anchor(acme.clone())).await;
    assert!(matches!(answer, ChainResponse::Refused(ErrorCode::ChainUnavailable, _)), "{answer:?}");
    assert!(landed(&chain).is_empty());
    let ChainResponse::Status(status) = node.ask(ChainRequest::Status).await else { panic!("no status") };
    assert_eq!(status.forced, Some(Forced::Open));
    force(&store, None, None, 2).await;
    node.ask(ChainRequest::Wake).await;
    node.until_anchored(&acme, 1).await;
}

/// An operator's order about the chain's breaker, or one of its endpoints, from whichever node.
async fn force(store: &Arc<dyn Store>, endpoint: Option<&str>, forced: Option<Forced>, number: u64) {
    let (chain, endpoint) = (CHAIN.to_owned(), endpoint.map(str::to_owned));
    let since = Timestamp::from_millis(number);
    let order = &ForcedBreaker { chain, endpoint, forced, since, by: "op".to_owned() };
    let unique = number.to_be_bytes();
    store.run(|txn| async move { forced::order(&txn, order, &unique) }).await.unwrap();
}

/// A node's pool of two endpoints, which follows the orders in the store as long as it is kept.
fn following(store: &Arc<dyn Store>) -> (Arc<Pool>, tokio::task::JoinSet<()>) {
    let (_, first) = parts(1);
    let endpoints = [("one", Arc::new(first.beside())), ("two", first)];
    let drivers = endpoints.map(|(name, chain)| (name.to_owned(), chain as Arc<dyn Chain>)).to_vec();
    let clock = Arc::new(SystemClock::new());
    let pool = Arc::new(Pool::new(drivers, PoolPolicy::default(), Arc::clone(&clock) as _).unwrap());
    let chains = Arc::new(BTreeMap::from([(CHAIN.to_owned(), ChainSettings::pooled(Arc::clone(&pool)))]));
    (pool, forced::follow(Arc::clone(store), chains, clock))
}

#[tokio::test]
async fn an_endpoint_that_is_forced_is_so_on_every_node_and_after_a_start() {
    let (store, _) = parts(1);
    let clock = SystemClock::new();
    let (here, _following_here) = following(&store);
    let (there, _following_there) = following(&store);
    let until = async |pool: &Pool, expected: [Option<Forced>; 2]| {
        while pool.status().into_iter().map(|status| status.forced).ne(expected) {
            clock.sleep(Duration::from_millis(2)).await;
        }
    };
    force(&store, Some("two"), Some(Forced::Open), 1).await;
    force(&store, Some("of another configuration"), Some(Forced::Open), 2).await;
    until(&here, [None, Some(Forced::Open)]).await;
    until(&there, [None, Some(Forced::Open)]).await;
    let (later, _following_later) = following(&store);
    until(&later, [None, Some(Forced::Open)]).await;
    force(&store, Some("one"), Some(Forced::Closed), 3).await;
    force(&store, Some("two"), None, 4).await;
    for pool in [&here, &there, &later] {
        until(pool, [Some(Forced::Closed), None]).await;
    }
}

#[tokio::test]
async fn a_followed_log_is_anchored_by_itself() {
    let (store, chain) = parts(1);
    let node = Node::start(&store, &chain).await;
    let acme = project("acme");
    node.append(&acme, 0).await;
    node.ask(ChainRequest::Follow(acme.clone(), Some(Follow { interval_ms: 1, receipts: None }))).await;
    node.until_anchored(&acme, 1).await;
    node.append(&acme, 1).await;
    node.until_anchored(&acme, 2).await;
    assert_eq!(landed(&chain).len(), 3);
}

#[tokio::test]
async fn nodes_killed_at_any_moment_anchor_each_root_once() {
    let (store, chain) = parts(2);
    let acme = project("acme");
    for round in 0..30_u32 {
        // Answers are lost half of the time, so that what was sent is not known.
        chain.set_fault((round % 2 == 1).then_some(Outage::RepliesLost));
        let node = Node::start(&store, &chain).await;
        node.append(&acme, round).await;
        let id = EntityId::new(CHAIN).unwrap();
        node.host.tell::<ChainActor>(&id, ChainRequest::Anchor(acme.clone())).unwrap();
        for _ in 0..round * 3 {
            tokio::task::yield_now().await;
        }
        // The next node takes the lease while this one is still at work: its commits fail from then on.
        drop(node);
    }
    chain.set_fault(None);
    let node = Node::start(&store, &chain).await;
    let ChainResponse::Anchored(last) = node.ask(ChainRequest::Anchor(acme.clone())).await else { panic!() };
    assert_eq!(last.size, 30);
    let roots = landed(&chain);
    let anchors = receipt_log::anchors(&*store, &acme, 100).await.unwrap();
    assert_eq!(roots.len(), anchors.len() + 1, "every root that landed is recorded, beside the contract");
}

async fn pause(store: &Arc<dyn Store>) {
    let pause = &Pause {
        subject: PauseSubject::Chain(CHAIN.to_owned()),
        since: Timestamp::EPOCH,
        by: "op".to_owned(),
        reason: "a test".to_owned(),
    };
    store.run(|txn| async move { pause::pause(&txn, pause).await }).await.unwrap();
}

async fn resume(store: &Arc<dyn Store>) {
    let subject = &PauseSubject::Chain(CHAIN.to_owned());
    assert!(store.run(|txn| async move { pause::resume(&txn, subject).await }).await.unwrap());
}

#[tokio::test]
async fn a_paused_chain_sends_nothing_new_tells_who_waits_and_goes_on_when_resumed() {
    let (store, chain) = parts(1);
    pause(&store).await;
    let node = Node::start(&store, &chain).await;
    let acme = project("acme");
    node.append(&acme, 0).await;
    let refused = node.ask(ChainRequest::Anchor(acme.clone())).await;
    let ChainResponse::Refused(ErrorCode::Paused, message) = refused else { panic!("{refused:?}") };
    assert!(message.contains("a test"), "{message}");
    assert_eq!(landed(&chain), [], "neither contract nor root");
    let ChainResponse::Status(status) = node.ask(ChainRequest::Status).await else { panic!("no status") };
    assert_eq!((status.paused.map(|pause| pause.by), status.wanted), (Some("op".to_owned()), 1));
    // The pause outlives the node.
    let node = Node::start(&store, &chain).await;
    node.ask(ChainRequest::Wake).await;
    assert_eq!(landed(&chain), []);
    resume(&store).await;
    node.ask(ChainRequest::Wake).await;
    node.until_anchored(&acme, 1).await;
    assert_eq!(landed(&chain).len(), 2, "what was asked for while it was paused is anchored");
}

#[tokio::test]
async fn an_endpoint_that_is_well_again_is_used_again_though_there_is_nothing_to_do() {
    let (store, first) = parts(1);
    let second = Arc::new(first.beside());
    let endpoints = [("first", &first), ("second", &second)];
    let drivers = endpoints.map(|(name, chain)| (name.to_owned(), Arc::clone(chain) as Arc<dyn Chain>));
    let clock = Arc::new(SystemClock::new());
    let pool = Arc::new(Pool::new(drivers.to_vec(), PoolPolicy::default(), Arc::clone(&clock) as _).unwrap());
    let node = Node::start_with(&store, ChainSettings::pooled(Arc::clone(&pool))).await;
    let state = || pool.status().swap_remove(0).breakers.swap_remove(0).state;
    let until = async |holds: fn(&BreakerState) -> bool| {
        while !holds(&state()) {
            clock.sleep(Duration::from_millis(2)).await;
        }
    };
    first.set_fault(Some(Outage::Down));
    let ChainResponse::Done = node.ask(ChainRequest::Wake).await else { panic!() };
    // Somebody reads beside the entity, which has nothing to do, and never reads again.
    pool.balance("somebody", None, Consistency::Latest).await.unwrap();
    until(|state| matches!(state, BreakerState::Open { .. })).await;
    first.set_fault(None);
    until(|state| matches!(state, BreakerState::Closed { failures: 0 })).await;
    assert_eq!(landed(&first), [], "nothing was to do");
}
