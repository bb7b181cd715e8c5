//! A chain in memory: one account, a pool of waiting transactions, blocks, reorganisations. It counts the account's
//! transactions, or lets each land until it expires. For tests and for a node without a chain; it keeps nothing.

mod events;
mod state;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::state::State;
use crate::chain::{
    Action, Amount, AnchorPoint, Broadcast, ChainError, Consistency, Head, Inclusion, InclusionClaim,
    SignedTransaction, TransactionStatus,
};
use crate::fee::Fee;

/// The one account that can send.
pub const ACCOUNT: &str = "account";
/// What it has in the beginning, of the chain's coin and of every asset. Nobody else has anything. Fees are told and
/// not taken.
pub const ENDOWMENT: Amount = Amount::new(1_000_000_000_000_000_000);

/// How many blocks, its own among them, confirm a block that is not final by then.
const CONFIRMING_BLOCKS: u64 = 2;

/// The gas that each transaction takes.
const TRANSACTION_GAS: u128 = 10;

/// The state of the chain: plain data, so that tests can branch it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ledger {
    confirmations: u64,
    /// For how many blocks a transaction can land after it was signed; nothing on a chain with sequence numbers.
    lifetime: Option<u64>,
    pool: BTreeMap<String, Transaction>,
    /// The lowest price for which the pool takes a transaction.
    price_min: u64,
    /// The transactions of each block, the first block empty.
    blocks: Vec<Vec<Transaction>>,
    /// The newest block that ever counted as final; it never goes back.
    final_block: u64,
    /// Told apart after a reorganisation.
    fork: u64,
}

/// A transaction of the account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Transaction {
    /// Nothing for a stranger's use of the account's key.
    action: Option<Action>,
    sequence: u64,
    expires: Option<u64>,
    fee: Fee,
    #[serde(skip)]
    hash: String,
}

impl Ledger {
    /// An empty chain on which a block is final once `confirmations` blocks, itself among them, stand on it.
    pub fn new(confirmations: u64) -> Self {
        Self::with_lifetime(confirmations, None)
    }

    /// An empty chain without sequence numbers, on which a transaction can land in the next `lifetime` blocks. Nobody
    /// sees what waits there.
    pub fn expiring(confirmations: u64, lifetime: u64) -> Self {
        Self::with_lifetime(confirmations, Some(lifetime))
    }

    fn with_lifetime(confirmations: u64, lifetime: Option<u64>) -> Self {
        Self {
            confirmations: confirmations.max(1),
            lifetime,
            pool: BTreeMap::new(),
            price_min: 0,
            blocks: vec![Vec::new()],
            final_block: 0,
            fork: 0,
        }
    }

    /// The newest block.
    pub fn head(&self) -> Head {
        let block = self.blocks.len() as u64 - 1;
        Head { block, hash: self.block_hash(block), final_block: self.final_block }
    }

    /// The newest block that another one stands on, or that is final.
    pub fn confirmed_block(&self) -> u64 {
        self.final_block.max((self.blocks.len() as u64).saturating_sub(CONFIRMING_BLOCKS))
    }

    /// The account's next sequence number, where there are such. A block that is not there yet counts as the newest,
    /// here and below.
    pub fn sequence(&self, at: Consistency) -> Option<u64> {
        self.lifetime.is_none().then(|| self.count(at))
    }

    /// How many transactions landed.
    fn count(&self, at: Consistency) -> u64 {
        self.blocks[..self.end_of(at)].iter().map(|block| block.len() as u64).sum()
    }

    /// How much an account has.
    pub fn balance(&self, account: &str, asset: Option<&str>, at: Consistency) -> Amount {
        self.state_before(self.end_of(at)).balance(account, asset)
    }

    /// What a contract remembers: the input of the last call to it.
    pub fn read(&self, contract: &str, at: Consistency) -> Bytes {
        self.state_before(self.end_of(at)).input_of(contract)
    }

    /// The last block that can have a transaction which is signed now; nothing where they never expire.
    pub fn expiry(&self) -> Option<u64> {
        self.lifetime.map(|lifetime| self.head().block + lifetime)
    }

    /// A transaction that does `action`; nothing is sent.
    pub fn sign(&self, action: &Action, sequence: u64, fee: Fee) -> SignedTransaction {
        let expires = self.expiry();
        let transaction = Transaction { action: Some(action.clone()), sequence, expires, fee, hash: String::new() };
        let bytes = serde_json::to_vec(&transaction).expect("a transaction has only text keys");
        let creates = matches!(action, Action::DeployReceiptLog | Action::Deploy { .. }).then(|| contract_at(sequence));
        let fee_max = Some(fee_of(fee));
        let (hash, bytes, deposit) = (hash_of(&bytes), Bytes::from(bytes), Amount::ZERO);
        SignedTransaction { hash, bytes, sequence, expires, fee, fee_max, deposit, creates }
    }

    /// Takes a transaction into the pool.
    pub fn broadcast(&mut self, bytes: &[u8]) -> Result<Broadcast, ChainError> {
        let mut transaction: Transaction = serde_json::from_slice(bytes)
            .map_err(|error| ChainError::Malformed { what: "the transaction", reason: error.to_string() })?;
        transaction.hash = hash_of(bytes);
        if self.lifetime.is_some() {
            return Ok(self.broadcast_expiring(transaction));
        }
        if transaction.sequence < self.count(Consistency::Latest) {
            return Ok(Broadcast::SequenceUsed);
        }
        if transaction.fee.price < self.price_min {
            return Ok(Broadcast::Refused { reason: format!("it offers less than {}", self.price_min) });
        }
        let rival = self.pool.values().find(|other| other.sequence == transaction.sequence && **other != transaction);
        if rival.is_some_and(|rival| rival.fee.price.saturating_mul(11) > transaction.fee.price.saturating_mul(10)) {
            return Ok(Broadcast::Underpriced);
        }
        self.pool.retain(|_, other| other.sequence != transaction.sequence);
        self.pool.insert(transaction.hash.clone(), transaction);
        Ok(Broadcast::Accepted)
    }

    fn broadcast_expiring(&mut self, transaction: Transaction) -> Broadcast {
        if self.blocks.iter().flatten().any(|landed| landed.hash == transaction.hash) {
            return Broadcast::Accepted;
        }
        if transaction.expires < Some(self.blocks.len() as u64) {
            return Broadcast::Refused { reason: "it has expired".to_owned() };
        }
        self.pool.insert(transaction.hash.clone(), transaction);
        Broadcast::Accepted
    }

    /// What became of a transaction.
    pub fn status(&self, transaction: &SignedTransaction) -> TransactionStatus {
        let SignedTransaction { hash, sequence, expires, .. } = transaction;
        for (block, transactions) in self.blocks.iter().enumerate() {
            if let Some(place) = transactions.iter().position(|landed| landed.hash == *hash) {
                let number = block as u64;
                return TransactionStatus::Included(Inclusion {
                    block: number,
                    block_hash: self.block_hash(number),
                    succeeded: self.succeeds(block, place),
                    is_final: number <= self.final_block,
                    fee: Some(fee_of(transactions[place].fee)),
                });
            }
        }
        if let Some(expires) = expires {
            let is_over = *expires <= self.final_block;
            return if is_over { TransactionStatus::Expired } else { TransactionStatus::Unknown };
        }
        if self.count(Consistency::Latest) > *sequence {
            return TransactionStatus::Replaced { is_final: self.count(Consistency::Final) > *sequence };
        }
        if self.pool.contains_key(hash) { TransactionStatus::Pending } else { TransactionStatus::Unknown }
    }

    /// The newest anchor of a log.
    pub fn anchor_of(&self, contract: &str, log_id: &[u8; 32]) -> Option<AnchorPoint> {
        self.state_before(self.blocks.len()).anchor_of(contract, log_id)
    }

    /// Whether the leaf is in the log's anchored tree: RFC 9162, section 2.1.3.2.
    pub fn verify_inclusion(&self, contract: &str, claim: &InclusionClaim) -> bool {
        self.anchor_of(contract, &claim.log_id).is_some_and(|anchor| claim.is_in(&anchor))
    }

    /// Makes a block of every transaction of the pool whose turn it is.
    pub fn mine(&mut self) {
        if self.lifetime.is_some() {
            let block = std::mem::take(&mut self.pool).into_values().collect();
            return self.push(block);
        }
        let mut block = Vec::new();
        let mut sequence = self.count(Consistency::Latest);
        while let Some(hash) =
            self.pool.iter().find(|(_, next)| next.sequence == sequence).map(|(hash, _)| hash.clone())
        {
            block.extend(self.pool.remove(&hash));
            sequence += 1;
        }
        self.pool.retain(|_, waiting| waiting.sequence >= sequence);
        self.push(block);
    }

    /// Makes a block that none of the waiting transactions is in.
    pub fn mine_empty(&mut self) {
        self.push(Vec::new());
    }

    /// Makes a block with a stranger's transaction that uses the account's next sequence number.
    pub fn mine_stranger(&mut self) {
        let sequence = self.count(Consistency::Latest);
        self.pool.retain(|_, waiting| self.lifetime.is_some() || waiting.sequence != sequence);
        let (fee, hash) = (Fee::default(), String::new());
        self.push(vec![Transaction { action: None, sequence, expires: None, fee, hash }]);
    }

    /// Undoes the newest block, unless it is final. Its transactions are lost or wait again.
    pub fn reorganize(&mut self, lost: Lost) {
        if self.final_block + 1 >= self.blocks.len() as u64 {
            return;
        }
        let undone = self.blocks.pop().unwrap_or_default();
        self.fork += 1;
        if lost == Lost::No {
            self.pool.extend(undone.into_iter().filter(|t| t.action.is_some()).map(|t| (t.hash.clone(), t)));
        }
    }

    /// Undoes the newest blocks though they were final, and forgets what was in them.
    pub fn undo_final(&mut self, blocks: u64) {
        let undone = usize::try_from(blocks).unwrap_or(usize::MAX);
        self.blocks.truncate(self.blocks.len().saturating_sub(undone).max(1));
        self.final_block = (self.blocks.len() as u64).saturating_sub(self.confirmations);
        self.fork += 1;
    }

    /// The ledger as one knows it who is so many blocks behind.
    #[must_use]
    pub fn before(&self, blocks: u64) -> Self {
        let mut earlier = self.clone();
        let left = self.blocks.len().saturating_sub(usize::try_from(blocks).unwrap_or(usize::MAX)).max(1);
        earlier.blocks.truncate(left);
        earlier.final_block = (left as u64).saturating_sub(self.confirmations);
        earlier.pool.clear();
        earlier
    }

    /// Forgets every waiting transaction.
    pub fn forget_pool(&mut self) {
        self.pool.clear();
    }

    /// Takes nothing that offers less from now on, and forgets what waits and does.
    pub fn raise_price(&mut self, price_min: u64) {
        self.price_min = price_min;
        self.pool.retain(|_, waiting| waiting.fee.price >= price_min);
    }

    /// How many transactions wait.
    pub fn pool_len(&self) -> usize {
        self.pool.len()
    }

    /// What landed, oldest first.
    pub fn landed(&self) -> impl Iterator<Item = &Action> {
        self.blocks.iter().flatten().filter_map(|transaction| transaction.action.as_ref())
    }

    fn push(&mut self, block: Vec<Transaction>) {
        self.blocks.push(block);
        let next = self.blocks.len() as u64;
        self.pool.retain(|_, waiting| waiting.expires.is_none_or(|expires| next <= expires));
        self.final_block = self.final_block.max((self.blocks.len() as u64).saturating_sub(self.confirmations));
    }

    fn block_hash(&self, block: u64) -> String {
        let fork = if block == 0 { 0 } else { self.fork };
        format!("block-{block}-{fork}")
    }

    /// Whether the transaction at this place did what it was to do.
    fn succeeds(&self, block: usize, place: usize) -> bool {
        let mut state = self.state_before(block);
        let mut succeeded = true;
        for transaction in &self.blocks[block][..=place] {
            succeeded = transaction.action.as_ref().is_none_or(|action| state.apply(action));
        }
        succeeded
    }

    fn state_before(&self, block: usize) -> State {
        let mut state = State::default();
        for action in self.blocks[..block].iter().flatten().filter_map(|transaction| transaction.action.as_ref()) {
            state.apply(action);
        }
        state
    }

    /// How many blocks there are as of then.
    fn end_of(&self, at: Consistency) -> usize {
        match at {
            Consistency::Latest => self.blocks.len(),
            Consistency::Confirmed => self.confirmed_block() as usize + 1,
            Consistency::Final => self.final_block as usize + 1,
            Consistency::Block(block) => {
                usize::try_from(block).map_or(self.blocks.len(), |block| self.blocks.len().min(block + 1))
            }
        }
    }
}

/// Whether a reorganisation loses the transactions of the block that it undoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// They wait in the pool again.
    No,
    /// They are forgotten.
    Yes,
}

/// What a transaction is said to have paid.
const fn fee_of(fee: Fee) -> Amount {
    Amount::new(fee.price as u128 * TRANSACTION_GAS)
}

fn hash_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn contract_at(sequence: u64) -> String {
    format!("contract-{sequence}")
}
