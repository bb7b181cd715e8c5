//! Builds the transactions that the driver signs, and finds out beforehand what cannot succeed. Sends nothing.

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use steward_adapters::chain::{Action, Amount, ChainError};
use steward_adapters::fee::Fee;

use super::{EvmChain, address};
use crate::artifact;
use crate::contract::{Erc20, ReceiptLog};

/// Gas that anchoring needs at most, whatever the state is by the time it lands: a first anchor writes a new slot.
const ANCHOR_GAS_MIN: u64 = 80_000;

impl EvmChain {
    /// The unsigned transaction without its gas limit.
    pub(super) async fn unsigned(&self, action: &Action) -> Result<TransactionRequest, ChainError> {
        let request = TransactionRequest::default().with_from(self.account);
        Ok(match action {
            Action::DeployReceiptLog => request.with_deploy_code(ReceiptLog::BYTECODE.clone()),
            Action::Deploy { contract, arguments } => {
                request.with_deploy_code(artifact::deploy_code(contract, arguments)?)
            }
            Action::Anchor { contract, point } => {
                let call = ReceiptLog::anchorCall {
                    logId: point.log_id.into(),
                    treeSize: point.tree_size,
                    root: point.root.into(),
                };
                request.with_to(address("the contract's address", contract)?).with_input(call.abi_encode())
            }
            Action::Transfer { to, amount, asset: None } => request.with_to(recipient(to)?).with_value(wei(*amount)),
            Action::Transfer { to, amount, asset: Some(token) } => {
                let call = Erc20::transferCall { to: recipient(to)?, amount: wei(*amount) };
                let request = request.with_to(recipient(token)?).with_input(call.abi_encode());
                self.check_token_pays(request.clone()).await?;
                request
            }
            Action::Call { contract, input, value } => {
                request.with_to(recipient(contract)?).with_input(Bytes::from(input.clone())).with_value(wei(*value))
            }
            Action::Fill => request.with_to(self.account).with_value(U256::ZERO),
        })
    }

    /// The gas limit, from what the transaction needs on the newest block. Asking also finds out what cannot succeed.
    pub(super) async fn gas_limit(&self, action: &Action, request: TransactionRequest) -> Result<u64, ChainError> {
        let estimate = self.provider.estimate_gas(request).block(BlockId::latest());
        let needed = estimate.await.map_err(|error| self.failed(error))?;
        let generous = needed.saturating_add(needed / 4);
        let limit = if matches!(action, Action::Anchor { .. }) { generous.max(ANCHOR_GAS_MIN) } else { generous };
        if limit > self.config.gas_max {
            let reason = format!("it needs {limit} gas and {} are allowed", self.config.gas_max);
            return Err(ChainError::Rejected { reason });
        }
        Ok(limit)
    }

    /// A transaction that the account cannot pay for would be refused by every node, and hold up what comes after it. Nodes
    /// estimate the gas of one without looking at the balance.
    pub(super) async fn check_paid(
        &self,
        request: &TransactionRequest,
        gas_limit: u64,
        fee: Fee,
    ) -> Result<(), ChainError> {
        let value = request.value.unwrap_or_default();
        self.check_balance(value.saturating_add(U256::from(gas_limit).saturating_mul(U256::from(fee.price)))).await
    }

    /// Whether the account has so many wei in the newest block. What waits in a pool is in no balance.
    pub(super) async fn check_balance(&self, needed: U256) -> Result<(), ChainError> {
        let balance = self.provider.get_balance(self.account).await.map_err(|error| self.unserved(error))?;
        if needed <= balance {
            return Ok(());
        }
        let reason = format!("it needs {needed} wei with its fee, and {} has {balance}", self.account);
        Err(ChainError::Rejected { reason })
    }

    /// Some tokens answer false instead of failing, and an address without code does anything and nothing: neither
    /// would be seen in the block.
    async fn check_token_pays(&self, transfer: TransactionRequest) -> Result<(), ChainError> {
        let token = transfer.to.and_then(|to| to.to().copied()).unwrap_or_default();
        let output = self.provider.call(transfer).block(BlockId::latest()).await.map_err(|error| self.failed(error))?;
        let reason = if output.is_empty() {
            let code = self.provider.get_code_at(token).await.map_err(|error| self.unserved(error))?;
            code.is_empty().then(|| format!("there is no token at {token}"))
        } else {
            let pays = Erc20::transferCall::abi_decode_returns(&output).unwrap_or(false);
            (!pays).then(|| format!("the token {token} answers that it would not pay"))
        };
        reason.map_or(Ok(()), |reason| Err(ChainError::Rejected { reason }))
    }
}

/// An address that somebody gave us. One in both cases carries a checksum (EIP-55), which must be right.
pub(super) fn recipient(text: &str) -> Result<Address, ChainError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let is_mixed =
        digits.bytes().any(|byte| byte.is_ascii_lowercase()) && digits.bytes().any(|byte| byte.is_ascii_uppercase());
    let read = if is_mixed { Address::parse_checksummed(text, None).ok() } else { text.parse().ok() };
    read.ok_or_else(|| {
        let shown: String = text.chars().take(100).collect();
        ChainError::Rejected { reason: format!("{shown:?} is no address of this chain, or its checksum is wrong") }
    })
}

/// The address in lower case, however it was written.
pub(super) fn canonical(text: &str) -> Result<String, ChainError> {
    recipient(text).map(|address| format!("{address:#x}"))
}

fn wei(amount: Amount) -> U256 {
    U256::from(amount.units())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_both_cases_must_have_its_checksum() {
        let check = |text: &str, good: bool| assert_eq!(recipient(text).is_ok(), good, "{text}");
        check("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", true);
        check("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", true);
        check("0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED", true);
        check("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", false);
        check("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beae", false);
        check("somebody", false);
    }

    #[test]
    fn an_asset_has_one_name_however_its_address_is_written() {
        let lower = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
        let upper = format!("0x{}", lower[2..].to_uppercase());
        for text in [lower, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", &upper, &lower[2..]] {
            assert_eq!(canonical(text).unwrap(), lower);
        }
    }
}
