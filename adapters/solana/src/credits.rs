//! Credits: a token of our own with the token program that is on every cluster. Made, minted, paid and burned by
//! transactions that are signed first and sent afterwards, like all others.

use solana_pubkey::Pubkey;
use solana_system_interface::instruction::create_account_with_seed;
use spl_token_2022_interface::instruction::{burn_checked, initialize_mint2, mint_to_checked};
use steward_adapters::chain::{Amount, ChainError, SignedTransaction};
use steward_adapters::fee::Fee;

use crate::chain::{SolanaChain, address};
use crate::instruction::{TOKEN_ACCOUNT_BYTES, TOKEN_PROGRAM, Token, refused};

/// How long a mint's account is, in bytes: `Mint::LEN` of the token program.
const MINT_LEN: usize = 82;

/// A token whose supply the chain's account governs. Its mint's address follows from that account and the name, so that
/// making it twice fails and makes nothing.
#[derive(Debug)]
pub struct Credits<'a> {
    chain: &'a SolanaChain,
    name: String,
    token: Token,
}

impl<'a> Credits<'a> {
    /// The credits of this name, at most 32 bytes, with this many decimals. Whether they were made is not asked.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when the name is too long.
    pub fn new(chain: &'a SolanaChain, name: &str, decimals: u8) -> Result<Self, ChainError> {
        let mint = Pubkey::create_with_seed(&chain.account, name, &TOKEN_PROGRAM).map_err(refused)?;
        let token = Token { mint, program: TOKEN_PROGRAM, decimals, account_bytes: TOKEN_ACCOUNT_BYTES };
        Ok(Self { chain, name: name.to_owned(), token })
    }

    /// The mint's address: the asset of a transfer.
    pub fn mint(&self) -> String {
        self.token.mint.to_string()
    }

    /// Signs what makes the mint. The number tells it from its likes.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when it was made before; [`ChainError::Unavailable`].
    pub async fn sign_creation(&self, number: u64, fee: Fee) -> Result<SignedTransaction, ChainError> {
        let Token { mint, program, decimals, .. } = self.token;
        let account = &self.chain.account;
        let rent = self.chain.endpoint.client().get_minimum_balance_for_rent_exemption(MINT_LEN);
        let rent = self.chain.endpoint.ask(rent).await?;
        let space = MINT_LEN as u64;
        let instructions = [
            create_account_with_seed(account, &mint, account, &self.name, rent, space, &program),
            initialize_mint2(&program, &mint, account, None, decimals).map_err(refused)?,
        ];
        self.chain.sign_instructions(&instructions, number, fee, Amount::from(rent)).await
    }

    /// Signs what gives a wallet new credits, in the mint's smallest unit.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when it cannot succeed; [`ChainError::Unavailable`].
    pub async fn sign_minting(
        &self,
        to: &str,
        amount: u64,
        number: u64,
        fee: Fee,
    ) -> Result<SignedTransaction, ChainError> {
        let (token, account) = (&self.token, &self.chain.account);
        let wallet = address("the wallet's address", to)?;
        let destination = token.account_of(&wallet);
        let mint = mint_to_checked(&token.program, &token.mint, &destination, account, &[], amount, token.decimals);
        let instructions = [token.create_account(account, &wallet), mint.map_err(refused)?];
        let deposit = self.chain.deposit(token, &wallet).await?;
        self.chain.sign_instructions(&instructions, number, fee, deposit).await
    }

    /// Signs what destroys credits of the chain's own account, in the mint's smallest unit.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when it has fewer; [`ChainError::Unavailable`].
    pub async fn sign_burning(&self, amount: u64, number: u64, fee: Fee) -> Result<SignedTransaction, ChainError> {
        let (token, account) = (&self.token, &self.chain.account);
        let source = token.account_of(account);
        let burn = burn_checked(&token.program, &source, &token.mint, account, &[], amount, token.decimals);
        self.chain.sign_instructions(&[burn.map_err(refused)?], number, fee, Amount::ZERO).await
    }
}
