//! Metrics of the edge, and the one recorder of the process.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use axum::body::Body;
use http::Response;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use prost::Message;
use prost_types::FileDescriptorSet;

use crate::proto::DESCRIPTORS;

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

/// A gRPC method by its path, for [`request`]: one name for all that do not exist, so that nobody can fill the memory with
/// names.
pub(crate) fn grpc_method(path: &str) -> &str {
    static METHODS: OnceLock<BTreeSet<String>> = OnceLock::new();
    let methods = METHODS.get_or_init(|| {
        let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default().file;
        let services = files.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
        let paths = services.flat_map(|(package, service)| {
            service.method.iter().map(move |method| format!("/{package}.{}/{}", service.name(), method.name()))
        });
        paths.collect()
    });
    if methods.contains(path) { path } else { "other" }
}

/// Counts a request by its method and outcome.
pub(crate) fn request(method: &str, response: &Response<Body>) {
    let grpc = response.headers().get("grpc-status").and_then(|value| value.to_str().ok());
    let outcome = grpc.map_or_else(|| response.status().as_u16().to_string(), |code| format!("grpc-{code}"));
    metrics::counter!("steward_requests_total", "method" => method.to_owned(), "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_methods_that_exist_have_names() {
        assert_eq!(grpc_method("/steward.v1.Sessions/Watch"), "/steward.v1.Sessions/Watch");
        assert_eq!(grpc_method("/steward.v1.Sessions/x"), "other");
    }
}
