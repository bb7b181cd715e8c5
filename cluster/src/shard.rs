//! Shards: their ownership and epochs in the store, and the lease that fences each write.
