//! Membership: the nodes of a cluster, kept alive in the store.
