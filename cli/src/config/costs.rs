//! What a chain's transactions and questions may cost: caps of fees, a provider's compute units, and what counts as final.

use anyhow::ensure;
use serde::Deserialize;
use steward_adapters::endpoint::Costs;

use super::ChainConfig;

/// The most compute units that a transaction of Solana may ask for, by its runtime.
const SOLANA_UNITS_MAX: u64 = 1_400_000;

/// What makes a block final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Confirmations {
    /// So many blocks, its own among them.
    Blocks(u64),
    /// The chain's own consensus: the tag `finalized`. Only on EVM chains that have it.
    Finalized,
}

/// As it is written: a number, or a word.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Written {
    Blocks(u64),
    Word(String),
}

impl Default for Confirmations {
    fn default() -> Self {
        Self::Blocks(12)
    }
}

impl TryFrom<Written> for Confirmations {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Blocks(blocks) => Ok(Self::Blocks(blocks)),
            Written::Word(word) if word == "finalized" => Ok(Self::Finalized),
            Written::Word(word) => Err(format!("confirmations is {word:?}: give a number of blocks, or \"finalized\"")),
        }
    }
}

impl ChainConfig {
    /// Compute units of one request.
    pub fn unit_costs(&self) -> Costs {
        self.costs.unwrap_or_default()
    }

    /// Checks what belongs to one kind of chains, and that no cap allows nothing.
    pub(super) fn check_costs(&self) -> anyhow::Result<()> {
        let is = |namespace: &str| self.id.starts_with(&format!("{namespace}:"));
        ensure!(
            self.fee_price_max != Some(0),
            "fee_price_max is 0, and nothing could be sent: leave it out, or give more"
        );
        ensure!(self.gas_max != Some(0), "gas_max is 0, and nothing could be sent: leave it out, or give more");
        ensure!(
            self.fee_price_max.is_none() || !is("cosmos"),
            "fee_price_max: a Cosmos chain has cosmos.gas_price_max in its place"
        );
        ensure!(
            self.gas_max.is_none_or(|gas| gas <= SOLANA_UNITS_MAX) || !is("solana"),
            "gas_max: a transaction of Solana may need {SOLANA_UNITS_MAX} compute units"
        );
        ensure!(
            self.confirmations != Confirmations::Finalized || is("eip155"),
            "confirmations: only EVM chains have \"finalized\"; Cosmos and Solana say by themselves what is final"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;

    fn read(id: &str, fields: &str) -> anyhow::Result<ChainConfig> {
        let text = format!("[[chains]]\nid = '{id}'\nendpoint = 'http://a'\nkey_env = 'K'\n{fields}");
        Ok(NodeConfig::parse(&text)?.chains.remove(0))
    }

    #[test]
    fn caps_costs_and_finality_are_read_or_refused_with_their_names() {
        let chain =
            read("eip155:1", "confirmations = 'finalized'\nfee_price_max = 90\ngas_max = 80\ncosts = { read = 20 }");
        let chain = chain.unwrap();
        assert_eq!(
            (chain.confirmations, chain.fee_price_max, chain.gas_max),
            (Confirmations::Finalized, Some(90), Some(80))
        );
        assert_eq!(chain.unit_costs(), Costs { read: 20, ..Costs::default() });
        assert_eq!(read("eip155:1", "confirmations = 3").unwrap().confirmations, Confirmations::Blocks(3));
        for (id, fields, expected) in [
            ("eip155:1", "confirmations = 'safe'", "give a number of blocks, or \"finalized\""),
            ("solana:1", "confirmations = 'finalized'", "only EVM chains"),
            ("cosmos:1", "fee_price_max = 1", "cosmos.gas_price_max"),
            ("solana:1", "gas_max = 1400001", "1400000"),
            ("eip155:1", "gas_max = 0", "gas_max is 0"),
            ("eip155:1", "fee_price_max = 0", "fee_price_max is 0"),
            ("eip155:1", "costs = { write = 1 }", "write"),
        ] {
            let error = format!("{:#}", read(id, fields).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
