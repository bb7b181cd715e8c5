//! A node that anchors on a real Cosmos chain: killed while it does, and the proof checked by the command line without
//! the node, offline and against the chain.

use std::process::{Command, Output};

use steward::client::Client;
use steward::process::{NodeProcess, until};
use steward_adapters_cosmos::{Pace, Wasmd};
use steward_api::proto::v1;
use steward_types::Micros;

use crate::parts;
use crate::tenant::{self, Tenant};

async fn anchored(client: &Client, leaves: u64) -> v1::Anchor {
    let anchor = until("the anchor", async || {
        let listed = client.receipts().list_anchors(v1::ListAnchorsRequest::default()).await.ok()?.into_inner();
        listed.anchors.into_iter().find(|anchor| anchor.state == "confirmed" && anchor.tree_size >= leaves)
    });
    anchor.await.unwrap()
}

/// Somebody checks a proof who has nothing but the file and the log's key, and perhaps an endpoint.
fn verify(file: &str, key: &str, endpoint: Option<&str>) -> Output {
    let mut steward = Command::new(parts::steward());
    steward.args(["receipts", "verify", file, "--trust", key]);
    steward.args(endpoint.map(|endpoint| ["--rpc", endpoint]).into_iter().flatten());
    steward.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_anchored_on_cosmos_are_proved_offline_and_on_the_chain() {
    let Some(program) = parts::wasmd() else {
        println!("SKIPPED: there was no Go module registry to build wasmd from");
        return;
    };
    let wasmd = Wasmd::start(&program, Pace::Quick).await.unwrap();
    let chain = wasmd.config();
    let (id, endpoint) = (chain.chain.as_str(), wasmd.url().as_str());
    let secret = Wasmd::development_key().expose().map(|byte| format!("{byte:02x}")).concat();
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    let log = setup.folder.join("node.log");
    setup.config += &format!(
        "[[chains]]\nid = {id:?}\nendpoint = {endpoint:?}\nkey_env = \"COSMOS_KEY\"\n\
         cosmos = {{ prefix = {:?}, denom = {:?}, gas_price = \"0.025\", gas_price_max = \"1\" }}\n",
        chain.prefix, chain.denom
    );
    setup.environment.push(("COSMOS_KEY".to_owned(), secret.clone()));
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
    let anchor = anchored(&tenant.client, 1).await;
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

    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains(&secret), "the key is in the log");
}
