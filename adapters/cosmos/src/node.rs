//! What a node is asked, in types: its blocks, its pool, its index of transactions, and its application's queries.
//!
//! An answer is the node's word. Nothing here decides what it means for a transaction of ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cosmrs::proto::cosmos::auth::v1beta1::{QueryAccountInfoRequest, QueryAccountInfoResponse};
use cosmrs::proto::traits::{Message, MessageExt as _};
use serde::{Deserialize, Deserializer, de};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use steward_adapters::chain::{ChainError, ChainId};
use url::Url;

use crate::rpc::{Rpc, RpcError};

/// Most transactions on a page of the index, and most of the pool that a node shows.
pub const PAGE_MAX: u64 = 100;
/// The SDK's codes of a query (`types/errors/errors.go`): there is no such thing, and the block is not there yet or the
/// state after it is not kept any more.
const NOT_FOUND: u32 = 22;
const INVALID_HEIGHT: u32 = 26;

/// The CAIP-2 identifier of the chain that the node at this address is on.
///
/// # Errors
/// [`ChainError::Unavailable`]; [`ChainError::Malformed`] when the chain's name makes no identifier.
pub async fn identify(endpoint: Url) -> Result<ChainId, ChainError> {
    let unknown = "cosmos:unknown".parse().expect("it is written as an identifier is");
    let answer: StatusAnswer = Node::new(unknown, endpoint)?.ask("status", json!({})).await?;
    chain_of(&answer.node_info.network)
}

fn chain_of(network: &str) -> Result<ChainId, ChainError> {
    format!("cosmos:{network}").parse().map_err(|_| malformed("the node's chain", "it is no CAIP-2 identifier"))
}

/// A node of one chain.
#[derive(Debug)]
pub struct Node {
    chain: ChainId,
    rpc: Rpc,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The newest block.
    pub block: u64,
    /// Its hash.
    pub hash: String,
    /// The oldest block that the node keeps.
    pub oldest_block: u64,
}

/// An account as the newest block leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its number, which signatures cover.
    pub number: u64,
    /// The sequence number that its next transaction needs.
    pub sequence: u64,
}

/// A block's place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMeta {
    /// Its hash.
    pub hash: String,
    /// The hash of the block before it; empty for the first.
    pub parent: String,
}

/// A transaction in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The block's number.
    pub block: u64,
    /// Whether it did what it was to do.
    pub succeeded: bool,
}

/// A page of transactions from the index, and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub transactions: Vec<Executed>,
    /// On all pages.
    pub total: u64,
}

/// How the application took a transaction before it went into the pool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Check {
    /// 0 when it was taken.
    #[serde(default)]
    pub code: u32,
    /// Whose code it is; `sdk` for those that all chains have.
    #[serde(default)]
    pub codespace: String,
    /// In words.
    #[serde(default)]
    pub log: String,
}

impl Node {
    /// The node at this address. Does not connect.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] when no client can be made.
    pub fn new(chain: ChainId, endpoint: Url) -> Result<Self, ChainError> {
        let rpc = Rpc::new(endpoint);
        let rpc = rpc.map_err(|error| ChainError::Malformed { what: "the endpoint", reason: error.to_string() })?;
        Ok(Self { chain, rpc })
    }

    /// The chain that the node must be on.
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// Where the node stands, once it has said that it is on this chain and up to date.
    pub async fn standing(&self) -> Result<Standing, ChainError> {
        let answer: StatusAnswer = self.ask("status", json!({})).await?;
        if answer.node_info.network != self.chain.reference() {
            let found = chain_of(&answer.node_info.network)?;
            return Err(ChainError::WrongChain { expected: self.chain.clone(), found });
        }
        let sync = answer.sync_info;
        if sync.catching_up {
            return Err(self.unavailable("the node is catching up with the chain"));
        }
        let (block, oldest_block) = (sync.latest_block_height, sync.earliest_block_height);
        Ok(Standing { block, hash: sync.latest_block_hash, oldest_block })
    }

    /// A block that the node keeps.
    pub async fn block(&self, number: u64) -> Result<BlockMeta, ChainError> {
        let number = number.to_string();
        let parameters = json!({ "minHeight": number, "maxHeight": number });
        let answer: BlocksAnswer = self.ask("blockchain", parameters).await?;
        let block = answer.block_metas.into_iter().next();
        let block = block.ok_or_else(|| self.unavailable("the node does not have the block"))?;
        Ok(BlockMeta { hash: block.block_id.hash, parent: block.header.last_block_id.hash })
    }

    /// A transaction by its hash, if the node's index has it.
    pub async fn transaction(&self, hash: &[u8; 32]) -> Result<Option<Executed>, ChainError> {
        let parameters = json!({ "hash": STANDARD.encode(hash), "prove": false });
        match self.rpc.call::<TransactionAnswer>("tx", parameters).await {
            Ok(found) => found.executed().map(Some),
            Err(RpcError::Refused { message }) if message.contains("not found") => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A page, counted from 1, of the transactions with these events, newest first.
    pub async fn search(&self, query: &str, page: u64) -> Result<Page, ChainError> {
        let (page, per_page) = (page.to_string(), PAGE_MAX.to_string());
        let parameters =
            json!({ "query": query, "prove": false, "page": page, "per_page": per_page, "order_by": "desc" });
        let answer: SearchAnswer = self.ask("tx_search", parameters).await?;
        let transactions = answer.txs.into_iter().map(TransactionAnswer::executed).collect::<Result<_, _>>()?;
        Ok(Page { transactions, total: answer.total_count })
    }

    /// Whether a transaction is among the oldest `PAGE_MAX` of the node's pool; a node shows no more of it.
    pub async fn pool_has(&self, hash: &[u8; 32]) -> Result<bool, ChainError> {
        let answer: PoolAnswer = self.ask("unconfirmed_txs", json!({ "limit": PAGE_MAX.to_string() })).await?;
        for transaction in answer.txs.unwrap_or_default() {
            if Sha256::digest(decode_base64(&transaction)?).as_slice() == hash {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Hands a transaction to the pool. The node's own refusals, before the application's, come as [`RpcError`].
    pub async fn submit(&self, bytes: &[u8]) -> Result<Check, RpcError> {
        self.rpc.call("broadcast_tx_sync", json!({ "tx": STANDARD.encode(bytes) })).await
    }

    /// An account, as of the newest block or of this one. `None` before it owns anything.
    ///
    /// # Errors
    /// [`ChainError::Behind`] when the node does not have the state after that block.
    pub async fn account(&self, address: &str, block: Option<u64>) -> Result<Option<Account>, ChainError> {
        let request = QueryAccountInfoRequest { address: address.to_owned() };
        let answer = self.query_at("/cosmos.auth.v1beta1.Query/AccountInfo", &request, block).await?;
        if answer.is_sdk(NOT_FOUND) {
            return Ok(None);
        }
        let answer: QueryAccountInfoResponse = answer.decode()?;
        let account = answer.info.ok_or_else(|| malformed("the account", "the answer has none"))?;
        Ok(Some(Account { number: account.account_number, sequence: account.sequence }))
    }

    /// Asks the application, as of the newest block or of this one.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when the application refuses; [`ChainError::Behind`] when the node does not have the
    /// state after that block; [`ChainError::Unavailable`]; [`ChainError::Malformed`].
    pub async fn query<T: Message + Default>(
        &self,
        path: &str,
        request: &impl Message,
        block: Option<u64>,
    ) -> Result<T, ChainError> {
        self.query_at(path, request, block).await?.decode()
    }

    async fn query_at(
        &self,
        path: &str,
        request: &impl Message,
        block: Option<u64>,
    ) -> Result<QueryResponse, ChainError> {
        let data = request.to_bytes().map_err(|error| malformed("the request", &error.to_string()))?;
        let height = block.unwrap_or(0).to_string();
        let parameters = json!({ "path": path, "data": hex::encode(data), "height": height, "prove": false });
        let QueryAnswer { response } = self.ask("abci_query", parameters).await?;
        let is_missing = response.is_sdk(INVALID_HEIGHT) || response.log.contains("failed to load state at height");
        match block {
            Some(block) if is_missing => Err(ChainError::Behind { chain: self.chain.clone(), block }),
            // It has no state yet, or is between two.
            None if is_missing => Err(self.unavailable(&response.log)),
            _ => Ok(response),
        }
    }

    /// Asks the node itself.
    pub(crate) async fn ask<T: de::DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: serde_json::Value,
    ) -> Result<T, ChainError> {
        self.rpc.call(method, parameters).await.map_err(|error| self.failed(error))
    }

    /// What a failed call means: nothing that a node says before its application is asked is the chain's own refusal.
    pub fn failed(&self, error: RpcError) -> ChainError {
        let chain = self.chain.clone();
        match error {
            RpcError::Throttled { retry_after } => {
                ChainError::Throttled { chain, retry_after, reason: error.to_string() }
            }
            RpcError::TooLong(source) => ChainError::AnswerTooLong { chain, source },
            error => ChainError::Unavailable { chain, source: Box::new(error) },
        }
    }

    /// The node answered, but cannot serve.
    pub fn unavailable(&self, reason: &str) -> ChainError {
        ChainError::Unavailable { chain: self.chain.clone(), source: reason.into() }
    }
}

#[derive(Deserialize)]
struct StatusAnswer {
    node_info: NodeInfo,
    sync_info: SyncInfo,
}

#[derive(Deserialize)]
struct NodeInfo {
    network: String,
}

#[derive(Deserialize)]
struct SyncInfo {
    #[serde(deserialize_with = "number")]
    latest_block_height: u64,
    latest_block_hash: String,
    #[serde(deserialize_with = "number")]
    earliest_block_height: u64,
    catching_up: bool,
}

#[derive(Deserialize)]
struct BlocksAnswer {
    block_metas: Vec<BlockAnswer>,
}

#[derive(Deserialize)]
struct BlockAnswer {
    block_id: BlockId,
    header: Header,
}

#[derive(Deserialize)]
struct Header {
    last_block_id: BlockId,
}

#[derive(Deserialize)]
struct BlockId {
    hash: String,
}

#[derive(Deserialize)]
struct TransactionAnswer {
    #[serde(deserialize_with = "number")]
    height: u64,
    tx_result: ResultAnswer,
    tx: String,
}

#[derive(Deserialize)]
struct ResultAnswer {
    #[serde(default)]
    code: u32,
}

#[derive(Deserialize)]
struct SearchAnswer {
    txs: Vec<TransactionAnswer>,
    #[serde(deserialize_with = "number")]
    total_count: u64,
}

#[derive(Deserialize)]
struct PoolAnswer {
    txs: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct QueryAnswer {
    response: QueryResponse,
}

#[derive(Deserialize)]
struct QueryResponse {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    codespace: String,
    #[serde(default)]
    log: String,
    value: Option<String>,
}

impl TransactionAnswer {
    fn executed(self) -> Result<Executed, ChainError> {
        let bytes = decode_base64(&self.tx)?;
        Ok(Executed { bytes, block: self.height, succeeded: self.tx_result.code == 0 })
    }
}

impl QueryResponse {
    fn is_sdk(&self, code: u32) -> bool {
        self.code == code && self.codespace == "sdk"
    }

    fn decode<T: Message + Default>(self) -> Result<T, ChainError> {
        if self.code != 0 {
            return Err(ChainError::Rejected { reason: self.log });
        }
        let value = decode_base64(&self.value.unwrap_or_default())?;
        T::decode(value.as_slice()).map_err(|error| malformed("the application's answer", &error.to_string()))
    }
}

/// Numbers of 64 bits are strings in CometBFT's JSON.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn decode_base64(text: &str) -> Result<Vec<u8>, ChainError> {
    STANDARD.decode(text).map_err(|error| malformed("base64 in the node's answer", &error.to_string()))
}

/// Something is not what it should be.
pub fn malformed(what: &'static str, reason: &str) -> ChainError {
    ChainError::Malformed { what, reason: reason.chars().take(200).collect() }
}
