//! The Store port: FoundationDB's transaction model over ordered keys, with an in-memory implementation and the conformance suite.
