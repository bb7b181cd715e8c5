//! Contracts that operators want on a chain: each of the same name and arguments is made once, through the outbox, and is
//! known from then on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_adapters::chain::Action;
use steward_adapters::outbox::{Event, OutboxError, Outcome};
use steward_receipts::Hash;
use steward_storage::Record;
use steward_types::limits::{CHAIN_DEPLOYMENT_ARGUMENTS_BYTES_MAX, CHAIN_DEPLOYMENTS_MAX};
use steward_types::{Amount, ErrorCode, Timestamp};

use super::desk::{Desk, End};
use super::entity::{ChainActor, bug};
use super::messages::ChainResponse;
use crate::host::{Context, Fault, Reply};

/// How many bytes of a deployment's hash its key has.
const KEY_HASH_BYTES: usize = 8;

/// A contract that is on the chain, or on its way there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its name, as the chain's driver knows it.
    pub contract: String,
    /// What it is made with, as it was asked for.
    pub arguments: BTreeMap<String, String>,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Where it is; nothing before that is final.
    pub deployed: Option<Deployed>,
}

/// Where a contract is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Its address, as the chain writes one.
    pub address: String,
    /// The transaction that made it.
    pub transaction: String,
    /// The block that has that.
    pub block: u64,
    /// What the chain took for it, in the smallest unit of its coin; nothing where it does not tell.
    pub fee: Option<Amount>,
}

impl Record for Deployment {
    const NAME: &'static str = "deployment";
    const VERSION: u16 = 1;
}

/// Somebody who waits until a contract is on the chain.
#[derive(Debug)]
pub(super) struct DeploymentWaiter {
    key: String,
    reply: Reply<ChainResponse>,
}

/// What becomes of the wish for a contract.
enum Wish {
    /// It is there.
    Deployed(Box<Deployment>),
    /// It is on its way, under this key.
    OnItsWay(String),
    /// It is not made, and why.
    Refused(ErrorCode, String),
}

impl ChainActor {
    /// Puts a contract on the chain unless it is there or on its way; answered when it is final.
    pub(super) async fn deploy(
        &mut self,
        contract: String,
        arguments: BTreeMap<String, String>,
        reply: Reply<ChainResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        match self.wish(contract, arguments, context.clock().now())? {
            Wish::Deployed(deployment) => reply.send(ChainResponse::Deployment(deployment)),
            Wish::Refused(code, message) => reply.send(ChainResponse::Refused(code, message)),
            Wish::OnItsWay(key) => {
                self.deployment_waiters.retain(|waiter| waiter.reply.is_wanted());
                self.deployment_waiters.push(DeploymentWaiter { key, reply });
                return self.advance(context).await;
            }
        }
        Ok(())
    }

    fn wish(&mut self, contract: String, arguments: BTreeMap<String, String>, now: Timestamp) -> Result<Wish, Fault> {
        let encoded = match self.settings.chain.encode_deployment(&contract, &arguments) {
            Ok(encoded) => encoded,
            Err(error) => return Ok(Wish::Refused(ErrorCode::InvalidRequest, error.in_full())),
        };
        let (bytes, most) = (encoded.len(), CHAIN_DEPLOYMENT_ARGUMENTS_BYTES_MAX);
        if bytes > most {
            let message = format!("the arguments have {bytes} bytes, and {most} are the most");
            return Ok(Wish::Refused(ErrorCode::InvalidRequest, message));
        }
        let key = key_of(&contract, &encoded);
        match self.desk.deployments.get(&key) {
            Some(known) if known.deployed.is_some() => return Ok(Wish::Deployed(Box::new(known.clone()))),
            Some(_) => return Ok(Wish::OnItsWay(key)),
            None => {}
        }
        if let Some(paused) = &self.paused {
            return Ok(Wish::Refused(ErrorCode::Paused, format!("{paused}; deploy once it is resumed")));
        }
        if self.desk.deployments.len() >= CHAIN_DEPLOYMENTS_MAX {
            let message = format!("{} has {CHAIN_DEPLOYMENTS_MAX} contracts of yours, the most", self.id);
            return Ok(Wish::Refused(ErrorCode::ChainLimitReached, message));
        }
        let action = Action::Deploy { contract: contract.clone(), arguments: encoded };
        let deployment = Deployment { contract, arguments, asked: now, deployed: None };
        match self.desk.want_deployed(key.clone(), deployment, action, now) {
            Ok(()) => Ok(Wish::OnItsWay(key)),
            Err(full @ OutboxError::Full(_)) => Ok(Wish::Refused(ErrorCode::ChainLimitReached, full.to_string())),
            Err(error) => Err(bug(error)),
        }
    }

    /// What is deployed, and what is on its way, oldest first.
    pub(super) fn deployments(&self) -> Vec<Deployment> {
        let mut all: Vec<Deployment> = self.desk.deployments.values().cloned().collect();
        all.sort_by_key(|deployment| deployment.asked);
        all
    }

    /// Tells those who wait for a deployment how it ended.
    pub(super) fn tell_deployed(&mut self, key: &str, end: &Result<Deployment, String>) {
        let response = match end {
            Ok(deployment) => ChainResponse::Deployment(Box::new(deployment.clone())),
            Err(reason) => ChainResponse::Refused(ErrorCode::ChainRejected, reason.clone()),
        };
        for waiter in self.deployment_waiters.extract_if(.., |waiter| waiter.key == key) {
            waiter.reply.send(response.clone());
        }
    }

    /// Nobody waits for a chain that does nothing now. The deployment stays in the outbox.
    pub(super) fn refuse_deployment_waiters(&mut self, code: ErrorCode, why: &str) {
        for waiter in self.deployment_waiters.drain(..) {
            waiter.reply.send(ChainResponse::Refused(code, format!("{why}; it is deployed once the chain goes on")));
        }
    }
}

impl Desk {
    fn want_deployed(
        &mut self,
        key: String,
        deployment: Deployment,
        action: Action,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        self.outbox.apply(Event::Submitted { key: key.clone(), action }, now, &self.policy)?;
        self.deployments.insert(key, deployment);
        Ok(())
    }

    /// Whether this intent is a deployment that has not ended.
    pub(super) fn is_deploying(&self, key: &str) -> bool {
        self.deployments.get(key).is_some_and(|deployment| deployment.deployed.is_none())
    }

    /// What the outcome of a deployment's intent means. One that failed is forgotten, so that it may be asked for again.
    pub(super) fn conclude_deployment(&mut self, key: &str, outcome: &Outcome) -> End {
        let address = outcome.creates.clone().filter(|_| outcome.succeeded);
        let (Some(address), Some(deployment)) = (address, self.deployments.get_mut(key)) else {
            self.deployments.remove(key);
            let reason = format!("it could not be deployed: transaction {} failed", outcome.hash);
            return End::Deployed { key: key.to_owned(), end: Err(reason) };
        };
        let (transaction, block, fee) = (outcome.hash.clone(), outcome.block, outcome.fee);
        deployment.deployed = Some(Deployed { address, transaction, block, fee });
        End::Deployed { key: key.to_owned(), end: Ok(deployment.clone()) }
    }

    /// A deployment was refused before anything of it was signed.
    pub(super) fn refuse_deployment(&mut self, key: String, reason: String) -> Option<End> {
        self.deployments.remove(&key)?;
        Some(End::Deployed { key, end: Err(reason) })
    }
}

/// The intent's key: the same contract with the same arguments has the same.
fn key_of(contract: &str, encoded: &[u8]) -> String {
    let hash = Hash::of(&[contract.as_bytes(), &[0], encoded].concat());
    format!("deploy {contract} {}", hex::encode(&hash.as_bytes()[..KEY_HASH_BYTES]))
}
