//! How long an entity is away when its node is killed: from SIGKILL to the first durable answer of the same entity.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use steward_api::proto::v1;
use steward_types::{Clock as _, SystemClock};

use super::quantile::millis;
use super::stage::{Stage, append};

/// The pause before a call that failed is made again, and between two failovers.
const RETRY_TIME: Duration = Duration::from_millis(10);
const CALM_TIME: Duration = Duration::from_secs(2);
/// How long one call may take before it is made anew through another node.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Failovers {
    /// From the kill to the first success, each.
    pub times: Vec<Duration>,
}

impl fmt::Display for Failovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [middle, late, last] = [500, 990, 1000].map(|quantile| millis(&self.times, quantile));
        let count = self.times.len();
        write!(f, "{count} owners killed; to the first success: p50 {middle} ms, p99 {late} ms, at most {last} ms")
    }
}

/// Kills the owner of a session, again and again.
///
/// # Errors
/// When a part does not start, or a session does not come back.
pub async fn failover(
    steward: &Path,
    folder: &Path,
    count: u32,
    mut progress: impl FnMut(u32),
) -> anyhow::Result<Failovers> {
    let (mut stage, clock) = (Stage::start(steward, folder).await?, SystemClock::new());
    let mut times = Vec::new();
    for number in 0..count {
        let session = stage.open(0).await?;
        stage.clients[0].sessions().run(append(&session, "before", String::new())).await?;
        let owner = stage.owner(&session).await?;
        let killed = clock.monotonic();
        stage.fleet.nodes[owner].kill().await?;
        first_success(&stage, &session, owner, &clock).await;
        times.push(clock.monotonic().saturating_sub(killed));
        stage.fleet.nodes[owner].start_again().await?;
        progress(number + 1);
        clock.sleep(CALM_TIME).await;
    }
    stage.fleet.stop().await?;
    Ok(Failovers { times })
}

/// Sends the session a message through the nodes that are left until it is durable.
async fn first_success(stage: &Stage, session: &str, dead: usize, clock: &SystemClock) {
    let alive: Vec<_> = (0..stage.clients.len()).filter(|node| *node != dead).collect();
    for attempt in 0.. {
        let send = v1::SendRequest {
            session: session.to_owned(),
            message: Some(v1::Message { text: String::new(), data_json: json!({ "value": "after" }).to_string() }),
            idempotency_key: "after".to_owned(),
        };
        let mut sessions = stage.clients[alive[attempt % alive.len()]].sessions();
        if let Ok(Ok(_)) = tokio::time::timeout(CALL_TIME_MAX, sessions.send(send)).await {
            return;
        }
        clock.sleep(RETRY_TIME).await;
    }
}
