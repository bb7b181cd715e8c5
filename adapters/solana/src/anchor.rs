//! Anchors among the memos of an account: which is the newest, and whether a transaction made one.
//!
//! Anyone can name an account in a transaction with any memo; what an account did not sign is none of its anchors.

use serde_json::json;
use solana_client::rpc_client::GetConfirmedSignaturesForAddress2Config;
use solana_client::rpc_config::RpcTransactionConfig;
use solana_client::rpc_request::RpcRequest;
use solana_client::rpc_response::RpcConfirmedTransactionStatusWithSignature;
use solana_commitment_config::CommitmentConfig;
use solana_pubkey::Pubkey;
use solana_signature::Signature;
use solana_transaction_status_client_types::{EncodedConfirmedTransactionWithStatusMeta, UiTransactionEncoding};
use steward_adapters::chain::{AnchorPoint, Chain as _, ChainError, InclusionClaim};
use steward_types::limits::{SOLANA_ANCHOR_CANDIDATES_MAX, SOLANA_SIGNATURES_MAX};

use crate::chain::{SolanaChain, malformed};
use crate::instruction::memo_text;

impl SolanaChain {
    /// Whether `transaction` anchored `point`, and the claimed leaf is in that tree. Unlike
    /// [`verify_inclusion`](steward_adapters::Chain::verify_inclusion) it is not about the newest tree only, nor about
    /// this account's logs only: the root is one that a signed checkpoint names, whoever paid for putting it there.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`]; [`ChainError::Malformed`] when the transaction's signature is none;
    /// [`ChainError::Rejected`] when the transaction is not final on the chain or anchored something else.
    pub async fn verify_anchored(
        &self,
        transaction: &str,
        point: &AnchorPoint,
        claim: &InclusionClaim,
    ) -> Result<bool, ChainError> {
        let signature = transaction.parse().map_err(|_| malformed("the transaction's signature", transaction))?;
        self.genesis().await?;
        let memos = self.memos(&signature, None, CommitmentConfig::finalized()).await?;
        let refused = |reason: String| Err(ChainError::Rejected { reason });
        match memos {
            None => refused(format!(
                "the endpoint has no final transaction {transaction}: it is not on the chain, or too old for the endpoint"
            )),
            Some(memos) if !memos.contains(&point.to_memo()) => {
                refused(format!("the transaction {transaction} did not anchor this tree"))
            }
            Some(_) => Ok(claim.is_in(point)),
        }
    }

    /// The newest anchor of a log of this account's: the largest tree, and of its roots the first. Looks at the
    /// account's newest transactions only, up to a bound.
    pub(crate) async fn newest_anchor(&self, log_id: &[u8; 32]) -> Result<Option<AnchorPoint>, ChainError> {
        let config = GetConfirmedSignaturesForAddress2Config {
            limit: Some(SOLANA_SIGNATURES_MAX),
            commitment: Some(CommitmentConfig::confirmed()),
            ..GetConfirmedSignaturesForAddress2Config::default()
        };
        let call = self.endpoint.client().get_signatures_for_address_with_config(&self.account, config);
        let candidates = candidates(&self.endpoint.ask(call).await?, log_id);
        for (point, signature) in candidates.into_iter().take(SOLANA_ANCHOR_CANDIDATES_MAX) {
            let parsed = signature.parse().map_err(|_| malformed("a transaction's signature", &signature))?;
            let memos = self.memos(&parsed, Some(&self.account), CommitmentConfig::confirmed()).await?;
            // To pass over it would make an older tree the newest.
            let lacks = || format!("it lists the transaction {signature} and does not have it");
            let memos = memos.ok_or_else(|| self.endpoint.unavailable(lacks()))?;
            if memos.contains(&point.to_memo()) {
                return Ok(Some(point));
            }
        }
        Ok(None)
    }

    /// The memos of a transaction, those that `signer` signed if one is named; empty when it failed. Nothing where the
    /// endpoint does not have the transaction, or not what became of it.
    async fn memos(
        &self,
        signature: &Signature,
        signer: Option<&Pubkey>,
        commitment: CommitmentConfig,
    ) -> Result<Option<Vec<String>>, ChainError> {
        let config = RpcTransactionConfig {
            encoding: Some(UiTransactionEncoding::Base64),
            commitment: Some(commitment),
            max_supported_transaction_version: Some(0),
        };
        let call = self.endpoint.client().send(RpcRequest::GetTransaction, json!([signature.to_string(), config]));
        let found: Option<EncodedConfirmedTransactionWithStatusMeta> = self.endpoint.ask(call).await?;
        let Some(found) = found.map(|found| found.transaction) else { return Ok(None) };
        let Some(meta) = found.meta else { return Ok(None) };
        if meta.err.is_some() {
            return Ok(Some(Vec::new()));
        }
        let decoded = found.transaction.decode();
        let message = decoded.ok_or_else(|| malformed("the transaction", &signature.to_string()))?.message;
        let keys = message.static_account_keys();
        let texts = message.instructions().iter().filter_map(|each| memo_text(each, keys, signer));
        Ok(Some(texts.map(str::to_owned).collect()))
    }
}

/// The transactions whose memos read as anchors of this log, in the order in which they count: the largest tree first,
/// of equals the oldest.
fn candidates(
    newest_first: &[RpcConfirmedTransactionStatusWithSignature],
    log_id: &[u8; 32],
) -> Vec<(AnchorPoint, String)> {
    let oldest_first = newest_first.iter().rev().filter(|transaction| transaction.err.is_none());
    let mut found: Vec<(AnchorPoint, String)> = oldest_first
        .flat_map(|transaction| {
            let memos = transaction.memo.as_deref().unwrap_or_default().split("; ");
            memos.filter_map(anchor_of).map(|point| (point, transaction.signature.clone()))
        })
        .filter(|(point, _)| point.log_id == *log_id)
        .collect();
    found.sort_by_key(|(point, _)| std::cmp::Reverse(point.tree_size));
    found
}

/// The anchor in a memo as nodes list them, with its length in brackets before it.
fn anchor_of(listed: &str) -> Option<AnchorPoint> {
    let (_, memo) = listed.strip_prefix('[')?.split_once("] ")?;
    AnchorPoint::from_memo(memo)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(tree_size: u64, byte: u8) -> AnchorPoint {
        AnchorPoint { log_id: [7; 32], tree_size, root: [byte; 32] }
    }

    fn listed(signature: &str, memos: &[&str]) -> RpcConfirmedTransactionStatusWithSignature {
        let memos: Vec<String> = memos.iter().map(|memo| format!("[{}] {memo}", memo.len())).collect();
        RpcConfirmedTransactionStatusWithSignature {
            signature: signature.to_owned(),
            slot: 1,
            transaction_index: None,
            err: None,
            memo: (!memos.is_empty()).then(|| memos.join("; ")),
            block_time: None,
            confirmation_status: None,
        }
    }

    #[test]
    fn the_largest_tree_counts_and_of_its_roots_the_first() {
        let other = AnchorPoint { log_id: [8; 32], ..point(99, 9) };
        let newest_first = [
            listed("e", &["hello", &point(4, 4).to_memo()]),
            listed("d", &[&point(5, 6).to_memo()]),
            listed("c", &[&other.to_memo()]),
            listed("b", &[]),
            listed("a", &[&point(5, 5).to_memo()]),
        ];
        let found: Vec<_> = candidates(&newest_first, &[7; 32]).into_iter().map(|(p, s)| (p.root[0], s)).collect();
        assert_eq!(found, [(5, "a".to_owned()), (6, "d".to_owned()), (4, "e".to_owned())]);
    }
}
