//! The commands' way to a node: one channel, the key on each request, errors in words a person can act on.

use std::time::Duration;

use anyhow::Context as _;
use prost::Message;
use steward_api::proto::google_rpc;
use steward_api::proto::v1;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::args::Global;
use crate::credentials;

/// How long a connection may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Puts the key on each request.
#[derive(Clone)]
pub struct Authorize {
    bearer: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Authorize {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// A channel that carries the key.
pub type Authorized = InterceptedService<Channel, Authorize>;

/// The node's services for one key.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    authorize: Authorize,
}

macro_rules! services {
    ($($(#[$doc:meta])* $method:ident: $module:ident::$client:ident;)*) => {
        impl Client {
            $($(#[$doc])*
            pub fn $method(&self) -> v1::$module::$client<Authorized> {
                v1::$module::$client::with_interceptor(self.channel.clone(), self.authorize.clone())
            })*
        }
    };
}

services! {
    /// Projects, prices and keys.
    projects: projects_client::ProjectsClient;
    /// Models.
    models: models_client::ModelsClient;
    /// Agents.
    agents: agents_client::AgentsClient;
    /// Modules of projects.
    modules: modules_client::ModulesClient;
    /// Sessions.
    sessions: sessions_client::SessionsClient;
    /// Triggers.
    triggers: triggers_client::TriggersClient;
    /// Approvals.
    approvals: approvals_client::ApprovalsClient;
    /// Budgets.
    budgets: budgets_client::BudgetsClient;
    /// Receipts.
    receipts: receipts_client::ReceiptsClient;
    /// Actors.
    actors: actors_client::ActorsClient;
    /// The cluster.
    operations: operations_client::OperationsClient;
    /// Chains, their outboxes and accounts.
    chains: chains_client::ChainsClient;
}

impl Client {
    /// A client for `server`. It connects at the first call.
    ///
    /// # Errors
    /// When the address or key is malformed, or a named certificate cannot be read.
    pub fn new(server: &str, key: Option<&str>) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(server.to_owned())
            .with_context(|| format!("{server:?} is not an address: write it as http://127.0.0.1:7700"))?;
        let mut endpoint = endpoint.connect_timeout(CONNECT_TIME_MAX).keep_alive_while_idle(true);
        if server.starts_with("https://") {
            let mut tls = ClientTlsConfig::new().with_enabled_roots();
            if let Some(path) = std::env::var_os("STEWARD_CA") {
                let pem =
                    std::fs::read(&path).with_context(|| format!("STEWARD_CA={} cannot be read", path.display()))?;
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint.tls_config(tls)?;
        }
        let bearer = key.map(|key| format!("Bearer {key}").parse()).transpose();
        let bearer = bearer.map_err(|_| anyhow::anyhow!("the key has characters that no key has"))?;
        Ok(Self { channel: endpoint.connect_lazy(), authorize: Authorize { bearer } })
    }

    /// The client that flags, environment or `steward login` name.
    ///
    /// # Errors
    /// When nobody has logged in and no flag names a server and key.
    pub fn from_global(global: &Global) -> anyhow::Result<Self> {
        let (server, key) = resolve(global)?;
        Self::new(&server, Some(&key))
    }
}

/// Server and key: from flags or environment, else as remembered.
///
/// # Errors
/// When neither names them.
pub fn resolve(global: &Global) -> anyhow::Result<(String, String)> {
    if let (Some(server), Some(key)) = (&global.server, &global.key) {
        return Ok((server.clone(), key.clone()));
    }
    let saved = credentials::load(&credentials::file()?)?;
    let server = global.server.clone().or_else(|| saved.as_ref().map(|saved| saved.server.clone()));
    let key = global.key.clone().or_else(|| saved.map(|saved| saved.key));
    let server = server.unwrap_or_else(|| "http://127.0.0.1:7700".to_owned());
    let key = key.context("no API key: run `steward login --server URL --key KEY`, or give --key or STEWARD_KEY")?;
    Ok((server, key))
}

/// What a failed call says to a person: message, reason, where it is explained, and each wrong field.
pub fn explain(status: &tonic::Status) -> String {
    let mut lines = vec![plain(status)];
    lines.extend(reason(status).map(|reason| explained_in(&reason)));
    lines.extend(wrong_fields(status));
    lines.join("\n")
}

/// The same without the reason, for what has a place of its own for it.
pub fn message(status: &tonic::Status) -> String {
    let mut lines = vec![plain(status)];
    lines.extend(wrong_fields(status));
    lines.join("\n")
}

/// A reason, and the page that explains it.
pub fn explained_in(reason: &str) -> String {
    let page = reason.to_ascii_lowercase().replace('_', "-");
    format!("  {reason} (docs/errors/{page}.md)")
}

/// What is wrong with each field, but for what the message says already.
fn wrong_fields(status: &tonic::Status) -> Vec<String> {
    let found = detail::<google_rpc::BadRequest>(status, "google.rpc.BadRequest").unwrap_or_default();
    let told = found.field_violations.iter().map(|field| format!("{}: {}", field.field, field.description));
    told.filter(|told| told != status.message()).map(|told| format!("  {told}")).collect()
}

/// The reason of a failed call, as its `ErrorInfo` has it: an error code's name.
pub fn reason(status: &tonic::Status) -> Option<String> {
    Some(detail::<google_rpc::ErrorInfo>(status, "google.rpc.ErrorInfo")?.reason)
}

/// How long a failed call asks its caller to wait before the next try, as its `RetryInfo` has it.
pub fn retry_after(status: &tonic::Status) -> Option<Duration> {
    detail::<google_rpc::RetryInfo>(status, "google.rpc.RetryInfo")?.retry_delay?.try_into().ok()
}

/// The detail of this type that a failed call has.
fn detail<T: Message + Default>(status: &tonic::Status, name: &str) -> Option<T> {
    let details = google_rpc::Status::decode(status.details()).ok()?.details;
    let found = details.into_iter().find(|detail| detail.type_url.ends_with(name))?;
    T::decode(found.value.as_slice()).ok()
}

fn plain(status: &tonic::Status) -> String {
    if status.details().is_empty() && status.code() == tonic::Code::Unavailable {
        return format!("the node does not answer ({}): is it running, and at this --server?", status.message());
    }
    status.message().to_owned()
}
