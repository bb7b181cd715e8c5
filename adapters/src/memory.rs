//! The `Chain` port over a ledger in memory, with the faults that tests ask for.

mod fault;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use steward_types::limits::CHAIN_EVENTS_MAX;

pub use self::fault::Fault;
use crate::chain::{
    Action, Amount, AnchoredHead, Broadcast, Chain, ChainError, ChainId, Consistency, ContractCall, EmittedEvent,
    EventFilter, Head, InclusionClaim, SignedTransaction, TransactionStatus,
};
use crate::fee::{Fee, MarketFee};
use crate::ledger::{ACCOUNT, Ledger};
use crate::signer::SignerError;

/// An endpoint of a chain in memory that makes a block as soon as a transaction arrives, unless told otherwise.
pub struct MemoryChain {
    id: ChainId,
    anchoring: Anchoring,
    mining: Mining,
    /// Whether a transaction that could not be paid for is refused before it is kept, as on EVM; otherwise it lands and fails.
    checks_funds: bool,
    /// Shared with the endpoints beside this one.
    ledger: Arc<Mutex<Ledger>>,
    state: Mutex<State>,
}

/// What is this endpoint's alone.
#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    broadcasts: u64,
    calls: u64,
}

/// When blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// For each transaction, and as often as the head is asked for, so that what landed becomes final.
    Automatic,
    /// When the test says so.
    Manual,
}

/// Where a chain keeps anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchoring {
    /// In a contract, which must be deployed.
    Contract,
    /// In memos.
    Memo,
}

impl MemoryChain {
    /// An empty chain with contracts.
    pub fn new(id: ChainId, ledger: Ledger, mining: Mining) -> Self {
        let (ledger, state) = (Arc::new(Mutex::new(ledger)), Mutex::default());
        Self { id, anchoring: Anchoring::Contract, mining, checks_funds: false, ledger, state }
    }

    /// The same with its anchors kept there.
    pub const fn with_anchoring(mut self, anchoring: Anchoring) -> Self {
        self.anchoring = anchoring;
        self
    }

    /// The same, that says beforehand what the account cannot pay for.
    pub const fn with_funds_checked(mut self) -> Self {
        self.checks_funds = true;
        self
    }

    /// Another endpoint of the same chain, well.
    pub fn beside(&self) -> Self {
        let ledger = Arc::clone(&self.ledger);
        let (anchoring, mining, checks_funds) = (self.anchoring, self.mining, self.checks_funds);
        Self { id: self.id.clone(), anchoring, mining, checks_funds, ledger, state: Mutex::default() }
    }

    /// Breaks or repairs it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state.lock().fault = fault;
    }

    /// Looks at the ledger, or changes it as a test wants.
    pub fn with_ledger<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.ledger.lock())
    }

    /// How many broadcasts arrived.
    pub fn broadcasts(&self) -> u64 {
        self.state.lock().broadcasts
    }

    /// How many calls were made, answered or not.
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// The ledger as this endpoint knows it.
    async fn ask<T>(&self, answer: impl FnOnce(&Ledger) -> T + Send) -> Result<T, ChainError> {
        let fault = self.begin()?;
        if fault == Some(Fault::Hangs) {
            return std::future::pending().await;
        }
        let ledger = self.ledger.lock();
        Ok(match fault {
            Some(Fault::Behind(blocks)) => answer(&ledger.before(blocks)),
            _ => answer(&ledger),
        })
    }

    /// The same as of then, if it has the block.
    async fn ask_at<T>(&self, at: Consistency, answer: impl FnOnce(&Ledger) -> T + Send) -> Result<T, ChainError> {
        let answer = |ledger: &Ledger| match at {
            Consistency::Block(block) if block > ledger.head().block => {
                Err(ChainError::Behind { chain: self.id.clone(), block })
            }
            _ => Ok(answer(ledger)),
        };
        self.ask(answer).await?
    }

    /// Time passes where blocks are made by themselves.
    fn grow(&self) {
        if self.mining == Mining::Automatic {
            self.ledger.lock().mine();
        }
    }

    fn begin(&self) -> Result<Option<Fault>, ChainError> {
        let mut state = self.state.lock();
        state.calls += 1;
        match state.fault {
            Some(Fault::Down) => Err(self.unavailable("it is down")),
            Some(Fault::Throttled(retry_after)) => {
                let (chain, reason) = (self.id.clone(), "too many requests".to_owned());
                Err(ChainError::Throttled { chain, retry_after, reason })
            }
            fault => Ok(fault),
        }
    }

    fn lies(&self) -> bool {
        self.state.lock().fault == Some(Fault::Lies)
    }

    /// What this chain cannot do at all.
    fn refuse(&self, action: &Action) -> Result<(), ChainError> {
        let reason = match (action, self.anchoring) {
            (Action::DeployReceiptLog | Action::Deploy { .. }, Anchoring::Memo) => {
                "it has no contracts: anchors are memos"
            }
            (Action::Call { .. }, Anchoring::Memo) => "it has no contracts",
            _ => return Ok(()),
        };
        Err(ChainError::Rejected { reason: reason.to_owned() })
    }

    fn unavailable(&self, reason: &str) -> ChainError {
        ChainError::Unavailable { chain: self.id.clone(), source: reason.into() }
    }
}

impl fmt::Debug for MemoryChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryChain").field("id", &self.id).finish_non_exhaustive()
    }
}

#[async_trait]
impl Chain for MemoryChain {
    fn id(&self) -> &ChainId {
        &self.id
    }

    fn account(&self) -> &'static str {
        ACCOUNT
    }

    async fn check_signer(&self) -> Result<(), ChainError> {
        if self.state.lock().fault != Some(Fault::SignerAway) {
            return Ok(());
        }
        let (service, reason) = ("the signing service".to_owned(), "it is away".to_owned());
        Err(SignerError::Unavailable { service, reason }.into())
    }

    async fn genesis(&self) -> Result<String, ChainError> {
        let genesis = self.ask(|_| "block-0-0".to_owned()).await?;
        Ok(if self.lies() { "another chain's".to_owned() } else { genesis })
    }

    async fn head(&self) -> Result<Head, ChainError> {
        self.grow();
        let head = self.ask(Ledger::head).await?;
        let ahead = if self.lies() { 1_000 } else { 0 };
        Ok(Head { block: head.block + ahead, final_block: head.final_block + ahead, ..head })
    }

    async fn confirmed_block(&self) -> Result<u64, ChainError> {
        self.grow();
        let block = self.ask(Ledger::confirmed_block).await?;
        Ok(if self.lies() { block + 1_000 } else { block })
    }

    async fn sequence(&self, at: Consistency) -> Result<Option<u64>, ChainError> {
        let sequence = self.ask_at(at, |ledger| ledger.sequence(at)).await?;
        Ok(if self.lies() { sequence.map(|sequence| sequence + 7) } else { sequence })
    }

    async fn market_fee(&self) -> Result<MarketFee, ChainError> {
        self.ask(|_| MarketFee { base: 10, tip: 1 }).await
    }

    async fn sign(&self, action: &Action, sequence: u64, fee: Fee) -> Result<SignedTransaction, ChainError> {
        self.refuse(action)?;
        self.check_signer().await?;
        if self.state.lock().fault == Some(Fault::Refuses) {
            return Err(ChainError::Rejected { reason: "execution reverted".to_owned() });
        }
        let signed = self.ask(|ledger| ledger.sign(action, sequence, fee)).await?;
        let expires = signed.expires.map(|expires| if self.lies() { 0 } else { expires });
        Ok(SignedTransaction { expires, ..signed })
    }

    async fn check_funds(&self, needed: Amount) -> Result<(), ChainError> {
        if !self.checks_funds {
            return Ok(());
        }
        let at = Consistency::Latest;
        let balance = self.ask(|ledger| ledger.balance(ACCOUNT, None, at)).await?;
        let reason = || format!("it takes {needed}, and {ACCOUNT} has {balance}");
        (needed <= balance).then_some(()).ok_or_else(|| ChainError::Rejected { reason: reason() })
    }

    async fn expiry(&self) -> Result<Option<u64>, ChainError> {
        let expiry = self.ask(Ledger::expiry).await?;
        Ok(if self.lies() { expiry.map(|_| u64::MAX) } else { expiry })
    }

    async fn broadcast(&self, bytes: &[u8]) -> Result<Broadcast, ChainError> {
        let fault = self.begin()?;
        match fault {
            Some(Fault::Hangs) => return std::future::pending().await,
            Some(Fault::Swallows) => return Ok(Broadcast::Accepted),
            _ => self.state.lock().broadcasts += 1,
        }
        let answer = self.ledger.lock().broadcast(bytes);
        self.grow();
        if fault == Some(Fault::RepliesLost) { Err(self.unavailable("the reply was lost")) } else { answer }
    }

    async fn status(&self, transaction: &SignedTransaction) -> Result<TransactionStatus, ChainError> {
        self.grow();
        let status = self.ask(|ledger| ledger.status(transaction)).await?;
        Ok(if self.lies() { TransactionStatus::Replaced { is_final: true } } else { status })
    }

    async fn balance(&self, account: &str, asset: Option<&str>, at: Consistency) -> Result<Amount, ChainError> {
        let balance = self.ask_at(at, |ledger| ledger.balance(account, asset, at)).await?;
        Ok(if self.lies() { balance.checked_add(Amount::new(1)).unwrap_or(Amount::ZERO) } else { balance })
    }

    async fn read(&self, contract: &str, _input: &[u8], at: Consistency) -> Result<Bytes, ChainError> {
        let remembered = self.ask_at(at, |ledger| ledger.read(contract, at)).await?;
        Ok(if self.lies() { Bytes::from_static(b"a lie") } else { remembered })
    }

    fn canonical_address(&self, address: &str) -> Result<String, ChainError> {
        let is_word = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let reason = || format!("{address:?} is no address: one has letters, digits and - only");
        is_word.then(|| address.to_owned()).ok_or_else(|| ChainError::Rejected { reason: reason() })
    }

    fn canonical_method(&self, method: &str) -> Result<String, ChainError> {
        let types: String = method.split_inclusive(')').next().unwrap_or_default().split_whitespace().collect();
        let empty = || ChainError::Rejected { reason: "the method has no name".to_owned() };
        (!types.is_empty()).then_some(types).ok_or_else(empty)
    }

    /// A call is the JSON of its arguments, whatever its types.
    fn encode_call(&self, signature: Option<&str>, arguments: &Value) -> Result<ContractCall, ChainError> {
        let types = signature.and_then(|signature| signature.split_inclusive(')').next());
        let method = types.map(str::to_owned).or_else(|| arguments.as_object()?.keys().next().cloned());
        let method = method.ok_or_else(|| ChainError::Rejected { reason: "the message is empty".to_owned() })?;
        Ok(ContractCall { method, input: Bytes::from(arguments.to_string()), tokens: None })
    }

    fn decode_answer(&self, _signature: Option<&str>, answer: &[u8]) -> Result<Value, ChainError> {
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(answer).map_err(|error| ChainError::Rejected { reason: error.to_string() })
    }

    /// A contract of any name may be made, with the JSON of its arguments.
    fn encode_deployment(&self, contract: &str, arguments: &BTreeMap<String, String>) -> Result<Bytes, ChainError> {
        self.canonical_address(contract)?;
        Ok(Bytes::from(serde_json::json!(arguments).to_string()))
    }

    fn needs_contract(&self) -> bool {
        self.anchoring == Anchoring::Contract
    }

    async fn read_anchor(&self, contract: &str, log_id: &[u8; 32]) -> Result<Option<AnchoredHead>, ChainError> {
        self.ask(|ledger| ledger.anchor_of(contract, log_id).as_ref().map(AnchoredHead::of)).await
    }

    async fn verify_inclusion(&self, contract: &str, claim: &InclusionClaim) -> Result<bool, ChainError> {
        self.ask(|ledger| ledger.verify_inclusion(contract, claim)).await
    }

    fn canonical_filter(&self, filter: &EventFilter) -> Result<EventFilter, ChainError> {
        let address = self.canonical_address(filter.address.trim())?;
        let filter = EventFilter { address, event: filter.event.trim().to_owned() };
        Ledger::check_event_filter(&filter)?;
        Ok(filter)
    }

    async fn events(&self, filter: &EventFilter, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError> {
        let filter = &self.canonical_filter(filter)?;
        let behind = || ChainError::Behind { chain: self.id.clone(), block: to };
        let answer = |ledger: &Ledger| (to <= ledger.head().final_block).then(|| ledger.events(filter, from, to));
        let mut events = self.ask(answer).await?.ok_or_else(behind)?;
        if from < to && events.len() > CHAIN_EVENTS_MAX {
            let reason = format!("there are {} and {CHAIN_EVENTS_MAX} are given at once", events.len());
            return Err(ChainError::TooMany { chain: self.id.clone(), reason });
        }
        if self.lies() {
            events.pop();
        }
        Ok(events)
    }
}
