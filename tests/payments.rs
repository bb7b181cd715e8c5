//! Agents that pay on a real chain, on a real node: through policy only, beyond no cap, asking a person where they must;
//! and killed in the middle of many payments, each of which is made once, with the budget exact.

use alloy::providers::Provider as _;
use serde_json::{Value, json};
use steward::client::Client;
use steward::process::{NodeProcess, until};
use steward_adapters::chain::{Chain as _, Consistency};
use steward_adapters_evm::{Anvil, EvmChain, EvmConfig, LocalSigner, Mining};
use steward_api::proto::v1;
use steward_types::Micros;

use crate::parts;
use crate::tenant::{self, Tenant};

const CHAIN: &str = "eip155:31337";
/// Two accounts that have nothing in the beginning.
const BOB: &str = "0x00000000000000000000000000000000000b0b01";
const CAROL: &str = "0x00000000000000000000000000000000000ca401";
/// What a send or call costs besides its fee, by the project's prices.
const CALL_PRICE: u64 = 7;
/// Micro-units for so many wei of fee.
const FEE_PRICE: (u128, u128) = (3, 1_000_000_000);
/// How many payments the agent makes that is killed.
const PAYMENTS: u64 = 80;
/// How often it is. Between two kills land at most as many as an outbox has under way, 16.
const KILLS: u64 = 5;

/// A chain with a token that the node's account has all of, and a node whose operator lets the project spend.
struct World {
    chain: EvmChain,
    token: String,
    tenant: Tenant,
    _anvil: Anvil,
}

impl World {
    async fn start(mining: Mining) -> Self {
        let anvil = Anvil::start(&parts::anvil(), mining).await.unwrap();
        let config = EvmConfig {
            chain: CHAIN.parse().unwrap(),
            endpoint: anvil.url().clone(),
            confirmations: 1,
            gas_max: 3_000_000,
        };
        let key = Anvil::development_key();
        let chain = EvmChain::new(config, std::sync::Arc::new(LocalSigner::new(&key).unwrap())).unwrap();
        let token = deploy_token(&chain, mining).await;
        let folder = tempfile::tempdir().unwrap();
        let mut setup = tenant::setup(&folder.path().join("node"));
        setup.config += &format!(
            r#"
[[chains]]
id = {CHAIN:?}
endpoint = {:?}
key_env = "EVM_KEY"
confirmations = 1
[chains.spending]
fee_max = "1000000000000000"
fee_price = {{ micros = {}, per = "{}" }}
[chains.spending.projects.{}]
pay = [{BOB:?}, {CAROL:?}]
call = ["{token}:transfer(address,uint256)"]
coin = {{ max_per_transaction = "1000", max_per_day = "5000" }}
assets."{token}" = {{ max_per_transaction = "400", max_per_day = "700" }}
"#,
            anvil.url().as_str(),
            FEE_PRICE.0,
            FEE_PRICE.1,
            tenant::PROJECT,
        );
        let secret = key.expose().map(|byte| format!("{byte:02x}")).concat();
        setup.environment.push(("EVM_KEY".to_owned(), secret));
        let node = NodeProcess::start(setup).await.unwrap();
        let (client, key) = tenant::create_project(&node, tenant::PROJECT, Micros::new(10_000_000_000)).await;
        Self { chain, token, tenant: Tenant { node, client, key, folder }, _anvil: anvil }
    }

    /// The manifest's rules, which allow Carol nothing.
    fn rules(&self, approve_above: &str) -> String {
        let token = &self.token;
        format!(
            r#"
[chains."{CHAIN}"]
pay = [{BOB:?}]
call = ["{token}:transfer(address,uint256)"]
coin = {{ max_per_transaction = "900", max_per_day = "900000", approve_above = "{approve_above}" }}
assets."{token}" = {{ max_per_transaction = "500", max_per_day = "1000" }}
"#
        )
    }

    /// Deploys an agent whose handler has this body, with `evm` and `token` to use.
    async fn deploy(&self, name: &str, approve_above: &str, body: &str) {
        let token = &self.token;
        let head = format!(
            "let evm = chain(\"{CHAIN}\"); let token = \"{token}\"; let bob = \"{BOB}\"; let carol = \"{CAROL}\";"
        );
        let script = format!("fn on_message(msg) {{ {head} {body} }}");
        self.tenant.deploy(name, &script, &self.rules(approve_above)).await;
    }

    /// What a handler of this body answers.
    async fn run(&self, body: &str) -> Value {
        self.deploy("payer", "900", body).await;
        let session = self.tenant.open("payer").await;
        let ran = self.tenant.run(&session, "go").await;
        assert!(ran.failure.is_none(), "{body}: {:?}", ran.failure);
        serde_json::from_str(&ran.result_json).unwrap()
    }

    async fn balance(&self, account: &str, asset: Option<&str>) -> u128 {
        self.chain.balance(account, asset, Consistency::Latest).await.unwrap().units()
    }

    async fn transactions(&self) -> u64 {
        self.chain.sequence(Consistency::Latest).await.unwrap().unwrap()
    }

    /// How many transactions wait for a block.
    async fn waiting(&self) -> u128 {
        number(&rpc(&self.chain, "txpool_status", json!([])).await["pending"])
    }

    /// What the budget should have paid for the account's transactions after the first `before`, by the chain's own word.
    async fn price_of_all_since(&self, before: u64) -> u64 {
        let mut price = 0;
        let newest = self.chain.head().await.unwrap().block;
        for block in 0..=newest {
            let block = rpc(&self.chain, "eth_getBlockByNumber", json!([format!("{block:#x}"), true])).await;
            for transaction in block["transactions"].as_array().unwrap() {
                if number(&transaction["nonce"]) < u128::from(before) {
                    continue;
                }
                let receipt = rpc(&self.chain, "eth_getTransactionReceipt", json!([transaction["hash"]])).await;
                let fee = number(&receipt["gasUsed"]) * number(&receipt["effectiveGasPrice"]);
                price += u64::try_from((fee * FEE_PRICE.0).div_ceil(FEE_PRICE.1)).unwrap() + CALL_PRICE;
            }
        }
        price
    }
}

fn number(quantity: &Value) -> u128 {
    u128::from_str_radix(quantity.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

async fn rpc(chain: &EvmChain, method: &'static str, parameters: Value) -> Value {
    chain.provider().raw_request(method.into(), parameters).await.unwrap()
}

async fn mine(chain: &EvmChain) {
    rpc(chain, "evm_mine", json!([])).await;
}

async fn deploy_token(chain: &EvmChain, mining: Mining) -> String {
    let code = format!("0x{}", include_str!("../adapters/evm/tests/anvil/token/QuietToken.hex").trim());
    let transaction = json!([{ "from": chain.account(), "data": code, "gas": "0x100000" }]);
    let hash = rpc(chain, "eth_sendTransaction", transaction).await;
    if mining == Mining::Manual {
        mine(chain).await;
    }
    let deployed = until("the token", async || {
        let receipt = rpc(chain, "eth_getTransactionReceipt", json!([hash])).await;
        receipt["contractAddress"].as_str().map(str::to_owned)
    });
    deployed.await.unwrap()
}

/// The code of the exception that an expression raises.
fn refused(expression: &str) -> String {
    format!(
        "[0].map(|_nothing| {{ try {{ {expression}; return \"done\"; }} catch (problem) {{ return problem.code; }} }})[0]"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_pays_through_policy_and_its_budget_pays_what_the_chain_took() {
    let world = World::start(Mining::Automatic).await;
    let before = world.transactions().await;
    let body = r#"
        let ids = [evm.send(bob, 500), evm.send(bob, 300, #{asset: token})];
        ids.push(evm.call(token, "transfer(address,uint256)", [carol, 20]));
        let ends = ids.map(|id| evm.wait(id));
        [ends.map(|end| end.succeeded), evm.balance(bob), evm.balance(bob, token),
         evm.read(token, "balanceOf(address)(uint256)", [carol])]"#;
    assert_eq!(world.run(body).await, json!([[true, true, true], "500", "300", "20"]));
    // Three orders and three questions.
    let (audit, _) = world.tenant.books_at_rest(6).await;
    assert_eq!(audit.settled_micros, world.price_of_all_since(before).await + 3 * CALL_PRICE);

    let body = format!(
        "[{}, {}, {}, {}, {}, {}]",
        refused("evm.send(carol, 1)"),
        refused("evm.send(bob, 901)"),
        refused("evm.send(bob, 401, #{asset: token})"),
        refused("evm.send(bob, 400, #{asset: token}); evm.send(bob, 1, #{asset: token})"),
        refused("evm.call(token, \"approve(address,uint256)\", [carol, 20])"),
        refused("evm.send(bob, 1, #{asset: carol})"),
    );
    let (forbidden, capped) = ("CHAIN_FORBIDDEN", "CHAIN_LIMIT_REACHED");
    assert_eq!(world.run(&body).await, json!([forbidden, capped, capped, capped, forbidden, forbidden]));
    world.tenant.books_at_rest(7).await;
    assert_eq!(world.transactions().await, before + 4);
    assert_eq!(world.balance(BOB, Some(&world.token)).await, 700);
    assert_eq!((world.balance(BOB, None).await, world.balance(CAROL, None).await), (500, 0));

    // The token does not pay what the account does not have, and says so in the block: that the fee is gone is told.
    let body = "evm.wait(evm.call(token, \"transfer(address,uint256)\", [carol, \"99999999999\"]))";
    let end = world.run(body).await;
    assert_eq!(end["succeeded"], false, "{end}");
    assert!(end["transaction"].is_string() && end["price"].as_u64() > Some(CALL_PRICE), "{end}");
    let (audit, _) = world.tenant.books_at_rest(8).await;
    assert_eq!(audit.settled_micros, world.price_of_all_since(before).await + 3 * CALL_PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_threshold_a_person_is_asked_and_only_what_is_agreed_to_is_sent() {
    let world = World::start(Mining::Automatic).await;
    let body = format!("[{}, evm.wait(evm.send(bob, 102)).succeeded]", refused("evm.send(bob, 101)"));
    world.deploy("asker", "100", &body).await;
    let session = world.tenant.open("asker").await;
    let client = &world.tenant.client;
    let answer = async |approved: bool| {
        let asked = until("a question", async || {
            let request = v1::ListApprovalsRequest { state: v1::ApprovalState::Open.into(), ..Default::default() };
            client.approvals().list(request).await.ok()?.into_inner().approvals.pop()
        });
        let asked = asked.await.unwrap();
        assert!(asked.question.contains(BOB) && asked.question.contains(CHAIN), "{}", asked.question);
        let decide = v1::DecideApprovalRequest { id: asked.id, approved, ..Default::default() };
        client.approvals().decide(decide).await.unwrap();
    };
    let (ran, ()) = tokio::join!(world.tenant.run(&session, "go"), async {
        answer(false).await;
        assert_eq!(world.balance(BOB, None).await, 0);
        answer(true).await;
    });
    let answered: Value = serde_json::from_str(&ran.result_json).unwrap();
    assert_eq!(answered, json!(["APPROVAL_REJECTED", true]));
    assert_eq!(world.balance(BOB, None).await, 102);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_in_the_middle_of_many_payments_makes_each_once_and_the_budget_is_exact() {
    let mut world = World::start(Mining::Manual).await;
    let before = world.transactions().await;
    let body = format!(
        "let ids = []; for amount in 1..={PAYMENTS} {{ ids.push(evm.send(bob, amount)); }}
         ids.filter(|id| evm.wait(id).succeeded).len()"
    );
    world.deploy("payer", "900", &body).await;
    let session = world.tenant.open("payer").await;
    let message = Some(v1::Message { text: "go".to_owned(), data_json: String::new() });
    let send = v1::SendRequest { session: session.clone(), message, idempotency_key: "go".to_owned() };
    world.tenant.client.sessions().send(send).await.unwrap();
    // Blocks are made by the test, so that each kill finds payments that have not landed. The first comes while the orders
    // are recorded, each other as soon as the node has sent something.
    for kill in 0..KILLS {
        if kill > 0 {
            until("a transaction that waits", async || (world.waiting().await > 0).then_some(())).await.unwrap();
        }
        assert!(world.transactions().await < before + PAYMENTS, "kill {kill} came after the last payment");
        world.tenant.node.kill().await.unwrap();
        mine(&world.chain).await;
        world.tenant.node.start_again().await.unwrap();
        world.tenant.client = Client::new(world.tenant.node.server(), Some(&world.tenant.key)).unwrap();
    }
    until("every payment", async || {
        mine(&world.chain).await;
        (world.transactions().await >= before + PAYMENTS).then_some(())
    })
    .await
    .unwrap();
    mine(&world.chain).await;
    let (audit, receipts) = world.tenant.books_at_rest(PAYMENTS).await;
    assert_eq!(world.transactions().await, before + PAYMENTS, "a transaction for each payment");
    assert_eq!(world.balance(BOB, None).await, u128::from(PAYMENTS * (PAYMENTS + 1) / 2));
    assert_eq!(audit.settled_micros, world.price_of_all_since(before).await);
    assert!(receipts.iter().all(|receipt| receipt.logged));
    let ended = until("the turn's end", async || {
        let request = v1::GetSessionRequest { session: session.clone() };
        let shown = world.tenant.client.sessions().get(request).await.ok()?.into_inner();
        (shown.state() == v1::SessionState::Idle).then_some(shown)
    });
    assert_eq!(ended.await.unwrap().failure, None);
}
