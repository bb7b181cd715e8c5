//! Tiles: the tree's hashes, 256 to a row, as in C2SP's `tlog-tiles`.
//!
//! Only every eighth level of the tree is stored: a tile of level 0 holds the hashes of 256 leaves, one of level 1 the
//! roots over 256 leaves each, and so on. The levels between are computed from a tile when a proof needs them. So a
//! batch of leaves writes a handful of rows, not one for each node.

use std::collections::{BTreeMap, BTreeSet};

use steward_receipts::{Hash, NodeId, NodeSource};

/// Hashes in a full tile.
pub const TILE_HASHES: u64 = 256;
/// Levels of the tree between two levels of tiles.
const TILE_HEIGHT: u8 = 8;

/// Names a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// The level of tiles: its hashes are nodes of the tree's level `8 * level`.
    pub level: u8,
    /// Its place among the tiles of its level.
    pub index: u64,
}

/// Where a node's hash comes from: the tile, and which of its hashes the node covers.
fn place(node: NodeId) -> (TileId, usize, usize) {
    let (level, below) = (node.level / TILE_HEIGHT, node.level % TILE_HEIGHT);
    let first = node.index << below;
    let start = (first % TILE_HASHES) as usize;
    (TileId { level, index: first / TILE_HASHES }, start, start + (1 << below))
}

/// The tiles in which `nodes` lie.
pub fn tiles_of(nodes: &[NodeId]) -> BTreeSet<TileId> {
    nodes.iter().map(|node| place(*node).0).collect()
}

/// Tiles in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tiles(BTreeMap<TileId, Vec<Hash>>);

impl Tiles {
    /// Adds a stored tile. `None` when the bytes are no whole number of hashes, or too many.
    pub fn insert(&mut self, id: TileId, bytes: &[u8]) -> Option<()> {
        let (hashes, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
        if !rest.is_empty() || hashes.len() as u64 > TILE_HASHES {
            return None;
        }
        self.0.insert(id, hashes.iter().copied().map(Hash::from_bytes).collect());
        Some(())
    }

    /// Adds a node that is complete now, if its level is stored; nodes of a level come in order. Returns the tile that
    /// changed. `None` also when the tile is not at the right edge of what is in memory: then it is not changed.
    pub fn append(&mut self, node: NodeId, hash: Hash) -> Option<TileId> {
        if !node.level.is_multiple_of(TILE_HEIGHT) {
            return None;
        }
        let (id, start, _) = place(node);
        let tile = self.0.entry(id).or_default();
        (tile.len() == start).then(|| tile.push(hash)).map(|()| id)
    }

    /// The bytes of a tile.
    pub fn bytes(&self, id: TileId) -> Vec<u8> {
        let hashes = self.0.get(&id).map(Vec::as_slice).unwrap_or_default();
        hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }

    /// Forgets full tiles: an appender needs them no more.
    pub fn forget_full(&mut self) {
        self.0.retain(|_, hashes| (hashes.len() as u64) < TILE_HASHES);
    }
}

impl NodeSource for Tiles {
    fn node(&self, id: NodeId) -> Option<Hash> {
        let (tile, start, end) = place(id);
        let mut hashes = self.0.get(&tile)?.get(start..end)?.to_vec();
        while hashes.len() > 1 {
            hashes = hashes.chunks(2).map(|pair| Hash::of_children(&pair[0], &pair[1])).collect();
        }
        hashes.pop()
    }
}

/// The tiles that an appender to a tree of `size` leaves goes on with: the one at the right edge of each level.
pub fn edge_tiles(size: u64) -> Vec<TileId> {
    let mut tiles = Vec::new();
    let (mut level, mut hashes) = (0, size);
    while hashes > 0 {
        if !hashes.is_multiple_of(TILE_HASHES) {
            tiles.push(TileId { level, index: hashes / TILE_HASHES });
        }
        (level, hashes) = (level + 1, hashes / TILE_HASHES);
    }
    tiles
}

#[cfg(test)]
mod tests {
    use steward_receipts::Frontier;
    use steward_receipts::merkle::{inclusion_nodes, inclusion_path, root_at, root_nodes, verify_inclusion};

    use super::*;

    fn leaf(index: u64) -> Hash {
        Hash::of_leaf(&index.to_be_bytes())
    }

    /// Appends in batches, each from the edge tiles alone, as the log does after a restart.
    fn build(sizes: &[u64]) -> (Frontier, BTreeMap<TileId, Vec<u8>>) {
        let (mut frontier, mut stored) = (Frontier::new(), BTreeMap::<TileId, Vec<u8>>::new());
        for &size in sizes {
            let mut tiles = Tiles::default();
            for id in edge_tiles(frontier.size()) {
                tiles.insert(id, &stored[&id]).unwrap();
            }
            let mut changed = BTreeSet::new();
            while frontier.size() < size {
                frontier.append(leaf(frontier.size()), |node, hash| changed.extend(tiles.append(node, hash)));
            }
            stored.extend(changed.into_iter().map(|id| (id, tiles.bytes(id))));
        }
        (frontier, stored)
    }

    #[test]
    fn every_leaf_is_proven_from_the_tiles_of_its_nodes_alone() {
        let size = 70_001;
        let (frontier, stored) = build(&[1, 255, 256, 257, 700, 65_535, 65_536, 65_537, size]);
        let load = |nodes: &[NodeId]| {
            let mut tiles = Tiles::default();
            for id in tiles_of(nodes) {
                tiles.insert(id, &stored[&id]).unwrap();
            }
            tiles
        };
        assert_eq!(root_at(size, &load(&root_nodes(size))).unwrap(), frontier.root());
        for index in (0..size).step_by(997).chain([255, 256, 65_535, 65_536, size - 1]) {
            let tiles = load(&inclusion_nodes(index, size).unwrap());
            let path = inclusion_path(index, size, &tiles).unwrap();
            verify_inclusion(leaf(index), index, size, &path, frontier.root()).unwrap();
        }
    }

    #[test]
    fn a_stored_tile_of_broken_bytes_is_refused() {
        let id = TileId { level: 0, index: 0 };
        assert!(Tiles::default().insert(id, &[0; 31]).is_none());
        assert!(Tiles::default().insert(id, &[0; 32 * 257]).is_none());
        assert!(Tiles::default().insert(id, &[0; 32 * 256]).is_some());
    }
}
