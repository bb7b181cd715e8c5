//! One project that anchors on three real chains: what a stranger is given for each of them, and what the command line says
//! of it without the node, offline and on the chains.

use std::process::{Command, Output};

use serde_json::Value;
use steward::process::{NodeProcess, until};
use steward_api::proto::v1;
use steward_types::Micros;

use crate::parts;
use crate::real_chain::RealChain;
use crate::tenant::{self, PROJECT, Tenant};

/// How long receipts may wait: so long that nothing is anchored but what is asked for.
const INTERVAL_SECONDS: i64 = 86_400;

/// A node with a project on these chains, and an agent that makes a receipt a message.
async fn start(chains: &[RealChain]) -> Tenant {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    for chain in chains {
        chain.tell(&mut setup, &[chain.url.as_str()], "");
    }
    let node = NodeProcess::start(setup).await.unwrap();
    let (client, key) = tenant::create_project(&node, PROJECT, Micros::new(1_000_000)).await;
    let anchoring = v1::SetAnchoringRequest {
        project: PROJECT.to_owned(),
        chains: chains.iter().map(|chain| chain.id.clone()).collect(),
        anchor_interval: Some(prost_types::Duration { seconds: INTERVAL_SECONDS, nanos: 0 }),
        ..Default::default()
    };
    node.root_client().unwrap().projects().set_anchoring(anchoring).await.unwrap();
    let tenant = Tenant { node, client, key, folder };
    tenant.deploy("counter", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    tenant
}

/// Anchors what the log has now on these chains, and waits until it is final there.
async fn anchor(tenant: &Tenant, chains: &[RealChain], size: u64) {
    for chain in chains {
        let request = v1::AnchorRequest { project: String::new(), chain: chain.id.clone() };
        tenant.client.receipts().anchor(request).await.unwrap();
    }
    for chain in chains {
        let final_there = until("the anchor", async || {
            let listed = tenant.client.receipts().list_anchors(v1::ListAnchorsRequest::default()).await.ok()?;
            let anchors = listed.into_inner().anchors.into_iter();
            anchors
                .filter(|anchor| anchor.chain == chain.id && anchor.state == "confirmed")
                .map(|anchor| anchor.tree_size)
                .max()
                .filter(|anchored| *anchored >= size)
        });
        assert_eq!(final_there.await.unwrap(), size);
    }
}

/// The command line with an account of the project, or as a stranger has it.
fn steward(account: Option<&Tenant>, arguments: &[&str]) -> Output {
    let mut steward = Command::new(parts::steward());
    if let Some(tenant) = account {
        steward.args(["--server", tenant.node.server(), "--key", &tenant.key]);
    }
    steward.args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

/// What `verify` says to a stranger, and whether it agreed.
fn verify(file: &str, trust: &str, rpc: &[String]) -> (bool, String) {
    let rpc = rpc.iter().flat_map(|rpc| ["--rpc", rpc.as_str()]);
    let arguments: Vec<&str> = ["receipts", "verify", file, "--trust", trust].into_iter().chain(rpc).collect();
    let output = steward(None, &arguments);
    (output.status.success(), said(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_on_three_chains_is_proved_on_each_of_them() {
    let mut chains = vec![RealChain::evm().await, RealChain::solana().await];
    chains.extend(RealChain::cosmos().await);
    let mut tenant = start(&chains).await;
    let session = tenant.open("counter").await;
    // Each chain has the log at a size that no other has; and then all have it at one size.
    for (number, chain) in (1..).zip(&chains) {
        tenant.run(&session, "hello").await;
        tenant.books_at_rest(number).await;
        anchor(&tenant, std::slice::from_ref(chain), number).await;
    }
    tenant.run(&session, "hello").await;
    let last = chains.len() as u64 + 1;
    let (_, receipts) = tenant.books_at_rest(last).await;
    let unanchored = ["receipts", "prove", &receipts[chains.len()].id, "--chain", &chains[0].id];
    let pending = said(&steward(Some(&tenant), &unanchored));
    assert!(pending.contains("RECEIPT_PENDING") && pending.contains(&chains[0].id), "{pending}");
    let elsewhere = said(&steward(Some(&tenant), &["receipts", "prove", &receipts[0].id, "--chain", "eip155:5"]));
    assert!(elsewhere.contains("CHAIN_NOT_FOUND") && elsewhere.contains("eip155:5"), "{elsewhere}");
    anchor(&tenant, &chains, last).await;

    let file = |name: &str| tenant.folder.path().join(name).to_str().unwrap().to_owned();
    let mut own = Vec::new();
    for (size, chain) in (1u64..).zip(&chains) {
        let path = file(&format!("{}.json", chain.id.replace(':', "-")));
        let arguments = ["receipts", "prove", &receipts[0].id, "--chain", &chain.id, "--out", &path];
        let written = steward(Some(&tenant), &arguments);
        assert!(written.status.success(), "{}", said(&written));
        let proof: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let anchors = proof["anchors"].as_array().unwrap();
        assert_eq!((proof["tree_size"].as_u64(), anchors.len()), (Some(size), 1), "{proof}");
        assert_eq!(anchors[0]["chain"], chain.id);
        own.push((chain, path, proof));
    }
    let all = file("all.json");
    let written = steward(Some(&tenant), &["receipts", "prove", &receipts[chains.len()].id, "--out", &all]);
    assert!(written.status.success(), "{}", said(&written));
    let checkpoint = tenant.client.receipts().checkpoint(v1::CheckpointRequest::default()).await.unwrap();
    let trust = checkpoint.into_inner().verifier_key;
    tenant.node.kill().await.unwrap();

    let newest: Value = serde_json::from_slice(&std::fs::read(&all).unwrap()).unwrap();
    for (chain, path, proof) in &own {
        let (good, said) = verify(path, &trust, &[]);
        assert!(good && said.contains("not asked"), "{said}");
        for rpc in [chain.url.to_string(), format!("{}={}", chain.id, chain.url)] {
            let (good, said) = verify(path, &trust, &[rpc]);
            assert!(good && said.contains("agrees") && !said.contains("not asked"), "{said}");
        }
        // The anchor of another tree, which only the chain finds out, and another price.
        let other = transaction(&newest, &chain.id);
        let altered = [
            (proof.to_string().replace(&transaction(proof, &chain.id), &other), "did not anchor this tree"),
            (another_price(proof), "not what its canonical bytes say"),
        ];
        for (text, expected) in altered {
            let path = file("altered.json");
            std::fs::write(&path, text).unwrap();
            let (good, said) = verify(&path, &trust, &[format!("{}={}", chain.id, chain.url)]);
            assert!(!good && said.contains(expected), "{said}");
        }
        // Another chain's endpoint is not taken for this one's.
        let (stranger, ..) = own.iter().find(|(other, ..)| other.id != chain.id).unwrap();
        let (good, said) = verify(path, &trust, &[stranger.url.to_string()]);
        assert!(!good && said.contains("answers for none of the chains"), "{said}");
        let (good, said) = verify(path, &trust, &[format!("{}={}", stranger.id, stranger.url)]);
        assert!(!good && said.contains(&format!("no anchor on {}", stranger.id)), "{said}");
    }
    all_at_once(&chains, &all, &trust);
}

/// A proof that several chains have: each is asked by its own endpoint, and who was not asked is said.
fn all_at_once(chains: &[RealChain], file: &str, trust: &str) {
    let bare: Vec<String> = chains.iter().map(|chain| chain.url.to_string()).collect();
    let (good, said) = verify(file, trust, &bare);
    assert!(good && said.matches("agrees").count() == chains.len() && !said.contains("not asked"), "{said}");
    let (good, said) = verify(file, trust, &bare[..1]);
    assert!(good && said.matches("agrees").count() == 1, "{said}");
    assert!(chains[1..].iter().all(|chain| said.contains(&format!("{}: only the proof says so", chain.id))), "{said}");
    // One chain says no, and the others are asked all the same: the answer is no, by name.
    let text = std::fs::read_to_string(file).unwrap();
    let mut proof: Value = serde_json::from_str(&text).unwrap();
    let wrong = proof["anchors"].as_array_mut().unwrap().iter_mut().find(|anchor| anchor["chain"] == chains[0].id);
    wrong.unwrap()["transaction"] = format!("0x{}", "11".repeat(32)).into();
    std::fs::write(file, proof.to_string()).unwrap();
    let (good, said) = verify(file, trust, &bare);
    assert!(!good && said.contains(&format!("1 of the {} chains asked: on {}", chains.len(), chains[0].id)), "{said}");
}

/// The transaction by which a chain anchored the tree of a proof.
fn transaction(proof: &Value, chain: &str) -> String {
    let anchor = proof["anchors"].as_array().unwrap().iter().find(|anchor| anchor["chain"] == chain);
    anchor.unwrap()["transaction"].as_str().unwrap().to_owned()
}

/// The proof with another price in its readable receipt.
fn another_price(proof: &Value) -> String {
    let mut other = proof.clone();
    other["leaf"]["price"] = 999.into();
    other.to_string()
}
