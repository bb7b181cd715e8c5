//! A machine that has too much to do: threads that spin on every core beside the nodes, and nobody is taken for dead.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use steward_types::{Clock as _, SystemClock};

use super::load::Load;
use super::stage::Stage;

/// Clients that call meanwhile.
const CLIENTS: usize = 2;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Starved {
    /// How long.
    pub time: Duration,
    /// Threads that spun.
    pub burners: usize,
    /// Nodes that others took for dead.
    pub evictions: u64,
    /// Shards that nodes gave up or lost.
    pub shards_lost: u64,
    /// Calls that were answered.
    pub calls: usize,
    /// Calls that failed.
    pub failed: usize,
}

impl Starved {
    /// Whether nobody was taken for dead and no call failed.
    pub fn is_good(&self) -> bool {
        self.evictions == 0 && self.failed == 0 && self.calls > 0
    }
}

impl fmt::Display for Starved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, burners, evictions, shards_lost, calls, failed } = self;
        let seconds = time.as_secs();
        write!(
            f,
            "{seconds} s beside {burners} spinning threads: {evictions} evictions, {shards_lost} shards lost; {calls} calls \
             answered, {failed} failed"
        )
    }
}

/// Keeps a cluster under a light load and every core busy for a while.
///
/// # Errors
/// When a part does not start or end.
pub async fn starved(steward: &Path, folder: &Path, time: Duration) -> anyhow::Result<Starved> {
    let stage = Stage::start(steward, folder).await?;
    let lost_before = stage.counted("steward_cluster_shards_lost_total").await?;
    let evicted_before = stage.counted("steward_cluster_evictions_total").await?;
    let load = Load::start(&stage, CLIENTS);
    let cores = std::thread::available_parallelism()?.get();
    let burning = Burning::start(cores);
    SystemClock::new().sleep(time).await;
    drop(burning);
    let evictions = stage.counted("steward_cluster_evictions_total").await?.saturating_sub(evicted_before);
    let shards_lost = stage.counted("steward_cluster_shards_lost_total").await?.saturating_sub(lost_before);
    let (calls, failures) = load.stop().await;
    stage.fleet.stop().await?;
    let (calls, failed) = (calls.len(), failures.len());
    Ok(Starved { time, burners: cores, evictions, shards_lost, calls, failed })
}

/// Threads that spin until it is dropped.
struct Burning(Arc<AtomicBool>);

impl Burning {
    fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Burning {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
