//! The `Chain` port over an EVM chain's JSON-RPC endpoint.

pub(crate) mod abi;
mod blocks;
mod events;
mod fate;
mod fault;
mod identify;
mod reply;
mod unsigned;

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::{BlockId, BlockNumberOrTag, Encodable2718};
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use alloy::transports::TransportError;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_adapters::chain::{
    Action, Amount, AnchorPoint, AnchoredHead, Broadcast, Chain, ChainError, ChainId, Consistency, ContractCall,
    EmittedEvent, EventFilter, Head, InclusionClaim, SignedTransaction, TransactionStatus,
};
use steward_adapters::fee::{Fee, MarketFee};
use steward_adapters::signer::Signer;
use url::Url;

pub use self::blocks::Finality;
use self::events::Shape;
use self::reply::{classify, refusal};
use self::unsigned::{canonical, recipient};
use crate::artifact;
use crate::contract::{Erc20, ReceiptLog};
use crate::transport::HttpTransport;

/// How a chain is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvmConfig {
    /// The CAIP-2 identifier, such as `eip155:31337`. The endpoint must be on this chain.
    pub chain: ChainId,
    /// The endpoint of its JSON-RPC.
    pub endpoint: Url,
    /// A transaction is final when its block has so many blocks, its own among them.
    #[serde(default = "default_confirmations")]
    pub confirmations: u64,
    /// The most gas that one transaction may need.
    #[serde(default = "default_gas_max")]
    pub gas_max: u64,
}

/// One account on one EVM chain.
#[derive(Debug)]
pub struct EvmChain {
    config: EvmConfig,
    number: u64,
    account: Address,
    signer: Arc<dyn Signer>,
    provider: RootProvider,
    finality: Finality,
}

impl EvmChain {
    /// The chain as this signer's account sees it. Does not connect: a chain that is down may come up.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] when the configuration or the signer is not for an EVM chain.
    pub fn new(config: EvmConfig, signer: Arc<dyn Signer>) -> Result<Self, ChainError> {
        let number = (config.chain.namespace() == "eip155").then(|| config.chain.reference().parse().ok()).flatten();
        let number = number.ok_or_else(|| malformed("the chain", "an EVM chain reads eip155:NUMBER"))?;
        let account = address("the signer's address", signer.address())?;
        let transport = HttpTransport::new(config.endpoint.clone());
        let transport = transport.map_err(|error| malformed("the endpoint", &error.to_string()))?;
        let client = RpcClient::new(transport, false);
        let provider = RootProvider::new(client);
        Ok(Self { config, number, account, signer, provider, finality: Finality::Counted })
    }

    /// The same with finality told so.
    #[must_use]
    pub const fn with_finality(mut self, finality: Finality) -> Self {
        self.finality = finality;
        self
    }

    /// Whether `transaction` anchored `point` in `contract`, and the contract says that the claimed leaf is in that tree.
    /// Unlike [`verify_inclusion`](Chain::verify_inclusion) it is not about the newest tree only: what was anchored
    /// once is proved for good. Nor is it about this account's logs only: the root is one that a signed checkpoint
    /// names, whoever paid for putting it there.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`]; [`ChainError::Malformed`] when an argument is no address or hash;
    /// [`ChainError::Rejected`] when the transaction is not on the chain or anchored something else.
    pub async fn verify_anchored(
        &self,
        contract: &str,
        transaction: &str,
        point: &AnchorPoint,
        claim: &InclusionClaim,
    ) -> Result<bool, ChainError> {
        self.check_chain().await?;
        let hash: B256 = transaction.parse().map_err(|_| malformed("the transaction's hash", transaction))?;
        let receipt = self.provider.get_transaction_receipt(hash).await.map_err(|error| self.unserved(error))?;
        let rejected = |reason: String| ChainError::Rejected { reason };
        let receipt = receipt.ok_or_else(|| rejected(format!("the transaction {hash} is not on the chain")))?;
        let emitter = address("the contract's address", contract)?;
        let anchored = receipt.logs().iter().filter(|log| log.address() == emitter).any(|log| {
            log.log_decode::<ReceiptLog::Anchored>().is_ok_and(|event| {
                let event = event.inner.data;
                event.logId.0 == point.log_id && event.treeSize == point.tree_size && event.root.0 == point.root
            })
        });
        if !anchored {
            return Err(rejected(format!("the transaction {hash} did not anchor this tree in {contract}")));
        }
        let call = ReceiptLog::verifyAtCall {
            root: point.root.into(),
            treeSize: point.tree_size,
            leafHash: claim.leaf_hash.into(),
            index: claim.index,
            path: claim.path.iter().map(B256::from).collect(),
        };
        self.call(contract, &call).await
    }

    /// The endpoint's JSON-RPC, for what the port does not have.
    pub const fn provider(&self) -> &RootProvider {
        &self.provider
    }

    async fn check_chain(&self) -> Result<(), ChainError> {
        let found = self.provider.get_chain_id().await.map_err(|error| self.unserved(error))?;
        if found == self.number {
            return Ok(());
        }
        Err(ChainError::WrongChain { expected: self.config.chain.clone(), found: identify::chain_of(found)? })
    }

    async fn sequence_at(&self, block: BlockId) -> Result<u64, ChainError> {
        let count = self.provider.get_transaction_count(self.account).block_id(block);
        count.await.map_err(|error| self.unserved_at(block, error))
    }

    async fn call<C: SolCall>(&self, contract: &str, call: &C) -> Result<C::Return, ChainError> {
        let contract = address("the contract's address", contract)?;
        let output = self.call_at(contract, call.abi_encode().into(), BlockId::latest()).await?;
        C::abi_decode_returns(&output).map_err(|error| malformed("the contract's reply", &error.to_string()))
    }

    async fn call_at(&self, contract: Address, input: Bytes, block: BlockId) -> Result<Bytes, ChainError> {
        let request = TransactionRequest::default().with_from(self.account).with_to(contract).with_input(input);
        self.provider.call(request).block(block).await.map_err(|error| self.failed_at(block, error))
    }
}

#[async_trait]
impl Chain for EvmChain {
    fn id(&self) -> &ChainId {
        &self.config.chain
    }

    fn account(&self) -> &str {
        self.signer.address()
    }

    async fn check_signer(&self) -> Result<(), ChainError> {
        Ok(self.signer.check().await?)
    }

    async fn genesis(&self) -> Result<String, ChainError> {
        self.check_chain().await?;
        self.first_block().await.map(|hash| hash.to_string())
    }

    async fn head(&self) -> Result<Head, ChainError> {
        let block = self.provider.get_block_by_number(BlockNumberOrTag::Latest);
        let block = block.await.map_err(|error| self.unserved(error))?;
        let header = block.ok_or_else(|| malformed("the newest block", "there is none"))?.header;
        let final_block = self.final_block(header.number).await?;
        Ok(Head { block: header.number, hash: header.hash.to_string(), final_block })
    }

    async fn confirmed_block(&self) -> Result<u64, ChainError> {
        self.newest_confirmed().await
    }

    async fn sequence(&self, at: Consistency) -> Result<Option<u64>, ChainError> {
        self.sequence_at(self.block_at(at).await?).await.map(Some)
    }

    async fn market_fee(&self) -> Result<MarketFee, ChainError> {
        let history = self.provider.get_fee_history(1, BlockNumberOrTag::Latest, &[]);
        let history = history.await.map_err(|error| self.unserved(error))?;
        let base = history.next_block_base_fee().ok_or_else(|| malformed("the fee history", "it is empty"))?;
        let tip = self.provider.get_max_priority_fee_per_gas().await.map_err(|error| self.unserved(error))?;
        let narrow = |fee| u64::try_from(fee).map_err(|_| malformed("the fee", "it is above 18 ether a gas"));
        Ok(MarketFee { base: narrow(base)?, tip: narrow(tip)? })
    }

    async fn sign(&self, action: &Action, sequence: u64, fee: Fee) -> Result<SignedTransaction, ChainError> {
        let request = self.unsigned(action).await?;
        let gas_limit = self.gas_limit(action, request.clone()).await?;
        self.check_paid(&request, gas_limit, fee).await?;
        let transaction = TxEip1559 {
            chain_id: self.number,
            nonce: sequence,
            gas_limit,
            max_fee_per_gas: fee.price.into(),
            max_priority_fee_per_gas: fee.tip.into(),
            to: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            access_list: alloy::eips::eip2930::AccessList::default(),
            input: request.input.into_input().unwrap_or_default(),
        };
        let signature = self.signer.sign_digest(&transaction.signature_hash()).await?;
        let signature =
            Signature::from_raw_array(&signature).map_err(|error| malformed("the signature", &error.to_string()))?;
        let signed = TxEnvelope::Eip1559(transaction.into_signed(signature));
        let deploys = matches!(action, Action::DeployReceiptLog | Action::Deploy { .. });
        let creates = deploys.then(|| self.account.create(sequence).to_string());
        Ok(SignedTransaction {
            bytes: signed.encoded_2718().into(),
            hash: signed.tx_hash().to_string(),
            sequence,
            expires: None,
            fee,
            fee_max: u128::from(gas_limit).checked_mul(fee.price.into()).map(Amount::new),
            deposit: Amount::ZERO,
            creates,
        })
    }

    async fn check_funds(&self, needed: Amount) -> Result<(), ChainError> {
        self.check_balance(U256::from(needed.units())).await
    }

    async fn broadcast(&self, bytes: &[u8]) -> Result<Broadcast, ChainError> {
        let sent: Result<B256, TransportError> =
            self.provider.client().request("eth_sendRawTransaction", (Bytes::copy_from_slice(bytes),)).await;
        match sent {
            Ok(_) => Ok(Broadcast::Accepted),
            Err(error) => match refusal(&error) {
                Some(reason) => Ok(classify(reason)),
                None => Err(self.failed(error)),
            },
        }
    }

    async fn status(&self, transaction: &SignedTransaction) -> Result<TransactionStatus, ChainError> {
        self.fate(transaction).await
    }

    async fn balance(&self, account: &str, asset: Option<&str>, at: Consistency) -> Result<Amount, ChainError> {
        let account = recipient(account)?;
        let block = self.block_at(at).await?;
        let balance = match asset {
            None => {
                let balance = self.provider.get_balance(account).block_id(block);
                balance.await.map_err(|error| self.unserved_at(block, error))?
            }
            Some(token) => {
                let call = Erc20::balanceOfCall { owner: account };
                let output = self.call_at(recipient(token)?, call.abi_encode().into(), block).await?;
                let no_token = || ChainError::Rejected { reason: format!("there is no token at {token}") };
                Erc20::balanceOfCall::abi_decode_returns(&output).map_err(|_| no_token())?
            }
        };
        let units = u128::try_from(balance).map_err(|_| malformed("the balance", "it is 2^128 or more"))?;
        Ok(Amount::new(units))
    }

    async fn read(&self, contract: &str, input: &[u8], at: Consistency) -> Result<bytes::Bytes, ChainError> {
        let contract = recipient(contract)?;
        let block = self.block_at(at).await?;
        Ok(self.call_at(contract, Bytes::copy_from_slice(input), block).await?.0)
    }

    fn canonical_address(&self, address: &str) -> Result<String, ChainError> {
        canonical(address)
    }

    fn canonical_method(&self, method: &str) -> Result<String, ChainError> {
        abi::method(method)
    }

    fn encode_call(&self, signature: Option<&str>, arguments: &Value) -> Result<ContractCall, ChainError> {
        abi::encode(&self.config.chain, signature, arguments)
    }

    fn decode_answer(&self, signature: Option<&str>, answer: &[u8]) -> Result<Value, ChainError> {
        abi::decode(signature, answer)
    }

    fn encode_deployment(
        &self,
        contract: &str,
        arguments: &BTreeMap<String, String>,
    ) -> Result<bytes::Bytes, ChainError> {
        artifact::encode(&self.config.chain, contract, arguments).map(|arguments| arguments.0)
    }

    fn needs_contract(&self) -> bool {
        true
    }

    async fn read_anchor(&self, contract: &str, log_id: &[u8; 32]) -> Result<Option<AnchoredHead>, ChainError> {
        let call = ReceiptLog::headOfCall { anchorer: self.account, logId: log_id.into() };
        let head = self.call(contract, &call).await?;
        let head = AnchoredHead { tree_size: head.treeSize, root_prefix: head.rootPrefix.0 };
        Ok((head.tree_size > 0).then_some(head))
    }

    async fn verify_inclusion(&self, contract: &str, claim: &InclusionClaim) -> Result<bool, ChainError> {
        let call = ReceiptLog::verifyCall {
            anchorer: self.account,
            logId: claim.log_id.into(),
            leafHash: claim.leaf_hash.into(),
            index: claim.index,
            path: claim.path.iter().map(B256::from).collect(),
        };
        self.call(contract, &call).await
    }

    fn canonical_filter(&self, filter: &EventFilter) -> Result<EventFilter, ChainError> {
        Shape::parse(filter).map(|shape| shape.filter())
    }

    async fn events(&self, filter: &EventFilter, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError> {
        self.emitted(&Shape::parse(filter)?, from, to).await
    }
}

const fn default_confirmations() -> u64 {
    12
}

const fn default_gas_max() -> u64 {
    5_000_000
}

fn address(what: &'static str, text: &str) -> Result<Address, ChainError> {
    text.parse().map_err(|_| malformed(what, text))
}

fn malformed(what: &'static str, reason: &str) -> ChainError {
    ChainError::Malformed { what, reason: reason.chars().take(200).collect() }
}
