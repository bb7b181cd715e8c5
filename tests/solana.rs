//! Nodes on Solana: one that anchors, is killed while it does, and whose proof the command line checks without it; and one
//! whose agents pay coins and tokens and follow an account. What is logged holds no key, at any level.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::json;
use steward::client::Client;
use steward::process::{NodeProcess, until};
use steward_adapters::chain::{Action, Amount, Chain as _};
use steward_adapters::conformance;
use steward_adapters_solana::{LocalSigner, SolanaChain, SolanaConfig};
use steward_api::proto::v1;
use steward_types::Micros;

use crate::parts;
use crate::real_chain::{PROVIDERS_KEY, RealChain};
use crate::tenant::{self, PROJECT, Tenant};

/// The hash of an anchor's transaction, once there is one.
async fn signed(client: &Client) -> Option<String> {
    let listed = client.receipts().list_anchors(v1::ListAnchorsRequest::default()).await.ok()?.into_inner();
    listed.anchors.into_iter().map(|anchor| anchor.transaction).find(|hash| !hash.is_empty())
}

/// Somebody checks a proof who has nothing but the file, the log's key and an endpoint.
fn verify(file: &str, key: &str, endpoint: &str) -> Output {
    let mut steward = Command::new(parts::steward());
    steward.args(["receipts", "verify", file, "--trust", key, "--rpc", endpoint]).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_anchored_on_solana_are_proved_offline_and_on_the_chain() {
    let chain = RealChain::solana().await;
    let (id, endpoint) = (chain.id.clone(), chain.url.as_str());
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    chain.tell_loudly(&mut setup, "");
    let node = NodeProcess::start(setup).await.unwrap();
    let (client, key_of_project) = tenant::create_project(&node, tenant::PROJECT, Micros::new(1_000_000)).await;
    tenant::anchor_on(&node, tenant::PROJECT, &id).await;
    let mut tenant = Tenant { node, client, key: key_of_project, folder };
    tenant.deploy("counter", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    let session = tenant.open("counter").await;
    tenant.run(&session, "hello").await;
    let (_, receipts) = tenant.books_at_rest(1).await;

    // The node dies as soon as there is a transaction, and finishes what it began.
    let request = v1::AnchorRequest { project: String::new(), chain: id.clone() };
    let mut receipts_client = tenant.client.receipts();
    tokio::select! {
        done = receipts_client.anchor(request) => drop(done.unwrap()),
        anchor = until("a transaction", async || signed(&tenant.client).await) => drop(anchor.unwrap()),
    }
    tenant.node.kill().await.unwrap();
    tenant.node.start_again().await.unwrap();
    tenant.client = Client::new(tenant.node.server(), Some(&tenant.key)).unwrap();
    let anchor = tenant.anchored(1).await;
    assert_eq!((anchor.chain.as_str(), anchor.contract.as_str()), (id.as_str(), ""));

    let request = v1::ProveReceiptRequest { id: receipts[0].id.clone(), ..Default::default() };
    let proof = tenant.client.receipts().prove(request).await.unwrap().into_inner();
    let file = tenant.folder.path().join("proof.json");
    std::fs::write(&file, &proof.proof_json).unwrap();
    let checkpoint = tenant.client.receipts().checkpoint(v1::CheckpointRequest::default()).await.unwrap();
    let trust = checkpoint.into_inner().verifier_key;
    tenant.node.kill().await.unwrap();
    let good = verify(file.to_str().unwrap(), &trust, endpoint);
    let said = String::from_utf8([good.stdout, good.stderr].concat()).unwrap();
    assert!(good.status.success(), "{said}");
    assert!(said.contains(&id) && said.contains("its memo agrees") && said.contains("valid"), "{said}");

    // Another transaction's name in the proof is found out by the chain, and only by it.
    let other = proof.proof_json.replace(&anchor.transaction, &"1".repeat(64));
    assert_ne!(other, proof.proof_json);
    std::fs::write(&file, other).unwrap();
    let bad = verify(file.to_str().unwrap(), &trust, endpoint);
    assert!(!bad.status.success());
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(said.contains("did not anchor this tree"), "{said}");
    tenant.assert_log_lacks(&[&chain.secret, "5,5,5,5", "05050505", PROVIDERS_KEY]);
}

/// The cluster as the node's account sees it.
pub fn driver(chain: &RealChain) -> SolanaChain {
    let signer = Arc::new(LocalSigner::from_text(&chain.secret).unwrap());
    let config = SolanaConfig { chain: chain.id.parse().unwrap(), endpoint: chain.url.clone(), units_max: 400_000 };
    SolanaChain::new(config, signer).unwrap()
}

/// Makes a token of which the chain's account has some, and tells its address.
pub async fn token(chain: &RealChain) -> String {
    let own = driver(chain);
    let named = [("name", "credits"), ("decimals", "6")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let arguments = own.encode_deployment("credits", &BTreeMap::from(named)).unwrap();
    let made = conformance::send(&own, "make", Action::Deploy { contract: "credits".to_owned(), arguments }).await;
    let mint = made.creates.unwrap();
    let input = own.encode_call(Some("mint(address,uint64)"), &json!([chain.account, 1_000])).unwrap().input;
    let minting = Action::Call { contract: mint.clone(), input, value: Amount::ZERO };
    assert!(conformance::send(&own, "mint", minting).await.succeeded);
    mint
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_pays_coins_and_tokens_and_follows_an_account_on_solana() {
    let chain = RealChain::solana().await;
    let mint = token(&chain).await;
    let (id, stranger) = (&chain.id, &chain.stranger);
    let rules = |head: &str| {
        format!(
            "pay = [{stranger:?}]\ncoin = {{ max_per_transaction = \"9000000\", max_per_day = \"9000000\" }}\n\
             [{head}.assets]\n{mint:?} = {{ max_per_transaction = \"500\", max_per_day = \"500\" }}\n"
        )
    };
    let tenant = chain.tenant_that_may_spend(&rules(&format!("chains.spending.projects.{PROJECT}"))).await;
    let trigger =
        format!("[[triggers]]\nname = \"payments\"\nchain = {id:?}\naddress = {stranger:?}\nevent = \"transaction\"\n");
    tenant.deploy("clerk", "fn on_message(msg) { reply(msg.transaction); }", &trigger).await;
    tenant.until_following().await;
    let script = format!(
        "fn on_message(msg) {{
            let coins = chain({id:?});
            let paid = coins.wait(coins.send({stranger:?}, 1000001)).succeeded;
            let token = coins.wait(coins.send({stranger:?}, 300, #{{asset: {mint:?}}})).succeeded;
            [paid, token, coins.balance({stranger:?}), coins.balance({stranger:?}, {mint:?})]
        }}"
    );
    let ran =
        tenant.run_once("payer", &script, &format!("[chains.{id:?}]\n{}", rules(&format!("chains.{id:?}")))).await;
    assert_eq!(ran, json!([true, true, "1000001", "300"]));
    assert_eq!(chain.payments_to(stranger).await.iter().sum::<u64>(), 1_000_001);
    let session = tenant.session_of_trigger("clerk", |_| true).await;
    let told = (&session["event"], &session["arguments"]["signers"], &session["address"]);
    assert_eq!(told, (&json!("transaction"), &json!([chain.account]), &json!(stranger)), "{session}");
    tenant.assert_log_lacks(&[&chain.secret, "5,5,5,5", "05050505", PROVIDERS_KEY]);
}

/// A node whose operator has put credits on the chain by a command, and lets its project mint and burn them.
async fn with_credits(chain: &RealChain) -> (Tenant, String) {
    let folder = tempfile::tempdir().unwrap();
    let base = tenant::setup(&folder.path().join("node"));
    let mut without_rules = base.clone();
    chain.tell(&mut without_rules, &[chain.url.as_str()], "");
    let mut node = NodeProcess::start(without_rules).await.unwrap();
    let root = std::fs::read_to_string(node.root_key_file()).unwrap();
    let mut steward = Command::new(parts::steward());
    steward.args(["--server", node.server(), "--key", root.trim(), "--json", "contracts", "deploy", "credits"]);
    let deployed = steward.args(["--chain", &chain.id, "name=compute", "decimals=6"]).output().unwrap();
    assert!(deployed.status.success(), "{}", String::from_utf8_lossy(&deployed.stderr));
    let deployed: serde_json::Value = serde_json::from_slice(&deployed.stdout).unwrap();
    let mint = deployed["contract"]["address"].as_str().unwrap().to_owned();
    node.kill().await.unwrap();
    let mut setup = base;
    let rules = minting_rules(&format!("chains.spending.projects.{PROJECT}"), &mint);
    let spending =
        "[chains.spending]\nfee_max = \"1000000000000000\"\nfee_price = { micros = 1, per = \"1000000000000\" }\n";
    chain.tell(&mut setup, &[chain.url.as_str()], &format!("{spending}{rules}"));
    let node = NodeProcess::start(setup).await.unwrap();
    let (client, key) = tenant::create_project(&node, PROJECT, Micros::new(1_000_000_000)).await;
    (Tenant { node, client, key, folder }, mint)
}

fn minting_rules(head: &str, mint: &str) -> String {
    format!(
        "[{head}]\ncall = [\"{mint}:mint(address to, uint64 amount)\", \"{mint}:burn(uint64)\"]\n[{head}.assets]\n\
         {mint:?} = {{ max_per_transaction = \"400\", max_per_day = \"1000\" }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_mints_and_burns_credits_within_its_caps() {
    let chain = RealChain::solana().await;
    let (tenant, mint) = with_credits(&chain).await;
    let (id, account, stranger) = (&chain.id, &chain.account, &chain.stranger);
    let script = format!(
        "fn ended(method, arguments) {{
            let coins = chain({id:?});
            try {{ return coins.wait(coins.call({mint:?}, method, arguments)).succeeded; }}
            catch (problem) {{ return problem.code; }}
        }}
        fn on_message(msg) {{
            let ends = [
                ended(\"mint(address,uint64)\", [{stranger:?}, 300]),
                ended(\"mint(address,uint64)\", [{account:?}, 100]),
                ended(\"burn(uint64)\", [40]),
                ended(\"mint(address,uint64)\", [{account:?}, 401]),
                ended(\"burn(uint64)\", [401]),
                ended(\"freeze(address)\", [{account:?}]),
            ];
            let coins = chain({id:?});
            [ends, coins.balance({stranger:?}, {mint:?}), coins.balance({account:?}, {mint:?})]
        }}"
    );
    let ran = tenant.run_once("minter", &script, &minting_rules(&format!("chains.{id:?}"), &mint)).await;
    let capped = "CHAIN_LIMIT_REACHED";
    assert_eq!(ran, json!([[true, true, true, capped, capped, "STEP_INVALID"], "300", "60"]));
    // 440 of the day's 1,000 are counted: mintings and burnings alike.
    let more = format!(
        "fn on_message(msg) {{
            let coins = chain({id:?});
            let minted = coins.wait(coins.call({mint:?}, \"mint(address,uint64)\", [{account:?}, 400])).succeeded;
            try {{ coins.call({mint:?}, \"mint(address,uint64)\", [{account:?}, 161]); return [minted]; }}
            catch (problem) {{ return [minted, problem.data.spent]; }}
        }}"
    );
    let ran = tenant.run_once("minter", &more, &minting_rules(&format!("chains.{id:?}"), &mint)).await;
    assert_eq!(ran, json!([true, "840"]));
}
