//! The Receipts service.

use serde_json::json;
use steward_actors::project::Role;
use steward_actors::receipt_log::ProveUnder;
use steward_actors::service::Failure;
use steward_receipts::{Checkpoint, VerifierKey};
use tonic::{Request, Response, Status};

use super::Services;
use super::changes::Change;
use crate::call::{caller, deadline, page_size, parse, parse_optional, project, require};
use crate::convert::receipts as convert;
use crate::proto::v1;
use crate::proto::v1::receipts_server::Receipts;
use crate::status::OrStatus;

#[tonic::async_trait]
impl Receipts for Services {
    async fn list(
        &self,
        request: Request<v1::ListReceiptsRequest>,
    ) -> Result<Response<v1::ListReceiptsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let session = parse_optional("session", &request.session).or_status()?;
        let from = parse_optional("page_token", &request.page_token).or_status()?.unwrap_or(0);
        let page = self.steward.receipts(&project, session, from, page_size(request.page_size)).await;
        let (receipts, next) = page.or_status()?;
        Ok(Response::new(v1::ListReceiptsResponse {
            receipts: receipts.iter().map(convert::receipt).collect(),
            next_page_token: next.map(|next| next.to_string()).unwrap_or_default(),
        }))
    }

    async fn get(&self, request: Request<v1::GetReceiptRequest>) -> Result<Response<v1::Receipt>, Status> {
        let caller = caller(&request)?;
        let project = self.project(&caller, &request.get_ref().project).await.or_status()?;
        let id = parse("id", &request.get_ref().id).or_status()?;
        let receipt = self.steward.receipt(&project, id).await.or_status()?;
        Ok(Response::new(convert::receipt(&receipt)))
    }

    async fn prove(
        &self,
        request: Request<v1::ProveReceiptRequest>,
    ) -> Result<Response<v1::ProveReceiptResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let id = parse("id", &request.id).or_status()?;
        let any_chain = request.chain.is_empty();
        let under = match (any_chain, request.newest) {
            (true, false) => ProveUnder::Best,
            (true, true) => {
                return Err(Failure::field("newest", "name the chain whose newest root is meant")).or_status();
            }
            (false, false) => ProveUnder::AnchoredOn(request.chain),
            (false, true) => ProveUnder::NewestOn(request.chain),
        };
        let mut proven = self.steward.prove(&project, id, under).await.or_status()?;
        if any_chain && request.tree_size != 0 && proven.proof.tree_size != request.tree_size {
            proven = self.steward.prove(&project, id, ProveUnder::Newest).await.or_status()?;
        }
        if request.tree_size != 0 && proven.proof.tree_size != request.tree_size {
            let message = format!("there is no checkpoint of {} leaves to prove under", request.tree_size);
            return Err(Failure::field("tree_size", message)).or_status();
        }
        let key = self.steward.verifier_key(&project);
        let checkpoint = Checkpoint::open(&proven.proof.checkpoint, &key);
        let unreadable = |error| Failure::new(steward_types::ErrorCode::RecordCorrupt, format!("{error}"));
        let root = checkpoint.map_err(unreadable).or_status()?.root;
        Ok(Response::new(convert::proof(&proven, root)))
    }

    async fn checkpoint(
        &self,
        request: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        let project = self.project(&caller(&request)?, &request.get_ref().project).await.or_status()?;
        let view = self.steward.checkpoint(&project).await.or_status()?;
        Ok(Response::new(convert::checkpoint(view)))
    }

    async fn consistency(
        &self,
        request: Request<v1::ConsistencyRequest>,
    ) -> Result<Response<v1::ConsistencyResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ConsistencyRequest { project: named, old_size, new_size } = request.into_inner();
        let project = self.project(&caller, &named).await.or_status()?;
        let new_size = Some(new_size).filter(|&size| size != 0);
        let proof = self.steward.consistency(&project, old_size, new_size).await.or_status()?;
        Ok(Response::new(convert::consistency(proof)))
    }

    async fn anchor(&self, request: Request<v1::AnchorRequest>) -> Result<Response<v1::AnchorResponse>, Status> {
        let (caller, deadline) = (caller(&request)?, deadline(&request, &self.steward));
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let project = project(&caller, &request.project).or_status()?;
        let chain = Some(request.chain.as_str()).filter(|chain| !chain.is_empty());
        let change = Change::new("anchor", &project).with(json!({ "chain": chain }));
        let anchors = self.change(&caller, change, self.steward.anchor(&project, chain, deadline)).await.or_status()?;
        Ok(Response::new(v1::AnchorResponse { anchors: anchors.into_iter().map(convert::anchor).collect() }))
    }

    async fn list_anchors(
        &self,
        request: Request<v1::ListAnchorsRequest>,
    ) -> Result<Response<v1::ListAnchorsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let from: usize = parse_optional("page_token", &request.page_token).or_status()?.unwrap_or(0);
        let size = page_size(request.page_size);
        let until = from.saturating_add(size).saturating_add(1);
        let all = self.steward.anchors(&project, until).await.or_status()?;
        let fits = |chain: &str| request.chain.is_empty() || request.chain == chain;
        let more = all.len() == until;
        let page = all.into_iter().skip(from).take(size).filter(|anchor| fits(&anchor.chain));
        Ok(Response::new(v1::ListAnchorsResponse {
            anchors: page.map(convert::anchor).collect(),
            next_page_token: if more { (from + size).to_string() } else { String::new() },
        }))
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyReceiptRequest>,
    ) -> Result<Response<v1::VerifyReceiptResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let key: Option<VerifierKey> = parse_optional("verifier_key", &request.verifier_key).or_status()?;
        let checked = self.steward.verify_proof(&project, &request.proof_json, key.as_ref());
        Ok(Response::new(v1::VerifyReceiptResponse {
            valid: checked.problem.is_none(),
            problem: checked.problem.unwrap_or_default(),
            receipt: checked.leaf.as_ref().map(convert::leaf),
        }))
    }
}
