//! Which chain an endpoint is on, asked of an endpoint of which nothing is known.

use alloy::network::Ethereum;
use alloy::providers::{Provider as _, RootProvider};
use alloy::rpc::client::RpcClient;
use steward_adapters::chain::{ChainError, ChainId};
use url::Url;

use super::reply::without_address;
use super::{EvmChain, malformed};
use crate::transport::HttpTransport;

impl EvmChain {
    /// The CAIP-2 identifier of the chain that an endpoint is on.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`]; [`ChainError::Malformed`] when what it answers is no chain's number.
    pub async fn identify(endpoint: &Url) -> Result<ChainId, ChainError> {
        let transport = HttpTransport::new(endpoint.clone());
        let transport = transport.map_err(|error| malformed("the endpoint", &error.to_string()))?;
        let number = RootProvider::<Ethereum>::new(RpcClient::new(transport, false)).get_chain_id().await;
        let chain = || "eip155:unknown".parse().expect("it is written as an identifier is");
        let unavailable = |error| ChainError::Unavailable { chain: chain(), source: without_address(error) };
        chain_of(number.map_err(unavailable)?)
    }
}

/// The identifier of the chain of this number.
pub(super) fn chain_of(number: u64) -> Result<ChainId, ChainError> {
    format!("eip155:{number}").parse().map_err(|_| malformed("the chain's number", "it is too long"))
}
