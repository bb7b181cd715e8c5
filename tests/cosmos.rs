//! Nodes on a real Cosmos chain: one that anchors, is killed while it does, and whose proof the command line checks
//! without it; and one whose agents pay, call, read and follow a contract. What is logged holds no key, at any level.

use std::process::{Command, Output};

use serde_json::{Value, json};
use steward::client::Client;
use steward::process::NodeProcess;
use steward_adapters_cosmos::Wasmd;
use steward_api::proto::v1;
use steward_types::Micros;

use crate::parts;
use crate::real_chain::{PROVIDERS_KEY, RealChain};
use crate::tenant::{self, Tenant};

/// Somebody checks a proof who has nothing but the file and the log's key, and perhaps an endpoint.
fn verify(file: &str, key: &str, endpoint: Option<&str>) -> Output {
    let mut steward = Command::new(parts::steward());
    steward.args(["receipts", "verify", file, "--trust", key]);
    steward.args(endpoint.map(|endpoint| ["--rpc", endpoint]).into_iter().flatten());
    steward.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_anchored_on_cosmos_are_proved_offline_and_on_the_chain() {
    let Some(chain) = RealChain::cosmos().await else { return };
    let (id, endpoint) = (chain.id.as_str(), chain.url.as_str());
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    chain.tell_loudly(&mut setup, "");
    let node = NodeProcess::start(setup).await.unwrap();
    let (client, key) = tenant::create_project(&node, tenant::PROJECT, Micros::new(1_000_000)).await;
    tenant::anchor_on(&node, tenant::PROJECT, id).await;
    let mut tenant = Tenant { node, client, key, folder };
    tenant.deploy("counter", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    let session = tenant.open("counter").await;
    tenant.run(&session, "hello").await;
    let (_, receipts) = tenant.books_at_rest(1).await;

    // The node dies as soon as it has taken the wish, and finishes what it began.
    let request = v1::AnchorRequest { project: String::new(), chain: id.to_owned() };
    tenant.client.receipts().anchor(request).await.unwrap();
    tenant.node.kill().await.unwrap();
    tenant.node.start_again().await.unwrap();
    tenant.client = Client::new(tenant.node.server(), Some(&tenant.key)).unwrap();
    let anchor = tenant.anchored(1).await;
    assert_eq!((anchor.chain.as_str(), anchor.contract.as_str()), (id, ""));

    let request = v1::ProveReceiptRequest { id: receipts[0].id.clone(), ..Default::default() };
    let proof = tenant.client.receipts().prove(request).await.unwrap().into_inner();
    let file = tenant.folder.path().join("proof.json");
    std::fs::write(&file, &proof.proof_json).unwrap();
    let checkpoint = tenant.client.receipts().checkpoint(v1::CheckpointRequest::default()).await.unwrap();
    let trust = checkpoint.into_inner().verifier_key;
    tenant.node.kill().await.unwrap();
    for endpoint in [None, Some(endpoint)] {
        let good = verify(file.to_str().unwrap(), &trust, endpoint);
        let said = String::from_utf8_lossy(&good.stdout).into_owned() + &*String::from_utf8_lossy(&good.stderr);
        assert!(good.status.success() && said.contains("valid"), "{said}");
        assert_eq!(said.contains("its memo agrees"), endpoint.is_some(), "{said}");
    }

    // Another transaction's name in the proof is found out by the chain, and only by it.
    let other = proof.proof_json.replace(&anchor.transaction, &"0".repeat(64));
    assert_ne!(other, proof.proof_json);
    std::fs::write(&file, other).unwrap();
    let bad = verify(file.to_str().unwrap(), &trust, Some(endpoint));
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(!bad.status.success() && said.contains("is not on the chain"), "{said}");
    tenant.assert_log_lacks(&[&chain.secret, PROVIDERS_KEY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_pays_calls_reads_and_follows_a_contract_on_cosmos() {
    let Some(chain) = RealChain::cosmos().await else { return };
    let (id, stranger) = (&chain.id, &chain.stranger);
    let message = json!({ "verifier": chain.account, "beneficiary": stranger }).to_string();
    let code = Wasmd::hackatom(&parts::wasmd().unwrap());
    let contract = chain.wasmd().instantiate(&code, &message, "1000ustake").await.unwrap();
    let rules = format!(
        "pay = [{stranger:?}]\ncall = [\"{contract}:release\"]\n\
         coin = {{ max_per_transaction = \"900\", max_per_day = \"9000\" }}\n"
    );
    let tenant = chain.tenant_that_may_spend(&rules).await;
    let trigger = format!(
        "[[triggers]]\nname = \"releases\"\nchain = {id:?}\naddress = {contract:?}\nevent = \"wasm\"\nfrom = 1\n"
    );
    tenant.deploy("clerk", "fn on_message(msg) { reply(msg.event); }", &trigger).await;
    let script = format!(
        "fn on_message(msg) {{
            let coins = chain({id:?});
            let verifier = coins.read({contract:?}, #{{verifier: #{{}}}}).verifier;
            let paid = coins.wait(coins.send({stranger:?}, 7)).succeeded;
            let called = coins.wait(coins.call({contract:?}, #{{release: #{{}}}})).succeeded;
            [verifier, paid, called, coins.balance({contract:?})]
        }}"
    );
    let ran = tenant.run_once("payer", &script, &format!("[chains.{id:?}]\n{rules}")).await;
    assert_eq!(ran, json!([chain.account, true, true, "0"]));
    assert_eq!(chain.payments_to(stranger).await, [7, 1_000], "the payment, and what the contract released");
    let is_release = |told: &Value| told["arguments"]["action"] == "release";
    let session = tenant.session_of_trigger("clerk", is_release).await;
    let told = (&session["event"], &session["arguments"]["action"], &session["address"]);
    assert_eq!(told, (&json!("wasm"), &json!("release"), &json!(contract)), "{session}");
    tenant.assert_log_lacks(&[&chain.secret, PROVIDERS_KEY]);
}
