//! Nodes on Solana: one that anchors, is killed while it does, and whose proof the command line checks without it; and one
//! whose agents pay coins and tokens and follow an account. What is logged holds no key, at any level.

use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::json;
use steward::client::Client;
use steward::process::{NodeProcess, until};
use steward_adapters::chain::{Chain as _, SignedTransaction, TransactionStatus};
use steward_adapters::fee::Fee;
use steward_adapters_solana::{Credits, LocalSigner, SolanaChain, SolanaConfig};
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

/// Makes a token of which the chain's account has some, and tells its address.
async fn token(chain: &RealChain) -> String {
    let signer = Arc::new(LocalSigner::from_text(&chain.secret).unwrap());
    let config = SolanaConfig { chain: chain.id.parse().unwrap(), endpoint: chain.url.clone(), units_max: 400_000 };
    let own = SolanaChain::new(config, signer).unwrap();
    let credits = Credits::new(&own, "credits", 6).unwrap();
    land(&own, credits.sign_creation(0, Fee::default()).await.unwrap()).await;
    land(&own, credits.sign_minting(&chain.account, 1_000, 1, Fee::default()).await.unwrap()).await;
    credits.mint()
}

/// Sends a signed transaction until it is final.
async fn land(chain: &SolanaChain, transaction: SignedTransaction) {
    let landed = until("a transaction of the token", async || match chain.status(&transaction).await.unwrap() {
        TransactionStatus::Included(inclusion) if inclusion.is_final => Some(inclusion.succeeded),
        TransactionStatus::Unknown => {
            chain.broadcast(&transaction.bytes).await.unwrap();
            None
        }
        _ => None,
    });
    assert!(landed.await.unwrap());
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
