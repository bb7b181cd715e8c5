//! The sequencer: moves pending leaves into the log, in commit order, a batch in one transaction.
//!
//! Its transaction reads the head and writes it, so that two sequencers of one log can never both commit; it takes
//! pending rows only of versions before its own, so that none slips in behind. Hence each leaf enters exactly once.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use steward_receipts::checkpoint::Checkpoint;
use steward_receipts::{Frontier, Hash, NoteSigner};
use steward_storage::{Isolation, RangeRead, Record, StoreError, Txn, key};
use steward_types::limits::RECEIPT_BATCH_MAX;
use steward_types::{ProjectId, Timestamp};

use super::records;
use super::tiles::{TILE_HASHES, TileId, Tiles, edge_tiles};

const HOLD_BYTES: usize = 16;

/// The state of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The tree, as appending needs it; holds the log's size.
    pub frontier: Frontier,
    /// Size and root in a signed note.
    pub checkpoint: String,
    /// When the last batch was appended.
    pub appended_at: Timestamp,
}

impl Record for Head {
    const NAME: &'static str = "receipt log head";
    const VERSION: u16 = 1;
}

impl Head {
    /// How many leaves the log has.
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root over them.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }
}

/// What one transaction of the sequencer did.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Leaves that entered.
    pub appended: usize,
    /// Whether more were waiting.
    pub more: bool,
    /// The log after it; `None` while the log is empty.
    pub head: Option<Head>,
    /// The right edge after it, for the next batch, once this one is committed.
    pub edge: Edge,
}

/// The right edge of a log, kept between batches so that they read nothing twice.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    frontier: Frontier,
    tiles: Tiles,
    holds: Vec<u8>,
    /// Where the next pending row can be: behind the last that was taken, since later commits have later versionstamps.
    /// A store keeps what was removed for a while and would walk over all of it. Empty: not known.
    pending_from: Bytes,
}

/// Appends a batch of pending leaves within `txn`. `edge` is what an earlier batch left, or nothing; it is read from the
/// store when it is not the log's.
///
/// # Errors
/// The store's; [`StoreError::Corrupt`] when the log's rows do not fit together.
pub async fn sequence(
    txn: &Txn,
    project: &ProjectId,
    signer: &NoteSigner,
    edge: &Edge,
    now: Timestamp,
) -> Result<Batch, StoreError> {
    let head = txn.load::<Head>(&records::head(project)).await?;
    let (begin, end) = key::prefix_range(&records::pending(project));
    let begin = begin.max(edge.pending_from.to_vec());
    let page = txn.range(RangeRead::new(begin, end).snapshot().limit(RECEIPT_BATCH_MAX)).await?;
    let (Some((first, _)), Some((last, _))) = (page.rows.first(), page.rows.last()) else {
        return Ok(Batch { appended: 0, more: false, head, edge: edge.clone() });
    };
    let frontier = head.map(|head| head.frontier).unwrap_or_default();
    let mut edge = if edge.frontier == frontier { edge.clone() } else { load_edge(txn, project, frontier).await? };
    let mut changed = BTreeSet::new();
    for (key, value) in &page.rows {
        let hold = records::pending_hold(project, key)?;
        let hash = value.as_ref().try_into().map_err(|_| records::corrupt(key, "it is no hash of a leaf"))?;
        let hash = Hash::from_bytes(hash);
        let Edge { frontier, tiles, .. } = &mut edge;
        let index = frontier.append(hash, |node, hash| changed.extend(tiles.append(node, hash)));
        txn.set(&records::index(project, hold), &index.to_be_bytes())?;
        edge.holds.extend_from_slice(hold.as_bytes());
        if (index + 1).is_multiple_of(TILE_HASHES) {
            txn.set(&records::holds(project, index / TILE_HASHES), &edge.holds)?;
            edge.holds.clear();
        }
    }
    for TileId { level, index } in &changed {
        let bytes = edge.tiles.bytes(TileId { level: *level, index: *index });
        txn.set(&records::tile(project, *level, *index), &bytes)?;
    }
    if !edge.holds.is_empty() {
        txn.set(&records::holds(project, edge.frontier.size() / TILE_HASHES), &edge.holds)?;
    }
    edge.tiles.forget_full();
    edge.pending_from = key::successor(last);
    txn.clear_range(first, &edge.pending_from)?;
    let checkpoint = Checkpoint::sign(&edge.frontier, signer)
        .map_err(|error| StoreError::Corrupt(format!("the log of {project} cannot be signed: {error}")))?;
    let head = Head { frontier: edge.frontier.clone(), checkpoint, appended_at: now };
    txn.save(&records::head(project), &head)?;
    Ok(Batch { appended: page.rows.len(), more: page.more, head: Some(head), edge })
}

async fn load_edge(txn: &Txn, project: &ProjectId, frontier: Frontier) -> Result<Edge, StoreError> {
    let mut edge = Edge { frontier, ..Edge::default() };
    let size = edge.frontier.size();
    for id in edge_tiles(size) {
        let key = records::tile(project, id.level, id.index);
        let bytes = txn.get(&key, Isolation::Serializable).await?.unwrap_or_default();
        let hashes = (size >> (8 * id.level)) % TILE_HASHES;
        let fits = bytes.len() as u64 == hashes * Hash::BYTES as u64;
        let whole = edge.tiles.insert(id, &bytes).filter(|()| fits);
        whole.ok_or_else(|| records::corrupt(&key, "the tile does not fit the size of the log"))?;
    }
    if !size.is_multiple_of(TILE_HASHES) {
        let key = records::holds(project, size / TILE_HASHES);
        edge.holds = txn.get(&key, Isolation::Serializable).await?.unwrap_or_default().to_vec();
        if edge.holds.len() as u64 != size % TILE_HASHES * HOLD_BYTES as u64 {
            return Err(records::corrupt(&key, "the holds do not fit the size of the log"));
        }
    }
    Ok(edge)
}
