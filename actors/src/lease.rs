//! The fence: who may write for an entity. A node writes only under the lease of the entity's shard.

use std::fmt;

use sha2::{Digest, Sha256};
use steward_types::limits::SHARDS;

use crate::host::EntityId;

/// Under which lease this node's entities write.
pub trait Lease: Send + Sync + fmt::Debug + 'static {
    /// The shard of an entity: the same on every node and for ever.
    fn shard_of(&self, kind: &str, id: &EntityId) -> u32 {
        shard_of(kind, id)
    }
}

/// The shard of an entity: the first four bytes of SHA-256 over its kind, a zero byte and its id, modulo [`SHARDS`].
pub fn shard_of(kind: &str, id: &EntityId) -> u32 {
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(id.as_str()).finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % SHARDS
}

/// A lease that is never lost, for tests and for kinds that keep nothing in a store.
#[derive(Debug, Default, Clone, Copy)]
pub struct Unleased;

impl Lease for Unleased {}
