//! The test vectors that other languages' verifiers read: `vectors/*.json` must be what this code makes, and the
//! independent verifier in Python must accept them. `STEWARD_BLESS=1 cargo test -p steward-receipts` writes them anew.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use steward_receipts::{Anchor, Checkpoint, Frontier, Hash, Leaf, LeafModel, NoteSigner, Proof, merkle};
use steward_types::{HoldId, Micros, SessionId, StepPath, Timestamp};

const ORIGIN: &str = "vectors.example.org/steward";
const SECRET: [u8; 32] = [0x42; 32];
const TREE_SIZE_MAX: u64 = 17;

#[test]
fn the_committed_vectors_are_what_this_code_makes() {
    let bless = std::env::var_os("STEWARD_BLESS").is_some();
    for (name, value) in [("leaves", leaves()), ("tree", tree()), ("notes", notes()), ("proofs", proofs())] {
        let path = folder().join(name).with_extension("json");
        let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
        if bless {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{} is stale: run with STEWARD_BLESS=1 and read what changed", path.display());
    }
}

#[test]
fn the_independent_verifier_accepts_the_vectors() {
    let output = Command::new("python3").arg(folder().join("verify.py")).output().expect("python3 is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

#[test]
fn every_wrong_proof_fails_for_its_own_reason() {
    let proofs = proofs();
    let key = proofs["key"].as_str().unwrap().parse().unwrap();
    let good = Proof::from_json(&proofs["valid"].to_string()).unwrap();
    let verified = good.verify(&key).unwrap();
    assert_eq!((verified.leaf, verified.checkpoint.size), (good.leaf.clone(), TREE_SIZE_MAX));
    assert_eq!(Proof::from_json(&good.to_json()).unwrap(), good);
    for (name, wrong) in proofs["invalid"].as_object().unwrap() {
        let error = Proof::from_json(&wrong["proof"].to_string()).and_then(|proof| proof.verify(&key)).unwrap_err();
        assert!(error.to_string().contains(wrong["reason"].as_str().unwrap()), "{name}: {error}");
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn signer() -> NoteSigner {
    NoteSigner::new(ORIGIN, &SECRET).unwrap()
}

/// Leaves that differ in every field and bring both ways to have a model.
fn leaf(number: u64) -> Leaf {
    let byte = number as u8;
    let step = StepPath::top(byte.into()).branch(1, 2);
    let model = LeafModel { id: "SmolLM2-135M-Instruct.Q4_1".parse().unwrap(), hash: Hash::of(b"model") };
    Leaf {
        project: "acme".parse().unwrap(),
        agent: format!("agent-{number}").parse().unwrap(),
        session: SessionId::from_bytes([byte; 16]),
        turn: number,
        step: if number.is_multiple_of(2) { step } else { StepPath::top(byte.into()) },
        hold: HoldId::from_bytes([byte ^ 0xff; 16]),
        function: if number.is_multiple_of(3) { "http" } else { "chat" }.parse().unwrap(),
        model: (!number.is_multiple_of(3)).then_some(model),
        prompt_hash: Hash::of(format!("prompt {number}").as_bytes()),
        response_hash: Hash::of(format!("response {number}").as_bytes()),
        tokens_in: 10 * number,
        tokens_out: 20 * number,
        duration_ms: 30 * number,
        price: Micros::new(u64::MAX >> number),
        time: Timestamp::from_millis(1_795_262_400_000 + number),
    }
}

fn log() -> (Frontier, BTreeMap<merkle::NodeId, Hash>, Vec<Hash>) {
    let (mut frontier, mut nodes) = (Frontier::new(), BTreeMap::new());
    let mut roots = vec![frontier.root()];
    for number in 1..=TREE_SIZE_MAX {
        frontier.append(leaf(number).hash(), |id, hash| {
            nodes.insert(id, hash);
        });
        roots.push(frontier.root());
    }
    (frontier, nodes, roots)
}

fn leaves() -> Value {
    let good: Vec<Value> = (1..=TREE_SIZE_MAX)
        .map(|number| {
            let leaf = leaf(number);
            json!({ "leaf": leaf, "bytes": hex::encode(leaf.encode()), "hash": leaf.hash() })
        })
        .collect();
    let bytes = leaf(1).encode();
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        hex::encode(bytes)
    };
    let bad = json!({
        "empty": "",
        "version 2": changed(0, 2),
        "upper case in the project": changed(3, b'A'),
        "cut short": hex::encode(&bytes[..bytes.len() - 1]),
        "one byte more": hex::encode([bytes.as_slice(), &[0]].concat()),
    });
    json!({ "valid": good, "invalid": bad })
}

fn tree() -> Value {
    let (_, nodes, roots) = log();
    let leaf_hashes: Vec<Hash> = (1..=TREE_SIZE_MAX).map(|number| leaf(number).hash()).collect();
    let mut inclusion = Vec::new();
    let mut consistency = Vec::new();
    for size in 1..=TREE_SIZE_MAX {
        for index in 0..size {
            let path = merkle::inclusion_path(index, size, &nodes).unwrap();
            inclusion.push(json!({ "index": index, "size": size, "path": path }));
        }
        for old_size in 1..=size {
            let path = merkle::consistency_path(old_size, size, &nodes).unwrap();
            consistency.push(json!({ "old_size": old_size, "new_size": size, "path": path }));
        }
    }
    json!({ "leaf_hashes": leaf_hashes, "roots": roots, "inclusion": inclusion, "consistency": consistency })
}

fn notes() -> Value {
    let (frontier, ..) = log();
    let note = Checkpoint::sign(&frontier, &signer()).unwrap();
    let anchor = Checkpoint::open(&note, &signer().verifier_key()).unwrap().anchor_bytes();
    // What one storage slot of an EVM contract holds of it: the root's first 27 bytes and the size's last five.
    let head = [&anchor[40..67], &anchor[35..40]].concat();
    let (log_id, root) = (steward_receipts::log_id(ORIGIN), frontier.root());
    let memo = |size: &str| format!("steward-anchor/1 {log_id} {size} {root}");
    json!({
        "origin": ORIGIN,
        "secret": hex::encode(SECRET),
        "key": signer().verifier_key(),
        "size": frontier.size(),
        "root": frontier.root(),
        "log_id": log_id,
        "anchor": hex::encode(anchor),
        "evm_head": hex::encode(head),
        "memo": memo("17"),
        "invalid_memos": {
            "nothing": "",
            "another version": memo("17").replace("/1", "/2"),
            "a leading zero": memo("017"),
            "a sign": memo("+17"),
            "no size": memo(""),
            "a size of 65 bits": memo("18446744073709551616"),
            "two spaces": memo(" 17"),
            "capital digits": memo("17").to_uppercase().replace("STEWARD-ANCHOR", "steward-anchor"),
            "a short root": memo("17")[..memo("17").len() - 2],
            "a fourth field": memo("17") + " 1",
            "text before it": format!("by {}", memo("17")),
            "a line's end": memo("17") + "\n",
        },
        "checkpoint": note,
        "forged": note.replace("\n17\n", "\n18\n"),
    })
}

fn proofs() -> Value {
    let (frontier, nodes, _) = log();
    let note = Checkpoint::sign(&frontier, &signer()).unwrap();
    let mut good = Proof::build(leaf(5), 4, TREE_SIZE_MAX, &nodes, note).unwrap();
    good.anchors.push(Anchor {
        chain: "eip155:31337".to_owned(),
        contract: "0x5fbdb2315678afecb367f032d93f642f64180aa3".to_owned(),
        transaction: format!("0x{}", Hash::of(b"transaction")),
        block: 2,
    });
    let changed = |reason: &str, change: &dyn Fn(&mut Proof)| {
        let mut proof = good.clone();
        change(&mut proof);
        json!({ "proof": proof, "reason": reason })
    };
    let stranger = NoteSigner::new(ORIGIN, &[1; 32]).unwrap();
    let invalid = json!({
        "another format": changed("not a proof file", &|proof| proof.format = "v0".to_owned()),
        "bytes of no leaf": changed("bytes cannot be read", &|proof| proof.leaf_bytes = "02".to_owned()),
        "another price for people": changed("readable receipt", &|proof| proof.leaf.price = Micros::new(1)),
        "another key": changed("checkpoint does not verify", &|proof| {
            proof.checkpoint = Checkpoint::sign(&frontier, &stranger).unwrap();
        }),
        "another size": changed("tree of 16 leaves", &|proof| proof.tree_size = 16),
        "another place": changed("not in the log", &|proof| proof.index = 5),
        "another sibling": changed("not in the log", &|proof| proof.path[2] = Hash::of(b"sibling")),
        "a sibling less": changed("not in the log", &|proof| {
            proof.path.pop();
        }),
        "another leaf": changed("not in the log", &|proof| {
            proof.leaf = leaf(6);
            proof.leaf_bytes = hex::encode(leaf(6).encode());
        }),
    });
    json!({ "key": signer().verifier_key(), "valid": good, "invalid": invalid })
}
