//! Anchors are memos that our account signed, and prove what a contract would.

use std::collections::BTreeMap;

use serde_json::json;
use solana_client::nonblocking::rpc_client::RpcClient;
use solana_commitment_config::CommitmentConfig;
use solana_instruction::Instruction;
use solana_message::Message;
use solana_pubkey::Pubkey;
use steward_adapters::chain::{Action, AnchorPoint, AnchoredHead, Chain as _, ChainError, InclusionClaim};
use steward_adapters::conformance::{point, send};
use steward_adapters::signer::Signer as _;
use steward_receipts::{Frontier, Hash, NodeId, merkle};

use crate::cluster::{Cluster, key, sender, start};

const MEMO: Pubkey = Pubkey::from_str_const("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr");

fn anchor(point: AnchorPoint) -> Action {
    Action::Anchor { contract: String::new(), point }
}

#[tokio::test]
async fn a_transaction_proves_what_it_anchored_for_good() {
    let Cluster { ours, strangers, devnet: _devnet } = start().await;
    let log_id = *steward_receipts::log_id("example.org/log").as_bytes();
    let (mut frontier, mut nodes) = (Frontier::new(), BTreeMap::<NodeId, Hash>::new());
    let leaf = |number: u64| Hash::of_leaf(&number.to_be_bytes());
    let mut anchored = Vec::new();
    for size in 1..=3_u64 {
        frontier.append(leaf(size - 1), |id, hash| {
            nodes.insert(id, hash);
        });
        let point = AnchorPoint { log_id, tree_size: size, root: *frontier.root().as_bytes() };
        anchored.push((point, send(&ours, "anchor", anchor(point)).await.hash));
    }
    for (point, transaction) in &anchored {
        for index in 0..point.tree_size {
            let path = merkle::inclusion_path(index, point.tree_size, &nodes).unwrap();
            let path: Vec<[u8; 32]> = path.iter().map(|hash| *hash.as_bytes()).collect();
            let claim = InclusionClaim { log_id, leaf_hash: *leaf(index).as_bytes(), index, path };
            // Whoever asks: the proof is not about an account.
            assert!(strangers.verify_anchored(transaction, point, &claim).await.unwrap());
            let is_newest = point.tree_size == 3;
            assert_eq!(ours.verify_inclusion("", &claim).await.unwrap(), is_newest, "{claim:?} in {point:?}");
            let wrong = InclusionClaim { leaf_hash: [0; 32], ..claim };
            assert!(!strangers.verify_anchored(transaction, point, &wrong).await.unwrap());
        }
    }
    let claim = InclusionClaim { log_id, leaf_hash: *leaf(0).as_bytes(), index: 0, path: Vec::new() };
    let error = ours.verify_anchored(&anchored[1].1, &anchored[0].0, &claim).await.unwrap_err();
    assert!(matches!(error, ChainError::Rejected { .. }), "{error}");
}

#[tokio::test]
async fn a_strangers_memo_under_our_name_is_no_anchor_of_ours() {
    let Cluster { ours, strangers, devnet } = start().await;
    send(&ours, "ours", anchor(point(2, 2))).await;
    // A payment of one lamport names our account, so that nodes list the stranger's memo under it.
    let stranger = key(2);
    let from: Pubkey = stranger.address().parse().unwrap();
    let to: Pubkey = ours.account().parse().unwrap();
    let client = RpcClient::new_with_commitment(devnet.url().to_string(), CommitmentConfig::confirmed());
    let (blockhash, last_valid) =
        client.get_latest_blockhash_with_commitment(CommitmentConfig::confirmed()).await.unwrap();
    let memo = Instruction { program_id: MEMO, accounts: Vec::new(), data: point(99, 9).to_memo().into_bytes() };
    let pay = solana_system_interface::instruction::transfer(&from, &to, 1);
    let message = Message::new_with_blockhash(&[pay, memo], Some(&from), &blockhash).serialize();
    let signature = stranger.sign_message(&message).await.unwrap();
    let bytes = [&[1][..], &signature, &message].concat();
    strangers.broadcast(&bytes).await.unwrap();
    let signature = solana_signature::Signature::from(signature);
    let sender = sender(&strangers);
    let is_final = async || {
        let status = client.get_signature_statuses(&[signature]).await.unwrap().value.pop().unwrap();
        status.is_some_and(|status| status.satisfies_commitment(CommitmentConfig::finalized()))
    };
    while !is_final().await {
        assert!(client.get_block_height().await.unwrap() <= last_valid, "it was not taken");
        sender.wait().await;
    }
    let listed = client.get_signatures_for_address(&to).await.unwrap();
    let listed = listed.iter().filter(|each| each.memo.as_deref().is_some_and(|memo| memo.contains(" 99 "))).count();
    assert_eq!(listed, 1, "{}", json!({ "account": ours.account() }));
    assert_eq!(ours.read_anchor("", &[7; 32]).await.unwrap(), Some(AnchoredHead::of(&point(2, 2))));
    assert_eq!(strangers.read_anchor("", &[7; 32]).await.unwrap(), None, "it is nobody's: nobody signed the memo");
}
