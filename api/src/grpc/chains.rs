//! The Chains service: what the node sends to public chains, and from which accounts.

use tonic::{Request, Response, Status};

use super::Services;
use crate::call::deadline;
use crate::convert::wallets as convert;
use crate::proto::v1;
use crate::proto::v1::chains_server::Chains;
use crate::status::OrStatus;

#[tonic::async_trait]
impl Chains for Services {
    async fn list(&self, request: Request<v1::ListChainsRequest>) -> Result<Response<v1::ListChainsResponse>, Status> {
        self.operator(&request)?;
        let statuses = self.steward.chain_statuses().await;
        let chains = statuses.into_iter().map(|(chain, status)| convert::chain(chain, status)).collect();
        Ok(Response::new(v1::ListChainsResponse { chains }))
    }

    async fn outbox(&self, request: Request<v1::OutboxRequest>) -> Result<Response<v1::OutboxResponse>, Status> {
        self.operator(&request)?;
        let only = Some(request.into_inner().chain).filter(|chain| !chain.is_empty());
        let outboxes = self.steward.outboxes(only.as_deref()).await.or_status()?;
        let outboxes = outboxes.into_iter().map(|(chain, outbox)| convert::outbox(chain, outbox)).collect();
        Ok(Response::new(v1::OutboxResponse { outboxes }))
    }

    async fn wallets(&self, request: Request<v1::WalletsRequest>) -> Result<Response<v1::WalletsResponse>, Status> {
        self.operator(&request)?;
        let wallets = self.steward.wallets().await;
        let wallets = wallets.into_iter().map(|(chain, wallet)| convert::wallet(chain, wallet)).collect();
        Ok(Response::new(v1::WalletsResponse { wallets }))
    }

    async fn deploy(
        &self,
        request: Request<v1::DeployContractRequest>,
    ) -> Result<Response<v1::DeployContractResponse>, Status> {
        let (operator, deadline) = (self.operator(&request)?, deadline(&request, &self.steward));
        let v1::DeployContractRequest { chain, contract, arguments } = request.into_inner();
        let deployed = operator.deploy_contract(&chain, contract, arguments.into_iter().collect(), deadline).await;
        let contract = deployed.or_status()?.map(|deployment| convert::contract(chain, deployment));
        Ok(Response::new(v1::DeployContractResponse { contract }))
    }

    async fn contracts(
        &self,
        request: Request<v1::ContractsRequest>,
    ) -> Result<Response<v1::ContractsResponse>, Status> {
        self.operator(&request)?;
        let only = Some(request.into_inner().chain).filter(|chain| !chain.is_empty());
        let found = self.steward.deployments(only.as_deref()).await.or_status()?;
        let contracts = found.into_iter().map(|(chain, deployment)| convert::contract(chain, deployment)).collect();
        Ok(Response::new(v1::ContractsResponse { contracts }))
    }
}
