//! `/metrics` in Prometheus' text format: without a key on loopback, else with an operator's.

use std::net::SocketAddr;
use std::sync::OnceLock;

use axum::extract::{ConnectInfo, State};
use axum::http::{Extensions, HeaderMap};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use steward_actors::project::Role;
use steward_actors::service::{Failure, Steward};
use steward_types::ErrorCode;

use super::failure::HttpFailure;

/// One recorder a process, as the metrics façade has it; nodes of one test process share it.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Makes this process record metrics, unless it does.
pub(super) fn install() {
    RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed: /metrics stays empty");
        }
        handle
    });
}

/// Everything that was recorded.
pub(super) async fn scrape(
    State(steward): State<Steward>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<String, HttpFailure> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    if !peer.is_some_and(|ConnectInfo(peer)| peer.ip().is_loopback()) {
        let caller = super::caller(&steward, &headers).await?;
        if caller.role != Role::Root {
            let message = "metrics are the operator's: use the root key, or ask from the node's own machine";
            return Err(Failure::new(ErrorCode::PermissionDenied, message).into());
        }
    }
    let handle = RECORDER.get().ok_or_else(|| Failure::new(ErrorCode::Internal, "no metrics recorder"))?;
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and a node has fewer than 2^52 entities")]
    metrics::gauge!("steward_entities_live").set(steward.host().live_entities() as f64);
    handle.run_upkeep();
    Ok(handle.render())
}
