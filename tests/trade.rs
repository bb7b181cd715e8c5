//! A client and a provider, each with a node of its own, on one real chain with our contracts between them. Everything that
//! they do they do by commands and by the agents of `examples/`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use steward::client::Client;
use steward::process::{NodeProcess, NodeSetup, until};
use steward_adapters::Signer as _;
use steward_adapters::signer::SecretKey;
use steward_adapters_evm::{Anvil, LocalSigner, Mining};
use steward_api::proto::v1;
use steward_chaos_chains::proxy;
use steward_types::Micros;

use crate::tenant::{self, PROJECT, Tenant};
use crate::{operator, parts};

/// The chain.
pub const CHAIN: &str = "eip155:31337";
/// How many tokens the client has in the beginning.
pub const TOKENS: u64 = 1_000;
/// The notice of the stake, in seconds: the shortest that there is.
pub const NOTICE: u64 = 8 * 86_400;
/// The other owner of the stake, beside the client: a wallet of anvil's own accounts.
pub const WALLET: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// Where the provider's tokens belong that are not staked: another.
pub const TREASURY: &str = "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc";
/// The addresses that stand in the examples, in the order in which they are replaced.
const EXAMPLE_ADDRESSES: [&str; 4] = [
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
];

/// What `steward receipts prove --for-contract` wrote.
pub type Evidence = Value;

/// Both sides and what is between them.
pub struct Trade {
    /// Orders and says what the work was worth.
    pub client: Tenant,
    /// Works and is paid.
    pub provider: Tenant,
    /// The token that is paid with.
    pub token: String,
    /// The contracts by their names.
    pub contracts: BTreeMap<&'static str, String>,
    anvil: Anvil,
}

impl Trade {
    /// Both nodes with their agents, and the contracts, put there by the client's operator.
    pub async fn start() -> Self {
        let anvil = Anvil::start(&parts::anvil(), Mining::Automatic).await.unwrap();
        let (own, ours) = (SecretKey::from_bytes([9; 32]), Anvil::development_key());
        let client = account(&own);
        ask(&anvil, "anvil_setBalance", json!([client, "0x56bc75e2d63100000"])).await;
        let token = token(&anvil).await;
        give(&anvil, &token, &client, TOKENS).await;
        let (folders, setups): (Vec<_>, Vec<_>) = [own, ours].iter().map(|key| setup(&anvil, key)).unzip();
        // The operator's rules name contracts, so that these come first.
        let mut node = NodeProcess::start(setups[0].clone()).await.unwrap();
        let contracts = deploy_all(&node, &token, &client);
        node.kill().await.unwrap();
        let rules = rules(&token, &contracts);
        let mut sides = Vec::new();
        for (folder, setup) in folders.into_iter().zip(setups) {
            let setup = NodeSetup { config: format!("{}{rules}", setup.config), ..setup };
            let node = NodeProcess::start(setup).await.unwrap();
            let (client, key) = tenant::create_project(&node, PROJECT, Micros::new(10_000_000_000)).await;
            sides.push(Tenant { node, client, key, folder });
        }
        let (provider, client) = (sides.pop().unwrap(), sides.pop().unwrap());
        let trade = Self { client, provider, token, contracts, anvil };
        for side in [&trade.client, &trade.provider] {
            for name in ["escrow", "identity", "stake"] {
                trade.deploy_example(side, name).await;
            }
        }
        trade.provider.deploy("worker", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
        trade
    }

    /// The provider's account.
    pub fn provider_account(&self) -> String {
        account(&Anvil::development_key())
    }

    /// The client's account.
    pub fn client_account(&self) -> String {
        account(&SecretKey::from_bytes([9; 32]))
    }

    /// How many tokens an account has.
    pub async fn tokens_of(&self, account: &str) -> u64 {
        let call = json!({ "to": self.token, "data": format!("0x70a08231{}", word(account)) });
        number(&self.ask("eth_call", json!([call, "latest"])).await)
    }

    /// Somebody gives an account tokens.
    pub async fn give_tokens(&self, account: &str, amount: u64) {
        give(&self.anvil, &self.token, account, amount).await;
    }

    /// What comes of a transaction of one of anvil's own accounts.
    pub async fn transact(&self, transaction: Value) -> Value {
        transact(&self.anvil, transaction).await
    }

    /// What the chain itself answers.
    pub async fn ask(&self, method: &str, parameters: Value) -> Value {
        ask(&self.anvil, method, parameters).await
    }

    /// The chain as a stranger reaches it, for `verify`.
    pub fn rpc(&self) -> String {
        format!("{CHAIN}={}", self.anvil.url())
    }

    /// How many transactions an account has on the chain.
    pub async fn transactions_of(&self, account: &str) -> u64 {
        number(&self.ask("eth_getTransactionCount", json!([account, "latest"])).await)
    }

    /// Makes blocks only when [`mine`](Self::mine) says so, or as soon as there is something for one.
    pub async fn set_automatic(&self, automatic: bool) {
        self.ask("evm_setAutomine", json!([automatic])).await;
    }

    /// Makes a block.
    pub async fn mine(&self) {
        self.ask("evm_mine", json!([])).await;
    }

    /// Waits until a transaction waits for a block.
    pub async fn until_waiting(&self) {
        let waiting = until("a transaction that waits", async || (!self.waiting().await.is_empty()).then_some(()));
        waiting.await.unwrap();
    }

    /// The transactions that wait for a block, by their hashes.
    pub async fn waiting(&self) -> Vec<String> {
        let pool = self.ask("txpool_content", json!([])).await;
        let accounts = pool["pending"].as_object().unwrap().values();
        let transactions = accounts.flat_map(|account| account.as_object().unwrap().values());
        transactions.map(|transaction| transaction["hash"].as_str().unwrap().to_owned()).collect()
    }

    /// A file of an agent of `examples/` with this chain's addresses in the places of its own.
    pub fn example(&self, name: &str, file: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let addresses: &[&str] = match name {
            "identity" => &[&self.contracts["reputation"], &self.contracts["identity"]],
            "stake" => &[&self.token, &self.contracts["stake"], &self.contracts["multi-owner"], TREASURY],
            other => &[&self.token, &self.contracts[other]],
        };
        EXAMPLE_ADDRESSES.iter().zip(addresses).fold(text, |text, (sample, real)| text.replace(sample, real))
    }

    async fn deploy_example(&self, side: &Tenant, name: &str) {
        let files = BTreeMap::from([("agent.rhai".to_owned(), self.example(name, "agent.rhai"))]);
        let bundle = Some(v1::Bundle { files, manifest_toml: self.example(name, "manifest.toml") });
        let request = v1::DeployAgentRequest { project: String::new(), bundle };
        side.client.agents().deploy(request).await.unwrap_or_else(|status| panic!("{name}: {status:?}"));
    }

    /// The provider does a piece of work; the receipt's id.
    pub async fn work(&self, text: &str) -> String {
        let session = self.provider.open("worker").await;
        self.provider.run(&session, text).await;
        let listed = json_of(&self.provider.told(&["--json", "receipts", "list", "--session", &session]));
        listed["id"].as_str().unwrap().to_owned()
    }

    /// What a contract is shown of a receipt of the provider's.
    pub fn evidence(&self, receipt: &str) -> Evidence {
        json_of(&self.provider.told(&["receipts", "prove", receipt, "--chain", CHAIN, "--for-contract"]))
    }

    /// Lets a project of the provider's anchor when it is asked to, and no sooner.
    pub async fn anchor_by_hand(&self, project: &str) {
        let anchoring = v1::SetAnchoringRequest {
            project: project.to_owned(),
            chains: vec![CHAIN.to_owned()],
            anchor_interval: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..Default::default()
        };
        self.provider.node.root_client().unwrap().projects().set_anchoring(anchoring).await.unwrap();
    }

    /// Anchors everything that the provider has done.
    pub fn anchor(&self) {
        self.provider.told(&["receipts", "anchor", "--chain", CHAIN]);
    }
}

/// What comes of telling an agent of `examples/` this.
pub async fn run(side: &Tenant, agent: &str, message: &Value) -> v1::RunResponse {
    let session = side.open(agent).await;
    let message = Some(v1::Message { text: String::new(), data_json: message.to_string() });
    let request = v1::RunRequest { session, message, idempotency_key: String::new() };
    side.client.sessions().run(request).await.unwrap().into_inner()
}

/// What an agent of `examples/` replies to this message.
pub async fn tell(side: &Tenant, agent: &str, message: Value) -> Value {
    let ran = run(side, agent, &message).await;
    assert!(ran.failure.is_none(), "{:?}", ran.failure);
    json_of(&ran.reply)
}

/// Text that is JSON.
pub fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn account(key: &SecretKey) -> String {
    LocalSigner::new(key).unwrap().address().to_owned()
}

/// A node's folder, and how it is started there.
pub fn setup(anvil: &Anvil, key: &SecretKey) -> (tempfile::TempDir, NodeSetup) {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    let endpoint = anvil.url().as_str();
    setup.config +=
        &format!("[[chains]]\nid = {CHAIN:?}\nendpoint = {endpoint:?}\nkey_env = \"EVM_KEY\"\nconfirmations = 1\n");
    setup.environment.push(("EVM_KEY".to_owned(), key.expose().map(|byte| format!("{byte:02x}")).concat()));
    (folder, setup)
}

/// What the operator of a node lets the project do.
fn rules(token: &str, contracts: &BTreeMap<&str, String>) -> String {
    let mut call = vec![format!("{token}:approve(address,uint256)")];
    call.extend(contracts.values().map(|contract| format!("{contract}:*")));
    format!(
        "[chains.spending]\nfee_max = \"100000000000000000\"\nfee_price = {{ micros = 1, per = \"1000000000000\" }}\n\
         [chains.spending.projects.{PROJECT}]\npay = [{TREASURY:?}]\ncall = {call:?}\n\
         [chains.spending.projects.{PROJECT}.assets]\n\
         {token:?} = {{ max_per_transaction = \"1000\", max_per_day = \"1000\" }}\n"
    )
}

/// What `contracts deploy` says with the node's root key.
pub fn deploy(node: &NodeProcess, words: &[&str]) -> (bool, String) {
    operator::asked(node, &[&["--json", "contracts", "deploy"], words, &["--chain", CHAIN]].concat())
}

fn deploy_all(node: &NodeProcess, token: &str, account: &str) -> BTreeMap<&'static str, String> {
    let address = |words: &[&str]| {
        let (good, said) = deploy(node, words);
        assert!(good, "{said}");
        json_of(&said)["contract"]["address"].as_str().unwrap().to_owned()
    };
    let (token, owner) = (format!("token={token}"), format!("owner={account}"));
    let (owners, notice) = (format!("owners={account},{WALLET}"), format!("noticeTime={NOTICE}"));
    let identity = address(&["identity"]);
    let multi_owner = address(&["multi-owner", "threshold=2", &owners]);
    let (identities, both) = (format!("identities={identity}"), format!("owner={multi_owner}"));
    BTreeMap::from([
        ("escrow", address(&["escrow", &token, &owner])),
        ("reputation", address(&["reputation", &identities])),
        ("stake", address(&["stake", &token, &identities, &notice, &both])),
        ("identity", identity),
        ("multi-owner", multi_owner),
    ])
}

/// A token of somebody else's.
async fn token(anvil: &Anvil) -> String {
    let code = format!("0x{}", include_str!("token/Coin.hex").trim());
    let receipt = transact(anvil, json!({ "from": banker(anvil).await, "data": code })).await;
    receipt["contractAddress"].as_str().unwrap().to_owned()
}

/// The banker, whose the token is, gives some of it.
async fn give(anvil: &Anvil, token: &str, account: &str, amount: u64) {
    let transfer = format!("0xa9059cbb{}{amount:064x}", word(account));
    transact(anvil, json!({ "from": banker(anvil).await, "to": token, "data": transfer })).await;
}

/// What comes of a transaction of one of anvil's own accounts: it makes a block for it, but a moment later.
async fn transact(anvil: &Anvil, transaction: Value) -> Value {
    let sent = ask(anvil, "eth_sendTransaction", json!([transaction])).await;
    let receipt = until("the transaction's receipt", async || {
        let receipt = ask(anvil, "eth_getTransactionReceipt", json!([sent])).await;
        receipt.is_object().then_some(receipt)
    });
    receipt.await.unwrap()
}

async fn banker(anvil: &Anvil) -> Value {
    ask(anvil, "eth_accounts", json!([])).await[9].take()
}

/// What the chain itself answers.
pub async fn ask(anvil: &Anvil, method: &str, parameters: Value) -> Value {
    proxy::ask(anvil.url(), method, parameters).await
}

fn word(address: &str) -> String {
    format!("{:0>64}", address[2..].to_lowercase())
}

fn number(quantity: &Value) -> u64 {
    u64::from_str_radix(quantity.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// A client that knows a node that was started again.
pub fn client_of(side: &Tenant) -> Client {
    Client::new(side.node.server(), Some(&side.key)).unwrap()
}
