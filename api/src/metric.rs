//! Metrics of the edge, and the one recorder of the process.

use std::sync::OnceLock;

use axum::body::Body;
use http::Response;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// The recorder is the process's own, because that is what the `metrics` crate offers; nodes in one process share it.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the recorder, if nothing else has installed another.
pub(crate) fn install() {
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().ok());
}

/// Everything that was recorded, as Prometheus reads it; absent when another recorder is installed.
pub(crate) fn render() -> Option<String> {
    let recorder = RECORDER.get()?.as_ref()?;
    recorder.run_upkeep();
    Some(recorder.render())
}

/// Counts a request by its method and outcome.
pub(crate) fn request(method: &str, response: &Response<Body>) {
    let grpc = response.headers().get("grpc-status").and_then(|value| value.to_str().ok());
    let outcome = grpc.map_or_else(|| response.status().as_u16().to_string(), |code| format!("grpc-{code}"));
    metrics::counter!("steward_requests_total", "method" => method.to_owned(), "outcome" => outcome).increment(1);
}
