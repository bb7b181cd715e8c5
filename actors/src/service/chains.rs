//! The node's chains for operators: what they are to send, and the accounts that they send from.

use steward_adapters::signer::SignerKind;
use steward_types::limits::{CHAIN_CALL_TIME_MAX, OPERATIONS_NODE_TIME_MAX};

use super::{Failure, Steward, unknown_chain};
use crate::chain::{ChainStatus, Deployment, OutboxView, WalletView};

impl Steward {
    /// How each chain of this node is.
    pub async fn chain_statuses(&self) -> Vec<(String, Result<ChainStatus, Failure>)> {
        let mut found = Vec::new();
        for chain in self.parts().anchoring.chains() {
            let deadline = self.host().deadline(OPERATIONS_NODE_TIME_MAX);
            let status = self.parts().anchoring.status(&chain, deadline).await;
            found.push((chain, status));
        }
        found
    }

    /// Where the key of each chain's account lies, and whether this node reaches it. All are asked at the same time.
    pub(super) async fn chain_signers(&self) -> Vec<(String, Option<SignerKind>, Result<(), Failure>)> {
        let asked = self.parts().chains.iter().map(|(chain, settings)| async move {
            let reached = settings.chain.check_signer().await;
            let reached = reached.map_err(|error| Failure::new(error.code(), error.in_full()));
            (chain.clone(), settings.signer, reached)
        });
        futures::future::join_all(asked).await
    }

    /// The chain of this name, or every chain of the node.
    fn chains_named(&self, only: Option<&str>) -> Result<Vec<String>, Failure> {
        let mut chains = self.parts().anchoring.chains();
        chains.retain(|chain| only.is_none_or(|only| only == chain));
        match only.filter(|_| chains.is_empty()) {
            Some(unknown) => Err(unknown_chain(unknown)),
            None => Ok(chains),
        }
    }

    /// What is in the outbox of one chain, or of each.
    ///
    /// # Errors
    /// [`steward_types::ErrorCode::ChainNotFound`] for a chain that this node does not have.
    pub async fn outboxes(&self, only: Option<&str>) -> Result<Vec<(String, Result<OutboxView, Failure>)>, Failure> {
        let mut found = Vec::new();
        for chain in self.chains_named(only)? {
            let deadline = self.host().deadline(OPERATIONS_NODE_TIME_MAX);
            let outbox = self.parts().anchoring.outbox(&chain, deadline).await;
            found.push((chain, outbox));
        }
        Ok(found)
    }

    /// The contracts that operators put on one chain, or on each.
    ///
    /// # Errors
    /// [`steward_types::ErrorCode::ChainNotFound`] for a chain that this node does not have.
    pub async fn deployments(&self, only: Option<&str>) -> Result<Vec<(String, Deployment)>, Failure> {
        let mut found = Vec::new();
        for chain in self.chains_named(only)? {
            let deadline = self.host().deadline(OPERATIONS_NODE_TIME_MAX);
            let of_chain = self.parts().anchoring.deployments(&chain, deadline).await?;
            found.extend(of_chain.into_iter().map(|deployment| (chain.clone(), deployment)));
        }
        Ok(found)
    }

    /// The account of each chain. All chains are asked at the same time.
    pub async fn wallets(&self) -> Vec<(String, Result<WalletView, Failure>)> {
        let deadline = self.host().deadline(CHAIN_CALL_TIME_MAX + OPERATIONS_NODE_TIME_MAX);
        let asked = self.parts().anchoring.chains().into_iter().map(|chain| async {
            let wallet = self.parts().anchoring.wallet(&chain, deadline).await;
            (chain, wallet)
        });
        futures::future::join_all(asked).await
    }
}
