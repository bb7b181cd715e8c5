//! A node that anchors on Solana: killed while it does, and the proof checked by the command line without the node.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;
use steward::client::Client;
use steward::process::{NodeProcess, until};
use steward_adapters::Signer as _;
use steward_adapters_solana::{Devnet, LocalSigner, SolanaChain};
use steward_api::proto::v1;
use steward_types::Micros;

use crate::parts;
use crate::tenant::{self, Tenant};

/// A key as `solana-keygen` writes it, but without the public half.
fn key() -> String {
    json!(vec![5; 32]).to_string()
}

/// The hash of an anchor's transaction, once there is one.
async fn signed(client: &Client) -> Option<String> {
    let listed = client.receipts().list_anchors(v1::ListAnchorsRequest::default()).await.ok()?.into_inner();
    listed.anchors.into_iter().map(|anchor| anchor.transaction).find(|hash| !hash.is_empty())
}

async fn anchored(client: &Client, leaves: u64) -> v1::Anchor {
    let anchor = until("the anchor", async || {
        let listed = client.receipts().list_anchors(v1::ListAnchorsRequest::default()).await.ok()?.into_inner();
        listed.anchors.into_iter().find(|anchor| anchor.state == "confirmed" && anchor.tree_size >= leaves)
    });
    anchor.await.unwrap()
}

/// Somebody checks a proof who has nothing but the file, the log's key and an endpoint.
fn verify(file: &str, key: &str, endpoint: &str) -> Output {
    let mut steward = Command::new(parts::steward());
    steward.args(["receipts", "verify", file, "--trust", key, "--rpc", endpoint]).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_anchored_on_solana_are_proved_offline_and_on_the_chain() {
    let signer = LocalSigner::from_text(&key()).unwrap();
    let slot = Duration::from_millis(20);
    let devnet = Devnet::start(&parts::solana_devnet(), slot, &[signer.address()]).await.unwrap();
    let id = SolanaChain::identify(devnet.url()).await.unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    let (endpoint, log) = (devnet.url().as_str(), setup.folder.join("node.log"));
    setup.config += &format!("[[chains]]\nid = {id:?}\nendpoint = {endpoint:?}\nkey_env = \"SOLANA_KEY\"\n");
    setup.environment.push(("SOLANA_KEY".to_owned(), key()));
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
    let anchor = anchored(&tenant.client, 1).await;
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

    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("5,5,5,5") && !log.contains("05050505"), "the key is in the log");
}
