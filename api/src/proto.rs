//! The wire types and services, generated from `proto/` by `cargo run -p steward-api --example generate`.
//! Never edited by hand; a test checks that they are fresh.

/// Steward's own package, `steward.v1`.
#[expect(clippy::allow_attributes_without_reason, reason = "generated code")]
pub mod v1 {
    include!("proto/steward.v1.rs");
}

/// The error details of `google.rpc`, as standard clients decode them.
pub mod google_rpc {
    include!("proto/google.rpc.rs");
}

/// The descriptors of every message and service, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("proto/descriptors.bin");
