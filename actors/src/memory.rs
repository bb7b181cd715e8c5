//! Vector memory: what a project's agents remember, found again by meaning.
//!
//! Memories lie in the store, in the order in which they were committed. [`remember`] writes one within its step's
//! transaction. [`Memories`] keeps the vectors of recently used projects in memory; before each search it reads the
//! rows behind the last one it has, so that it never misses what was committed before. The search is exact: it
//! compares the query with every vector.

mod cache;
mod dot;
mod error;
mod records;
mod remember;
mod search;

pub use cache::{Memories, Recalled};
pub use error::MemoryError;
pub use records::{Memory, MemoryId};
pub use remember::{NewMemory, Remembered, count, remember};

#[cfg(test)]
mod tests;
