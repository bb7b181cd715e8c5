//! The C interface of FoundationDB 7.3 for the crate `foundationdb`, without linking to FoundationDB: [`load`] finds the
//! functions in `libfdb_c` while the program runs. So one binary serves with the library and without it.
//!
//! It stands in for the crate `foundationdb-sys` by `[patch.crates-io]`, and declares what `foundationdb` uses.

#![expect(non_snake_case, reason = "the names are FoundationDB's")]

mod functions;
mod library;
mod options;
mod types;
mod versions;

pub use functions::*;
pub use library::{LoadError, load, loaded_from};
pub use options::*;
pub use types::*;

/// The version of the interface that these declarations are of.
pub const FDB_API_VERSION: u32 = 730;
