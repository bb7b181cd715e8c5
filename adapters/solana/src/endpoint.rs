//! Calls of the endpoint, each within its time, and what their failures mean.

use std::fmt;
use std::future::Future;

use serde_json::json;
use solana_client::client_error::{ClientError, ClientErrorKind};
use solana_client::nonblocking::rpc_client::RpcClient;
use solana_client::rpc_client::RpcClientConfig;
use solana_client::rpc_config::RpcTransactionConfig;
use solana_client::rpc_custom_error::{
    JSON_RPC_SERVER_ERROR_SEND_TRANSACTION_PREFLIGHT_FAILURE,
    JSON_RPC_SERVER_ERROR_TRANSACTION_SIGNATURE_VERIFICATION_FAILURE,
};
use solana_client::rpc_request::{RpcError, RpcRequest};
use solana_commitment_config::CommitmentConfig;
use solana_transaction_status_client_types::{EncodedConfirmedTransactionWithStatusMeta, UiTransactionEncoding};
use steward_adapters::chain::{ChainError, ChainId, Consistency};
use steward_adapters::endpoint::AnswerTooLong;
use steward_types::limits::CHAIN_CALL_TIME_MAX;
use url::Url;

use crate::sender::{Sender, Throttled};

/// Invalid parameters, in JSON-RPC 2.0.
const INVALID_PARAMETERS: i64 = -32602;

/// One endpoint of one chain.
pub(crate) struct Endpoint {
    chain: ChainId,
    client: RpcClient,
}

impl Endpoint {
    pub(crate) fn new(chain: ChainId, url: &Url) -> Self {
        let config = RpcClientConfig::with_commitment(CommitmentConfig::confirmed());
        let client = RpcClient::new_sender(Sender::new(url.clone()), config);
        Self { chain, client }
    }

    /// The chain that it must be on.
    pub(crate) const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The client, for a call that [`ask`](Self::ask) then waits for.
    pub(crate) const fn client(&self) -> &RpcClient {
        &self.client
    }

    /// Waits for a question, which may be several to the endpoint. No chain refuses one: that an endpoint calls ours
    /// invalid, as many do when their archive fails, is its own failure.
    pub(crate) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>> + Send,
    ) -> Result<T, ChainError> {
        self.in_time(call).await?.map_err(|error| self.failed(error))
    }

    /// Waits for a call that shows the chain a transaction, which the chain may refuse.
    pub(crate) async fn offer<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>> + Send,
    ) -> Result<T, ChainError> {
        self.in_time(call).await?.map_err(|error| match refusal(&error) {
            Some(reason) => ChainError::Rejected { reason },
            None => self.failed(error),
        })
    }

    async fn in_time<T>(&self, call: impl Future<Output = T> + Send) -> Result<T, ChainError> {
        let late = |_| self.unavailable(format!("no answer within {CHAIN_CALL_TIME_MAX:?}"));
        tokio::time::timeout(CHAIN_CALL_TIME_MAX, call).await.map_err(late)
    }

    /// A final transaction as it is on the chain; nothing where the endpoint does not have it.
    pub(crate) async fn final_transaction(
        &self,
        signature: &str,
    ) -> Result<Option<EncodedConfirmedTransactionWithStatusMeta>, ChainError> {
        let config = RpcTransactionConfig {
            encoding: Some(UiTransactionEncoding::Base64),
            commitment: Some(CommitmentConfig::finalized()),
            max_supported_transaction_version: Some(0),
        };
        self.ask(self.client.send(RpcRequest::GetTransaction, json!([signature, config]))).await
    }

    pub(crate) fn unavailable(&self, reason: String) -> ChainError {
        ChainError::Unavailable { chain: self.chain.clone(), source: reason.into() }
    }

    /// Why an endpoint did not serve.
    fn failed(&self, error: ClientError) -> ChainError {
        let chain = self.chain.clone();
        let cause = match error.kind() {
            ClientErrorKind::Io(error) => error.get_ref(),
            _ => None,
        };
        if let Some(Throttled { retry_after, reason }) = cause.and_then(|cause| cause.downcast_ref()) {
            return ChainError::Throttled { chain, retry_after: *retry_after, reason: reason.clone() };
        }
        if let Some(endless) = cause.and_then(|cause| cause.downcast_ref::<AnswerTooLong>()) {
            return ChainError::AnswerTooLong { chain, source: *endless };
        }
        ChainError::Unavailable { chain, source: Box::new(error) }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// The commitment that answers with this consistency. What is confirmed was voted for by two thirds of the stake and has
/// never been undone; what is processed is one node's view and is asked for by nothing here.
pub(crate) const fn commitment(at: Consistency) -> CommitmentConfig {
    match at {
        Consistency::Latest | Consistency::Confirmed => CommitmentConfig::confirmed(),
        Consistency::Final | Consistency::Block(_) => CommitmentConfig::finalized(),
    }
}

/// Why the chain refuses a transaction, where it was the chain and not the endpoint that did.
fn refusal(error: &ClientError) -> Option<String> {
    let ClientErrorKind::RpcError(RpcError::RpcResponseError { code, message, .. }) = error.kind() else { return None };
    let is_refusal = matches!(
        *code,
        INVALID_PARAMETERS
            | JSON_RPC_SERVER_ERROR_SEND_TRANSACTION_PREFLIGHT_FAILURE
            | JSON_RPC_SERVER_ERROR_TRANSACTION_SIGNATURE_VERIFICATION_FAILURE
    );
    is_refusal.then(|| message.clone())
}
