//! Events of a Solana account: the finalized transactions that name it and succeeded.
//!
//! Anyone can name an account, in a transaction with any memo. So an event tells who signed it.

use serde_json::{Map, Value, json};
use solana_client::rpc_config::RpcSignaturesForAddressConfig;
use solana_client::rpc_request::RpcRequest;
use solana_client::rpc_response::RpcConfirmedTransactionStatusWithSignature;
use solana_commitment_config::CommitmentConfig;
use solana_pubkey::Pubkey;
use solana_transaction_status_client_types::TransactionConfirmationStatus;
use solana_transaction_status_client_types::option_serializer::OptionSerializer;
use steward_adapters::chain::{Chain as _, ChainError, EmittedEvent, EventFilter, EventId, check_covers};
use steward_types::limits::{
    EVENT_FILTER_BYTES_MAX, SOLANA_EVENT_LISTS_MAX, SOLANA_EVENT_TRANSACTIONS_MAX, SOLANA_SIGNATURES_MAX,
};

use crate::chain::{SolanaChain, address, malformed};
use crate::instruction::memo_text;

/// The transactions of an account that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    account: Pubkey,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Every transaction that succeeded.
    Transaction,
    /// Those with a memo.
    Memo,
}

impl Watched {
    /// Reads a filter: an account or program, and `transaction` or `memo`.
    pub(crate) fn parse(filter: &EventFilter) -> Result<Self, ChainError> {
        let kind = match filter.event.as_str() {
            "transaction" => Kind::Transaction,
            "memo" => Kind::Memo,
            other => {
                let shown: String = other.chars().take(EVENT_FILTER_BYTES_MAX).collect();
                let reason = format!("{shown:?} names no events: write transaction, or memo for those with a memo");
                return Err(ChainError::Rejected { reason });
            }
        };
        Ok(Self { account: address("the address", &filter.address)?, kind })
    }

    /// It as a filter.
    pub(crate) fn filter(&self) -> EventFilter {
        EventFilter { address: self.account.to_string(), event: self.name().to_owned() }
    }

    const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Transaction => "transaction",
            Kind::Memo => "memo",
        }
    }

    fn is_meant(&self, listed: &RpcConfirmedTransactionStatusWithSignature) -> bool {
        listed.err.is_none() && (self.kind == Kind::Transaction || listed.memo.is_some())
    }
}

impl SolanaChain {
    /// The account's transactions in these slots, by slot and within one by signature: the order of a slot's
    /// transactions is not told by every endpoint.
    pub(crate) async fn emitted(&self, watched: &Watched, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError> {
        if from > to {
            return Ok(Vec::new());
        }
        self.genesis().await?;
        check_covers(self, to).await?;
        // What an endpoint lists of an account says nothing of the blocks that it does not have.
        self.check_has_all(from, to).await?;
        let mut listed = self.listed(watched, from, to).await?;
        if from < to && listed.len() > SOLANA_EVENT_TRANSACTIONS_MAX {
            let reason = format!("{} transactions, and {SOLANA_EVENT_TRANSACTIONS_MAX} are read at once", listed.len());
            return Err(ChainError::TooMany { chain: self.endpoint.chain().clone(), reason });
        }
        listed.sort();
        let mut events = Vec::with_capacity(listed.len());
        for (slot, signature) in listed {
            let arguments = Ok(self.told_by(&signature).await?);
            let id = EventId { block: slot, transaction: signature, index: 0 };
            events.push(EmittedEvent { id, name: watched.name().to_owned(), arguments });
        }
        Ok(events)
    }

    /// The slots and signatures of the account's transactions in these slots. Lists begin with the newest.
    async fn listed(&self, watched: &Watched, from: u64, to: u64) -> Result<Vec<(u64, String)>, ChainError> {
        let (mut found, mut before, mut as_of) = (Vec::new(), None, to);
        for _ in 0..SOLANA_EVENT_LISTS_MAX {
            let config = RpcSignaturesForAddressConfig {
                before: before.take(),
                until: None,
                limit: Some(SOLANA_SIGNATURES_MAX),
                commitment: Some(CommitmentConfig::finalized()),
                min_context_slot: Some(as_of),
            };
            let parameters = json!([watched.account.to_string(), config]);
            let call = self.endpoint.client().send(RpcRequest::GetSignaturesForAddress, parameters);
            let page: Vec<RpcConfirmedTransactionStatusWithSignature> = self.endpoint.ask(call).await?;
            // A short page is not the last one: an endpoint may have a lower limit.
            let is_last = page.last().is_none_or(|oldest| oldest.slot < from);
            before = page.last().map(|oldest| oldest.signature.clone());
            // A node that does not have the transaction which a list is to go on from may tell of none before it.
            as_of = page.last().filter(|oldest| is_final(oldest)).map_or(to, |oldest| oldest.slot.max(to));
            let meant = page.into_iter().filter(|each| (from..=to).contains(&each.slot) && watched.is_meant(each));
            found.extend(meant.map(|each| (each.slot, each.signature)));
            if is_last {
                return Ok(found);
            }
        }
        let most = SOLANA_EVENT_LISTS_MAX * SOLANA_SIGNATURES_MAX;
        let reason = format!("the account has more than {most} transactions since slot {from}: begin at a newer one");
        Err(ChainError::Rejected { reason })
    }

    /// What a transaction says: who signed it, its memos, and what programs logged.
    async fn told_by(&self, signature: &str) -> Result<Map<String, Value>, ChainError> {
        let found = self.endpoint.final_transaction(signature).await?;
        let listed = || self.endpoint.unavailable(format!("it lists the transaction {signature} and does not have it"));
        let found = found.ok_or_else(listed)?.transaction;
        let message = found.transaction.decode().ok_or_else(|| malformed("the transaction", signature))?.message;
        let keys = message.static_account_keys();
        let signers = keys.iter().take(usize::from(message.header().num_required_signatures));
        let signers: Vec<String> = signers.map(ToString::to_string).collect();
        let memos: Vec<&str> =
            message.instructions().iter().filter_map(|instruction| memo_text(instruction, keys, None)).collect();
        let logs = match found.meta.map(|meta| meta.log_messages) {
            Some(OptionSerializer::Some(logs)) => logs,
            _ => Vec::new(),
        };
        let told = [("signers", json!(signers)), ("memos", json!(memos)), ("logs", json!(logs))];
        Ok(told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// Some nodes list what is not final among what is, though asked for the latter.
fn is_final(listed: &RpcConfirmedTransactionStatusWithSignature) -> bool {
    listed.confirmation_status.as_ref().is_none_or(|level| *level == TransactionConfirmationStatus::Finalized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_account_or_no_kind_of_event_is_refused() {
        let account = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr";
        let check = |address: &str, event: &str, good: bool| {
            let filter = EventFilter { address: address.to_owned(), event: event.to_owned() };
            let read = Watched::parse(&filter);
            assert_eq!(read.is_ok(), good, "{filter:?}: {read:?}");
            assert!(good || matches!(read, Err(ChainError::Rejected { .. })), "{read:?}");
        };
        check(account, "transaction", true);
        check(account, "memo", true);
        check(account, "Transfer", false);
        check("0x12", "memo", false);
    }
}
