//! The Operations service: the cluster as its operators see and change it.

use steward_actors::project::Role;
use steward_actors::service::{Operator, TraceId};
use steward_types::limits::DRAIN_TIME_DEFAULT;
use tonic::{Request, Response, Status};

use super::Services;
use crate::call::{caller, page_size, parse, parse_optional, require};
use crate::convert::operations as convert;
use crate::convert::{chains, span_from};
use crate::proto::v1;
use crate::proto::v1::operations_server::Operations;
use crate::status::OrStatus;

type Answer<T> = Result<Response<T>, Status>;

impl Services {
    /// The caller as an operator.
    ///
    /// # Errors
    /// PERMISSION_DENIED for any other key.
    pub(super) fn operator<T>(&self, request: &Request<T>) -> Result<Operator, Status> {
        let caller = caller(request)?;
        require(&caller, Role::Root).or_status()?;
        Ok(self.steward.operator(caller.key))
    }
}

#[tonic::async_trait]
impl Operations for Services {
    async fn nodes(&self, request: Request<v1::NodesRequest>) -> Answer<v1::NodesResponse> {
        self.operator(&request)?;
        let (members, reports) = self.steward.nodes().await;
        Ok(Response::new(convert::nodes(&members, &reports, self.steward.members().this())))
    }

    async fn shards(&self, request: Request<v1::ShardsRequest>) -> Answer<v1::ShardsResponse> {
        self.operator(&request)?;
        let only = parse_optional("node", &request.get_ref().node).or_status()?;
        let shards = self.steward.shards();
        let wanted = shards.iter().filter(|shard| only.is_none() || shard.owner == only);
        Ok(Response::new(v1::ShardsResponse { shards: wanted.map(convert::shard).collect() }))
    }

    async fn move_shard(&self, request: Request<v1::MoveShardRequest>) -> Answer<v1::MoveShardResponse> {
        let operator = self.operator(&request)?;
        let request = request.into_inner();
        let to = parse_optional("to", &request.to).or_status()?;
        operator.place_shard(request.shard, to).await.or_status()?;
        Ok(Response::new(v1::MoveShardResponse {}))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Answer<v1::DrainResponse> {
        let operator = self.operator(&request)?;
        let request = request.into_inner();
        let within = request.within.map(|within| span_from("within", within)).transpose().or_status()?;
        let node = parse("node", &request.node).or_status()?;
        operator.drain(node, within.unwrap_or(DRAIN_TIME_DEFAULT)).await.or_status()?;
        Ok(Response::new(v1::DrainResponse {}))
    }

    async fn undrain(&self, request: Request<v1::UndrainRequest>) -> Answer<v1::UndrainResponse> {
        let operator = self.operator(&request)?;
        operator.undrain(parse("node", &request.get_ref().node).or_status()?).await.or_status()?;
        Ok(Response::new(v1::UndrainResponse {}))
    }

    async fn evict(&self, request: Request<v1::EvictRequest>) -> Answer<v1::EvictResponse> {
        let operator = self.operator(&request)?;
        operator.evict(parse("node", &request.get_ref().node).or_status()?).await.or_status()?;
        Ok(Response::new(v1::EvictResponse {}))
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Answer<v1::PauseResponse> {
        let operator = self.operator(&request)?;
        let request = request.into_inner();
        let subject = convert::subject_from(request.subject.unwrap_or_default()).or_status()?;
        operator.pause(subject, request.reason).await.or_status()?;
        Ok(Response::new(v1::PauseResponse {}))
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Answer<v1::ResumeResponse> {
        let operator = self.operator(&request)?;
        let subject = convert::subject_from(request.into_inner().subject.unwrap_or_default()).or_status()?;
        let was_paused = operator.resume(subject).await.or_status()?;
        Ok(Response::new(v1::ResumeResponse { was_paused }))
    }

    async fn pauses(&self, request: Request<v1::PausesRequest>) -> Answer<v1::PausesResponse> {
        self.operator(&request)?;
        let pauses = self.steward.pauses().await.or_status()?;
        Ok(Response::new(v1::PausesResponse { pauses: pauses.into_iter().map(convert::pause).collect() }))
    }

    async fn breakers(&self, request: Request<v1::BreakersRequest>) -> Answer<v1::BreakersResponse> {
        self.operator(&request)?;
        let statuses = self.steward.chain_statuses().await;
        let breakers = statuses.into_iter().map(|(chain, status)| chains::breaker(chain, status)).collect();
        Ok(Response::new(v1::BreakersResponse { breakers }))
    }

    async fn force_breaker(&self, request: Request<v1::ForceBreakerRequest>) -> Answer<v1::ForceBreakerResponse> {
        let operator = self.operator(&request)?;
        let request = request.into_inner();
        let forced = chains::forced_from(&request.state).or_status()?;
        let endpoint = Some(request.endpoint).filter(|endpoint| !endpoint.is_empty());
        operator.force_breaker(&request.chain, endpoint, forced).await.or_status()?;
        Ok(Response::new(v1::ForceBreakerResponse {}))
    }

    async fn quarantine(&self, request: Request<v1::QuarantineRequest>) -> Answer<v1::QuarantineResponse> {
        self.operator(&request)?;
        Ok(Response::new(convert::quarantine(self.steward.quarantined().await)))
    }

    async fn store_stats(&self, request: Request<v1::StoreStatsRequest>) -> Answer<v1::StoreStatsResponse> {
        self.operator(&request)?;
        Ok(Response::new(convert::store_stats(self.steward.store_stats().await.or_status()?)))
    }

    async fn trace(&self, request: Request<v1::TraceRequest>) -> Answer<v1::TraceResponse> {
        self.operator(&request)?;
        let id: TraceId = parse("id", &request.get_ref().id).or_status()?;
        Ok(Response::new(convert::trace(self.steward.trace(id).await.or_status()?)))
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Answer<v1::WhyResponse> {
        self.operator(&request)?;
        let request = request.into_inner();
        let why = self.steward.why(&request.kind, &request.id).await.or_status()?;
        Ok(Response::new(v1::WhyResponse { state: super::actors::state(why.state), reasons: why.reasons }))
    }

    async fn doctor(&self, request: Request<v1::DoctorRequest>) -> Answer<v1::DoctorResponse> {
        self.operator(&request)?;
        let diagnosis = self.steward.diagnose(request.get_ref().audit).await.or_status()?;
        Ok(Response::new(convert::diagnosis(diagnosis)))
    }

    async fn audit(&self, request: Request<v1::AuditTrailRequest>) -> Answer<v1::AuditTrailResponse> {
        self.operator(&request)?;
        let request = request.into_inner();
        let (size, before) =
            (page_size(request.page_size), convert::audit_place_from(&request.page_token).or_status()?);
        let entries = self.steward.audit_trail(before, size).await.or_status()?;
        Ok(Response::new(convert::audit_trail(&entries, size)))
    }
}
