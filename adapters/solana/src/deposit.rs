//! Deposits: what an account must have so that the chain keeps it, paid by whoever makes it and never as a fee. A payment
//! that makes its receiver's account costs that much more, and says so before it is signed.

use solana_commitment_config::CommitmentConfig;
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;
use spl_token_2022_interface::extension::ExtensionType;
use spl_token_2022_interface::extension::account_len::try_calculate_account_len_from_mint_data;
use steward_adapters::chain::{Amount, ChainError, SignedTransaction, TransactionStatus};

use crate::chain::{SolanaChain, malformed};
use crate::instruction::{self, TOKEN_ACCOUNT_BYTES, TOKEN_PROGRAM, Token, refused};

/// How long a wallet's account for the token of this mint is: what the mint's extensions ask of it comes on top, and that
/// its owner cannot be changed, which the associated token program asks for. The classic program has no extensions.
pub(crate) fn account_bytes(program: &Pubkey, mint: &[u8]) -> Result<usize, ChainError> {
    if *program == TOKEN_PROGRAM {
        return Ok(TOKEN_ACCOUNT_BYTES);
    }
    try_calculate_account_len_from_mint_data(mint, &[ExtensionType::ImmutableOwner]).map_err(refused)
}

impl SolanaChain {
    /// What pays a wallet, makes its account for the token only where there is none, and the deposit of that. So an account
    /// that is closed meanwhile is not made anew at a price that nobody was told.
    pub(crate) async fn token_payment(
        &self,
        token: &Token,
        to: &Pubkey,
        amount: u64,
    ) -> Result<(Vec<Instruction>, Amount), ChainError> {
        let deposit = self.deposit(token, to).await?;
        let create = (deposit > Amount::ZERO).then(|| token.create_account(&self.account, to));
        let pay = instruction::transfer_token(token, &self.account, to, amount)?;
        Ok((create.into_iter().chain([pay]).collect(), deposit))
    }

    /// What making a wallet's account for the token takes; nothing where it is there.
    pub(crate) async fn deposit(&self, token: &Token, wallet: &Pubkey) -> Result<Amount, ChainError> {
        let (client, holder) = (self.endpoint.client(), token.account_of(wallet));
        let found = client.get_account_with_commitment(&holder, CommitmentConfig::confirmed());
        // Coins that somebody sent to its address beforehand do not make it an account of the token.
        if self.endpoint.ask(found).await?.value.is_some_and(|account| account.owner == token.program) {
            return Ok(Amount::ZERO);
        }
        let rent = client.get_minimum_balance_for_rent_exemption(token.account_bytes);
        Ok(Amount::from(self.endpoint.ask(rent).await?))
    }

    /// The same with what it paid: what it offered, or where it was to make an account, what is gone from ours. Somebody
    /// else may have made the account first, or one that failed may have made none.
    pub(crate) async fn with_paid(
        &self,
        status: TransactionStatus,
        transaction: &SignedTransaction,
    ) -> Result<TransactionStatus, ChainError> {
        let is_final = matches!(&status, TransactionStatus::Included(inclusion) if inclusion.is_final);
        if !is_final || transaction.deposit == Amount::ZERO {
            return Ok(status.with_fee(transaction.fee_max));
        }
        Ok(status.with_fee(Some(self.paid(&transaction.hash).await?)))
    }

    /// What a final transaction took from its first signer, whose balance nothing else of it changes.
    async fn paid(&self, signature: &str) -> Result<Amount, ChainError> {
        let found = self.endpoint.final_transaction(signature).await?;
        let meta = found.and_then(|found| found.transaction.meta);
        let meta = meta.ok_or_else(|| self.endpoint.unavailable(format!("it does not tell what {signature} paid")))?;
        let paid = meta.pre_balances.first().zip(meta.post_balances.first());
        let paid = paid.and_then(|(before, after)| before.checked_sub(*after));
        paid.map(Amount::from).ok_or_else(|| malformed("the transaction", "it paid less than nothing"))
    }
}

#[cfg(test)]
mod tests {
    use spl_token_2022_interface::extension::{BaseStateWithExtensionsMut as _, StateWithExtensionsMut};
    use spl_token_2022_interface::extension::{non_transferable::NonTransferable, transfer_fee::TransferFeeConfig};
    use spl_token_2022_interface::state::Mint;

    use super::*;

    #[test]
    fn an_account_is_as_long_as_its_mint_asks() {
        let program = Pubkey::from_str_const("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb");
        let check = |program: &Pubkey, extensions: &[ExtensionType], expected: usize| {
            let length = ExtensionType::try_calculate_account_len::<Mint>(extensions).unwrap();
            let mut data = vec![0; length];
            let mut mint = StateWithExtensionsMut::<Mint>::unpack_uninitialized(&mut data).unwrap();
            for extension in extensions {
                match extension {
                    ExtensionType::TransferFeeConfig => drop(mint.init_extension::<TransferFeeConfig>(true).unwrap()),
                    _ => drop(mint.init_extension::<NonTransferable>(true).unwrap()),
                }
            }
            mint.base.is_initialized = true;
            mint.pack_base();
            mint.init_account_type().unwrap();
            assert_eq!(account_bytes(program, &data).unwrap(), expected, "{extensions:?}");
        };
        check(&TOKEN_PROGRAM, &[], 165);
        // Beyond 165 bytes comes the account's type, and then each extension with a head of 4 bytes.
        check(&program, &[], 165 + 1 + 4);
        check(&program, &[ExtensionType::TransferFeeConfig], 165 + 1 + 4 + 4 + 8);
        check(&program, &[ExtensionType::NonTransferable], 165 + 1 + 4 + 4);
    }
}
