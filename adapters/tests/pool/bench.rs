//! Three endpoints of one chain in memory, and a clock that is moved by hand.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use steward_adapters::chain::{Action, Amount, Chain, ChainError, Consistency};
use steward_adapters::endpoint::Change;
use steward_adapters::fee::Fee;
use steward_adapters::ledger::Ledger;
use steward_adapters::memory::{Fault, MemoryChain, Mining};
use steward_adapters::pool::{Pool, PoolPolicy};
use steward_types::{ManualClock, Timestamp};

pub const SOMEBODY: &str = "somebody";
pub const NAMES: [&str; 3] = ["a:1", "b:2", "c:3"];

pub struct Bench {
    pub chains: Vec<Arc<MemoryChain>>,
    pub pool: Pool,
    pub clock: Arc<ManualClock>,
}

pub fn endpoints(confirmations: u64, mining: Mining) -> Vec<Arc<MemoryChain>> {
    endpoints_of(Ledger::new(confirmations), mining)
}

fn endpoints_of(ledger: Ledger, mining: Mining) -> Vec<Arc<MemoryChain>> {
    let id = "test:memory".parse().unwrap();
    let first = MemoryChain::new(id, ledger, mining);
    let (second, third) = (first.beside(), first.beside());
    [first, second, third].map(Arc::new).to_vec()
}

pub fn named(chains: &[Arc<MemoryChain>]) -> Vec<(String, Arc<dyn Chain>)> {
    NAMES.iter().zip(chains).map(|(name, chain)| ((*name).to_owned(), Arc::clone(chain) as Arc<dyn Chain>)).collect()
}

impl Bench {
    /// Three endpoints of a chain with a hundred blocks and a payment of 5 in the last final one.
    pub fn new(quorum: usize) -> Self {
        Self::on(Ledger::new(3), quorum)
    }

    pub fn on(ledger: Ledger, quorum: usize) -> Self {
        let chains = endpoints_of(ledger, Mining::Manual);
        chains[0].with_ledger(|ledger| {
            (0..95).for_each(|_| ledger.mine());
            let payment = Action::Transfer { to: SOMEBODY.to_owned(), amount: Amount::new(5), asset: None };
            let signed = ledger.sign(&payment, 0, Fee::default());
            ledger.broadcast(&signed.bytes).unwrap();
            (0..5).for_each(|_| ledger.mine());
        });
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let policy = PoolPolicy { quorum, ..PoolPolicy::default() };
        let pool = Pool::new(named(&chains), policy, Arc::clone(&clock) as _).unwrap();
        Self { chains, pool, clock }
    }

    pub fn break_one(&self, number: usize, fault: Fault) {
        self.chains[number].set_fault(Some(fault));
    }

    /// Lets time pass until it is done.
    pub async fn until_done<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::task::yield_now() => self.clock.advance(Duration::from_millis(5)),
            }
        }
    }

    pub async fn balance(&self, at: Consistency) -> Result<u128, ChainError> {
        self.until_done(self.pool.balance(SOMEBODY, None, at)).await.map(Amount::units)
    }

    pub fn primary(&self) -> String {
        self.pool.status().into_iter().find(|endpoint| endpoint.is_primary).unwrap().name
    }

    pub fn changes(&self, number: usize) -> Vec<Change> {
        self.pool.status()[number].transitions.iter().map(|transition| transition.change).collect()
    }
}
