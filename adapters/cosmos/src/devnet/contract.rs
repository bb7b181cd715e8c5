//! Puts a CosmWasm contract on a devnet, with wasmd's own commands and the validator's account.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use steward_types::{Clock as _, SystemClock};

use super::{CHAIN, DENOM, GAS_PRICE, READY_ASK_TIME, Wasmd, WasmdError, failed, output};
use crate::anchors::parse_hash;
use crate::node::Node;

/// How long a transaction may take to land.
const LANDED_TIME_MAX: Duration = Duration::from_secs(60);
/// Enough for storing a contract's code.
const GAS: u64 = 5_000_000;

impl Wasmd {
    /// Where the tests' contract lies beside a wasmd: hackatom, an escrow that its verifier releases.
    pub fn hackatom(program: &Path) -> PathBuf {
        program.with_file_name("hackatom.wasm")
    }

    /// Stores a contract's code and makes one instance of it, which owns `coins`, such as `5ustake`. Returns its address.
    ///
    /// # Errors
    /// [`WasmdError::Start`] says which command failed, and why.
    pub async fn instantiate(&self, code: &Path, message: &str, coins: &str) -> Result<String, WasmdError> {
        self.send(&["store", &code.display().to_string()]).await?;
        let codes = self.query(&["list-code"]).await?;
        let codes = codes["code_infos"].as_array().map(Vec::as_slice).unwrap_or_default();
        let number = codes.last().and_then(|code| code["code_id"].as_str());
        let number = number.ok_or_else(|| failed(&"it lists no code"))?;
        let options = ["--label", "test", "--no-admin", "--amount", coins];
        self.send(&[&["instantiate", number, message], options.as_slice()].concat()).await?;
        let contracts = self.query(&["list-contract-by-code", number]).await?;
        let address = contracts["contracts"][0].as_str();
        address.map(str::to_owned).ok_or_else(|| failed(&"it lists no contract"))
    }

    /// Sends a transaction of the module `wasm` and waits until a block has it.
    async fn send(&self, arguments: &[&str]) -> Result<(), WasmdError> {
        let gas = GAS.to_string();
        let fee = format!("{}{DENOM}", GAS_PRICE.of(GAS));
        let chain = CHAIN.trim_start_matches("cosmos:");
        let options = ["--from", "validator", "--keyring-backend", "test", "--chain-id", chain, "--gas", &gas];
        let rest = ["--fees", &fee, "--yes", "--output", "json"];
        let all = [&["tx", "wasm"], arguments, options.as_slice(), rest.as_slice()].concat();
        let sent = self.command(&all).await?;
        let hash = sent["txhash"].as_str().unwrap_or_default();
        if sent["code"].as_u64() != Some(0) {
            return Err(failed(&format!("{}: {}", arguments[0], sent["raw_log"])));
        }
        let hash = parse_hash(hash).map_err(|error| failed(&error))?;
        let config = self.config();
        let node = Node::new(config.chain, config.endpoint).map_err(|error| failed(&error))?;
        let clock = SystemClock::new();
        let landed = async {
            loop {
                if let Ok(Some(executed)) = node.transaction(&hash).await {
                    return executed.succeeded;
                }
                clock.sleep(READY_ASK_TIME).await;
            }
        };
        match tokio::time::timeout(LANDED_TIME_MAX, landed).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(failed(&format!("{} failed in its block", arguments[0]))),
            Err(_) => Err(WasmdError::TimedOut),
        }
    }

    async fn query(&self, arguments: &[&str]) -> Result<Value, WasmdError> {
        self.command(&[&["query", "wasm"], arguments, &["--output", "json"]].concat()).await
    }

    async fn command(&self, arguments: &[&str]) -> Result<Value, WasmdError> {
        let node = format!("tcp://127.0.0.1:{}", self.url.port().unwrap_or_default());
        let answer = output(&self.program, self.home.path(), &[arguments, &["--node", &node]].concat()).await?;
        serde_json::from_slice(&answer).map_err(|error| failed(&error))
    }
}
