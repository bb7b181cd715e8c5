//! Events of a real contract: conformance, and a reader over endpoints that fail, on a chain that reorganises.

use std::time::Duration;

use alloy::primitives::keccak256;
use alloy::providers::Provider;
use serde_json::{Value, json};
use steward_adapters::chain::{Action, AnchorPoint, Chain, ChainError, EmittedEvent, EventFilter};
use steward_adapters::conformance::{Emission, check_events};
use steward_adapters::cursor::{Cursor, Span};
use steward_adapters::pool::Pool;
use steward_adapters_evm::{EvmChain, Mining};
use steward_chaos_chains::{Fault, Proxy};
use steward_types::{Clock, SystemClock};
use tokio::task::JoinSet;
use url::Url;

use super::answering::{answering, forwarded};
use super::endpoints::pooled;

use super::{SOMEBODY, anvil, chain, deploy, rpc};

const ANCHORED: &str = "Anchored(address indexed anchorer, bytes32 indexed logId, uint64 treeSize, bytes32 root)";
/// How many blocks make one final: more than any reorganisation here is deep.
const CONFIRMATIONS: u64 = 6;

fn anchored(contract: &str) -> EventFilter {
    EventFilter { address: contract.to_owned(), event: ANCHORED.to_owned() }
}

fn anchor(contract: &str, number: u64) -> Action {
    let mut log_id = [0; 32];
    log_id[24..].copy_from_slice(&number.to_be_bytes());
    Action::Anchor { contract: contract.to_owned(), point: AnchorPoint { log_id, tree_size: 1, root: [1; 32] } }
}

#[tokio::test]
async fn events_of_a_driver_and_of_a_pool_conform() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), 1);
    let contract = deploy(&direct).await;
    let (pool, _proxies) = pooled(&anvil, 3, 1, 2).await;
    let chains: [&dyn Chain; 2] = [&direct, &pool];
    for (first, chain) in (1..).step_by(100).zip(chains) {
        let emission = Emission {
            action: &|number| anchor(&contract, first + number),
            filter: anchored(&contract),
            silent: anchored(SOMEBODY),
            wrong: EventFilter { event: "Anchored".to_owned(), ..anchored(&contract) },
        };
        check_events(chain, &emission).await;
    }
}

/// Emits an event that tells its number, and waits until it is in a block.
async fn emit(chain: &EvmChain, contract: &str, number: u64) {
    let from = chain.provider().get_accounts().await.unwrap()[usize::try_from(number % 8).unwrap() + 1];
    let selector = &keccak256("anchor(bytes32,uint64,bytes32)")[..4];
    let words = [format!("{number:064x}"), format!("{:064x}", 1), "11".repeat(32)].concat();
    let data = format!("0x{}{words}", alloy::primitives::hex::encode(selector));
    let hash = rpc(chain, "eth_sendTransaction", json!([{ "from": from, "to": contract, "data": data }])).await;
    let clock = SystemClock::new();
    while rpc(chain, "eth_getTransactionReceipt", json!([hash])).await.is_null() {
        clock.sleep(Duration::from_millis(1)).await;
    }
}

/// The numbers of all events that the chain has now, final or not.
async fn on_the_chain(chain: &EvmChain, contract: &str) -> Vec<u64> {
    let logs = rpc(chain, "eth_getLogs", json!([{ "address": contract, "fromBlock": "0x0" }])).await;
    logs.as_array().unwrap().iter().map(|log| number(&log["topics"][2])).collect()
}

fn number(word: &Value) -> u64 {
    let text = word.as_str().unwrap();
    u64::from_str_radix(&text[text.len() - 16..], 16).unwrap()
}

/// What a subscription does, without a store.
struct Reader<'a> {
    pool: &'a Pool,
    filter: EventFilter,
    cursor: Cursor,
    span: Span,
    read: Vec<EmittedEvent>,
}

impl Reader<'_> {
    async fn step(&mut self) -> Result<(), ChainError> {
        let head = self.pool.head().await?;
        let Some(range) = self.cursor.range(head.final_block, self.span) else { return Ok(()) };
        let events = self.pool.events(&self.filter, *range.start(), *range.end()).await?;
        for event in self.cursor.fresh(*range.end(), events).unwrap() {
            self.cursor.take(&event.id);
            self.read.push(event);
        }
        self.cursor.pass(*range.end());
        Ok(())
    }

    /// Reads up to the newest final block, whatever fails on the way.
    async fn catch_up(&mut self, final_block: u64) {
        while self.cursor.block <= final_block {
            // What failed moved nothing: the same blocks are asked about again.
            let _ = self.step().await;
        }
    }
}

/// Lets a fault fire at one endpoint.
async fn fire(pool: &Pool, proxy: &Proxy, fault: Fault) {
    proxy.always(Some(fault));
    while proxy.fired().get(&fault).is_none_or(|count| *count == 0) {
        let _ = pool.look().await;
    }
}

#[tokio::test]
async fn every_event_that_becomes_final_is_read_once_and_none_that_was_reorganised_out() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), CONFIRMATIONS);
    // In a block that no reorganisation here reaches.
    let contract = deploy(&chain(anvil.url(), 1)).await;
    for _ in 0..CONFIRMATIONS {
        rpc(&direct, "evm_mine", json!([])).await;
    }
    let (pool, proxies) = pooled(&anvil, 3, CONFIRMATIONS, 2).await;
    let (filter, cursor) = (anchored(&contract), Cursor::before(0));
    let mut reader = Reader { pool: &pool, filter, cursor, span: Span::default(), read: Vec::new() };
    let (mut next, mut removed) = (1, Vec::new());
    for (round, fault) in Fault::ALL.into_iter().enumerate() {
        let (proxy, depth) = (&proxies[round % proxies.len()], round as u64 % 5 + 1);
        for _ in 0..depth {
            emit(&direct, &contract, next).await;
            next += 1;
        }
        let before = on_the_chain(&direct, &contract).await;
        fire(&pool, proxy, fault).await;
        let _ = reader.step().await;
        rpc(&direct, "anvil_reorg", json!([depth, []])).await;
        let after = on_the_chain(&direct, &contract).await;
        let lost: Vec<u64> = before.into_iter().filter(|number| !after.contains(number)).collect();
        assert_eq!(lost.len() as u64, depth, "the reorganisation took the newest {depth} events out");
        // Every second of them comes again, in another block; the others never do.
        for number in lost {
            if number % 2 == 0 {
                emit(&direct, &contract, number).await;
            } else {
                removed.push(number);
            }
        }
        let final_block = direct.head().await.unwrap().final_block;
        reader.catch_up(final_block).await;
        proxy.always(None);
    }
    for _ in 0..CONFIRMATIONS {
        rpc(&direct, "evm_mine", json!([])).await;
    }
    reader.catch_up(direct.head().await.unwrap().final_block).await;
    let read: Vec<u64> = reader.read.iter().map(|event| number(&event.arguments.as_ref().unwrap()["logId"])).collect();
    assert_eq!(read, on_the_chain(&direct, &contract).await);
    assert!(!removed.is_empty() && removed.iter().all(|number| !read.contains(number)), "{removed:?} of {read:?}");
    for fault in Fault::ALL {
        assert!(proxies.iter().any(|proxy| proxy.fired().contains_key(&fault)), "{fault:?} fired");
    }
}

/// An address behind which are two nodes: one answers what is asked for logs, another everything else.
async fn balanced(logs: Url, others: Url) -> (Url, JoinSet<()>) {
    let client = reqwest::Client::new();
    let answer = move |call: Value| {
        let node = if call.to_string().contains("eth_getLogs") { &logs } else { &others };
        forwarded(client.clone(), node.clone(), call)
    };
    answering(answer).await
}

#[tokio::test]
async fn logs_of_a_node_that_is_behind_another_at_one_address_are_not_believed() {
    let (ahead, behind) = (anvil(Mining::Automatic).await, anvil(Mining::Automatic).await);
    let direct = chain(ahead.url(), 1);
    let contract = deploy(&direct).await;
    emit(&direct, &contract, 7).await;
    let head = direct.head().await.unwrap().block;
    let (url, _server) = balanced(behind.url().clone(), ahead.url().clone()).await;
    let balanced = chain(&url, 1);
    assert_eq!(balanced.head().await.unwrap().block, head, "the address knows the block");
    let missing = balanced.events(&anchored(&contract), 0, head).await.unwrap_err();
    assert!(matches!(missing, ChainError::Behind { block, .. } if block == head), "{missing}");
    assert_eq!(direct.events(&anchored(&contract), 0, head).await.unwrap().len(), 1);
}
