//! Accounts by CAIP-10: a chain and an address on it, in one word that names the same account everywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Chain, ChainError, ChainId, EventFilter};

/// The most characters that the standard gives an address.
const ADDRESS_CHARS_MAX: usize = 128;
/// The most characters of what was written that an error shows.
const SHOWN_CHARS_MAX: usize = 200;

/// An account on a chain, such as `eip155:1:0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb`. That the address is one of the chain's
/// is not checked: only its driver can.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId {
    chain: ChainId,
    address: String,
}

/// The text is not a CAIP-10 account.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AccountIdError {
    /// It does not begin with a chain.
    #[error("{text:?} is no account: it does not begin with a chain; write CHAIN:ADDRESS, such as eip155:1:0xab…")]
    Chain {
        /// What was written.
        text: String,
    },
    /// What follows the chain is no address.
    #[error("{text:?} is no account: after the chain comes an address of 1 to 128 letters, digits, '-', '.' and '%'")]
    Address {
        /// What was written.
        text: String,
    },
}

impl AccountId {
    /// The account of this address on a chain; nothing when no account can be written so.
    pub fn new(chain: ChainId, address: &str) -> Option<Self> {
        is_address(address).then(|| Self { chain, address: address.to_owned() })
    }

    /// The chain.
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The address on it.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// The address in what somebody wrote for this chain: alone, or with the chain as CAIP-10 has it. All that takes an address
/// from people takes it through here. That it is one of the chain's is not checked; asks nobody.
///
/// # Errors
/// [`ChainError::Rejected`] when it is another chain's account.
pub fn local_address<'t>(chain: &ChainId, text: &'t str) -> Result<&'t str, ChainError> {
    if let Some(own) = text.strip_prefix(chain.as_str()).and_then(|rest| rest.strip_prefix(':')) {
        return Ok(own);
    }
    // No chain's addresses have a colon, so that nothing else is taken for an account with its chain.
    if !text.contains(':') {
        return Ok(text);
    }
    let account: AccountId = text.parse().map_err(|error: AccountIdError| rejected(error.to_string()))?;
    Err(rejected(format!("{account} is an account of {} and not of {chain}", account.chain())))
}

/// The address that somebody wrote for this chain, in the chain's one way of writing. Asks nobody.
///
/// # Errors
/// [`ChainError::Rejected`] when it is another chain's account, or no address of this one.
pub fn read_address(chain: &dyn Chain, text: &str) -> Result<String, ChainError> {
    chain.canonical_address(local_address(chain.id(), text)?)
}

/// The asset that somebody wrote for this chain, in the chain's one way of writing; nothing when it is its own coin. Asks
/// nobody.
///
/// # Errors
/// As for [`read_address`].
pub fn read_asset(chain: &dyn Chain, text: &str) -> Result<Option<String>, ChainError> {
    match local_address(chain.id(), text) {
        Ok(own) => chain.canonical_asset(own),
        // A denom may have colons that stand behind no chain.
        Err(_) if text.parse::<AccountId>().is_err() => chain.canonical_asset(text),
        Err(of_another) => Err(of_another),
    }
}

/// The filter that somebody wrote for this chain, in the chain's one way of writing. Asks nobody.
///
/// # Errors
/// As for [`read_address`], and when the chain has no such events.
pub fn read_filter(chain: &dyn Chain, filter: &EventFilter) -> Result<EventFilter, ChainError> {
    let address = local_address(chain.id(), filter.address.trim())?.to_owned();
    chain.canonical_filter(&EventFilter { address, event: filter.event.clone() })
}

fn rejected(reason: String) -> ChainError {
    ChainError::Rejected { reason }
}

/// `[-.%a-zA-Z0-9]{1,128}`.
fn is_address(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'%');
    (1..=ADDRESS_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

impl FromStr for AccountId {
    type Err = AccountIdError;

    fn from_str(text: &str) -> Result<Self, AccountIdError> {
        let shown = || text.chars().take(SHOWN_CHARS_MAX).collect();
        let (chain, address) = text.rsplit_once(':').ok_or_else(|| AccountIdError::Chain { text: shown() })?;
        let chain = chain.parse().map_err(|_| AccountIdError::Chain { text: shown() })?;
        Self::new(chain, address).ok_or_else(|| AccountIdError::Address { text: shown() })
    }
}

impl TryFrom<String> for AccountId {
    type Error = AccountIdError;

    fn try_from(text: String) -> Result<Self, AccountIdError> {
        text.parse()
    }
}

impl From<AccountId> for String {
    fn from(account: AccountId) -> Self {
        account.to_string()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.chain, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::memory::{MemoryChain, Mining};

    /// The standard's own, at chainagnostic.org/CAIPs/caip-10.
    const EXAMPLES: [(&str, &str, &str); 8] = [
        ("eip155:1", "0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb", "Ethereum"),
        ("bip122:000000000019d6689c085ae165831e93", "128Lkh3S7CkDTBZ8W7BbpsN3YYizJMp8p6", "Bitcoin"),
        ("cosmos:cosmoshub-3", "cosmos1t2uflqwqe0fsj0shcfkrvpukewcw40yjj6hdc0", "Cosmos Hub"),
        ("polkadot:b0a8d493285c2df73290dfb7e61f870f", "5hmuyxw9xdgbpptgypokw4thfyoe3ryenebr381z9iaegmfy", "Kusama"),
        ("starknet:SN_GOERLI", "0x02dd1b492765c064eac4039e3841aa5f382773b598097a40073bd8b48170ab57", "StarkNet"),
        (
            "chainstd:8c3444cf8970a9e41a706fab93e7a6c4",
            "6d9b0b4b9994e8a6afbd3dc3ed983cd51c755afb27cd1dc7825ef59c134a39f7",
            "a dummy, longest",
        ),
        ("hedera:mainnet", "0.0.1234567890-zbhlt", "Hedera, with a checksum"),
        ("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "4fYNw3dojWmQ4dXtSGE9epjRGy9pFSx62YypT7avPYvA", "Solana"),
    ];

    #[test]
    fn an_account_is_caip_10() {
        for (chain, address, what) in EXAMPLES {
            let text = format!("{chain}:{address}");
            let account: AccountId = text.parse().unwrap();
            assert_eq!((account.chain().as_str(), account.address()), (chain, address), "{what}");
            assert_eq!(account.to_string(), text);
            assert_eq!(serde_json::from_value::<AccountId>(serde_json::json!(text)).unwrap(), account);
        }
    }

    #[test]
    fn what_is_no_account_is_refused_with_what_one_is() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<AccountId>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        };
        for text in ["", "0xab", "eip155:1", ":eip155:1:0xab", "EIP155:1:0xab", "eip155::0xab", "eip155:1:2:0xab"] {
            check(text, "does not begin with a chain");
        }
        for text in ["eip155:1:", "eip155:1:0x ab", "eip155:1:0x/ab", "eip155:1:żółw"] {
            check(text, "comes an address");
        }
        check(&format!("eip155:1:{}", "a".repeat(129)), "comes an address");
        assert!(format!("eip155:1:{}", "a".repeat(128)).parse::<AccountId>().is_ok());
    }

    #[test]
    fn an_address_may_be_written_with_its_chain_and_with_no_other() {
        let chain = MemoryChain::new("test:memory".parse().unwrap(), Ledger::new(1), Mining::Automatic);
        let filter = |address: &str| EventFilter { address: address.to_owned(), event: "Transfer".to_owned() };
        let readings = |text: &str| {
            let asset = read_asset(&chain, text).map(Option::unwrap);
            let address_of_filter = read_filter(&chain, &filter(text)).map(|filter| filter.address);
            [read_address(&chain, text), asset, address_of_filter]
        };
        for text in ["bob", "test:memory:bob"] {
            readings(text).into_iter().for_each(|read| assert_eq!(read.unwrap(), "bob"));
        }
        for (text, expected) in [
            ("test:other:bob", "test:other:bob is an account of test:other and not of test:memory"),
            ("test:memory-2:bob", "an account of test:memory-2 and not of test:memory"),
            ("eip155:1:0xab", "an account of eip155:1 and not of test:memory"),
            ("test:memory:b.b", "letters, digits and - only"),
            ("test:memory:", "letters, digits and - only"),
            ("test:memory:test:memory:bob", "letters, digits and - only"),
        ] {
            for refused in readings(text) {
                let error = refused.unwrap_err().in_full();
                assert!(error.contains(expected), "{text}: {error}");
            }
        }
        let nonsense = readings("nonsense:bob").map(|read| read.unwrap_err().in_full());
        assert!(nonsense[0].contains("does not begin with a chain"), "{nonsense:?}");
        assert!(nonsense[1].contains("letters, digits and - only"), "an asset may have colons: {nonsense:?}");
    }
}
