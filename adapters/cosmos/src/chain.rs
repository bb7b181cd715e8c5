//! The `Chain` port over a node of a Cosmos chain.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cosmrs::crypto::PublicKey;
use cosmrs::proto::cosmos::bank::v1beta1::{QueryBalanceRequest, QueryBalanceResponse};
use cosmrs::proto::cosmos::base::node::v1beta1::{ConfigRequest, ConfigResponse};
use cosmrs::proto::cosmos::tx::v1beta1::{SimulateRequest, SimulateResponse};
use cosmrs::proto::cosmwasm::wasm::v1::{QuerySmartContractStateRequest, QuerySmartContractStateResponse};
use cosmrs::{AccountId, Denom};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use steward_adapters::chain::{
    Action, Amount, AnchoredHead, Broadcast, Chain, ChainError, ChainId, Consistency, ContractCall, EmittedEvent,
    EventFilter, Head, InclusionClaim, SignedTransaction, TransactionStatus,
};
use steward_adapters::fee::{Fee, MarketFee};
use steward_adapters::signer::{Signer, SignerError};
use tokio::sync::OnceCell;
use url::Url;

use crate::anchors::{self, Newest};
use crate::events::{self, Selector};
use crate::fate;
use crate::node::{Node, malformed};
use crate::price::GasPrice;
use crate::transaction::{Draft, Terms, hash_of, own_account, parse_account, parse_denom};

/// What a signer signs so that its public key can be read from the signature. It is the digest of no transaction.
const NAME_YOURSELF: &[u8] = b"Steward asks this key which account it signs for.";

/// How a chain is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosmosConfig {
    /// The CAIP-2 identifier, such as `cosmos:cosmoshub-4`. The node must be on this chain.
    pub chain: ChainId,
    /// The address of its node's JSON-RPC (CometBFT's, usually on port 26657).
    pub endpoint: Url,
    /// What the chain's addresses begin with, such as `cosmos`.
    pub prefix: String,
    /// The coin that fees and payments without an asset are in, such as `uatom`.
    pub denom: String,
    /// The least that is offered for a unit of gas, in that coin. The node may ask for more.
    pub gas_price: GasPrice,
    /// The most gas that one transaction may need.
    pub gas_max: u64,
    /// Whether the node may have forgotten the chain's first block. A chain that was reset is then told by its sequence
    /// numbers only.
    #[serde(default)]
    pub pruned: bool,
}

/// One account on one Cosmos chain.
#[derive(Debug)]
pub struct CosmosChain {
    node: Node,
    account: AccountId,
    denom: Denom,
    gas_price: GasPrice,
    gas_max: u64,
    pruned: bool,
    signer: Arc<dyn Signer>,
    public_key: OnceCell<PublicKey>,
}

impl CosmosChain {
    /// The chain as this signer's account sees it. Does not connect: a chain that is down may come up.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] when the configuration or the signer is not for a Cosmos chain.
    pub fn new(config: CosmosConfig, signer: Arc<dyn Signer>) -> Result<Self, ChainError> {
        if config.chain.namespace() != "cosmos" {
            return Err(malformed("the chain", "a Cosmos chain reads cosmos:CHAIN-ID"));
        }
        let account: AccountId =
            signer.address().parse().map_err(|_| malformed("the signer's address", signer.address()))?;
        if account.prefix() != config.prefix {
            return Err(malformed("the signer's address", &format!("it does not begin with {}", config.prefix)));
        }
        let denom = parse_denom(&config.denom)?;
        Ok(Self {
            node: Node::new(config.chain, config.endpoint)?,
            account,
            denom,
            gas_price: config.gas_price,
            gas_max: config.gas_max,
            pruned: config.pruned,
            signer,
            public_key: OnceCell::new(),
        })
    }

    /// The node's questions and answers, for what the port does not have.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The key that verifies the signer's signatures. Transactions carry it, and the `Signer` port does not have it: it is
    /// recovered from a signature, so that a key in a vault need not be exported.
    async fn public_key(&self) -> Result<PublicKey, ChainError> {
        let recover = async {
            let digest: [u8; 32] = Sha256::digest(NAME_YOURSELF).into();
            let signature = self.signer.sign_digest(&digest).await?;
            let wrong = || SignerError::Service { reason: "its signature is not its account's".to_owned() };
            let key = recover(&digest, &signature).ok_or_else(wrong)?;
            let account = key.account_id(self.account.prefix()).map_err(|_| wrong())?;
            if account == self.account { Ok(key) } else { Err(wrong()) }
        };
        self.public_key.get_or_try_init(|| recover).await.copied().map_err(ChainError::Signer)
    }

    /// A log does not shrink and has no two roots of a size: nobody but us checks that where there is no contract.
    async fn check_anchor(&self, action: &Action) -> Result<(), ChainError> {
        let Action::Anchor { point, .. } = action else { return Ok(()) };
        match anchors::newest(&self.node, self.account.as_ref(), &point.log_id).await? {
            Newest::Anchor(newest) if !point.may_follow(&newest) => {
                let (found, wanted) = (newest.tree_size, point.tree_size);
                let reason = format!("a tree of {found} leaves is anchored, which one of {wanted} does not continue");
                Err(ChainError::Rejected { reason })
            }
            Newest::Anchor(_) | Newest::Never | Newest::TooOld => Ok(()),
        }
    }

    /// The gas limit, from what the transaction needs after the newest block and what waits in the pool. Asking also finds
    /// out what cannot succeed.
    async fn gas_limit(&self, draft: &Draft, sequence: u64) -> Result<u64, ChainError> {
        let needed = match self.simulate(draft, sequence).await {
            // Ours before it have not arrived, or wait in the pool: its gas is the same under the number that fits now.
            Err(ChainError::Rejected { reason }) => match fate::expected_sequence(&reason) {
                Some(expected) => self.simulate(draft, expected).await?,
                None => return Err(ChainError::Rejected { reason }),
            },
            simulated => simulated?,
        };
        let limit = needed.saturating_add(needed / 4);
        if limit > self.gas_max {
            let reason = format!("it needs {limit} gas and {} are allowed", self.gas_max);
            return Err(ChainError::Rejected { reason });
        }
        Ok(limit)
    }

    async fn simulate(&self, draft: &Draft, sequence: u64) -> Result<u64, ChainError> {
        let request =
            SimulateRequest { tx_bytes: draft.to_simulate(&self.denom, sequence)?, ..SimulateRequest::default() };
        let answer: SimulateResponse = self.node.query("/cosmos.tx.v1beta1.Service/Simulate", &request, None).await?;
        let gas = answer.gas_info.ok_or_else(|| malformed("the simulation", "it has no gas"))?;
        Ok(gas.gas_used)
    }
}

#[async_trait]
impl Chain for CosmosChain {
    fn id(&self) -> &ChainId {
        self.node.chain()
    }

    fn account(&self) -> &str {
        self.account.as_ref()
    }

    async fn check_signer(&self) -> Result<(), ChainError> {
        Ok(self.signer.check().await?)
    }

    async fn genesis(&self) -> Result<String, ChainError> {
        let standing = self.node.standing().await?;
        if self.pruned {
            return Ok(self.id().reference().to_owned());
        }
        let oldest = self.node.block(standing.oldest_block).await?;
        if oldest.parent.is_empty() {
            return Ok(oldest.hash);
        }
        let reason = format!("its oldest block is {}: set `pruned = true`", standing.oldest_block);
        Err(malformed("the node's history", &reason))
    }

    async fn head(&self) -> Result<Head, ChainError> {
        let standing = self.node.standing().await?;
        Ok(Head { block: standing.block, hash: standing.hash, final_block: standing.block })
    }

    async fn sequence(&self, at: Consistency) -> Result<Option<u64>, ChainError> {
        let account = self.node.account(self.account.as_ref(), block(at)).await?;
        Ok(Some(account.map_or(0, |account| account.sequence)))
    }

    async fn market_fee(&self) -> Result<MarketFee, ChainError> {
        let asked = self.node.query("/cosmos.base.node.v1beta1.Service/Config", &ConfigRequest {}, None).await;
        let asked = match asked {
            Ok(ConfigResponse { minimum_gas_price, .. }) => least_price(&minimum_gas_price, self.denom.as_ref())?,
            // Older nodes do not tell.
            Err(ChainError::Rejected { .. }) => GasPrice::default(),
            Err(error) => return Err(error),
        };
        Ok(MarketFee { base: self.gas_price.max(asked).millionths(), tip: 0 })
    }

    async fn sign(&self, action: &Action, sequence: u64, fee: Fee) -> Result<SignedTransaction, ChainError> {
        self.check_anchor(action).await?;
        let account = self.node.account(self.account.as_ref(), None).await?;
        let unfunded = || ChainError::Rejected { reason: format!("{} owns nothing yet: fund it", self.account) };
        let account = account.ok_or_else(unfunded)?;
        let draft = Draft::new(action, &self.account, &self.denom, self.public_key().await?)?;
        let gas = self.gas_limit(&draft, sequence).await?;
        let terms = Terms {
            chain: self.id().reference().to_owned(),
            account_number: account.number,
            sequence,
            gas,
            fee: GasPrice::from_millionths(fee.price).of(gas),
        };
        let fee_max = Some(terms.fee);
        let bytes = draft.sign(&terms, &self.denom, &*self.signer).await?;
        let hash = hex::encode_upper(hash_of(&bytes));
        let (bytes, deposit) = (bytes.into(), Amount::ZERO);
        Ok(SignedTransaction { bytes, hash, sequence, expires: None, fee, fee_max, deposit, creates: None })
    }

    async fn broadcast(&self, bytes: &[u8]) -> Result<Broadcast, ChainError> {
        let answer = self.node.submit(bytes).await;
        fate::of_broadcast(&self.node, self.account.as_ref(), bytes, answer).await
    }

    async fn status(&self, transaction: &SignedTransaction) -> Result<TransactionStatus, ChainError> {
        let hash = anchors::parse_hash(&transaction.hash)?;
        let fate = fate::of(&self.node, self.account.as_ref(), &hash, transaction.sequence).await?;
        // What is offered is taken, used or not.
        Ok(fate.with_fee(transaction.fee_max))
    }

    async fn balance(&self, account: &str, asset: Option<&str>, at: Consistency) -> Result<Amount, ChainError> {
        let denom = asset.map_or_else(|| Ok(self.denom.clone()), parse_denom)?.to_string();
        let request = QueryBalanceRequest { address: parse_account(account)?.to_string(), denom };
        let answer: QueryBalanceResponse =
            self.node.query("/cosmos.bank.v1beta1.Query/Balance", &request, block(at)).await?;
        let units = answer.balance.map_or_else(|| "0".to_owned(), |balance| balance.amount);
        units.parse().map_err(|_| malformed("the balance", &units))
    }

    async fn read(&self, contract: &str, input: &[u8], at: Consistency) -> Result<Bytes, ChainError> {
        let (address, query_data) = (parse_account(contract)?.to_string(), input.to_vec());
        let request = QuerySmartContractStateRequest { address, query_data };
        let path = "/cosmwasm.wasm.v1.Query/SmartContractState";
        let answer: QuerySmartContractStateResponse = self.node.query(path, &request, block(at)).await?;
        Ok(answer.data.into())
    }

    fn canonical_address(&self, address: &str) -> Result<String, ChainError> {
        own_account(address, self.account.prefix()).map(|account| account.to_string())
    }

    fn canonical_asset(&self, asset: &str) -> Result<Option<String>, ChainError> {
        let denom = parse_denom(asset)?;
        Ok((denom != self.denom).then(|| denom.to_string()))
    }

    fn canonical_method(&self, method: &str) -> Result<String, ChainError> {
        let is_name = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let wrong = || format!("{method:?} is no method: write the one key of its message, such as mint");
        is_name.then(|| method.to_owned()).ok_or_else(|| ChainError::Rejected { reason: wrong() })
    }

    fn encode_call(&self, signature: Option<&str>, arguments: &Value) -> Result<ContractCall, ChainError> {
        let rejected = |reason: &str| ChainError::Rejected { reason: reason.to_owned() };
        if signature.is_some() {
            return Err(rejected("contracts of this chain take messages: give a map such as #{mint: #{…}} alone"));
        }
        let message = arguments.as_object().filter(|message| message.len() == 1);
        let method = message.and_then(|message| message.keys().next());
        let method = method.ok_or_else(|| rejected("a message is a map with one key, the method's name"))?;
        Ok(ContractCall { method: method.clone(), input: Bytes::from(arguments.to_string()), tokens: None })
    }

    fn decode_answer(&self, _signature: Option<&str>, answer: &[u8]) -> Result<Value, ChainError> {
        let not_json = |error| ChainError::Rejected { reason: format!("the contract's answer is no JSON: {error}") };
        serde_json::from_slice(answer).map_err(not_json)
    }

    fn needs_contract(&self) -> bool {
        false
    }

    async fn read_anchor(&self, _contract: &str, log_id: &[u8; 32]) -> Result<Option<AnchoredHead>, ChainError> {
        match anchors::newest(&self.node, self.account.as_ref(), log_id).await? {
            Newest::Anchor(point) => Ok(Some(AnchoredHead::of(&point))),
            Newest::Never => Ok(None),
            Newest::TooOld => Err(too_old()),
        }
    }

    async fn verify_inclusion(&self, _contract: &str, claim: &InclusionClaim) -> Result<bool, ChainError> {
        match anchors::newest(&self.node, self.account.as_ref(), &claim.log_id).await? {
            Newest::Anchor(point) => Ok(claim.is_in(&point)),
            Newest::Never => Ok(false),
            Newest::TooOld => Err(too_old()),
        }
    }

    fn canonical_filter(&self, filter: &EventFilter) -> Result<EventFilter, ChainError> {
        let selector = Selector::parse(filter, self.account.prefix())?;
        Ok(EventFilter { address: selector.address().to_owned(), event: filter.event.clone() })
    }

    async fn events(&self, filter: &EventFilter, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError> {
        let selector = Selector::parse(filter, self.account.prefix())?;
        events::emitted(&self.node, &selector, from, to).await
    }
}

/// The block that an answer is to be about; none for the newest, which is final here.
const fn block(at: Consistency) -> Option<u64> {
    match at {
        Consistency::Latest | Consistency::Confirmed | Consistency::Final => None,
        Consistency::Block(block) => Some(block),
    }
}

fn too_old() -> ChainError {
    let reason = "the log's newest anchor is too long ago to be searched for: look at its transaction".to_owned();
    ChainError::Rejected { reason }
}

/// What a node asks for a unit of gas in this coin: `0.025uatom,0.01uosmo`. Nothing, where it does not ask for this coin.
fn least_price(prices: &str, denom: &str) -> Result<GasPrice, ChainError> {
    let price = prices.split(',').find_map(|price| {
        let digits = price.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (price, of) = price.split_at(digits);
        (of == denom).then_some(price)
    });
    let price = price.map_or(Ok(GasPrice::default()), str::parse);
    price.map_err(|error| malformed("the node's price of gas", &error.to_string()))
}

/// The key that made a signature: r, s and the recovery bit, which Ethereum's signers count from 27.
fn recover(digest: &[u8; 32], signature: &[u8; 65]) -> Option<PublicKey> {
    let (mut recovery, signature) = (signature[64] % 27, Signature::from_slice(&signature[..64]).ok()?);
    let normalized = signature.normalize_s();
    recovery ^= u8::from(normalized.is_some());
    let (recovery, signature) = (RecoveryId::from_byte(recovery)?, normalized.unwrap_or(signature));
    let key = VerifyingKey::recover_from_prehash(digest, &signature, recovery).ok()?;
    Some(PublicKey::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_price_is_read_in_the_coin_that_fees_are_in() {
        let check = |prices: &str, price: u64| {
            assert_eq!(least_price(prices, "uatom").unwrap(), GasPrice::from_millionths(price), "{prices}");
        };
        check("", 0);
        check("0.025000000000000000uatom", 25_000);
        check("0.1ibc/27394FB092D2,0.025uatom", 25_000);
        check("0.1stake", 0);
        assert!(least_price("1.2.3uatom", "uatom").is_err());
    }
}
