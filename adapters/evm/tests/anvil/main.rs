//! The driver against a real anvil: conformance, the contract's proofs, and an outbox that is killed between any two
//! steps, on a chain that reorganises and forgets.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod answering;
mod caps;
mod endpoints;
mod events;
mod exactly_once;
mod fates;
mod figures;
mod finality;
mod paying;
mod undone;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alloy::providers::Provider;
use serde_json::{Value, json};
use steward_adapters::SecretKey;
use steward_adapters::chain::{
    Action, AnchorPoint, AnchoredHead, Broadcast, Chain, ChainError, Consistency, InclusionClaim, TransactionStatus,
};
use steward_adapters::conformance::{self, point, send};
use steward_adapters::outbox::{Effect, OutboxPolicy};
use steward_adapters_evm::{Anvil, EvmChain, EvmConfig, LocalSigner, Mining};
use steward_chaos_chains::Sender;
use steward_chaos_chains::sender::When;
use steward_receipts::{Frontier, Hash, NodeId, merkle};
use url::Url;

const POLICY: OutboxPolicy =
    OutboxPolicy { poll_ms: 10, retry_ms: 10, stuck_ms: 1_000, watch_ms: 60_000, in_flight_max: 16 };

/// An address that nothing else pays.
const SOMEBODY: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

async fn anvil(mining: Mining) -> Anvil {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let named = std::env::var_os("STEWARD_ANVIL").map(Into::into);
    Anvil::start(&Anvil::program(workspace, named), mining).await.unwrap_or_else(|error| panic!("{error}"))
}

fn chain(endpoint: &Url, confirmations: u64) -> EvmChain {
    chain_of(&Anvil::development_key(), endpoint, confirmations)
}

/// The second account of anvil's development mnemonic.
fn chain_of_second_account(endpoint: &Url) -> EvmChain {
    let key = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d".parse().unwrap();
    chain_of(&key, endpoint, 1)
}

fn chain_of(key: &SecretKey, endpoint: &Url, confirmations: u64) -> EvmChain {
    let signer = Arc::new(LocalSigner::new(key).unwrap());
    let id = "eip155:31337".parse().unwrap();
    let config = EvmConfig { chain: id, endpoint: endpoint.clone(), confirmations, gas_max: 5_000_000 };
    EvmChain::new(config, signer).unwrap()
}

async fn rpc(chain: &EvmChain, method: &'static str, parameters: Value) -> Value {
    chain.provider().raw_request(method.into(), parameters).await.unwrap()
}

async fn deploy(chain: &EvmChain) -> String {
    send(chain, "deploy", Action::DeployReceiptLog).await.creates.unwrap()
}

#[tokio::test]
async fn the_driver_conforms() {
    let anvil = anvil(Mining::Automatic).await;
    conformance::check(&chain(anvil.url(), 1), SOMEBODY).await;
}

#[tokio::test]
async fn the_contract_tells_true_proofs_from_false_ones_at_every_size() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1);
    let contract = deploy(&chain).await;
    let log_id = *steward_receipts::log_id("example.org/log").as_bytes();
    let (mut frontier, mut nodes) = (Frontier::new(), BTreeMap::<NodeId, Hash>::new());
    for size in 1..=9_u64 {
        let leaf = |number: u64| Hash::of_leaf(&number.to_be_bytes());
        frontier.append(leaf(size - 1), |id, hash| {
            nodes.insert(id, hash);
        });
        let point = AnchorPoint { log_id, tree_size: size, root: *frontier.root().as_bytes() };
        let outcome = send(&chain, "anchor", Action::Anchor { contract: contract.clone(), point }).await;
        assert!(outcome.succeeded);
        for index in 0..size {
            let path = merkle::inclusion_path(index, size, &nodes).unwrap();
            let path: Vec<[u8; 32]> = path.iter().map(|hash| *hash.as_bytes()).collect();
            let claim = InclusionClaim { log_id, leaf_hash: *leaf(index).as_bytes(), index, path };
            assert!(chain.verify_inclusion(&contract, &claim).await.unwrap(), "leaf {index} of {size}");
            let wrong_leaf = InclusionClaim { leaf_hash: *leaf(index + 1).as_bytes(), ..claim.clone() };
            let wrong_place = InclusionClaim { index: index + 1, ..claim.clone() };
            let mut longer = claim.clone();
            longer.path.push([0; 32]);
            let wrong_log = InclusionClaim { log_id: [0; 32], ..claim };
            for wrong in [wrong_leaf, wrong_place, longer, wrong_log] {
                assert!(!chain.verify_inclusion(&contract, &wrong).await.unwrap(), "{wrong:?} in {size}");
            }
        }
    }
}

#[tokio::test]
async fn a_strangers_anchor_stands_under_the_strangers_name() {
    let anvil = anvil(Mining::Automatic).await;
    let owner = chain(anvil.url(), 1);
    let contract = deploy(&owner).await;
    let stranger = chain_of_second_account(anvil.url());
    send(&owner, "ours", anchor(&contract, 2)).await;
    assert!(send(&stranger, "theirs", anchor(&contract, 1)).await.succeeded);
    for (chain, size) in [(&owner, 2), (&stranger, 1)] {
        let head = chain.read_anchor(&contract, &[7; 32]).await.unwrap();
        assert_eq!(head, Some(AnchoredHead::of(&point(size, size as u8))));
    }
}

#[tokio::test]
async fn an_endpoint_of_another_chain_is_refused() {
    let anvil = anvil(Mining::Automatic).await;
    let signer = Arc::new(LocalSigner::new(&Anvil::development_key()).unwrap());
    let id = "eip155:1".parse().unwrap();
    let config = EvmConfig { chain: id, endpoint: anvil.url().clone(), confirmations: 1, gas_max: 1 };
    let error = EvmChain::new(config, signer).unwrap().genesis().await.unwrap_err();
    assert!(matches!(error, ChainError::WrongChain { .. }), "{error}");
    let url = anvil.url().clone();
    anvil.stop().await.unwrap();
    let error = chain(&url, 1).genesis().await.unwrap_err();
    assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_and_held_against_its_endpoint() {
    steward_chaos_chains::check_endless(|url| Arc::new(chain(url, 1))).await;
}

/// Goes on until everything is final. Blocks are made on the way, as on a living chain.
async fn settle(sender: &mut Sender<'_>, chain: &EvmChain) {
    while !sender.outbox.is_settled() {
        sender.step().await;
        mine(chain).await;
    }
}

async fn mine(chain: &EvmChain) {
    rpc(chain, "evm_mine", json!([])).await;
}

fn anchor(contract: &str, tree_size: u64) -> Action {
    Action::Anchor { contract: contract.to_owned(), point: point(tree_size, tree_size as u8) }
}

/// How many events the contract emitted: one for each anchor that changed its head.
async fn anchored(chain: &EvmChain, contract: &str) -> usize {
    let filter = json!([{ "address": contract, "fromBlock": "0x0" }]);
    let logs = rpc(chain, "eth_getLogs", filter).await;
    logs.as_array().unwrap().len()
}

#[tokio::test]
async fn an_outbox_killed_before_or_after_any_effect_anchors_once() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1);
    let contract = deploy(&chain).await;
    let mut sender = Sender::new(&chain, POLICY);
    for (round, (effect, when)) in (1..).zip([0, 1, 2].into_iter().flat_map(|n| When::BOTH.map(|when| (n, when)))) {
        let key = format!("anchor {round}");
        sender.submit(&key, anchor(&contract, round));
        sender.settle_and_die_at(effect, when, async || {}).await;
        sender.acknowledge(&key);
        assert_eq!(anchored(&chain, &contract).await as u64, round);
    }
    // One for the contract and one for each anchor: no kill used up a sequence number.
    assert_eq!(chain.sequence(Consistency::Latest).await.unwrap(), Some(7));
}

#[tokio::test]
async fn a_transaction_that_the_pool_forgot_is_sent_again() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 2);
    rpc(&chain, "evm_mine", json!([])).await;
    let mut sender = Sender::new(&chain, POLICY);
    sender.submit("deploy", Action::DeployReceiptLog);
    settle(&mut sender, &chain).await;
    let contract = sender.outbox.intent("deploy").unwrap().outcome.clone().unwrap().creates.unwrap();
    rpc(&chain, "evm_setAutomine", json!([false])).await;
    sender.submit("anchor", anchor(&contract, 1));
    sender.send().await;
    let sent = sender.newest();
    rpc(&chain, "anvil_dropTransaction", json!([sent.hash])).await;
    assert_eq!(chain.status(&sent).await.unwrap(), TransactionStatus::Unknown);
    settle(&mut sender, &chain).await;
    assert_eq!(sender.newest().hash, sent.hash, "the same bytes");
    assert_eq!(anchored(&chain, &contract).await, 1);
}

#[tokio::test]
async fn a_transaction_that_was_reorganised_out_is_sent_again() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 4);
    let mut sender = Sender::new(&chain, POLICY);
    sender.submit("deploy", Action::DeployReceiptLog);
    settle(&mut sender, &chain).await;
    let contract = sender.outbox.intent("deploy").unwrap().outcome.clone().unwrap().creates.unwrap();
    for depth in 1..=3_u64 {
        let key = format!("anchor {depth}");
        sender.submit(&key, anchor(&contract, depth));
        sender.send().await;
        while sender.outbox.intent(&key).unwrap().landing.is_none() {
            sender.step().await;
        }
        for _ in 1..depth {
            rpc(&chain, "evm_mine", json!([])).await;
        }
        rpc(&chain, "anvil_reorg", json!([depth, []])).await;
        let sent = sender.newest();
        let status = chain.status(&sent).await.unwrap();
        assert!(!matches!(status, TransactionStatus::Included(_)), "depth {depth}: {status:?}");
        settle(&mut sender, &chain).await;
        let outcome = sender.outbox.intent(&key).unwrap().outcome.clone().unwrap();
        assert!(outcome.succeeded && outcome.hash == sent.hash);
        assert_eq!(anchored(&chain, &contract).await as u64, depth);
    }
}

#[tokio::test]
async fn a_stuck_transaction_is_outbid_and_only_one_lands() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1);
    let contract = deploy(&chain).await;
    rpc(&chain, "evm_setAutomine", json!([false])).await;
    let mut sender = Sender::new(&chain, POLICY);
    sender.submit("anchor", anchor(&contract, 1));
    sender.send().await;
    let first = sender.newest().hash;
    sender.step().await;
    sender.clock.advance(Duration::from_millis(POLICY.stuck_ms));
    while sender.newest().hash == first {
        sender.step().await;
    }
    settle(&mut sender, &chain).await;
    let intent = sender.outbox.intent("anchor").unwrap();
    let [old, new] = &intent.attempts[..] else { panic!("{intent:?}") };
    assert_eq!(old.transaction.sequence, new.transaction.sequence);
    let outcome = intent.outcome.clone().unwrap();
    assert_eq!(outcome.hash, new.transaction.hash);
    assert_eq!(anchored(&chain, &contract).await, 1);
    assert_eq!(chain.broadcast(&old.transaction.bytes).await.unwrap(), Broadcast::SequenceUsed);
}

#[tokio::test]
async fn a_strangers_use_of_the_key_costs_an_intent_its_number_but_not_its_end() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1);
    let contract = deploy(&chain).await;
    let mut sender = Sender::new(&chain, POLICY);
    sender.submit("anchor", anchor(&contract, 2));
    sender.until(|effect| matches!(effect, Effect::Broadcast { .. })).await;
    // Somebody else sends with the same key before our bytes arrive.
    send(&chain, "theirs", anchor(&contract, 1)).await;
    settle(&mut sender, &chain).await;
    let intent = sender.outbox.intent("anchor").unwrap();
    assert_eq!(intent.displaced, 1);
    assert!(intent.outcome.clone().unwrap().succeeded);
    assert_eq!(anchored(&chain, &contract).await, 2);
    assert_eq!(chain.read_anchor(&contract, &[7; 32]).await.unwrap(), Some(AnchoredHead::of(&point(2, 2))));
}

#[tokio::test]
async fn an_outbox_goes_on_with_another_key() {
    let anvil = anvil(Mining::Automatic).await;
    let (old, new) = (chain(anvil.url(), 1), chain_of_second_account(anvil.url()));
    let contract = deploy(&old).await;
    let mut sender = Sender::new(&old, POLICY);
    sender.submit("anchor", anchor(&contract, 1));
    settle(&mut sender, &old).await;
    sender.acknowledge("anchor");
    let mut successor = Sender::new(&new, POLICY);
    successor.outbox = sender.outbox;
    successor.die();
    successor.submit("next anchor", anchor(&contract, 2));
    settle(&mut successor, &new).await;
    assert!(successor.outbox.intent("next anchor").unwrap().outcome.clone().unwrap().succeeded);
    assert_eq!(new.sequence(Consistency::Latest).await.unwrap(), Some(1));
    for (chain, size) in [(&old, 1), (&new, 2)] {
        let head = chain.read_anchor(&contract, &[7; 32]).await.unwrap();
        assert_eq!(head, Some(AnchoredHead::of(&point(size, size as u8))));
    }
}

#[tokio::test]
async fn gas_for_an_anchor_is_what_the_documentation_says() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1);
    let contract = deploy(&chain).await;
    let mut gas = Vec::new();
    for (tree_size, byte) in [(1_024, 1), (2_048, 2)] {
        let action = Action::Anchor { contract: contract.clone(), point: point(tree_size, byte) };
        let outcome = send(&chain, "anchor", action).await;
        let receipt = rpc(&chain, "eth_getTransactionReceipt", json!([outcome.hash])).await;
        let used = receipt["gasUsed"].as_str().unwrap().trim_start_matches("0x");
        gas.push(u64::from_str_radix(used, 16).unwrap());
    }
    let [first, next] = gas[..] else { unreachable!() };
    assert!(first < 48_000 && next < 30_720, "the first anchor took {first} gas and the next {next}");
    println!("the first anchor took {first} gas, the next {next}");
}
