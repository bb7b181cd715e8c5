//! Calls of contracts as people write them, and as chains encode them.

use bytes::Bytes;

use super::Amount;

/// What a contract is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractCall {
    /// The method by the name that rules know it by: `transfer(address,uint256)`, or the one key of a JSON message.
    pub method: String,
    /// The input as the chain encodes it.
    pub input: Bytes,
    /// How much the call makes or destroys of the token that the contract is, where the driver can tell: rules count it as
    /// they count a payment of that token.
    pub tokens: Option<Amount>,
}
