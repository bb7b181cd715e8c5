//! The `Chain` port over a ledger in memory, with the faults that tests ask for.

use std::fmt;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::chain::{
    Action, AnchoredHead, Broadcast, Chain, ChainError, ChainId, Consistency, Head, InclusionClaim, SignedTransaction,
    TransactionStatus,
};
use crate::fee::{Fee, MarketFee};
use crate::ledger::Ledger;

/// A chain in memory that makes a block as soon as a transaction arrives, unless told otherwise.
pub struct MemoryChain {
    id: ChainId,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger,
    mining: Mining,
    fault: Option<Fault>,
    broadcasts: u64,
}

/// When blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// For each transaction, and as often as the head is asked for, so that what landed becomes final.
    Automatic,
    /// When the test says so.
    Manual,
}

/// What goes wrong until it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is answered and nothing arrives.
    Down,
    /// Broadcasts arrive, but their answers are lost.
    RepliesLost,
}

impl MemoryChain {
    /// An empty chain.
    pub const fn new(id: ChainId, ledger: Ledger, mining: Mining) -> Self {
        Self { id, state: Mutex::new(State { ledger, mining, fault: None, broadcasts: 0 }) }
    }

    /// Breaks or repairs it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state.lock().fault = fault;
    }

    /// Looks at the ledger, or changes it as a test wants.
    pub fn with_ledger<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.state.lock().ledger)
    }

    /// How many broadcasts arrived.
    pub fn broadcasts(&self) -> u64 {
        self.state.lock().broadcasts
    }

    fn ask<T>(&self, answer: impl FnOnce(&mut State) -> T) -> Result<T, ChainError> {
        let mut state = self.state.lock();
        if state.fault == Some(Fault::Down) {
            return Err(self.unavailable("it is down"));
        }
        Ok(answer(&mut state))
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
        "account"
    }

    async fn genesis(&self) -> Result<String, ChainError> {
        self.ask(|_| "block-0-0".to_owned())
    }

    async fn head(&self) -> Result<Head, ChainError> {
        self.ask(|state| {
            if state.mining == Mining::Automatic {
                state.ledger.mine();
            }
            state.ledger.head()
        })
    }

    async fn sequence(&self, at: Consistency) -> Result<u64, ChainError> {
        self.ask(|state| state.ledger.sequence(at))
    }

    async fn market_fee(&self) -> Result<MarketFee, ChainError> {
        self.ask(|_| MarketFee { base: 10, tip: 1 })
    }

    async fn sign(&self, action: &Action, sequence: u64, fee: Fee) -> Result<SignedTransaction, ChainError> {
        self.ask(|state| state.ledger.sign(action, sequence, fee))
    }

    async fn broadcast(&self, bytes: &[u8]) -> Result<Broadcast, ChainError> {
        let answer = self.ask(|state| {
            state.broadcasts += 1;
            let answer = state.ledger.broadcast(bytes);
            if state.mining == Mining::Automatic {
                state.ledger.mine();
            }
            (answer, state.fault)
        })?;
        match answer {
            (_, Some(Fault::RepliesLost)) => Err(self.unavailable("the reply was lost")),
            (answer, _) => answer,
        }
    }

    async fn status(&self, hash: &str, sequence: u64) -> Result<TransactionStatus, ChainError> {
        self.ask(|state| {
            if state.mining == Mining::Automatic {
                state.ledger.mine();
            }
            state.ledger.status(hash, sequence)
        })
    }

    async fn read_anchor(&self, contract: &str, log_id: &[u8; 32]) -> Result<Option<AnchoredHead>, ChainError> {
        self.ask(|state| state.ledger.anchor_of(contract, log_id).as_ref().map(AnchoredHead::of))
    }

    async fn verify_inclusion(&self, contract: &str, claim: &InclusionClaim) -> Result<bool, ChainError> {
        self.ask(|state| state.ledger.verify_inclusion(contract, claim))
    }
}
