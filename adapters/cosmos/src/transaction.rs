//! Transactions: their messages, the bytes that are simulated, signed and read back. Talks to no node.

use cosmrs::bank::MsgSend;
use cosmrs::cosmwasm::MsgExecuteContract;
use cosmrs::crypto::PublicKey;
use cosmrs::proto::cosmos::bank::v1beta1 as bank;
use cosmrs::proto::cosmos::tx::v1beta1::{AuthInfo, TxBody, TxRaw};
use cosmrs::proto::traits::{Message, MessageExt as _, Name as _};
use cosmrs::tx::{Body, Fee, Msg as _, SignDoc, SignerInfo};
use cosmrs::{AccountId, Any, Coin, Denom, ErrorReport};
use k256::ecdsa::Signature;
use sha2::{Digest as _, Sha256};
use steward_adapters::chain::{Action, Amount, AnchorPoint, ChainError};
use steward_adapters::signer::Signer;

use crate::node::malformed;

/// What a self-send moves, which comes back, and what a simulated fee is: a coin of nothing is no coin.
const SMALLEST: Amount = Amount::new(1);

/// A transaction that is not signed yet.
#[derive(Debug, Clone)]
pub struct Draft {
    body: Body,
    public_key: PublicKey,
}

/// What a signature covers beside the draft.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The chain's own identifier, without the `cosmos:` of CAIP-2.
    pub chain: String,
    /// The account's number.
    pub account_number: u64,
    /// The account's sequence number.
    pub sequence: u64,
    /// The most gas that may be used.
    pub gas: u64,
    /// What is paid for it, used or not.
    pub fee: Amount,
}

/// What a transaction that landed says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What it anchors, if its first message is a payment and its memo is an anchor.
    pub anchor: Option<Anchored>,
    /// The sequence number that its first signer used; `None` when it is unordered and used none.
    pub sequence: Option<u64>,
}

/// An anchor and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// The account that paid, and so signed first.
    pub account: String,
    /// What it anchored.
    pub point: AnchorPoint,
}

impl Draft {
    /// What an action of this account becomes.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when the chain has no such action; [`ChainError::Malformed`].
    pub fn new(action: &Action, account: &AccountId, denom: &Denom, public_key: PublicKey) -> Result<Self, ChainError> {
        let self_send = || pay(account, account.clone(), coin(denom.clone(), SMALLEST));
        let (message, memo) = match action {
            Action::DeployReceiptLog | Action::Deploy { .. } => {
                return Err(rejected("anchors are memos on this chain: nothing is deployed"));
            }
            Action::Anchor { contract, .. } if !contract.is_empty() => {
                return Err(rejected("anchors are memos on this chain: leave the contract out"));
            }
            Action::Anchor { point, .. } => (self_send()?, point.to_memo()),
            Action::Fill => (self_send()?, String::new()),
            Action::Transfer { to, amount, asset } => {
                let denom = asset.as_deref().map_or_else(|| Ok(denom.clone()), parse_denom)?;
                (pay(account, parse_account(to)?, coin(denom, *amount))?, String::new())
            }
            Action::Call { contract, input, value } => {
                let funds = (*value > Amount::ZERO).then(|| coin(denom.clone(), *value)).into_iter().collect();
                let (sender, contract) = (account.clone(), parse_account(contract)?);
                let call = MsgExecuteContract { sender, contract, msg: input.to_vec(), funds };
                (call.to_any().map_err(|error| unwritable(&error))?, String::new())
            }
        };
        Ok(Self { body: Body::new([message], memo, 0_u8), public_key })
    }

    /// The bytes that a node simulates, signed by nobody: with the least fee, since taking a fee takes gas too.
    pub fn to_simulate(&self, denom: &Denom, sequence: u64) -> Result<Vec<u8>, ChainError> {
        let fee = Fee::from_amount_and_gas(coin(denom.clone(), SMALLEST), 0_u64);
        let auth_info_bytes = self.auth_info(sequence, fee)?;
        raw(TxRaw { body_bytes: self.body_bytes()?, auth_info_bytes, signatures: vec![vec![0; 64]] })
    }

    /// The bytes to send, signed over all that the terms say.
    ///
    /// # Errors
    /// [`ChainError::Signer`]; [`ChainError::Malformed`] when the signature is none.
    pub async fn sign(&self, terms: &Terms, denom: &Denom, signer: &dyn Signer) -> Result<Vec<u8>, ChainError> {
        // A coin of nothing is no coin.
        let amount = (terms.fee > Amount::ZERO).then(|| coin(denom.clone(), terms.fee)).into_iter().collect();
        let fee = Fee { amount, gas_limit: terms.gas, payer: None, granter: None };
        let document = SignDoc {
            body_bytes: self.body_bytes()?,
            auth_info_bytes: self.auth_info(terms.sequence, fee)?,
            chain_id: terms.chain.clone(),
            account_number: terms.account_number,
        };
        let bytes = document.clone().into_bytes().map_err(|error| unwritable(&error))?;
        let signature = signer.sign_digest(&Sha256::digest(bytes).into()).await?;
        let signature = Signature::from_slice(&signature[..64]).map_err(|_| malformed("the signature", "r or s"))?;
        // The SDK takes the smaller of the two values of s only.
        let signature = signature.normalize_s().unwrap_or(signature);
        let SignDoc { body_bytes, auth_info_bytes, .. } = document;
        raw(TxRaw { body_bytes, auth_info_bytes, signatures: vec![signature.to_vec()] })
    }

    fn body_bytes(&self) -> Result<Vec<u8>, ChainError> {
        self.body.clone().into_bytes().map_err(|error| unwritable(&error))
    }

    fn auth_info(&self, sequence: u64, fee: Fee) -> Result<Vec<u8>, ChainError> {
        let signer = SignerInfo::single_direct(Some(self.public_key), sequence);
        signer.auth_info(fee).into_bytes().map_err(|error| unwritable(&error))
    }
}

impl Reading {
    /// Reads a transaction that is on the chain.
    ///
    /// # Errors
    /// [`ChainError::Malformed`] when the bytes are no transaction.
    pub fn of(bytes: &[u8]) -> Result<Self, ChainError> {
        let wrong = |error: cosmrs::proto::prost::DecodeError| malformed("the transaction", &error.to_string());
        let raw = TxRaw::decode(bytes).map_err(wrong)?;
        let body = TxBody::decode(raw.body_bytes.as_slice()).map_err(wrong)?;
        let auth_info = AuthInfo::decode(raw.auth_info_bytes.as_slice()).map_err(wrong)?;
        let point = AnchorPoint::from_memo(&body.memo);
        let anchor = point.zip(payer(&body)).map(|(point, account)| Anchored { account, point });
        let sequence = auth_info.signer_infos.first().map(|signer| signer.sequence);
        Ok(Self { anchor, sequence: sequence.filter(|_| !is_unordered(&raw.body_bytes)) })
    }
}

/// A transaction's hash, as the chain knows it.
pub fn hash_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Who pays in the first message. The chain took the transaction, so that it is signed by that account.
fn payer(body: &TxBody) -> Option<String> {
    let message = body.messages.first().filter(|message| message.type_url == bank::MsgSend::type_url())?;
    bank::MsgSend::decode(message.value.as_slice()).ok().map(|send| send.from_address)
}

/// What the SDK added to a transaction's body in version 0.53 (`cosmos/tx/v1beta1/tx.proto`).
#[derive(Clone, PartialEq, prost::Message)]
struct Unordered {
    #[prost(bool, tag = "4")]
    unordered: bool,
}

fn is_unordered(body: &[u8]) -> bool {
    // What cannot be read says nothing of sequence numbers.
    <Unordered as prost::Message>::decode(body).map_or(true, |body| body.unordered)
}

/// Reads an address: whatever its prefix, since the chain knows its own.
pub fn parse_account(address: &str) -> Result<AccountId, ChainError> {
    address.parse().map_err(|_| rejected(&format!("{address:?} is no address of a Cosmos chain")))
}

/// Reads an address of the chain whose addresses begin with this prefix. The standard allows it in capitals too (BIP 173).
pub fn own_account(address: &str, prefix: &str) -> Result<AccountId, ChainError> {
    let is_shouted = address.bytes().all(|byte| !byte.is_ascii_lowercase());
    let read = if is_shouted { parse_account(&address.to_ascii_lowercase()) } else { parse_account(address) };
    read.ok().filter(|account| account.prefix() == prefix).ok_or_else(|| {
        let shown: String = address.chars().take(100).collect();
        rejected(&format!("{shown:?} is no address of this chain, or its checksum is wrong: they begin with {prefix}1"))
    })
}

/// Reads the name of a coin.
pub fn parse_denom(denom: &str) -> Result<Denom, ChainError> {
    denom.parse().map_err(|_| rejected(&format!("{denom:?} is no name of a coin")))
}

fn coin(denom: Denom, amount: Amount) -> Coin {
    Coin { denom, amount: amount.units() }
}

fn pay(from: &AccountId, to: AccountId, coin: Coin) -> Result<Any, ChainError> {
    let send = MsgSend { from_address: from.clone(), to_address: to, amount: vec![coin] };
    send.to_any().map_err(|error| unwritable(&error))
}

fn raw(transaction: TxRaw) -> Result<Vec<u8>, ChainError> {
    transaction.to_bytes().map_err(|error| malformed("the transaction", &error.to_string()))
}

fn unwritable(error: &ErrorReport) -> ChainError {
    malformed("the transaction", &error.to_string())
}

fn rejected(reason: &str) -> ChainError {
    ChainError::Rejected { reason: reason.to_owned() }
}
