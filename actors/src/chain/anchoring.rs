//! What the façade asks of chains, answered by their entities.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use steward_storage::Store;
use steward_types::{ErrorCode, ProjectId};

use super::deploying::Deployment;
use super::entity::ChainActor;
use super::intents::OutboxView;
use super::messages::{ChainRequest, ChainResponse, PendingAnchor};
use super::settings::Follow;
use super::status::ChainStatus;
use super::wallet::WalletView;
use crate::host::{AskError, Deadline, EntityId, Host};
use crate::receipt_log::{self, AnchoredRoot};
use crate::service::{AnchorState, Anchoring, Failure, unknown_chain};

/// Anchoring on the chains of this node.
pub struct ChainAnchoring {
    host: Host,
    store: Arc<dyn Store>,
    chains: Vec<String>,
}

impl ChainAnchoring {
    /// Over a host that has registered [`ChainActor`] with these chains.
    pub fn new(host: Host, store: Arc<dyn Store>, chains: impl IntoIterator<Item = String>) -> Self {
        Self { host, store, chains: chains.into_iter().collect() }
    }

    /// Wakes every chain, so that each finishes what is in its outbox.
    ///
    /// # Errors
    /// When the host cannot take a message.
    pub fn wake_all(&self) -> Result<(), AskError> {
        self.chains.iter().try_for_each(|chain| self.host.tell::<ChainActor>(&id(chain)?, ChainRequest::Wake))
    }

    fn known(&self, chain: &str) -> Result<(), Failure> {
        if self.chains.iter().any(|name| name == chain) { Ok(()) } else { Err(unknown_chain(chain)) }
    }

    async fn ask(&self, chain: &str, request: ChainRequest, deadline: Deadline) -> Result<ChainResponse, AskError> {
        self.host.ask::<ChainActor>(&id(chain)?, request, deadline).await
    }

    async fn pending(&self, project: &ProjectId, chain: &str) -> Result<Vec<AnchorState>, Failure> {
        let deadline = self.host.deadline_default();
        let answer = self.ask(chain, ChainRequest::Pending(project.clone()), deadline).await?;
        let ChainResponse::Pending(pending) = answer else { return Ok(Vec::new()) };
        Ok(pending.into_iter().map(|pending| on_its_way(chain, pending)).collect())
    }
}

impl fmt::Debug for ChainAnchoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainAnchoring").field("chains", &self.chains).finish_non_exhaustive()
    }
}

#[async_trait]
impl Anchoring for ChainAnchoring {
    fn chains(&self) -> Vec<String> {
        self.chains.clone()
    }

    async fn anchor(&self, project: &ProjectId, chain: &str, deadline: Deadline) -> Result<AnchorState, Failure> {
        self.known(chain)?;
        match self.ask(chain, ChainRequest::Anchor(project.clone()), deadline).await {
            Ok(ChainResponse::Anchored(root)) => Ok(confirmed(*root)),
            Ok(ChainResponse::Refused(code, message)) => Err(Failure::new(code, message).with("chain", chain)),
            // It goes on without the asker, who is told how far it is.
            Err(AskError::DeadlineExceeded) => {
                let newest = self.pending(project, chain).await?.pop();
                newest.ok_or_else(|| AskError::DeadlineExceeded.into())
            }
            Ok(other) => Err(misfit(&other)),
            Err(error) => Err(error.into()),
        }
    }

    async fn anchors(&self, project: &ProjectId, limit: usize) -> Result<Vec<AnchorState>, Failure> {
        let mut states = Vec::new();
        for chain in &self.chains {
            states.extend(self.pending(project, chain).await?);
        }
        let anchored = receipt_log::anchors(&*self.store, project, limit).await?;
        states.extend(anchored.into_iter().map(confirmed));
        states.sort_by_key(|state| std::cmp::Reverse(state.tree_size));
        states.truncate(limit);
        Ok(states)
    }

    fn follow(&self, project: &ProjectId, chains: &[String], follow: Follow) -> Result<(), Failure> {
        for chain in &self.chains {
            let follow = chains.contains(chain).then_some(follow);
            self.host.tell::<ChainActor>(&id(chain)?, ChainRequest::Follow(project.clone(), follow))?;
        }
        Ok(())
    }

    fn wake(&self, chain: &str) -> Result<(), Failure> {
        self.known(chain)?;
        Ok(self.host.tell::<ChainActor>(&id(chain)?, ChainRequest::Wake)?)
    }

    async fn status(&self, chain: &str, deadline: Deadline) -> Result<ChainStatus, Failure> {
        self.known(chain)?;
        match self.ask(chain, ChainRequest::Status, deadline).await? {
            ChainResponse::Status(status) => Ok(*status),
            other => Err(misfit(&other)),
        }
    }

    async fn outbox(&self, chain: &str, deadline: Deadline) -> Result<OutboxView, Failure> {
        self.known(chain)?;
        match self.ask(chain, ChainRequest::Outbox, deadline).await? {
            ChainResponse::Outbox(outbox) => Ok(*outbox),
            other => Err(misfit(&other)),
        }
    }

    async fn wallet(&self, chain: &str, deadline: Deadline) -> Result<WalletView, Failure> {
        self.known(chain)?;
        match self.ask(chain, ChainRequest::Wallet, deadline).await? {
            ChainResponse::Wallet(wallet) => Ok(*wallet),
            other => Err(misfit(&other)),
        }
    }

    async fn deploy(
        &self,
        chain: &str,
        contract: String,
        arguments: BTreeMap<String, String>,
        deadline: Deadline,
    ) -> Result<Option<Deployment>, Failure> {
        self.known(chain)?;
        match self.ask(chain, ChainRequest::Deploy { contract, arguments }, deadline).await {
            Ok(ChainResponse::Deployment(deployment)) => Ok(Some(*deployment)),
            Ok(ChainResponse::Refused(code, message)) => Err(Failure::new(code, message).with("chain", chain)),
            // It goes on without the asker.
            Err(AskError::DeadlineExceeded) => Ok(None),
            Ok(other) => Err(misfit(&other)),
            Err(error) => Err(error.into()),
        }
    }

    async fn deployments(&self, chain: &str, deadline: Deadline) -> Result<Vec<Deployment>, Failure> {
        self.known(chain)?;
        match self.ask(chain, ChainRequest::Deployments, deadline).await? {
            ChainResponse::Deployments(deployments) => Ok(deployments),
            other => Err(misfit(&other)),
        }
    }
}

fn misfit(answer: &ChainResponse) -> Failure {
    Failure::new(ErrorCode::Internal, format!("a chain answered {answer:?}"))
}

fn id(chain: &str) -> Result<EntityId, AskError> {
    EntityId::new(chain).map_err(|error| AskError::Poison { cause: error.to_string() })
}

fn confirmed(root: AnchoredRoot) -> AnchorState {
    AnchorState {
        chain: root.anchor.chain,
        tree_size: root.size,
        root: root.root,
        state: "confirmed".to_owned(),
        transaction: root.anchor.transaction,
        block: root.anchor.block,
        contract: root.anchor.contract,
        recorded: root.anchored_at,
        account: root.account,
    }
}

fn on_its_way(chain: &str, pending: PendingAnchor) -> AnchorState {
    AnchorState {
        chain: chain.to_owned(),
        tree_size: pending.size,
        root: pending.root,
        state: pending.state,
        transaction: pending.transaction,
        block: pending.block,
        contract: pending.contract,
        recorded: pending.recorded,
        account: String::new(),
    }
}
