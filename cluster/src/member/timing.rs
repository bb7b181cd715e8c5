//! How fast a cluster notices and how fast it moves. Nothing here is a matter of safety: that is the epochs' part.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::limits::{BEAT_TIME, LEASE_MARGIN, LEASE_TIME, SHARD_MOVES_MAX, SHARD_RELEASE_TIME_MAX};

/// The times of a cluster. Nodes may differ in them; the one that waits longest is noticed soonest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterTiming {
    /// Time between two beats.
    #[serde(with = "millis")]
    pub beat_time: Duration,
    /// Silence after which a node is taken for dead.
    #[serde(with = "millis")]
    pub lease_time: Duration,
    /// How much sooner than that a node which cannot write its beat takes its own leases for lost.
    #[serde(with = "millis")]
    pub lease_margin: Duration,
    /// How long the entities of a shard that moves may take to finish.
    #[serde(with = "millis")]
    pub release_time: Duration,
    /// Shards of the whole cluster on their way at once; at least one a node.
    pub moves_in_flight_max: usize,
}

impl Default for ClusterTiming {
    fn default() -> Self {
        Self {
            beat_time: BEAT_TIME,
            lease_time: LEASE_TIME,
            lease_margin: LEASE_MARGIN,
            release_time: SHARD_RELEASE_TIME_MAX,
            moves_in_flight_max: SHARD_MOVES_MAX,
        }
    }
}

impl ClusterTiming {
    /// How long a node believes in its leases after its last beat.
    pub fn belief_time(&self) -> Duration {
        self.lease_time.saturating_sub(self.lease_margin).max(self.beat_time)
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
