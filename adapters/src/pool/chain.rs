//! The pool as a [`Chain`]: which way of asking each call takes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use super::Pool;
use super::ask::Spread;
use super::roster::nth_highest;
use crate::chain::{
    Action, Amount, AnchoredHead, Broadcast, Chain, ChainError, ChainId, Consistency, ContractCall, EmittedEvent,
    EventFilter, Head, InclusionClaim, SignedTransaction, TransactionStatus,
};
use crate::endpoint::Class;
use crate::fee::{Fee, MarketFee};

impl Pool {
    /// The consistency with which enough endpoints can be asked the same; nothing where one endpoint's word will do.
    async fn common(&self, at: Consistency) -> Result<Option<Consistency>, ChainError> {
        match at {
            _ if self.quorum == 1 => Ok(None),
            Consistency::Latest => Ok(None),
            // Where no old state can be asked for, each answers as of its own, and is asked again while they differ.
            Consistency::Confirmed if !self.keeps_old_states => Ok(Some(at)),
            Consistency::Confirmed => self.confirmed_block().await.map(|block| Some(Consistency::Block(block))),
            Consistency::Final => self.final_block().await.map(Some),
            Consistency::Block(_) => Ok(Some(at)),
        }
    }

    /// Where anchors are memos, they are searched for.
    const fn anchor_class(&self) -> Class {
        if self.needs_contract { Class::Read } else { Class::History }
    }
}

#[async_trait]
impl Chain for Pool {
    fn id(&self) -> &ChainId {
        &self.id
    }

    fn account(&self) -> &str {
        &self.account
    }

    async fn check_signer(&self) -> Result<(), ChainError> {
        self.any().check_signer().await
    }

    async fn genesis(&self) -> Result<String, ChainError> {
        self.agreed(Class::Read, "the chain's first block", &|chain| chain.genesis()).await
    }

    async fn head(&self) -> Result<Head, ChainError> {
        if self.quorum == 1 {
            return self.first(Class::Read, Spread::Hedged, &|chain| chain.head()).await;
        }
        let heads = self.in_time(self.heads()).await?;
        let block = nth_highest(heads.iter().map(|(_, head)| head.block), self.quorum);
        let final_block = nth_highest(heads.iter().map(|(_, head)| head.final_block), self.quorum);
        let head = heads.iter().find(|(_, head)| Some(head.block) == block);
        let (Some((_, head)), Some(final_block)) = (head, final_block) else { return Err(self.too_few(heads.len())) };
        Ok(Head { final_block, ..head.clone() })
    }

    async fn confirmed_block(&self) -> Result<u64, ChainError> {
        if self.quorum == 1 {
            return self.first(Class::Read, Spread::Hedged, &|chain| chain.confirmed_block()).await;
        }
        self.reached(&|chain| chain.confirmed_block()).await
    }

    async fn sequence(&self, at: Consistency) -> Result<Option<u64>, ChainError> {
        match self.common(at).await? {
            Some(at) => self.agreed(Class::Read, "the account's sequence number", &|chain| chain.sequence(at)).await,
            None if self.quorum == 1 => self.first(Class::Read, Spread::Hedged, &|chain| chain.sequence(at)).await,
            None => self.reached(&|chain| chain.sequence(at)).await,
        }
    }

    async fn market_fee(&self) -> Result<MarketFee, ChainError> {
        self.first(Class::Read, Spread::Hedged, &|chain| chain.market_fee()).await
    }

    async fn sign(&self, action: &Action, sequence: u64, fee: Fee) -> Result<SignedTransaction, ChainError> {
        let signed = self.first(Class::Read, Spread::OneByOne, &|chain| chain.sign(action, sequence, fee)).await?;
        self.with_agreed_expiry(signed).await
    }

    async fn check_funds(&self, needed: Amount) -> Result<(), ChainError> {
        self.first(Class::Read, Spread::OneByOne, &|chain| chain.check_funds(needed)).await
    }

    async fn expiry(&self) -> Result<Option<u64>, ChainError> {
        self.reached(&|chain| chain.expiry()).await
    }

    async fn broadcast(&self, bytes: &[u8]) -> Result<Broadcast, ChainError> {
        self.hand_over(bytes).await
    }

    async fn status(&self, transaction: &SignedTransaction) -> Result<TransactionStatus, ChainError> {
        if self.quorum == 1 {
            return self.first(Class::Read, Spread::Hedged, &|chain| chain.status(transaction)).await;
        }
        self.fate_of(transaction).await
    }

    async fn balance(&self, account: &str, asset: Option<&str>, at: Consistency) -> Result<Amount, ChainError> {
        match self.common(at).await? {
            Some(at) => {
                let what = format!("the balance of {account} ({at:?})");
                self.agreed(Class::Read, &what, &|chain| chain.balance(account, asset, at)).await
            }
            None => self.first(Class::Read, Spread::Hedged, &|chain| chain.balance(account, asset, at)).await,
        }
    }

    async fn read(&self, contract: &str, input: &[u8], at: Consistency) -> Result<Bytes, ChainError> {
        match self.common(at).await? {
            Some(at) => {
                let what = format!("what {contract} answers ({at:?})");
                self.agreed(Class::Read, &what, &|chain| chain.read(contract, input, at)).await
            }
            None => self.first(Class::Read, Spread::Hedged, &|chain| chain.read(contract, input, at)).await,
        }
    }

    fn canonical_address(&self, address: &str) -> Result<String, ChainError> {
        self.any().canonical_address(address)
    }

    fn canonical_asset(&self, asset: &str) -> Result<Option<String>, ChainError> {
        self.any().canonical_asset(asset)
    }

    fn canonical_method(&self, method: &str) -> Result<String, ChainError> {
        self.any().canonical_method(method)
    }

    fn encode_call(&self, signature: Option<&str>, arguments: &Value) -> Result<ContractCall, ChainError> {
        self.any().encode_call(signature, arguments)
    }

    fn decode_answer(&self, signature: Option<&str>, answer: &[u8]) -> Result<Value, ChainError> {
        self.any().decode_answer(signature, answer)
    }

    fn encode_deployment(&self, contract: &str, arguments: &BTreeMap<String, String>) -> Result<Bytes, ChainError> {
        self.any().encode_deployment(contract, arguments)
    }

    fn needs_contract(&self) -> bool {
        self.needs_contract
    }

    fn keeps_old_states(&self) -> bool {
        self.keeps_old_states
    }

    async fn read_anchor(&self, contract: &str, log_id: &[u8; 32]) -> Result<Option<AnchoredHead>, ChainError> {
        self.first(self.anchor_class(), Spread::Hedged, &|chain| chain.read_anchor(contract, log_id)).await
    }

    async fn verify_inclusion(&self, contract: &str, claim: &InclusionClaim) -> Result<bool, ChainError> {
        self.first(self.anchor_class(), Spread::Hedged, &|chain| chain.verify_inclusion(contract, claim)).await
    }

    fn canonical_filter(&self, filter: &EventFilter) -> Result<EventFilter, ChainError> {
        self.any().canonical_filter(filter)
    }

    async fn events(&self, filter: &EventFilter, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError> {
        if self.quorum == 1 {
            return self.first(Class::History, Spread::Hedged, &|chain| chain.events(filter, from, to)).await;
        }
        let what = format!("the events of {} in the blocks {from} to {to}", filter.address);
        self.agreed(Class::History, &what, &|chain| chain.events(filter, from, to)).await
    }
}
