//! A chain over several endpoints: one driver an endpoint, used as one [`Chain`].
//!
//! A read goes to the primary, to the next when that fails, and to a second at the same time when it takes longer than
//! usual. What is final, and which chain it is, is believed only when `quorum` endpoints say so; who is contradicted
//! is named and left out. A transaction is signed with one endpoint at a time; the same signed bytes may go to all.
//! Nothing is cached, and nothing is decided from what an endpoint said before, but whom to ask.

mod ask;
mod chain;
mod expiry;
mod gauges;
mod roster;
mod round;
mod tally;
mod tend;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steward_types::{Clock, limits};
use thiserror::Error;
use tokio::sync::Notify;

pub use self::roster::{PoolPolicy, Roster};
use crate::breaker::Forced;
use crate::chain::{Chain, ChainError, ChainId};
use crate::endpoint::{Class, EndpointStatus};

/// One account on one chain, reached by several endpoints.
pub struct Pool {
    id: ChainId,
    account: String,
    needs_contract: bool,
    keeps_old_states: bool,
    quorum: usize,
    drivers: Vec<Arc<dyn Chain>>,
    names: Vec<String>,
    roster: Mutex<Roster>,
    /// Told of whatever may make an endpoint one to tend.
    troubled: Notify,
    clock: Arc<dyn Clock>,
}

/// Why endpoints do not make a pool.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PoolError {
    /// There are none, or too many.
    #[error("a chain has 1 to {most} endpoints, and not {found}", most = limits::ENDPOINTS_MAX)]
    Count {
        /// How many there are.
        found: usize,
    },
    /// More must agree than there are, or nobody.
    #[error("quorum is {quorum}: give a number from 1 to {endpoints}, that of the endpoints")]
    Quorum {
        /// How many must agree.
        quorum: usize,
        /// How many there are.
        endpoints: usize,
    },
    /// Two have one name.
    #[error("the endpoint {0} is given twice")]
    Twice(String),
    /// They are not of one account on one chain.
    #[error("the endpoint {0} is for another chain or account than the first")]
    Differs(String),
}

impl Pool {
    /// A pool of drivers by their endpoints' names, which are shown to operators and must hold no secret. The first is
    /// the primary.
    ///
    /// # Errors
    /// [`PoolError`] says what does not fit.
    pub fn new(
        drivers: Vec<(String, Arc<dyn Chain>)>,
        policy: PoolPolicy,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PoolError> {
        let count = drivers.len();
        let (names, drivers): (Vec<String>, Vec<Arc<dyn Chain>>) = drivers.into_iter().unzip();
        let Some(first) = drivers.first().filter(|_| count <= limits::ENDPOINTS_MAX) else {
            return Err(PoolError::Count { found: count });
        };
        if !(1..=count).contains(&policy.quorum) {
            return Err(PoolError::Quorum { quorum: policy.quorum, endpoints: count });
        }
        for (number, (name, driver)) in names.iter().zip(&drivers).enumerate() {
            if names[..number].contains(name) {
                return Err(PoolError::Twice(name.clone()));
            }
            if driver.id() != first.id() || driver.account() != first.account() {
                return Err(PoolError::Differs(name.clone()));
            }
        }
        let (id, account, needs_contract) = (first.id().clone(), first.account().to_owned(), first.needs_contract());
        let (quorum, keeps_old_states) = (policy.quorum, first.keeps_old_states());
        let roster = Mutex::new(Roster::new(names.iter().cloned(), policy, clock.now()));
        Ok(Self {
            id,
            account,
            needs_contract,
            keeps_old_states,
            quorum,
            drivers,
            names,
            roster,
            troubled: Notify::new(),
            clock,
        })
    }

    /// How many endpoints there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a pool is never empty")]
    pub const fn len(&self) -> usize {
        self.drivers.len()
    }

    /// How many endpoints must say the same before it is believed what is final.
    pub const fn quorum(&self) -> usize {
        self.quorum
    }

    /// How each endpoint is, as configured.
    pub fn status(&self) -> Vec<EndpointStatus> {
        self.roster.lock().status(self.clock.now())
    }

    /// Sets an endpoint by hand, or gives it back to itself; false when there is none of that name.
    pub fn force(&self, name: &str, forced: Option<Forced>) -> bool {
        let is_known = self.roster.lock().force(name, forced, self.clock.now());
        self.troubled.notify_one();
        is_known
    }

    /// Any endpoint's driver, for what none is asked.
    fn any(&self) -> &dyn Chain {
        &*self.drivers[0]
    }

    fn order(&self, class: Class) -> Result<Vec<usize>, ChainError> {
        self.roster.lock().order(class, self.clock.now()).map_err(|refusals| {
            let each = refusals.iter().map(|(name, refusal)| format!("{name}: {}", refusal.reason));
            self.unavailable(format!("no endpoint may be asked: {}", each.collect::<Vec<_>>().join("; ")))
        })
    }

    fn hedge_time(&self, number: usize, class: Class) -> Duration {
        self.roster.lock().hedge_time(number, class, self.clock.now())
    }

    /// Names who gave a wrong answer.
    fn contradict(&self, contradicted: &[usize], what: &str) {
        for number in contradicted {
            let name = &self.names[*number];
            tracing::warn!(chain = %self.id, endpoint = %name, %what, "an endpoint gave a wrong answer");
            metrics::counter!("steward_endpoint_wrong_answers_total", "chain" => self.id.to_string(), "endpoint" => name.clone())
                .increment(1);
            self.roster.lock().endpoint(*number).contradicted(what, self.clock.now());
            self.troubled.notify_one();
        }
    }

    fn measure<T>(&self, number: usize, result: &Result<T, ChainError>) {
        let outcome = match result {
            Err(ChainError::Throttled { .. }) => "throttled",
            Err(ChainError::Behind { .. }) => "behind",
            Err(error) if error.is_endpoint_failure() => "failed",
            Ok(_) | Err(_) => "served",
        };
        let (chain, endpoint) = (self.id.to_string(), self.names[number].clone());
        metrics::counter!(
            "steward_endpoint_calls_total", "chain" => chain, "endpoint" => endpoint, "outcome" => outcome
        )
        .increment(1);
    }

    fn unavailable(&self, reason: String) -> ChainError {
        ChainError::Unavailable { chain: self.id.clone(), source: reason.into() }
    }

    fn too_few(&self, answered: usize) -> ChainError {
        self.unavailable(format!("{answered} endpoints answered and {} must say the same", self.quorum))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("id", &self.id).field("endpoints", &self.names).finish_non_exhaustive()
    }
}
