//! Reading a receipt log: receipts, proofs, and where its roots were anchored.

use serde::{Deserialize, Serialize};
use steward_receipts::merkle::{consistency_nodes, consistency_path, inclusion_nodes, root_at, root_nodes};
use steward_receipts::proof::{Anchor, Proof};
use steward_receipts::{Hash, Leaf, MerkleError, NodeId};
use steward_storage::{Isolation, RangeRead, Record, Store, StoreError, TransactionError, Txn};
use steward_types::limits::RECEIPT_PAGE_MAX;
use steward_types::{ErrorCode, HoldId, ProjectId, SessionId, Timestamp};
use thiserror::Error;

use super::records;
use super::sequencer::Head;
use super::tiles::{TILE_HASHES, Tiles, tiles_of};

/// Why a receipt cannot be given or proven.
#[derive(Debug, Error)]
pub enum ReceiptError {
    /// The store failed, or the transaction must run again.
    #[error("the receipt log could not be read")]
    Store(#[from] StoreError),
    /// There is no receipt for this hold.
    #[error("there is no receipt {hold}")]
    NotFound {
        /// The hold.
        hold: HoldId,
    },
    /// The receipt is not in the log yet, or no anchored root covers it yet.
    #[error("the receipt {hold} is not {}", if *anchored { "under an anchored root yet" } else { "in the log yet" })]
    Pending {
        /// The hold.
        hold: HoldId,
        /// Whether it waits for an anchor rather than for the log.
        anchored: bool,
    },
    /// This chain has no root that covers the receipt yet.
    #[error("{chain} has no root over the receipt {hold} yet: anchor the log there, or wait for its interval")]
    PendingOn {
        /// The hold.
        hold: HoldId,
        /// The chain.
        chain: String,
    },
    /// The log is smaller than what was asked for, or the sizes are the wrong way round.
    #[error("the log cannot prove this")]
    Proof(#[from] MerkleError),
}

impl ReceiptError {
    /// The code that stands for this at the edge.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::NotFound { .. } => ErrorCode::ReceiptNotFound,
            Self::Pending { .. } | Self::PendingOn { .. } => ErrorCode::ReceiptPending,
            Self::Proof(MerkleError::NodeMissing { .. }) => ErrorCode::RecordCorrupt,
            Self::Proof(_) => ErrorCode::InvalidRequest,
        }
    }
}

impl TransactionError for ReceiptError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// A receipt, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its place in the log; `None` while it is on its way.
    pub index: Option<u64>,
    /// What it says.
    pub leaf: Leaf,
}

/// Under which checkpoint to prove.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProveUnder {
    /// The earliest anchored one that covers the receipt, or the newest when none does yet.
    #[default]
    Best,
    /// The newest.
    Newest,
    /// The earliest anchored one that covers the receipt.
    Anchored,
    /// The earliest one that this chain has and that covers the receipt; the proof names no other chain.
    AnchoredOn(String),
    /// The newest one that this chain has, for contracts that keep no other; the proof names no other chain.
    NewestOn(String),
}

/// A root that a chain has, or that is on its way there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchoredRoot {
    /// The size of the log.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The checkpoint that says so.
    pub checkpoint: String,
    /// Where the chain has it.
    pub anchor: Anchor,
    /// When this was recorded.
    pub anchored_at: Timestamp,
    /// The account that anchored it; empty in rows of older versions.
    #[serde(default)]
    pub account: String,
}

/// A proof as strangers read it, with what is known besides of its anchors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The proof.
    pub proof: Proof,
    /// Who made each of its anchors, in their order; empty where that was not noted.
    pub accounts: Vec<String>,
}

impl Record for AnchoredRoot {
    const NAME: &'static str = "anchored root";
    const VERSION: u16 = 1;
}

/// Which receipts to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// Only those of this session.
    pub session: Option<SessionId>,
    /// Where to begin in the log.
    pub from: u64,
    /// Most receipts of the answer, at most [`RECEIPT_PAGE_MAX`].
    pub receipts_max: usize,
}

/// A page of receipts in the order of the log; those on their way into it stand last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptList {
    /// The receipts.
    pub receipts: Vec<Receipt>,
    /// Where to go on; `None` when the end of the log was reached.
    pub next: Option<u64>,
    /// How many the log has.
    pub size: u64,
}

/// The log's head; `None` while it is empty.
///
/// # Errors
/// The store's.
pub async fn head(store: &dyn Store, project: &ProjectId) -> Result<Option<Head>, StoreError> {
    store.begin().load_snapshot(&records::head(project)).await
}

/// One receipt by its hold.
///
/// # Errors
/// [`ReceiptError::NotFound`].
pub async fn get(store: &dyn Store, project: &ProjectId, hold: HoldId) -> Result<Receipt, ReceiptError> {
    let txn = store.begin();
    let leaf = load_leaf(&txn, project, hold).await?.ok_or(ReceiptError::NotFound { hold })?;
    Ok(Receipt { index: load_index(&txn, project, hold).await?, leaf })
}

/// A page of receipts.
///
/// # Errors
/// The store's.
pub async fn list(store: &dyn Store, project: &ProjectId, request: &ListRequest) -> Result<ReceiptList, StoreError> {
    let txn = store.begin();
    let size = txn.load_snapshot::<Head>(&records::head(project)).await?.map_or(0, |head| head.size());
    let most = request.receipts_max.clamp(1, RECEIPT_PAGE_MAX);
    let mut receipts = Vec::new();
    let mut index = request.from;
    let end = size.min(request.from.saturating_add(RECEIPT_PAGE_MAX as u64));
    let fits = |leaf: &Leaf| request.session.is_none_or(|session| leaf.session == session);
    let mut tile: Option<(u64, Vec<HoldId>)> = None;
    while index < end && receipts.len() < most {
        let wanted = index / TILE_HASHES;
        let holds = match tile.take() {
            Some((number, holds)) if number == wanted => holds,
            _ => load_holds(&txn, project, wanted).await?,
        };
        let hold = holds.get((index % TILE_HASHES) as usize).copied();
        let key = records::holds(project, wanted);
        let hold = hold.ok_or_else(|| records::corrupt(&key, "the log is longer than its holds"))?;
        let leaf = load_leaf(&txn, project, hold).await?;
        let leaf = leaf.ok_or_else(|| records::corrupt(&key, "a hold has no leaf"))?;
        if fits(&leaf) {
            receipts.push(Receipt { index: Some(index), leaf });
        }
        tile = Some((wanted, holds));
        index += 1;
    }
    if index < size || receipts.len() == most {
        return Ok(ReceiptList { receipts, next: Some(index), size });
    }
    let waiting = RangeRead::prefix(&records::pending(project)).snapshot().limit(most.saturating_sub(receipts.len()));
    for (key, _) in txn.range(waiting).await?.rows {
        let hold = records::pending_hold(project, &key)?;
        if let Some(leaf) = load_leaf(&txn, project, hold).await?.filter(&fits) {
            receipts.push(Receipt { index: None, leaf });
        }
    }
    Ok(ReceiptList { receipts, next: None, size })
}

/// The proof that a receipt is in the log, as the file that `verify` reads. Each anchor's row is read once.
///
/// # Errors
/// [`ReceiptError::NotFound`]; [`ReceiptError::Pending`] when no such checkpoint covers it yet.
pub async fn prove(
    store: &dyn Store,
    project: &ProjectId,
    hold: HoldId,
    under: ProveUnder,
) -> Result<Proven, ReceiptError> {
    let txn = store.begin();
    let leaf = load_leaf(&txn, project, hold).await?.ok_or(ReceiptError::NotFound { hold })?;
    let index = load_index(&txn, project, hold).await?;
    let index = index.ok_or(ReceiptError::Pending { hold, anchored: false })?;
    let anchors = match &under {
        ProveUnder::Newest => Vec::new(),
        ProveUnder::Best | ProveUnder::Anchored => anchors_covering(&txn, project, index, None).await?,
        ProveUnder::AnchoredOn(chain) => anchors_covering(&txn, project, index, Some(chain)).await?,
        ProveUnder::NewestOn(chain) => {
            let newest = newest_anchor_on(store, project, chain).await?;
            newest.into_iter().filter(|anchored| anchored.size > index).collect()
        }
    };
    let (size, checkpoint) = match (anchors.first(), under) {
        (Some(first), _) => (first.size, first.checkpoint.clone()),
        (None, ProveUnder::Anchored) => return Err(ReceiptError::Pending { hold, anchored: true }),
        (None, ProveUnder::AnchoredOn(chain) | ProveUnder::NewestOn(chain)) => {
            return Err(ReceiptError::PendingOn { hold, chain });
        }
        (None, ProveUnder::Best | ProveUnder::Newest) => {
            let head = txn.load_snapshot::<Head>(&records::head(project)).await?;
            let head = head.ok_or(ReceiptError::Pending { hold, anchored: false })?;
            (head.size(), head.checkpoint)
        }
    };
    let nodes = load_nodes(&txn, project, &inclusion_nodes(index, size)?).await?;
    let mut proof = Proof::build(leaf, index, size, &nodes, checkpoint)?;
    let (anchors, accounts) = anchors.into_iter().map(|anchored| (anchored.anchor, anchored.account)).unzip();
    proof.anchors = anchors;
    Ok(Proven { proof, accounts })
}

/// The proof that the log of `new_size` leaves begins with the log of `old_size`.
///
/// # Errors
/// [`ReceiptError::Proof`] when the log never had these sizes.
pub async fn consistency(
    store: &dyn Store,
    project: &ProjectId,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<Hash>, ReceiptError> {
    let txn = store.begin();
    check_size(&txn, project, new_size).await?;
    let nodes = load_nodes(&txn, project, &consistency_nodes(old_size, new_size)?).await?;
    Ok(consistency_path(old_size, new_size, &nodes)?)
}

/// The root that the log had at `size` leaves.
///
/// # Errors
/// [`ReceiptError::Proof`] when the log is smaller.
pub async fn root(store: &dyn Store, project: &ProjectId, size: u64) -> Result<Hash, ReceiptError> {
    let txn = store.begin();
    check_size(&txn, project, size).await?;
    let nodes = load_nodes(&txn, project, &root_nodes(size)).await?;
    Ok(root_at(size, &nodes)?)
}

/// Records that a chain has a root. Recording it again changes nothing.
///
/// # Errors
/// The store's.
pub fn record_anchor(txn: &Txn, project: &ProjectId, anchored: &AnchoredRoot) -> Result<(), StoreError> {
    let key = records::anchors(project).pack(&(anchored.size, anchored.anchor.chain.as_str()));
    txn.save(&key, anchored)
}

/// The newest root that any chain has.
///
/// # Errors
/// The store's.
pub async fn newest_anchor(store: &dyn Store, project: &ProjectId) -> Result<Option<AnchoredRoot>, StoreError> {
    let range = RangeRead::subspace(&records::anchors(project)).snapshot().reversed().limit(1);
    let page = store.begin().scan::<AnchoredRoot>(range).await?;
    Ok(page.rows.into_iter().next().map(|(_, anchored)| anchored))
}

/// The newest root that this chain has.
///
/// # Errors
/// The store's.
pub async fn newest_anchor_on(
    store: &dyn Store,
    project: &ProjectId,
    chain: &str,
) -> Result<Option<AnchoredRoot>, StoreError> {
    let txn = store.begin();
    let mut rest = Some(RangeRead::subspace(&records::anchors(project)).snapshot().reversed().limit(RECEIPT_PAGE_MAX));
    while let Some(range) = rest {
        let page = txn.scan::<AnchoredRoot>(range).await?;
        if let Some((_, anchored)) = page.rows.into_iter().find(|(_, anchored)| anchored.anchor.chain == chain) {
            return Ok(Some(anchored));
        }
        rest = page.rest;
    }
    Ok(None)
}

/// The roots that chains have, newest first, at most `limit`.
///
/// # Errors
/// The store's.
pub async fn anchors(store: &dyn Store, project: &ProjectId, limit: usize) -> Result<Vec<AnchoredRoot>, StoreError> {
    let range = RangeRead::subspace(&records::anchors(project)).snapshot().reversed().limit(limit);
    let page = store.begin().scan::<AnchoredRoot>(range).await?;
    Ok(page.rows.into_iter().map(|(_, anchored)| anchored).collect())
}

/// Returns once every receipt that was pending when it was called is in the log. Dropping the future is safe.
///
/// # Errors
/// The store's.
pub async fn settled(store: &dyn Store, project: &ProjectId) -> Result<(), StoreError> {
    let newest = RangeRead::prefix(&records::pending(project)).snapshot().reversed().limit(1);
    let page = store.begin().range(newest).await?;
    let Some((last, _)) = page.rows.into_iter().next() else { return Ok(()) };
    loop {
        // The watch is active before the row is looked at again, so that no change is missed.
        let txn = store.begin();
        let waiting = txn.get(&last, Isolation::Snapshot).await?.is_some();
        let cleared = txn.watch(&last)?;
        txn.commit().await?;
        if !waiting {
            return Ok(());
        }
        cleared.await?;
    }
}

/// Returns once the log has so many leaves. Dropping the future is safe.
///
/// # Errors
/// The store's.
pub async fn grown_to(store: &dyn Store, project: &ProjectId, size: u64) -> Result<(), StoreError> {
    let row = records::head(project);
    loop {
        // The watch is active before the head is looked at again, so that no leaf is missed.
        let txn = store.begin();
        let found = txn.load_snapshot::<Head>(&row).await?.map_or(0, |head| head.size());
        let changed = txn.watch(&row)?;
        txn.commit().await?;
        if found >= size {
            return Ok(());
        }
        changed.await?;
    }
}

async fn check_size(txn: &Txn, project: &ProjectId, size: u64) -> Result<(), ReceiptError> {
    let found = txn.load_snapshot::<Head>(&records::head(project)).await?.map_or(0, |head| head.size());
    if size <= found { Ok(()) } else { Err(MerkleError::Shrunk { old_size: size, new_size: found }.into()) }
}

async fn load_leaf(txn: &Txn, project: &ProjectId, hold: HoldId) -> Result<Option<Leaf>, StoreError> {
    let key = records::leaf(project, hold);
    let bytes = txn.get(&key, Isolation::Snapshot).await?;
    bytes.map(|bytes| records::decode_leaf(&key, &bytes)).transpose()
}

async fn load_index(txn: &Txn, project: &ProjectId, hold: HoldId) -> Result<Option<u64>, StoreError> {
    let key = records::index(project, hold);
    let Some(bytes) = txn.get(&key, Isolation::Snapshot).await? else { return Ok(None) };
    let bytes = bytes.as_ref().try_into().map_err(|_| records::corrupt(&key, "the index is not 8 bytes"))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

async fn load_holds(txn: &Txn, project: &ProjectId, tile: u64) -> Result<Vec<HoldId>, StoreError> {
    let bytes = txn.get(&records::holds(project, tile), Isolation::Snapshot).await?.unwrap_or_default();
    Ok(bytes.as_chunks::<16>().0.iter().copied().map(HoldId::from_bytes).collect())
}

async fn load_nodes(txn: &Txn, project: &ProjectId, nodes: &[NodeId]) -> Result<Tiles, StoreError> {
    let mut tiles = Tiles::default();
    for id in tiles_of(nodes) {
        let key = records::tile(project, id.level, id.index);
        if let Some(bytes) = txn.get(&key, Isolation::Snapshot).await? {
            tiles.insert(id, &bytes).ok_or_else(|| records::corrupt(&key, "the tile is not whole hashes"))?;
        }
    }
    Ok(tiles)
}

/// The anchors of the smallest anchored size that covers the leaf: all of that size, or this chain's only. They lie in
/// the order of their sizes, and other chains' may be many.
async fn anchors_covering(
    txn: &Txn,
    project: &ProjectId,
    index: u64,
    chain: Option<&str>,
) -> Result<Vec<AnchoredRoot>, StoreError> {
    let rows = records::anchors(project);
    let mut range = RangeRead::subspace(&rows).snapshot().limit(RECEIPT_PAGE_MAX);
    range.begin = rows.pack(&(index + 1,));
    let (mut rest, mut found) = (Some(range), Vec::<AnchoredRoot>::new());
    while let Some(range) = rest {
        let page = txn.scan::<AnchoredRoot>(range).await?;
        for (_, anchored) in page.rows {
            match found.first() {
                Some(first) if first.size != anchored.size => return Ok(found),
                _ if chain.is_none_or(|chain| chain == anchored.anchor.chain) => found.push(anchored),
                _ => {}
            }
        }
        rest = page.rest;
    }
    Ok(found)
}
