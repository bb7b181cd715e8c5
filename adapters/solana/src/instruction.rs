//! The instructions that our transactions are made of. Pure: nothing is asked of a chain.

use solana_compute_budget_interface::ComputeBudgetInstruction;
use solana_instruction::{AccountMeta, Instruction};
use solana_message::compiled_instruction::CompiledInstruction;
use solana_pubkey::Pubkey;
use steward_adapters::chain::{Amount, ChainError};
use steward_adapters::fee::Fee;

/// The program that takes a text and does nothing with it, on every cluster. <https://spl.solana.com/memo>
pub(crate) const MEMO_PROGRAM: Pubkey = Pubkey::from_str_const("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr");
/// The program that gives each wallet one account a token. <https://spl.solana.com/associated-token-account>
const ASSOCIATED_TOKEN_PROGRAM: Pubkey = Pubkey::from_str_const("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL");
/// The token program. <https://spl.solana.com/token>
pub(crate) const TOKEN_PROGRAM: Pubkey = Pubkey::from_str_const("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
/// The associated token program's instruction that makes an account unless it is there.
const CREATE_IDEMPOTENT: u8 = 1;
/// What a cluster asks for each signature.
const LAMPORTS_PER_SIGNATURE: u128 = 5_000;
/// What a transaction may load at least, in bytes: far more than the programs that ours call.
const LOADED_BYTES_MIN: u32 = 16 << 20;

/// How long a wallet's account for a token of the classic program is, in bytes.
pub(crate) const TOKEN_ACCOUNT_BYTES: usize = 165;

/// A token: its mint, the program that keeps it, how many decimals its amounts have, and how long its accounts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) mint: Pubkey,
    pub(crate) program: Pubkey,
    pub(crate) decimals: u8,
    pub(crate) account_bytes: usize,
}

/// Puts a text on the chain, signed by `account`.
pub(crate) fn memo(text: &str, account: &Pubkey) -> Instruction {
    let accounts = vec![AccountMeta::new_readonly(*account, true)];
    Instruction { program_id: MEMO_PROGRAM, accounts, data: text.as_bytes().to_vec() }
}

/// The text of a memo that `account` signed; nothing when the instruction is another.
pub(crate) fn memo_text<'a>(
    instruction: &'a CompiledInstruction,
    keys: &[Pubkey],
    account: Option<&Pubkey>,
) -> Option<&'a str> {
    let key = |index: u8| keys.get(usize::from(index));
    let is_memo = key(instruction.program_id_index) == Some(&MEMO_PROGRAM);
    // The memo program lets through only what every account that it is given has signed.
    let is_signed = |signer: &Pubkey| instruction.accounts.iter().any(|index| key(*index) == Some(signer));
    let is_ours = account.is_none_or(is_signed);
    (is_memo && is_ours).then(|| std::str::from_utf8(&instruction.data).ok()).flatten()
}

/// What a transaction may use and what it pays for that, before its other instructions. The number makes two
/// transactions that do the same differ, so that neither is taken for the other: nothing else of them would.
pub(crate) fn budget(units: u32, fee: Fee, number: u64) -> [Instruction; 3] {
    let distinct = u32::try_from(number % u64::from(LOADED_BYTES_MIN)).unwrap_or_default();
    [
        ComputeBudgetInstruction::set_compute_unit_limit(units),
        ComputeBudgetInstruction::set_compute_unit_price(fee.price),
        ComputeBudgetInstruction::set_loaded_accounts_data_size_limit(LOADED_BYTES_MIN + distinct),
    ]
}

/// What a transaction of one signature with so many compute units pays: what is asked for a signature, and the price of
/// the units, asked for and used or not, in millionths of a lamport and rounded up.
pub(crate) fn fee_of(units: u32, fee: Fee) -> Amount {
    let priority = (u128::from(units) * u128::from(fee.price)).div_ceil(1_000_000);
    Amount::new(LAMPORTS_PER_SIGNATURE + priority)
}

/// Pays lamports.
pub(crate) fn transfer(from: &Pubkey, to: &Pubkey, lamports: u64) -> Instruction {
    solana_system_interface::instruction::transfer(from, to, lamports)
}

/// Pays tokens from one wallet's account to another's, which must be there.
pub(crate) fn transfer_token(
    token: &Token,
    from: &Pubkey,
    to: &Pubkey,
    amount: u64,
) -> Result<Instruction, ChainError> {
    let (source, destination) = (token.account_of(from), token.account_of(to));
    let pay = spl_token_2022_interface::instruction::transfer_checked(
        &token.program,
        &source,
        &token.mint,
        &destination,
        from,
        &[],
        amount,
        token.decimals,
    );
    pay.map_err(refused)
}

pub(crate) fn refused(error: impl std::fmt::Display) -> ChainError {
    ChainError::Rejected { reason: error.to_string() }
}

impl Token {
    /// Where a wallet's tokens are.
    pub(crate) fn account_of(&self, wallet: &Pubkey) -> Pubkey {
        let seeds = [wallet.as_ref(), self.program.as_ref(), self.mint.as_ref()];
        Pubkey::find_program_address(&seeds, &ASSOCIATED_TOKEN_PROGRAM).0
    }

    /// Makes a wallet's account for the token, unless it is there; `payer` pays its rent.
    pub(crate) fn create_account(&self, payer: &Pubkey, wallet: &Pubkey) -> Instruction {
        let accounts = vec![
            AccountMeta::new(*payer, true),
            AccountMeta::new(self.account_of(wallet), false),
            AccountMeta::new_readonly(*wallet, false),
            AccountMeta::new_readonly(self.mint, false),
            AccountMeta::new_readonly(solana_system_interface::program::ID, false),
            AccountMeta::new_readonly(self.program, false),
        ];
        Instruction { program_id: ASSOCIATED_TOKEN_PROGRAM, accounts, data: vec![CREATE_IDEMPOTENT] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallets_token_account_is_the_one_that_every_tool_derives() {
        // From the tests of solana-foundation's @solana-program/token.
        let token = Token {
            mint: Pubkey::from_str_const("7o36UsWR1JQLpZ9PE2gn9L4SQ69CNNiWAXd4Jt7rqz9Z"),
            program: Pubkey::from_str_const("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"),
            decimals: 0,
            account_bytes: TOKEN_ACCOUNT_BYTES,
        };
        let wallet = Pubkey::from_str_const("B8UwBUUnKwCyKuGMbFKWaG7exYdDk2ozZrPg72NyVbfj");
        let account = Pubkey::from_str_const("DShWnroshVbeUp28oopA3Pu7oFPDBtC1DBmPECXXAQ9n");
        assert_eq!(token.account_of(&wallet), account);
    }

    #[test]
    fn two_intents_never_share_a_budget() {
        let of = |number| budget(1, Fee::default(), number);
        assert_ne!(of(0)[2], of(1)[2]);
        assert_eq!(of(7), of(7));
    }
}
