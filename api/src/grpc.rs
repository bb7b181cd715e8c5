//! The gRPC services: each reads a request, asks the façade, and writes the answer.

mod actors;
mod agents;
mod approvals;
mod budgets;
mod chains;
mod changes;
mod models;
mod modules;
mod operations;
mod projects;
mod receipts;
mod sessions;
mod stream;
mod triggers;

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use http::{HeaderName, HeaderValue, Method, header};
use steward_actors::service::{Caller, Failure, Steward};
use steward_types::limits::{REQUEST_BYTES_MAX, WATCHERS_MAX};
use steward_types::{ProjectId, SessionId};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::server::HealthReporter;
use tonic_web::GrpcWebLayer;
use tower::{Service, ServiceExt};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::admission::Admission;
use crate::auth::{self, Gate};
use crate::call;
use crate::config::ApiConfig;
use crate::proto::{DESCRIPTORS, v1};
use crate::server::ServeError;

/// What the services share.
#[derive(Clone)]
pub(crate) struct Services {
    steward: Steward,
    watchers: Admission<SessionId>,
    ending: CancellationToken,
}

impl Services {
    /// The project whose things a request reads. An operator's key may name any, and one that is not there is refused
    /// rather than answered with nothing; the project of any other key is there.
    async fn project(&self, caller: &Caller, named: &str) -> Result<ProjectId, Failure> {
        let project = call::project(caller, named)?;
        if caller.project.is_none() {
            self.steward.project(&project).await?;
        }
        Ok(project)
    }
}

/// Every gRPC service behind the gate, and for browsers too; health before the gate.
pub(crate) fn router(
    steward: &Steward,
    gate: &Gate,
    config: &ApiConfig,
    ending: &CancellationToken,
) -> Result<(Router, HealthReporter), ServeError> {
    let shared = Services { steward: steward.clone(), watchers: Admission::new(WATCHERS_MAX), ending: ending.clone() };
    macro_rules! mount {
        ($router:expr, $($module:ident::$server:ident),*) => {{
            let router = $router;
            $(let router = mount(
                router,
                v1::$module::$server::new(shared.clone()).max_decoding_message_size(REQUEST_BYTES_MAX),
            );)*
            router
        }};
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| ServeError::Descriptors(error.to_string()))?;
    let guarded = mount!(
        mount(Router::new(), reflection),
        projects_server::ProjectsServer,
        models_server::ModelsServer,
        agents_server::AgentsServer,
        modules_server::ModulesServer,
        sessions_server::SessionsServer,
        approvals_server::ApprovalsServer,
        budgets_server::BudgetsServer,
        receipts_server::ReceiptsServer,
        triggers_server::TriggersServer,
        actors_server::ActorsServer,
        operations_server::OperationsServer,
        chains_server::ChainsServer
    );
    let guarded = guarded.layer(from_fn_with_state(gate.clone(), auth::grpc));
    let (reporter, health) = tonic_health::server::health_reporter();
    let open = mount(Router::new(), health);
    Ok((guarded.merge(open).layer(GrpcWebLayer::new()).layer(cors(config)), reporter))
}

/// Puts a service under its name, as [`tonic::service::Routes`] does, but leaves the fallback to the whole router.
fn mount<S>(router: Router, service: S) -> Router
where
    S: Service<http::Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    let service = service.map_request(|request: Request| request.map(Body::new));
    router.route_service(&format!("/{}/{{*rest}}", S::NAME), service)
}

/// What browsers may do.
pub(crate) fn cors(config: &ApiConfig) -> CorsLayer {
    let origins: Vec<HeaderValue> = config.origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let origins = if config.origins.iter().any(|origin| origin == "*") { AllowOrigin::any() } else { origins.into() };
    let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        // Not `*`, which by the Fetch standard leaves `authorization` out.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(std::time::Duration::from_secs(3600))
        .vary([header::ORIGIN, header::ACCESS_CONTROL_REQUEST_HEADERS])
}
