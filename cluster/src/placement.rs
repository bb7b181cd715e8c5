//! Where shards and replicas should be: pure functions of the members and what they carry.
