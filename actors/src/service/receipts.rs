//! Receipts: list, prove, checkpoint, anchor, verify.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use steward_receipts::{Hash, Leaf, Proof, VerifierKey};
use steward_types::limits::RECEIPT_PAGE_MAX;
use steward_types::{ErrorCode, HoldId, ProjectId, SessionId, Timestamp};

use super::{Failure, Steward};
use crate::budget::{Budget, BudgetRequest};
use crate::chain::{ChainStatus, Deployment, Follow, OutboxView, WalletView};
use crate::host::{AskError, Deadline, Entity, EntityId, Host};
use crate::project::ProjectView;
use crate::receipt_log::{
    self, ListRequest, ProveUnder, Proven, Receipt, ReceiptError, ReceiptLog, ReceiptLogRequest, ReceiptLogResponse,
};
use crate::timer::Timers;

/// Puts roots of receipt logs on chains.
#[async_trait]
pub trait Anchoring: Send + Sync + fmt::Debug + 'static {
    /// The names of the chains that this node can anchor on.
    fn chains(&self) -> Vec<String>;

    /// Anchors what the project's log has now on the chain, once, and waits until it is final there or the deadline
    /// passes.
    ///
    /// # Errors
    /// [`ErrorCode::ChainNotFound`], [`ErrorCode::ChainUnavailable`], [`ErrorCode::ChainRejected`].
    async fn anchor(&self, project: &ProjectId, chain: &str, deadline: Deadline) -> Result<AnchorState, Failure>;

    /// Every anchoring of the project's log, newest first, at most `limit`.
    ///
    /// # Errors
    /// The store's.
    async fn anchors(&self, project: &ProjectId, limit: usize) -> Result<Vec<AnchorState>, Failure>;

    /// Anchors the project's log by itself on these chains from now on, and on no other.
    ///
    /// # Errors
    /// When a chain cannot take the message now.
    fn follow(&self, project: &ProjectId, chains: &[String], follow: Follow) -> Result<(), Failure>;

    /// Makes a chain look at once at what there is to do.
    ///
    /// # Errors
    /// When it cannot take the message now.
    fn wake(&self, chain: &str) -> Result<(), Failure>;

    /// How a chain is.
    ///
    /// # Errors
    /// [`ErrorCode::ChainNotFound`].
    async fn status(&self, chain: &str, deadline: Deadline) -> Result<ChainStatus, Failure>;

    /// What is in a chain's outbox.
    ///
    /// # Errors
    /// [`ErrorCode::ChainNotFound`].
    async fn outbox(&self, chain: &str, deadline: Deadline) -> Result<OutboxView, Failure>;

    /// The account that sends on a chain. What the chain does not say is left out, with the reason.
    ///
    /// # Errors
    /// [`ErrorCode::ChainNotFound`].
    async fn wallet(&self, chain: &str, deadline: Deadline) -> Result<WalletView, Failure>;

    /// Puts a contract on a chain, once, and waits until it is final there or the deadline passes; it goes on after that.
    ///
    /// # Errors
    /// [`ErrorCode::ChainNotFound`]; [`ErrorCode::InvalidRequest`] when the chain has no such contract, or it is made with
    /// other arguments; [`ErrorCode::ChainRejected`], [`ErrorCode::ChainUnavailable`], [`ErrorCode::Paused`],
    /// [`ErrorCode::ChainLimitReached`].
    async fn deploy(
        &self,
        chain: &str,
        contract: String,
        arguments: BTreeMap<String, String>,
        deadline: Deadline,
    ) -> Result<Option<Deployment>, Failure>;

    /// The contracts that were asked for on a chain, oldest first.
    ///
    /// # Errors
    /// [`ErrorCode::ChainNotFound`].
    async fn deployments(&self, chain: &str, deadline: Deadline) -> Result<Vec<Deployment>, Failure>;
}

/// What is said of a chain that the node does not have.
pub fn unknown_chain(chain: &str) -> Failure {
    Failure::new(ErrorCode::ChainNotFound, format!("this node has no chain {chain}")).with("chain", chain)
}

/// What is said of a chain on which the project does not anchor.
fn not_chosen(project: &ProjectId, chain: &str) -> Failure {
    Failure::new(ErrorCode::ChainNotFound, format!("the project {project} does not anchor on {chain}"))
}

/// A node without chains: receipts are kept and signed, and not anchored.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoAnchoring;

#[async_trait]
impl Anchoring for NoAnchoring {
    fn chains(&self) -> Vec<String> {
        Vec::new()
    }

    async fn anchor(&self, _project: &ProjectId, chain: &str, _deadline: Deadline) -> Result<AnchorState, Failure> {
        Err(unknown_chain(chain))
    }

    async fn anchors(&self, _project: &ProjectId, _limit: usize) -> Result<Vec<AnchorState>, Failure> {
        Ok(Vec::new())
    }

    fn follow(&self, _project: &ProjectId, _chains: &[String], _follow: Follow) -> Result<(), Failure> {
        Ok(())
    }

    fn wake(&self, _chain: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn status(&self, chain: &str, _deadline: Deadline) -> Result<ChainStatus, Failure> {
        Err(unknown_chain(chain))
    }

    async fn outbox(&self, chain: &str, _deadline: Deadline) -> Result<OutboxView, Failure> {
        Err(unknown_chain(chain))
    }

    async fn wallet(&self, chain: &str, _deadline: Deadline) -> Result<WalletView, Failure> {
        Err(unknown_chain(chain))
    }

    async fn deploy(
        &self,
        chain: &str,
        _contract: String,
        _arguments: BTreeMap<String, String>,
        _deadline: Deadline,
    ) -> Result<Option<Deployment>, Failure> {
        Err(unknown_chain(chain))
    }

    async fn deployments(&self, chain: &str, _deadline: Deadline) -> Result<Vec<Deployment>, Failure> {
        Err(unknown_chain(chain))
    }
}

/// A root on a chain, or on its way there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorState {
    /// The chain's name.
    pub chain: String,
    /// The log's size.
    pub tree_size: u64,
    /// Its root.
    pub root: Hash,
    /// How it stands: "recorded", "sent", "included", "confirmed", "failed".
    pub state: String,
    /// The transaction's hash; empty until it is signed.
    pub transaction: String,
    /// The block that has it; 0 for none yet.
    pub block: u64,
    /// The contract's address.
    pub contract: String,
    /// When it was recorded.
    pub recorded: Timestamp,
    /// The account that anchored it; empty when that is not known.
    pub account: String,
}

/// A receipt with its leaf's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptView {
    /// Its place in the log; absent while it is on its way.
    pub index: Option<u64>,
    /// What it says.
    pub leaf: Leaf,
    /// The hash of the leaf's bytes.
    pub leaf_hash: Hash,
}

impl From<Receipt> for ReceiptView {
    fn from(receipt: Receipt) -> Self {
        let leaf_hash = Hash::of_leaf(&receipt.leaf.encode());
        Self { index: receipt.index, leaf: receipt.leaf, leaf_hash }
    }
}

/// The newest checkpoint of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointView {
    /// The signed note; empty while the log is.
    pub checkpoint: String,
    /// The log's size.
    pub tree_size: u64,
    /// Its root.
    pub root: Hash,
    /// What verifies the note.
    pub verifier_key: String,
}

/// What came of checking a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofCheck {
    /// The receipt that it proves; absent when the proof cannot be read.
    pub leaf: Option<Leaf>,
    /// Why it does not verify; absent when it does.
    pub problem: Option<String>,
}

/// Tells an entity something if it lives on this node.
fn wake_here<E: Entity>(host: &Host, id: &EntityId, request: E::Request) -> Result<(), AskError> {
    if host.serves::<E>(id) { host.tell::<E>(id, request) } else { Ok(()) }
}

impl Steward {
    /// Wakes the receipt logs and budgets of all projects, which then follow the store by themselves.
    pub(super) async fn wake_projects(&self) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = crate::project::read::project_names(self.store(), after.as_ref(), RECEIPT_PAGE_MAX).await?;
            for project in &page {
                let id = EntityId::from(project);
                let woken = [
                    wake_here::<Budget>(self.host(), &id, BudgetRequest::Wake),
                    wake_here::<ReceiptLog>(self.host(), &id, ReceiptLogRequest::Wake),
                ];
                // One that cannot be woken, such as one in quarantine, keeps no other from being.
                for error in woken.into_iter().filter_map(Result::err) {
                    tracing::warn!(%project, %error, "a budget or a receipt log could not be woken");
                }
                self.follow_project(&self.project(project).await?)?;
            }
            match page.last() {
                Some(last) if page.len() >= RECEIPT_PAGE_MAX => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Wakes what works by itself in shards that have come to this node: budgets, receipt logs, chains, triggers, and
    /// sessions with something in flight.
    ///
    /// # Errors
    /// The store's, and the host's when it can take no message; what was not woken is at the next call.
    pub async fn recover_shards(&self) -> Result<(), Failure> {
        self.wake_projects().await?;
        self.wake_triggers().await?;
        Ok(Timers::recover(self.host())?)
    }

    pub(super) fn wake_project(&self, project: &ProjectId) -> Result<(), Failure> {
        let id = EntityId::from(project);
        self.host().tell::<Budget>(&id, BudgetRequest::Wake)?;
        Ok(self.host().tell::<ReceiptLog>(&id, ReceiptLogRequest::Wake)?)
    }

    /// Tells the chains when to anchor a project's log.
    pub(super) fn follow_project(&self, project: &ProjectView) -> Result<(), Failure> {
        let follow = Follow { interval_ms: project.anchor_interval_ms, receipts: project.anchor_receipts };
        self.parts().anchoring.follow(&project.id, &project.chains, follow)
    }

    /// A page of a project's receipts from a place in the log on; and where to go on. Those on their way into the log
    /// stand last.
    ///
    /// # Errors
    /// The store's.
    pub async fn receipts(
        &self,
        project: &ProjectId,
        session: Option<SessionId>,
        from: u64,
        limit: usize,
    ) -> Result<(Vec<ReceiptView>, Option<u64>), Failure> {
        let request = ListRequest { session, from, receipts_max: limit };
        let list = receipt_log::list(self.store().as_ref(), project, &request).await?;
        Ok((list.receipts.into_iter().map(ReceiptView::from).collect(), list.next))
    }

    /// One receipt.
    ///
    /// # Errors
    /// [`ErrorCode::ReceiptNotFound`].
    pub async fn receipt(&self, project: &ProjectId, hold: HoldId) -> Result<ReceiptView, Failure> {
        Ok(receipt_log::get(self.store().as_ref(), project, hold).await?.into())
    }

    /// The proof that a receipt is in the log.
    ///
    /// # Errors
    /// [`ErrorCode::ReceiptNotFound`]; [`ErrorCode::ReceiptPending`]; [`ErrorCode::ChainNotFound`] for a proof on a chain
    /// on which the project does not anchor, and did not before.
    pub async fn prove(&self, project: &ProjectId, hold: HoldId, under: ProveUnder) -> Result<Proven, Failure> {
        // What was settled a moment ago may be on its way into the log.
        self.flush_receipts(project, self.deadline()).await?;
        match receipt_log::prove(self.store().as_ref(), project, hold, under).await {
            Err(ReceiptError::PendingOn { chain, .. }) if !self.project(project).await?.chains.contains(&chain) => {
                Err(not_chosen(project, &chain))
            }
            proven => Ok(proven?),
        }
    }

    /// The newest checkpoint of a project's log.
    ///
    /// # Errors
    /// The store's.
    pub async fn checkpoint(&self, project: &ProjectId) -> Result<CheckpointView, Failure> {
        let verifier_key = self.verifier_key(project).to_string();
        let head = receipt_log::head(self.store().as_ref(), project).await?;
        Ok(match head {
            Some(head) => {
                CheckpointView { tree_size: head.size(), root: head.root(), checkpoint: head.checkpoint, verifier_key }
            }
            None => {
                CheckpointView { checkpoint: String::new(), tree_size: 0, root: Hash::of_empty_tree(), verifier_key }
            }
        })
    }

    /// What verifies a project's log.
    pub fn verifier_key(&self, project: &ProjectId) -> VerifierKey {
        self.parts().log.verifier_key(project)
    }

    /// Brings every settled receipt into the log, then anchors it on the chain, or on each of the project's.
    ///
    /// # Errors
    /// [`ErrorCode::ChainNotFound`] when the project has chosen none, or not this one; else see [`Anchoring::anchor`].
    pub async fn anchor(
        &self,
        project: &ProjectId,
        chain: Option<&str>,
        deadline: Deadline,
    ) -> Result<Vec<AnchorState>, Failure> {
        let chosen = self.project(project).await?.chains;
        let chains: Vec<String> = chosen.into_iter().filter(|name| chain.is_none_or(|chain| chain == name)).collect();
        if chains.is_empty() {
            let none = || Failure::new(ErrorCode::ChainNotFound, format!("the project {project} has chosen no chain"));
            return Err(chain.map_or_else(none, |chain| not_chosen(project, chain)).with("project", project));
        }
        self.flush_receipts(project, deadline).await?;
        let mut anchored = Vec::new();
        for chain in chains {
            anchored.push(self.parts().anchoring.anchor(project, &chain, deadline).await?);
        }
        Ok(anchored)
    }

    /// Every anchoring of a project's log, newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn anchors(&self, project: &ProjectId, limit: usize) -> Result<Vec<AnchorState>, Failure> {
        self.parts().anchoring.anchors(project, limit).await
    }

    /// Checks a proof as the offline verifier does. A proof that does not verify is an answer, no error.
    pub fn verify_proof(&self, project: &ProjectId, json: &str, key: Option<&VerifierKey>) -> ProofCheck {
        let proof = match Proof::from_json(json) {
            Ok(proof) => proof,
            Err(error) => return ProofCheck { leaf: None, problem: Some(error.to_string()) },
        };
        let own = self.verifier_key(project);
        match proof.verify(key.unwrap_or(&own)) {
            Ok(verified) => ProofCheck { leaf: Some(verified.leaf), problem: None },
            Err(error) => ProofCheck { leaf: Some(proof.leaf), problem: Some(error.to_string()) },
        }
    }

    async fn flush_receipts(&self, project: &ProjectId, deadline: Deadline) -> Result<(), Failure> {
        let log = EntityId::from(project);
        match self.host().ask::<ReceiptLog>(&log, ReceiptLogRequest::Flush, deadline).await? {
            ReceiptLogResponse::Refused(code, message) => Err(Failure::new(code, message)),
            _ => Ok(()),
        }
    }
}
