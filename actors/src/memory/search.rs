//! Exact search: every vector is compared, the best are kept in an order that never depends on where they lie.

use std::sync::Arc;

use steward_types::limits::MEMORY_DIMENSIONS_MAX;

use super::dot::dot_products;
use super::error::{MemoryError, check_size};
use super::records::MemoryId;

/// Vectors in one block.
pub(super) const BLOCK_VECTORS: usize = 1_024;

/// Vectors that lie one after the other, with the ids and keys of their rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    pub(super) vectors: Vec<f32>,
    pub(super) ids: Vec<MemoryId>,
    pub(super) keys: Vec<bytes::Bytes>,
}

/// A row that was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) score: f32,
    pub(super) id: MemoryId,
    pub(super) key: bytes::Bytes,
}

/// The vector of length one in the direction of `vector`.
pub(super) fn direction(vector: &[f32]) -> Result<Vec<f32>, MemoryError> {
    check_size("vector", vector.len(), MEMORY_DIMENSIONS_MAX)?;
    if vector.iter().any(|number| !number.is_finite()) {
        return Err(MemoryError::Vector { reason: "it holds a number that is not finite" });
    }
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if length == 0.0 {
        return Err(MemoryError::Vector { reason: "it is empty or zero" });
    }
    Ok(vector.iter().map(|number| (f64::from(*number) / length) as f32).collect())
}

/// The `matches` rows nearest to `query` (of length one), the nearest first, of those equally near the lowest id first.
pub(super) fn nearest(query: &[f32], blocks: &[Arc<Block>], matches: usize) -> Vec<Found> {
    let mut best: Vec<Found> = Vec::with_capacity(matches + 1);
    let mut scores = Vec::with_capacity(BLOCK_VECTORS);
    for block in blocks {
        scores.clear();
        dot_products(query, &block.vectors, &mut scores);
        for ((&score, &id), key) in scores.iter().zip(&block.ids).zip(&block.keys) {
            let stands_before = |other: &Found| other.score > score || (other.score == score && other.id < id);
            if best.len() == matches && best.last().is_none_or(stands_before) {
                continue;
            }
            let place = best.partition_point(stands_before);
            best.insert(place, Found { score, id, key: key.clone() });
            best.truncate(matches);
        }
    }
    best
}
