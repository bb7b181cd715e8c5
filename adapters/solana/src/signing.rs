//! Makes, simulates and signs transactions, and knows how long they can land. Sends nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::json;
use solana_client::rpc_config::RpcSimulateTransactionConfig;
use solana_client::rpc_request::RpcRequest;
use solana_client::rpc_response::{Response, RpcSimulateTransactionResult};
use solana_commitment_config::CommitmentConfig;
use solana_instruction::Instruction;
use solana_message::Message;
use solana_signature::Signature;
use solana_transaction_status_client_types::UiTransactionEncoding;
use steward_adapters::chain::{Amount, ChainError, SignedTransaction};
use steward_adapters::fee::Fee;
use steward_types::limits::SOLANA_EXPIRY_MARGIN;

use crate::chain::{SolanaChain, malformed};
use crate::instruction;

/// What a simulation says where the node does not have the block that the transaction names.
const BLOCK_NOT_FOUND: &str = "\"BlockhashNotFound\"";

impl SolanaChain {
    /// Signs what these instructions do, among it making an account with this deposit; sends nothing. Simulating them
    /// finds out what they need, and what cannot succeed.
    pub(crate) async fn sign_instructions(
        &self,
        instructions: &[Instruction],
        number: u64,
        fee: Fee,
        deposit: Amount,
    ) -> Result<SignedTransaction, ChainError> {
        let client = self.endpoint.client();
        let latest = client.get_latest_blockhash_with_commitment_and_context(CommitmentConfig::confirmed());
        let Response { context, value: (blockhash, last_valid) } = self.endpoint.ask(latest).await?;
        let message = |units| {
            let budget = instruction::budget(units, fee, number);
            let all: Vec<Instruction> = budget.into_iter().chain(instructions.iter().cloned()).collect();
            Message::new_with_blockhash(&all, Some(&self.account), &blockhash).serialize()
        };
        let units = self.units(&message(self.config.units_max), context.slot).await?;
        let message = message(units);
        let signature = Signature::from(self.signer.sign_message(&message).await?);
        Ok(SignedTransaction {
            bytes: Bytes::from(transaction_of(&signature, &message)),
            hash: signature.to_string(),
            sequence: number,
            expires: Some(expiry_of(last_valid)),
            fee,
            fee_max: instruction::fee_of(units, fee).checked_add(deposit),
            deposit,
            creates: None,
        })
    }

    /// The last block that can have a transaction which is signed now.
    pub(crate) async fn newest_expiry(&self) -> Result<u64, ChainError> {
        let latest = self.endpoint.client().get_latest_blockhash_with_commitment(CommitmentConfig::confirmed());
        let (_, last_valid) = self.endpoint.ask(latest).await?;
        Ok(expiry_of(last_valid))
    }

    /// The compute units that a message needs, with a margin, as of the slot whose block it names.
    async fn units(&self, message: &[u8], slot: u64) -> Result<u32, ChainError> {
        let config = RpcSimulateTransactionConfig {
            commitment: Some(CommitmentConfig::confirmed()),
            encoding: Some(UiTransactionEncoding::Base64),
            // Behind one address there may be several nodes, and another one may not have that block yet.
            min_context_slot: Some(slot),
            ..RpcSimulateTransactionConfig::default()
        };
        let bytes = BASE64.encode(transaction_of(&Signature::default(), message));
        let call = self.endpoint.client().send(RpcRequest::SimulateTransaction, json!([bytes, config]));
        let answer: Response<RpcSimulateTransactionResult> = self.endpoint.offer(call).await?;
        let RpcSimulateTransactionResult { err, logs, units_consumed, .. } = answer.value;
        if let Some(error) = err {
            let error = serde_json::to_string(&error).unwrap_or_default();
            if error == BLOCK_NOT_FOUND {
                let reason = format!("it does not have the block of slot {slot}, which it named as the newest");
                return Err(self.endpoint.unavailable(reason));
            }
            let last = logs.unwrap_or_default().pop().unwrap_or_default();
            return Err(ChainError::Rejected { reason: format!("{error}: {last}") });
        }
        let needed = units_consumed.ok_or_else(|| malformed("the simulation", "it does not say what it used"))?;
        let generous = needed.saturating_add(needed / 4);
        if generous > u64::from(self.config.units_max) {
            let reason = format!("it needs {generous} compute units and {} are allowed", self.config.units_max);
            return Err(ChainError::Rejected { reason });
        }
        Ok(u32::try_from(generous).unwrap_or(self.config.units_max))
    }
}

/// The last block that can have a transaction, given what the endpoint calls its last valid one.
const fn expiry_of(last_valid: u64) -> u64 {
    last_valid.saturating_add(SOLANA_EXPIRY_MARGIN)
}

/// A transaction with one signature, as it is sent: how many, the signature, the message.
fn transaction_of(signature: &Signature, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + 64 + message.len());
    bytes.push(1);
    bytes.extend_from_slice(signature.as_ref());
    bytes.extend_from_slice(message);
    bytes
}
