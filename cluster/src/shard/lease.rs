//! The lease of one node among many: a shard's record, read in each transaction that writes for it.

use async_trait::async_trait;
use steward_actors::host::EntityId;
use steward_actors::lease::{Lease, LeaseError, shard_of};
use steward_storage::Txn;

use super::record::shard_key;
use super::{ShardMap, ShardRecord};

/// Fences writes by the epoch of the entity's shard.
#[derive(Debug, Clone)]
pub struct ShardLease {
    map: ShardMap,
}

impl ShardLease {
    /// The lease over the shards that `map` says this node holds.
    pub fn new(map: ShardMap) -> Self {
        Self { map }
    }
}

#[async_trait]
impl Lease for ShardLease {
    fn shard_of(&self, kind: &str, id: &EntityId) -> u32 {
        shard_of(kind, id, self.map.count())
    }

    fn holds(&self, shard: u32) -> bool {
        self.map.mine(shard).is_some()
    }

    /// Clocks have no say here: owner, incarnation and epoch in the store must be those that this process holds.
    async fn check(&self, txn: &Txn, shard: u32) -> Result<(), LeaseError> {
        let found = txn.load::<ShardRecord>(&shard_key(shard)).await?;
        // Looked up after the read, so that a shard which is lost meanwhile is not taken for held.
        let life = self.map.life();
        let held = self.map.held(shard);
        let ours = held.map(|epoch| ShardRecord { owner: life.node, incarnation: life.incarnation, epoch });
        if ours.is_some() && found == ours {
            return Ok(());
        }
        Err(LeaseError::Lost { held: held.unwrap_or(0), found: found.map_or(0, |record| record.epoch) })
    }
}
