//! Triggers of a node over a chain in memory: each event that is final starts one session, whatever is lost or killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use steward_adapters::NoHttp;
use steward_adapters::chain::{Action, Amount, Consistency};
use steward_adapters::ledger::{Ledger, Lost};
use steward_adapters::memory::{Fault as Outage, MemoryChain, Mining};
use steward_inference::{DeviceBudget, ScriptedLoader};
use steward_scripting::TriggerFrom;
use steward_storage::{MemoryStore, Store, StoreExt as _};
use steward_types::{Clock, ErrorCode, Micros, ProjectId, SystemClock, SystemEntropy};

use super::record::Resume;
use super::*;
use crate::agent::UploadedBundle;
use crate::budget::Period;
use crate::chain::ChainSettings;
use crate::host::EntityId;
use crate::pause::{self, Pause, PauseSubject};
use crate::receipt_log::LogIdentity;
use crate::service::{NewProject, NodeParts, SessionFilter, Steward, StoredModels, TriggerView};
use crate::session::read;

const CHAIN: &str = "test:memory";
const PROJECT: &str = "acme";
const PATIENCE: Duration = Duration::from_secs(60);
const SCRIPT: &str = "fn on_message(msg) { reply(`${msg.block}: ${msg.arguments.value}`); }";

/// What outlives a node: its disk and the chain.
struct World {
    store: Arc<dyn Store>,
    chain: Arc<MemoryChain>,
}

impl World {
    fn new(confirmations: u64) -> Self {
        let chain = MemoryChain::new(CHAIN.parse().unwrap(), Ledger::new(confirmations), Mining::Manual);
        Self { store: Arc::new(MemoryStore::new()), chain: Arc::new(chain) }
    }

    /// A node on the store. One that ran on it before is fenced off from now on, as if it had been killed.
    async fn node(&self) -> Steward {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let models = StoredModels::new(
            Arc::clone(&self.store),
            Arc::new(ScriptedLoader::echo()),
            DeviceBudget::new("cpu", 1 << 30),
        );
        let log = Arc::new(LogIdentity::new("test.example".to_owned(), [7; 32]).unwrap());
        let entropy = Arc::new(SystemEntropy);
        let mut parts =
            NodeParts::new(Arc::clone(&self.store), clock, entropy, Arc::new(models), Arc::new(NoHttp), log);
        let settings = ChainSettings::new(Arc::clone(&self.chain) as _);
        parts.chains = Arc::new(BTreeMap::from([(CHAIN.to_owned(), settings)]));
        parts.start().await.unwrap()
    }

    /// A node with the project and its agent.
    async fn set_up(&self) -> Steward {
        let steward = self.node().await;
        let (id, chains) = (project(), Vec::new());
        let new = NewProject { id, limit: Some(Micros::new(1_000)), period: Period::None, prices: None, chains };
        steward.create_project(new).await.unwrap();
        deploy(&steward, &deposits("from = 0")).await;
        steward
    }

    /// Pays somebody, in a block of its own.
    fn pay(&self, value: u128) {
        let action = Action::Transfer { to: "somebody".to_owned(), amount: Amount::new(value), asset: None };
        self.land(&action);
    }

    fn land(&self, action: &Action) {
        self.chain.with_ledger(|ledger| {
            let sequence = ledger.sequence(Consistency::Latest).unwrap();
            let signed = ledger.sign(action, sequence, steward_adapters::Fee::default());
            ledger.broadcast(&signed.bytes).unwrap();
            ledger.mine();
        });
    }

    fn mine(&self, blocks: u64) {
        self.chain.with_ledger(|ledger| (0..blocks).for_each(|_| ledger.mine_empty()));
    }
}

fn project() -> ProjectId {
    PROJECT.parse().unwrap()
}

fn deposits(more: &str) -> String {
    format!(
        "[[triggers]]\nname = \"deposits\"\nchain = {CHAIN:?}\naddress = \"somebody\"\nevent = \"Transfer\"\n{more}\n"
    )
}

fn bundle(triggers: &str) -> UploadedBundle {
    let files = BTreeMap::from([("agent.rhai".to_owned(), SCRIPT.to_owned())]);
    UploadedBundle { files, manifest: format!("name = \"clerk\"\n{triggers}") }
}

async fn deploy(steward: &Steward, triggers: &str) {
    steward.deploy_agent(&project(), bundle(triggers)).await.unwrap();
}

fn name() -> TriggerName {
    "acme/clerk/deposits".parse().unwrap()
}

async fn view(steward: &Steward) -> Option<TriggerView> {
    steward.triggers(&project(), None, 10).await.unwrap().pop()
}

async fn status(steward: &Steward) -> TriggerStatus {
    view(steward).await.unwrap().status.unwrap()
}

/// Makes the trigger look at once until it is as wanted, rather than in its own time.
async fn until(steward: &Steward, wanted: impl Fn(&TriggerStatus) -> bool) -> TriggerStatus {
    let (clock, id) = (SystemClock::new(), EntityId::new(name().to_string()).unwrap());
    loop {
        let status = status(steward).await;
        if wanted(&status) {
            return status;
        }
        assert!(clock.monotonic() < PATIENCE, "{status:#?}");
        steward.host().tell::<TriggerActor>(&id, TriggerRequest::Wake).unwrap();
        clock.sleep(Duration::from_millis(2)).await;
    }
}

/// The first messages of all sessions, in the order of the chain. Each session has exactly one.
async fn messages(steward: &Steward) -> Vec<Value> {
    let (sessions, next) = steward.sessions(&project(), &SessionFilter::default(), None, 1000).await.unwrap();
    assert_eq!(next, None);
    let mut messages = Vec::new();
    for session in sessions {
        assert_eq!(session.waiting_messages + session.turn, 1, "{session:?}");
        messages.push(read::turn(steward.store(), session.id, 1).await.unwrap().unwrap().message);
    }
    messages.sort_by_key(|message| (message["block"].as_u64(), message["index"].as_u64()));
    messages
}

async fn values(steward: &Steward) -> Vec<String> {
    let messages = messages(steward).await;
    messages.iter().map(|message| message["arguments"]["value"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_event_that_is_final_starts_a_session_with_a_message_that_tells_it() {
    let world = World::new(3);
    let steward = world.set_up().await;
    world.pay(5);
    until(&steward, |status| status.final_block == Some(0) && status.checkpoint == Some(1)).await;
    assert_eq!(messages(&steward).await, [] as [Value; 0], "it is not final");
    world.mine(2);
    let status = until(&steward, |status| status.started == 1).await;
    assert_eq!((status.condition, status.lag_blocks()), (TriggerCondition::Following, Some(0)));
    let told = messages(&steward).await.pop().unwrap();
    let transaction = told["transaction"].as_str().unwrap().to_owned();
    let expected = json!({
        "trigger": "deposits", "chain": CHAIN, "address": "somebody", "block": 1, "transaction": transaction,
        "index": 0, "event": "Transfer", "arguments": { "to": "somebody", "value": "5" },
    });
    assert_eq!(told, expected);
    until(&steward, |status| status.open == 0).await;
}

#[tokio::test]
async fn an_event_that_is_reorganised_out_starts_none() {
    let world = World::new(3);
    let steward = world.set_up().await;
    world.pay(1);
    world.pay(2);
    until(&steward, |status| status.final_block == Some(0)).await;
    world.chain.with_ledger(|ledger| ledger.reorganize(Lost::Yes));
    world.pay(3);
    world.mine(3);
    until(&steward, |status| status.started == 2).await;
    assert_eq!(values(&steward).await, ["1", "3"]);
}

#[tokio::test]
async fn nodes_killed_at_any_moment_start_one_session_for_each_event() {
    let world = World::new(2);
    drop(world.set_up().await);
    for round in 0..30_u128 {
        world.pay(2 * round + 1);
        world.pay(2 * round + 2);
        let steward = world.node().await;
        for _ in 0..round * 12 {
            tokio::task::yield_now().await;
        }
        // The next node takes the lease while this one is still at work: its commits fail from then on.
        drop(steward);
    }
    world.mine(1);
    let steward = world.node().await;
    until(&steward, |status| status.started == 60).await;
    let expected: Vec<String> = (1..=60).map(|value: u32| value.to_string()).collect();
    assert_eq!(values(&steward).await, expected);
}

#[tokio::test]
async fn what_holds_the_agent_back_holds_its_triggers_back_and_loses_nothing() {
    let world = World::new(1);
    let steward = world.set_up().await;
    let pause = &Pause {
        subject: PauseSubject::Agent(project(), "clerk".parse().unwrap()),
        since: steward_types::Timestamp::EPOCH,
        by: "op".to_owned(),
        reason: "a test".to_owned(),
    };
    world.store.run(|txn| async move { pause::pause(&txn, pause).await }).await.unwrap();
    world.pay(1);
    let status = until(&steward, |status| status.condition == TriggerCondition::Waiting).await;
    assert!(status.reason.contains("a test"), "{status:?}");
    world.store.run(|txn| async move { pause::resume(&txn, &pause.subject).await }).await.unwrap();
    until(&steward, |status| status.started == 1).await;
    steward.set_limit(&project(), None, Some(Micros::ZERO), Period::None).await.unwrap();
    world.pay(2);
    let status = until(&steward, |status| status.condition == TriggerCondition::Waiting).await;
    assert!(status.reason.contains("used up") && status.lag_blocks() == Some(1), "{status:?}");
    steward.set_limit(&project(), None, Some(Micros::new(1_000)), Period::None).await.unwrap();
    until(&steward, |status| status.started == 2).await;
    assert_eq!(values(&steward).await, ["1", "2"]);
}

#[tokio::test]
async fn a_chain_that_is_away_is_waited_for_and_one_that_was_reset_stops_the_trigger() {
    let world = World::new(1);
    let steward = world.set_up().await;
    world.pay(1);
    until(&steward, |status| status.started == 1).await;
    world.chain.set_fault(Some(Outage::Down));
    let status = until(&steward, |status| status.condition == TriggerCondition::Waiting).await;
    assert!(status.reason.contains("it is down"), "{status:?}");
    let refused = steward.resume_trigger(&name(), Resume::Itself).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidRequest, "it has not stopped");
    drop(steward);
    world.chain.set_fault(Some(Outage::Lies));
    let steward = world.node().await;
    let status = until(&steward, |status| status.condition == TriggerCondition::Stopped).await;
    assert!(status.reason.contains("another chain's") && status.reason.contains("resume"), "{status:?}");
    // It stays so when the chain is right again, and when the node starts again, until somebody looks.
    world.chain.set_fault(None);
    world.pay(2);
    drop(steward);
    let steward = world.node().await;
    until(&steward, |status| status.condition == TriggerCondition::Stopped).await;
    steward.resume_trigger(&name(), Resume::Itself).await.unwrap();
    until(&steward, |status| status.started == 2).await;
    assert_eq!(values(&steward).await, ["1", "2"]);
}

#[tokio::test]
async fn a_trigger_goes_on_where_an_operator_says_on_a_chain_that_is_a_new_one() {
    let world = World::new(1);
    world.chain.set_fault(Some(Outage::Lies));
    let steward = world.set_up().await;
    until(&steward, |status| status.checkpoint == Some(0)).await;
    drop(steward);
    world.chain.set_fault(None);
    (1..=4).for_each(|value| world.pay(value));
    let steward = world.node().await;
    until(&steward, |status| status.condition == TriggerCondition::Stopped).await;
    steward.resume_trigger(&name(), Resume::At(TriggerFrom::Block(3))).await.unwrap();
    until(&steward, |status| status.started == 2 && status.lag_blocks() == Some(0)).await;
    assert_eq!(values(&steward).await, ["3", "4"]);
}

#[tokio::test]
async fn a_trigger_that_follows_is_moved_where_an_operator_says() {
    let world = World::new(1);
    let steward = world.set_up().await;
    (1..=3).for_each(|value| world.pay(value));
    until(&steward, |status| status.started == 3).await;
    steward.resume_trigger(&name(), Resume::At(TriggerFrom::Block(2))).await.unwrap();
    until(&steward, |status| status.started == 5 && status.lag_blocks() == Some(0)).await;
    assert_eq!(values(&steward).await, ["1", "2", "2", "3", "3"]);
}

#[tokio::test]
async fn a_trigger_ends_with_the_version_that_has_it_and_does_not_read_again_what_it_read() {
    let world = World::new(1);
    let steward = world.set_up().await;
    world.pay(1);
    until(&steward, |status| status.started == 1).await;
    deploy(&steward, "description = \"without\"").await;
    assert!(view(&steward).await.is_none());
    let id = EntityId::new(name().to_string()).unwrap();
    steward.host().ask::<TriggerActor>(&id, TriggerRequest::Wake, steward.host().deadline_default()).await.unwrap();
    let ended = async {
        let clock = SystemClock::new();
        loop {
            let row = &name().state_row();
            let state = world.store.run(|txn| async move { txn.load::<record::TriggerState>(row).await });
            if state.await.unwrap().is_some_and(|state| state.ended) {
                return;
            }
            assert!(clock.monotonic() < PATIENCE);
            clock.sleep(Duration::from_millis(2)).await;
        }
    };
    ended.await;
    world.pay(2);
    deploy(&steward, &deposits("")).await;
    until(&steward, |status| status.checkpoint == Some(3)).await;
    world.pay(3);
    until(&steward, |status| status.started == 2).await;
    assert_eq!(values(&steward).await, ["1", "3"], "what came while there was no trigger is not read");
    // From a block that was read before, nothing is read again.
    deploy(&steward, &deposits("from = 0")).await;
    world.pay(4);
    until(&steward, |status| status.started == 3).await;
    assert_eq!(values(&steward).await, ["1", "3", "4"]);
}

#[tokio::test]
async fn a_trigger_that_is_only_spelled_in_another_way_goes_on_where_it_was() {
    let world = World::new(1);
    let steward = world.set_up().await;
    world.pay(1);
    until(&steward, |status| status.started == 1).await;
    let with_its_chain = format!("\" {CHAIN}:somebody \"");
    let respelled = deposits("from = 0").replace("\"somebody\"", &with_its_chain).replace("Transfer", "Transfer ");
    deploy(&steward, &respelled).await;
    let filter = view(&steward).await.unwrap().spec.filter;
    assert_eq!((filter.address.as_str(), filter.event.as_str()), ("somebody", "Transfer"));
    // Nor does one begin anew that was stored before names were written in one way.
    let row = &name().state_row();
    let respell = async |txn: steward_storage::Txn| {
        let mut state = txn.load::<record::TriggerState>(row).await?.unwrap();
        state.filter.event = " Transfer".to_owned();
        txn.save(row, &state)
    };
    let (store, next) = (Arc::clone(&world.store), steward);
    drop(next);
    let txn = store.begin();
    respell(txn.clone()).await.unwrap();
    txn.commit().await.unwrap();
    let steward = world.node().await;
    world.pay(2);
    until(&steward, |status| status.started == 2).await;
    assert_eq!(values(&steward).await, ["1", "2"]);
}

#[tokio::test]
async fn rules_that_a_chain_cannot_read_are_not_deployed_and_named() {
    let world = World::new(1);
    let steward = world.set_up().await;
    let rules = format!("[chains.{CHAIN:?}]\npay = [\"bob\", \"not an address\"]\ncall = [\"shop\"]\n");
    let found = steward.check_agent(&project(), bundle(&rules)).await.unwrap();
    let told: Vec<&str> = found.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
    assert!(told[0].contains("chains.\"test:memory\".pay[1]: \"not an address\""), "{told:?}");
    assert!(told[1].contains("call[0]") && told[1].contains("CONTRACT:METHOD"), "{told:?}");
    let refused = steward.deploy_agent(&project(), bundle(&rules)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ScriptInvalid);
}

#[tokio::test]
async fn an_event_that_no_session_takes_is_skipped_in_sight_of_everybody() {
    let world = World::new(1);
    let steward = world.set_up().await;
    deploy(&steward, &deposits("from = 0").replace("Transfer", "Called")).await;
    let call = |bytes: usize| {
        let input = Bytes::from(vec![7; bytes]);
        Action::Call { contract: "somebody".to_owned(), input, value: Amount::ZERO }
    };
    world.land(&call(100_000));
    world.land(&call(3));
    let status = until(&steward, |status| status.started == 1 && status.skipped == 1).await;
    assert_eq!(status.lag_blocks(), Some(0));
    let skipped = view(&steward).await.unwrap().skipped;
    assert_eq!((skipped.len(), skipped[0].event.block, skipped[0].code), (1, 1, ErrorCode::RequestTooLarge));
    assert_eq!(messages(&steward).await[0]["block"], 2);
}

#[tokio::test]
async fn what_a_chain_cannot_emit_is_not_deployed() {
    let world = World::new(1);
    let steward = world.set_up().await;
    let check = async |triggers: String, part: &str| {
        let found = steward.check_agent(&project(), bundle(&triggers)).await.unwrap();
        assert!(found.iter().any(|found| found.to_string().contains(part)), "{found:?}");
        let refused = steward.deploy_agent(&project(), bundle(&triggers)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::ScriptInvalid);
    };
    check(deposits("").replace("Transfer", "Stolen"), "Transfer or Called").await;
    check(deposits("").replace(CHAIN, "eip155:1"), "no chain eip155:1").await;
    let of_another = format!("an account of eip155:1 and not of {CHAIN}");
    check(deposits("").replace("\"somebody\"", "\"eip155:1:0xab\""), &of_another).await;
    let names: BTreeSet<String> =
        steward.triggers(&project(), None, 10).await.unwrap().into_iter().map(|view| view.name.to_string()).collect();
    assert_eq!(names, BTreeSet::from(["acme/clerk/deposits".to_owned()]), "the version before stays");
}
