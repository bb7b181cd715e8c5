//! What the cluster tells the node's host about its shards.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

/// Implemented by whoever runs entities on this node. The cluster's tasks call it; a slow answer delays the reaction to
/// the next change of shards, never the beat.
#[async_trait]
pub trait ShardHooks: Send + Sync + fmt::Debug + 'static {
    /// The node owns these shards now. The lease answers for them only once this has returned, so that it is the place
    /// to wait until nothing is left that an earlier [`lost`](Self::lost) of the same shards has told to stop.
    async fn acquired(&self, shards: &[u32]);

    /// The lease answers for these shards from now on: the place to wake what has work to do there. It does not block.
    fn serving(&self, shards: &[u32]) {
        let _ = shards;
    }

    /// The shard is to move. Returns once its entities accept nothing, have finished what they did and are put away.
    /// Until then they may commit; new ones can't be activated. After `within` the shard is [`lost`](Self::lost).
    async fn release(&self, shard: u32, within: Duration);

    /// The shards belong to others, or may: stop their entities at once, without waiting. Nothing they do can commit.
    fn lost(&self, shards: &[u32]);
}
