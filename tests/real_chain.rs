//! The real chains that end-to-end tests run nodes on: one of each kind, told to a node by its configuration, and asked
//! what it has past every node and proxy.

use std::time::Duration;

use serde_json::{Value, json};
use steward::process::{NodeProcess, NodeSetup};
use steward_adapters::Signer as _;
use steward_adapters_cosmos::{Pace, Wasmd};
use steward_adapters_evm::{Anvil, Mining};
use steward_adapters_solana::{Devnet, LocalSigner, SolanaChain};
use steward_chaos_chains::{Dialect, proxy};
use steward_types::Micros;
use url::Url;

use crate::parts;
use crate::tenant::{self, PROJECT, Tenant};

/// What stands in a provider's address, and in no log.
pub const PROVIDERS_KEY: &str = "hush-providers-key";
/// How long a slot of the Solana cluster takes; a transaction is final after 31.
const SLOT: Duration = Duration::from_millis(50);
/// Most transactions on a page of CometBFT's index.
const COSMOS_PAGE_MAX: u64 = 100;
/// Most transactions that Solana lists at once.
const SOLANA_PAGE_MAX: usize = 1_000;

/// A running chain, and what a node needs to know of it.
pub struct RealChain {
    /// Its CAIP-2 identifier.
    pub id: String,
    /// How its endpoints speak.
    pub dialect: Dialect,
    /// Where it answers.
    pub url: Url,
    /// The node's account, which has plenty.
    pub account: String,
    /// Somebody else's, which no transaction has paid yet.
    pub stranger: String,
    /// The secret of the node's account, as it is given to the node.
    pub secret: String,
    /// What else its configuration has.
    settings: String,
    /// The chain ends with this.
    process: Process,
}

enum Process {
    Anvil(#[expect(dead_code, reason = "the chain ends when it is dropped")] Anvil),
    Wasmd(Wasmd),
    Devnet(#[expect(dead_code, reason = "the chain ends when it is dropped")] Devnet),
}

impl RealChain {
    /// An EVM chain whose blocks are a second apart, and final with the second one.
    pub async fn evm() -> Self {
        let anvil = Anvil::start(&parts::anvil(), Mining::EverySeconds(1)).await.unwrap();
        Self {
            id: "eip155:31337".to_owned(),
            dialect: Dialect::Evm,
            url: anvil.url().clone(),
            account: Anvil::DEVELOPMENT_ACCOUNT.to_owned(),
            stranger: "0x00000000000000000000000000000000000b0b01".to_owned(),
            secret: hexadecimal(Anvil::development_key().expose()),
            settings: "confirmations = 2".to_owned(),
            process: Process::Anvil(anvil),
        }
    }

    /// A Cosmos chain; nothing, and said so, where it could not be built.
    #[expect(clippy::print_stdout, reason = "a test that is left out must say so")]
    pub async fn cosmos() -> Option<Self> {
        let Some(program) = parts::wasmd() else {
            println!("SKIPPED: there was no Go module registry to build wasmd from");
            return None;
        };
        let wasmd = Wasmd::start(&program, Pace::Quick).await.unwrap();
        let config = wasmd.config();
        let (prefix, denom) = (&config.prefix, &config.denom);
        let address = |key| steward_adapters_cosmos::LocalSigner::new(&key, prefix).unwrap().address().to_owned();
        Some(Self {
            id: config.chain.to_string(),
            dialect: Dialect::Cosmos,
            url: wasmd.url().clone(),
            account: address(Wasmd::development_key()),
            stranger: address(Wasmd::second_key()),
            secret: hexadecimal(Wasmd::development_key().expose()),
            settings: format!(
                "cosmos = {{ prefix = {prefix:?}, denom = {denom:?}, gas_price = \"0.025\", gas_price_max = \"1\" }}"
            ),
            process: Process::Wasmd(wasmd),
        })
    }

    /// A Solana cluster.
    pub async fn solana() -> Self {
        let secret = json!(vec![5; 32]).to_string();
        let address = |text: &str| LocalSigner::from_text(text).unwrap().address().to_owned();
        let (account, stranger) = (address(&secret), address(&json!(vec![9; 32]).to_string()));
        let devnet = Devnet::start(&parts::solana_devnet(), SLOT, &[&account]).await.unwrap();
        Self {
            id: SolanaChain::identify(devnet.url()).await.unwrap().to_string(),
            dialect: Dialect::Solana,
            url: devnet.url().clone(),
            account,
            stranger,
            secret,
            settings: String::new(),
            process: Process::Devnet(devnet),
        }
    }

    /// The Cosmos chain's process, which puts contracts on it.
    pub fn wasmd(&self) -> &Wasmd {
        let Process::Wasmd(wasmd) = &self.process else { panic!("{} is no Cosmos chain", self.id) };
        wasmd
    }

    /// Tells a node of the chain, by these endpoints; `more` is the rest of what stands under the chain's head.
    pub fn tell(&self, setup: &mut NodeSetup, endpoints: &[&str], more: &str) {
        let variable = match &self.process {
            Process::Anvil(_) => "EVM_KEY",
            Process::Wasmd(_) => "COSMOS_KEY",
            Process::Devnet(_) => "SOLANA_KEY",
        };
        let (id, settings) = (&self.id, &self.settings);
        setup.config += &format!(
            "[[chains]]\nid = {id:?}\nendpoints = {endpoints:?}\nkey_env = {variable:?}\n{settings}\n{more}\n"
        );
        setup.environment.push((variable.to_owned(), self.secret.clone()));
    }

    /// Tells a node of the chain by an address with a provider's key in it, and makes the node log all it can, but for the
    /// store's own, which would be most of it.
    pub fn tell_loudly(&self, setup: &mut NodeSetup, more: &str) {
        self.tell(setup, &[&format!("{}?key={PROVIDERS_KEY}", self.url)], more);
        setup.environment.push(("STEWARD_LOG".to_owned(), "trace,fjall=info,lsm_tree=info".to_owned()));
    }

    /// A node whose operator lets its project spend by these rules, and that logs all it can.
    pub async fn tenant_that_may_spend(&self, rules: &str) -> Tenant {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = tenant::setup(&folder.path().join("node"));
        let spending = format!(
            "[chains.spending]\nfee_max = \"1000000000000000\"\nfee_price = {{ micros = 1, per = \"1000000000000\" }}\n\
             [chains.spending.projects.{PROJECT}]\n{rules}"
        );
        self.tell_loudly(&mut setup, &spending);
        let node = NodeProcess::start(setup).await.unwrap();
        let (client, key) = tenant::create_project(&node, PROJECT, Micros::new(1_000_000_000)).await;
        Tenant { node, client, key, folder }
    }

    /// What one question of JSON-RPC is answered, past every proxy.
    pub async fn ask(&self, method: &str, parameters: Value) -> Value {
        proxy::ask(&self.url, method, parameters).await
    }

    /// The amounts of all payments of the chain's coin to an account, by the transactions that succeeded.
    pub async fn payments_to(&self, account: &str) -> Vec<u64> {
        let mut amounts = match self.dialect {
            Dialect::Evm => self.evm_payments_to(account).await,
            Dialect::Cosmos => self.cosmos_payments_to(account).await,
            Dialect::Solana => self.solana_payments_to(account).await,
        };
        amounts.sort_unstable();
        amounts
    }

    async fn evm_payments_to(&self, account: &str) -> Vec<u64> {
        let newest = quantity(&self.ask("eth_blockNumber", json!([])).await);
        let mut amounts = Vec::new();
        for block in 0..=newest {
            let block = self.ask("eth_getBlockByNumber", json!([format!("{block:#x}"), true])).await;
            for transaction in block["transactions"].as_array().unwrap() {
                let to = transaction["to"].as_str().unwrap_or_default();
                if to.eq_ignore_ascii_case(account) {
                    amounts.push(quantity(&transaction["value"]));
                }
            }
        }
        amounts
    }

    async fn cosmos_payments_to(&self, account: &str) -> Vec<u64> {
        let query = format!("transfer.recipient='{account}'");
        let mut amounts = Vec::new();
        for page in 1.. {
            let parameters =
                json!({ "query": query, "page": page.to_string(), "per_page": COSMOS_PAGE_MAX.to_string() });
            let found = self.ask("tx_search", parameters).await;
            for transaction in found["txs"].as_array().unwrap() {
                assert_eq!(transaction["tx_result"]["code"], 0, "{transaction}");
                let events = transaction["tx_result"]["events"].as_array().unwrap();
                amounts.extend(events.iter().filter_map(|event| received(event, account)));
            }
            if page * COSMOS_PAGE_MAX >= found["total_count"].as_str().unwrap().parse().unwrap() {
                break;
            }
        }
        amounts
    }

    async fn solana_payments_to(&self, account: &str) -> Vec<u64> {
        let mut amounts = Vec::new();
        for entry in self.solana_transactions_of(account).await.iter().filter(|entry| entry["err"].is_null()) {
            amounts.push(self.solana_gain(&entry["signature"], account).await);
        }
        amounts
    }

    /// Every transaction of an account on Solana as the chain lists them, the newest first.
    pub async fn solana_transactions_of(&self, account: &str) -> Vec<Value> {
        let (mut found, mut before) = (Vec::new(), Value::Null);
        loop {
            let page = json!([account, { "limit": SOLANA_PAGE_MAX, "before": before }]);
            let listed = self.ask("getSignaturesForAddress", page).await;
            let listed = listed.as_array().unwrap();
            found.extend_from_slice(listed);
            match listed.last() {
                Some(last) if listed.len() == SOLANA_PAGE_MAX => before = last["signature"].clone(),
                _ => return found,
            }
        }
    }

    /// What a transaction brought an account.
    async fn solana_gain(&self, signature: &Value, account: &str) -> u64 {
        let options = json!({ "encoding": "json", "maxSupportedTransactionVersion": 0 });
        let transaction = self.ask("getTransaction", json!([signature, options])).await;
        let accounts = transaction["transaction"]["message"]["accountKeys"].as_array().unwrap();
        let place = accounts.iter().position(|key| key == account).unwrap();
        let balance = |when: &str| transaction["meta"][when][place].as_u64().unwrap();
        balance("postBalances") - balance("preBalances")
    }
}

/// What an event of Cosmos says that an account received of the chain's coin.
fn received(event: &Value, account: &str) -> Option<u64> {
    let attribute = |key: &str| {
        let attributes = event["attributes"].as_array().into_iter().flatten();
        attributes.filter(|attribute| attribute["key"] == key).find_map(|attribute| attribute["value"].as_str())
    };
    if event["type"] != "transfer" || attribute("recipient") != Some(account) {
        return None;
    }
    Some(attribute("amount").unwrap().trim_end_matches("ustake").parse().unwrap())
}

fn quantity(number: &Value) -> u64 {
    u64::from_str_radix(number.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
