//! The log of a process that serves: what `STEWARD_LOG` asks for, on standard error, but never an endpoint's address.

use tracing::Metadata;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, filter::FilterExt as _};

use crate::output::Output;

/// What is logged where `STEWARD_LOG` says nothing.
const FILTER_DEFAULT: &str = "info,fjall=warn,lsm_tree=warn";

/// Libraries that put whole addresses into their spans and lines, at some level or other. Providers' keys stand in
/// those, so that no filter brings them back. What matters of their failures is in ours.
const NEVER_SHOWN: [&str; 6] =
    ["alloy_rpc_client", "alloy_transport", "alloy_transport_http", "reqwest", "solana_rpc_client", "tendermint_rpc"];

/// Sends logs to standard error from now on. Whoever comes second changes nothing.
pub(crate) fn start(output: Output) {
    let asked = EnvFilter::try_from_env("STEWARD_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let shown = asked.and(FilterFn::new(may_be_shown));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if output.is_json() { lines.json().boxed() } else { lines.boxed() };
    drop(tracing_subscriber::registry().with(lines.with_filter(shown)).try_init());
}

fn may_be_shown(line: &Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    !NEVER_SHOWN.contains(&library)
}
