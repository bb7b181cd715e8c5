//! What can be asked of a chain, and what it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_adapters::courier::Carried;
use steward_receipts::Hash;
use steward_types::{ErrorCode, ProjectId, Timestamp};

use super::deploying::Deployment;
use super::intents::OutboxView;
use super::settings::Follow;
use super::status::ChainStatus;
use super::wallet::WalletView;
use crate::receipt_log::AnchoredRoot;

/// What can be asked of a chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ChainRequest {
    /// Be there, and look at what there is to do: the chain then finishes what is in its outbox, and follows its logs.
    Wake,
    /// How the chain is.
    Status,
    /// What is in its outbox.
    Outbox,
    /// The account that sends, and what it has.
    Wallet,
    /// Anchor the project's log as it is now, once; answered when that is final. The wish outlives the asker.
    Anchor(ProjectId),
    /// Anchor the project's log by itself from now on, or no longer.
    Follow(ProjectId, Option<Follow>),
    /// The project's roots that are on their way.
    Pending(ProjectId),
    /// Put a contract on the chain, once; answered when that is final. The wish outlives the asker.
    Deploy {
        /// Its name, as the chain's driver knows it.
        contract: String,
        /// What it is made with, by name.
        arguments: BTreeMap<String, String>,
    },
    /// The contracts that were asked for.
    Deployments,
}

/// What a chain answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ChainResponse {
    /// It is done.
    Done,
    /// This root, which covers what was asked for, is on the chain for good.
    Anchored(Box<AnchoredRoot>),
    /// What is on its way.
    Pending(Vec<PendingAnchor>),
    /// How it is.
    Status(Box<ChainStatus>),
    /// What is in its outbox.
    Outbox(Box<OutboxView>),
    /// Its account.
    Wallet(Box<WalletView>),
    /// A contract that is there.
    Deployment(Box<Deployment>),
    /// The contracts that were asked for.
    Deployments(Vec<Deployment>),
    /// It cannot be done now.
    Refused(ErrorCode, String),
}

/// A root on its way to the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingAnchor {
    /// How many leaves the log has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// `recorded`, `sent` or `included`.
    pub state: String,
    /// The newest transaction's hash; empty until it is signed.
    pub transaction: String,
    /// The block that has it; 0 for none yet.
    pub block: u64,
    /// The contract's address.
    pub contract: String,
    /// When it was recorded.
    pub recorded: Timestamp,
}

/// What the chain's workers say.
#[derive(Debug)]
pub enum ChainEvent {
    /// An effect was carried out, or not.
    Carried(Box<Carried>),
    /// The endpoints were asked for their newest blocks.
    Looked,
    /// Endpoints that failed were asked whether they are well again.
    Tended,
    /// A followed log may have grown by as many receipts as may wait.
    Grown(ProjectId),
    /// It is time to look again.
    Woken,
    /// Sessions were told of transactions that ended.
    Told,
}
