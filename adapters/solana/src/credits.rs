//! Credits: tokens of our own with the token program that is on every cluster. Made as a deployment, minted and burned as
//! calls of their mint, paid as any token is: all of it through the outbox.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;
use solana_system_interface::instruction::create_account_with_seed;
use spl_token_2022_interface::instruction::{burn_checked, initialize_mint2, mint_to_checked};
use steward_adapters::chain::{Amount, ChainError, ChainId, ContractCall, local_address};

use crate::chain::{SolanaChain, address};
use crate::instruction::{TOKEN_PROGRAM, refused};

/// The name of what a deployment makes.
const CREDITS: &str = "credits";
/// How long a mint's account is, in bytes: `Mint::LEN` of the token program.
const MINT_LEN: usize = 82;
/// Longest name of credits, in bytes: the seed of an address.
const NAME_BYTES_MAX: usize = 32;

/// Credits that are to be made. The mint's address follows from the account and the name, so that making it twice fails
/// and makes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewCredits {
    name: String,
    decimals: u8,
}

/// What a mint is told, as an intent keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum MintCall {
    /// Give a wallet new credits, in the smallest unit.
    Mint { to: String, amount: u64 },
    /// Destroy credits of the chain's own account.
    Burn { amount: u64 },
}

impl NewCredits {
    /// Reads a deployment's arguments as people give them.
    pub(crate) fn encode(contract: &str, arguments: &BTreeMap<String, String>) -> Result<Bytes, ChainError> {
        known(contract)?;
        let takes = "credits take name (at most 32 bytes) and decimals (0 to 255)";
        let of = |name: &str| arguments.get(name).ok_or_else(|| refused(format!("{name} is missing: {takes}")));
        if let Some(unknown) = arguments.keys().find(|name| !matches!(name.as_str(), "name" | "decimals")) {
            return Err(refused(format!("{unknown:?} is no argument: {takes}")));
        }
        let (name, decimals) = (of("name")?.clone(), of("decimals")?);
        let decimals = decimals.parse().map_err(|_| refused(format!("decimals is {decimals:?}: {takes}")))?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(refused(format!("name has {} bytes: {takes}", name.len())));
        }
        let new = Self { name, decimals };
        serde_json::to_vec(&new).map(Bytes::from).map_err(refused)
    }

    pub(crate) fn read(contract: &str, encoded: &[u8]) -> Result<Self, ChainError> {
        known(contract)?;
        serde_json::from_slice(encoded).map_err(refused)
    }

    /// The address of the mint.
    pub(crate) fn mint(&self, account: &Pubkey) -> Result<Pubkey, ChainError> {
        Pubkey::create_with_seed(account, &self.name, &TOKEN_PROGRAM).map_err(refused)
    }
}

impl MintCall {
    /// The methods, as rules name them.
    const MINT: &'static str = "mint(address,uint64)";
    const BURN: &'static str = "burn(uint64)";

    /// A method's one way to be written: without spaces and names of arguments.
    pub(crate) fn method(method: &str) -> Result<&'static str, ChainError> {
        let known = [Self::MINT, Self::BURN].into_iter().find(|known| *known == bare(method));
        let help = || format!("{method:?} is no method of a token: there are {} and {}", Self::MINT, Self::BURN);
        known.ok_or_else(|| refused(help()))
    }

    /// Reads a call as people write it.
    pub(crate) fn encode(
        chain: &ChainId,
        signature: Option<&str>,
        arguments: &Value,
    ) -> Result<ContractCall, ChainError> {
        let method = Self::method(signature.unwrap_or_default())?;
        let given = arguments.as_array().map(Vec::as_slice).unwrap_or_default();
        let call = match (method, given) {
            (Self::MINT, [Value::String(to), much]) => {
                let to = address("the wallet's address", local_address(chain, to)?)?;
                Self::Mint { to: to.to_string(), amount: amount(much)? }
            }
            (Self::BURN, [much]) => Self::Burn { amount: amount(much)? },
            _ => return Err(refused(format!("the arguments of {method} are {arguments}"))),
        };
        let (Self::Mint { amount, .. } | Self::Burn { amount }) = call;
        let input = serde_json::to_vec(&call).map(Bytes::from).map_err(refused)?;
        Ok(ContractCall { method: method.to_owned(), input, tokens: Some(Amount::from(amount)) })
    }
}

impl SolanaChain {
    /// What makes credits, and the deposit of the mint.
    pub(crate) async fn creation(&self, new: &NewCredits) -> Result<(Vec<Instruction>, Amount), ChainError> {
        let (account, mint) = (&self.account, new.mint(&self.account)?);
        let rent = self.endpoint.client().get_minimum_balance_for_rent_exemption(MINT_LEN);
        let rent = self.endpoint.ask(rent).await?;
        let space = MINT_LEN as u64;
        let instructions = vec![
            create_account_with_seed(account, &mint, account, &new.name, rent, space, &TOKEN_PROGRAM),
            initialize_mint2(&TOKEN_PROGRAM, &mint, account, None, new.decimals).map_err(refused)?,
        ];
        Ok((instructions, Amount::from(rent)))
    }

    /// What a mint is told to do, and the deposit of the account that it makes.
    pub(crate) async fn mint_call(&self, mint: &str, input: &[u8]) -> Result<(Vec<Instruction>, Amount), ChainError> {
        let call: MintCall = serde_json::from_slice(input).map_err(refused)?;
        let (token, account) = (self.token(mint).await?, &self.account);
        match call {
            MintCall::Mint { to, amount } => {
                let wallet = address("the wallet's address", &to)?;
                let deposit = self.deposit(&token, &wallet).await?;
                let create = (deposit > Amount::ZERO).then(|| token.create_account(account, &wallet));
                let destination = token.account_of(&wallet);
                let (program, decimals) = (&token.program, token.decimals);
                let made = mint_to_checked(program, &token.mint, &destination, account, &[], amount, decimals);
                Ok((create.into_iter().chain([made.map_err(refused)?]).collect(), deposit))
            }
            MintCall::Burn { amount } => {
                let source = token.account_of(account);
                let burned = burn_checked(&token.program, &source, &token.mint, account, &[], amount, token.decimals);
                Ok((vec![burned.map_err(refused)?], Amount::ZERO))
            }
        }
    }
}

/// Whether a deployment of this name makes something here.
fn known(contract: &str) -> Result<(), ChainError> {
    let none = || refused(format!("there is no contract {contract:?} here: there are {CREDITS}"));
    (contract == CREDITS).then_some(()).ok_or_else(none)
}

/// A whole number from 1, as a number or as text.
fn amount(value: &Value) -> Result<u64, ChainError> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number
        .filter(|units| *units > 0)
        .ok_or_else(|| refused(format!("{value} is no amount: whole numbers of 64 bits are, from 1")))
}

/// A method without spaces and names of arguments, and nothing of its answer.
fn bare(method: &str) -> String {
    let (name, rest) = method.split_once('(').unwrap_or((method, ""));
    let types = rest.split(')').next().unwrap_or_default();
    let types: Vec<&str> = types.split(',').filter_map(|each| each.split_whitespace().next()).collect();
    format!("{}({})", name.trim(), types.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WALLET: &str = "B8UwBUUnKwCyKuGMbFKWaG7exYdDk2ozZrPg72NyVbfj";
    const CLUSTER: &str = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";

    fn encode(signature: Option<&str>, arguments: &Value) -> Result<ContractCall, ChainError> {
        MintCall::encode(&CLUSTER.parse().unwrap(), signature, arguments)
    }

    #[test]
    fn a_call_of_a_mint_counts_what_it_makes_or_destroys() {
        let minted = encode(Some("mint(address to, uint64 amount)"), &json!([WALLET, "12"])).unwrap();
        assert_eq!((minted.method.as_str(), minted.tokens), ("mint(address,uint64)", Some(Amount::from(12))));
        let expected = MintCall::Mint { to: WALLET.to_owned(), amount: 12 };
        assert_eq!(serde_json::from_slice::<MintCall>(&minted.input).unwrap(), expected);
        let with_its_chain = json!([format!("{CLUSTER}:{WALLET}"), "12"]);
        assert_eq!(encode(Some("mint(address,uint64)"), &with_its_chain).unwrap(), minted);
        let burned = encode(Some("burn( uint64 )"), &json!([7])).unwrap();
        assert_eq!((burned.method.as_str(), burned.tokens), ("burn(uint64)", Some(Amount::from(7))));
    }

    #[test]
    fn what_no_mint_does_is_refused() {
        let check = |signature: Option<&str>, arguments: Value, part: &str| {
            let error = encode(signature, &arguments).unwrap_err().in_full();
            assert!(error.contains(part), "{error}");
        };
        check(None, json!({}), "there are mint(address,uint64) and burn(uint64)");
        check(Some("freeze(address)"), json!([WALLET]), "no method of a token");
        check(Some("mint(address,uint64)"), json!(["abc", 1]), "base58");
        check(
            Some("mint(address,uint64)"),
            json!(["eip155:1:0xab", 1]),
            "an account of eip155:1 and not of solana:5eykt",
        );
        check(Some("mint(address,uint64)"), json!([WALLET, 0]), "no amount");
        check(Some("burn(uint64)"), json!(["18446744073709551616"]), "no amount");
        check(Some("burn(uint64)"), json!([1, 2]), "the arguments of burn(uint64)");
    }

    #[test]
    fn credits_are_made_with_a_name_and_decimals() {
        let given = |arguments: &[(&str, &str)]| {
            let arguments = arguments.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            NewCredits::encode("credits", &arguments)
        };
        let encoded = given(&[("name", "compute"), ("decimals", "6")]).unwrap();
        let read = NewCredits::read("credits", &encoded).unwrap();
        assert_eq!(read, NewCredits { name: "compute".to_owned(), decimals: 6 });
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for wrong in [
            &[("name", "compute")][..],
            &[("name", "compute"), ("decimals", "-1")],
            &[("name", ""), ("decimals", "6")],
            &[("name", &long), ("decimals", "6")],
            &[("name", "compute"), ("decimals", "6"), ("owner", WALLET)],
        ] {
            assert!(given(wrong).unwrap_err().in_full().contains("credits take name"), "{wrong:?}");
        }
        assert!(NewCredits::encode("escrow", &BTreeMap::new()).unwrap_err().in_full().contains("there are credits"));
    }
}
