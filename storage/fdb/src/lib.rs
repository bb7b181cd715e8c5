//! The FoundationDB driver: the store of production clusters, its client library loaded at run time.
