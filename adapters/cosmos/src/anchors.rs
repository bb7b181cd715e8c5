//! An account's anchors, read from the transactions by which it paid itself. There is no contract: the account's own
//! transactions are the only record.

use steward_adapters::chain::{AnchorPoint, ChainError, ChainId, InclusionClaim};
use steward_types::limits::ANCHORS_READ_MAX;
use url::Url;

use crate::node::{Executed, Node, PAGE_MAX, malformed};
use crate::transaction::Reading;

/// What an account's transactions say of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newest {
    /// Its newest anchor.
    Anchor(AnchorPoint),
    /// It was never anchored.
    Never,
    /// It is not among the newest `ANCHORS_READ_MAX` payments to itself, and there are older ones.
    TooOld,
}

/// The newest anchor of a log by this account.
pub async fn newest(node: &Node, account: &str, log_id: &[u8; 32]) -> Result<Newest, ChainError> {
    // Payments to others are left out, which may be many between two anchors.
    let query = format!("transfer.sender='{account}' AND transfer.recipient='{account}'");
    let (mut page, mut seen) = (1, 0);
    while seen < ANCHORS_READ_MAX {
        let found = node.search(&query, page).await?;
        let anchors = found.transactions.iter().rev().filter_map(|executed| anchor_of(executed, account));
        // Oldest first: what a contract would have refused after the one before it is passed over.
        let newest = anchors
            .filter(|point| point.log_id == *log_id)
            .reduce(|newest, point| if point.may_follow(&newest) { point } else { newest });
        if let Some(point) = newest {
            return Ok(Newest::Anchor(point));
        }
        seen += found.transactions.len();
        if found.transactions.is_empty() || page * PAGE_MAX >= found.total {
            return Ok(Newest::Never);
        }
        page += 1;
    }
    Ok(Newest::TooOld)
}

/// Whether a transaction of a chain anchored this point, whoever paid for it, and the claimed leaf is in that tree. The
/// node at `endpoint` is asked; no account of one's own is needed.
///
/// # Errors
/// [`ChainError::Unavailable`]; [`ChainError::Malformed`] when the hash is none; [`ChainError::Rejected`] when the
/// transaction is not on the chain or anchored something else.
pub async fn verify_anchored(
    chain: ChainId,
    endpoint: Url,
    transaction: &str,
    point: &AnchorPoint,
    claim: &InclusionClaim,
) -> Result<bool, ChainError> {
    let node = Node::new(chain, endpoint)?;
    node.standing().await?;
    let rejected = |reason: String| ChainError::Rejected { reason };
    let found = node.transaction(&parse_hash(transaction)?).await?;
    let found = found.ok_or_else(|| rejected(format!("the transaction {transaction} is not on the chain")))?;
    let anchor = Reading::of(&found.bytes)?.anchor.filter(|_| found.succeeded);
    if anchor.is_none_or(|anchor| anchor.point != *point) {
        return Err(rejected(format!("the transaction {transaction} did not anchor this tree")));
    }
    Ok(claim.is_in(point))
}

/// Reads a transaction's hash: 64 hexadecimal digits.
pub fn parse_hash(hash: &str) -> Result<[u8; 32], ChainError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hash, &mut bytes).map_err(|_| malformed("the transaction's hash", hash))?;
    Ok(bytes)
}

fn anchor_of(executed: &Executed, account: &str) -> Option<AnchorPoint> {
    // What we cannot read is no anchor: the chain may have kinds of transactions that we do not know.
    let anchor = Reading::of(&executed.bytes).ok()?.anchor?;
    (executed.succeeded && anchor.account == account).then_some(anchor.point)
}
