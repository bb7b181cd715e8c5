//! The receipt log on the in-memory store.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use steward_receipts::proof::Anchor;
use steward_receipts::{Hash, Leaf, merkle};
use steward_storage::{MemoryStore, Store, StoreError, StoreExt};
use steward_types::limits::RECEIPT_PAGE_MAX;
use steward_types::{ErrorCode, HoldId, ManualClock, Micros, ProjectId, SessionId, StepPath, SystemClock, Timestamp};

use super::*;
use crate::host::{EntityId, Host, HostBuilder};
use crate::lease::SoleLease;

fn project() -> ProjectId {
    "acme".parse().unwrap()
}

fn identity() -> LogIdentity {
    LogIdentity::new("steward.example".to_owned(), [7; 32]).unwrap()
}

fn hold(number: u32) -> HoldId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    HoldId::from_bytes(bytes)
}

fn leaf(number: u32) -> Leaf {
    Leaf {
        project: project(),
        agent: "bot".parse().unwrap(),
        session: SessionId::from_bytes([(number % 3) as u8; 16]),
        turn: 1,
        step: StepPath::top(number + 1),
        hold: hold(number),
        function: "chat".parse().unwrap(),
        model: None,
        prompt_hash: Hash::of(b"prompt"),
        response_hash: Hash::of(&number.to_be_bytes()),
        tokens_in: 1,
        tokens_out: 2,
        duration_ms: 3,
        price: Micros::new(u64::from(number)),
        time: Timestamp::from_millis(1),
    }
}

async fn append(store: &dyn Store, numbers: impl IntoIterator<Item = u32>) {
    let txn = store.begin();
    for number in numbers {
        append_pending(&txn, &leaf(number)).await.unwrap();
    }
    txn.commit().await.unwrap();
}

async fn sequence_all(store: &dyn Store) {
    let (identity, mut edge) = (identity(), Edge::default());
    loop {
        let txn = store.begin();
        let batch = sequence(&txn, &project(), &identity.signer(&project()), &edge, Timestamp::EPOCH).await.unwrap();
        txn.commit().await.unwrap();
        edge = batch.edge;
        if batch.appended == 0 {
            return;
        }
    }
}

#[tokio::test]
async fn each_receipt_is_proven_against_the_signed_checkpoint() {
    let store = MemoryStore::new();
    for (start, end) in [(0, 300), (300, 301), (301, 1_500), (1_500, 2_900)] {
        append(&store, start..end).await;
        sequence_all(&store).await;
    }
    let key = identity().verifier_key(&project());
    for number in (0..2_900).step_by(131).chain([255, 256, 2_899]) {
        let proof = prove(&store, &project(), hold(number), ProveUnder::Best).await.unwrap().proof;
        let verified = proof.verify(&key).unwrap();
        assert_eq!((verified.leaf, verified.checkpoint.size), (leaf(number), 2_900));
    }
    let path = consistency(&store, &project(), 301, 2_900).await.unwrap();
    let (old, new) = (root(&store, &project(), 301).await.unwrap(), root(&store, &project(), 2_900).await.unwrap());
    merkle::verify_consistency((301, old), (2_900, new), &path).unwrap();
    assert!(root(&store, &project(), 2_901).await.is_err());
}

#[tokio::test]
async fn a_receipt_is_pending_until_it_is_in_the_log_and_anchored() {
    let store = MemoryStore::new();
    assert!(matches!(get(&store, &project(), hold(1)).await, Err(ReceiptError::NotFound { .. })));
    append(&store, [1]).await;
    assert_eq!(get(&store, &project(), hold(1)).await.unwrap().index, None);
    let pending = prove(&store, &project(), hold(1), ProveUnder::Best).await.unwrap_err();
    assert!(matches!(pending, ReceiptError::Pending { anchored: false, .. }), "{pending}");
    sequence_all(&store).await;
    let pending = prove(&store, &project(), hold(1), ProveUnder::Anchored).await.unwrap_err();
    assert!(matches!(pending, ReceiptError::Pending { anchored: true, .. }), "{pending}");
    let anchored = head(&store, &project()).await.unwrap().unwrap();
    append(&store, [2]).await;
    sequence_all(&store).await;
    let anchor = Anchor {
        chain: "eip155:31337".to_owned(),
        contract: "0x1".to_owned(),
        transaction: "0x2".to_owned(),
        block: 3,
    };
    let row = AnchoredRoot {
        size: anchored.size(),
        root: anchored.root(),
        checkpoint: anchored.checkpoint,
        anchor: anchor.clone(),
        anchored_at: Timestamp::EPOCH,
        account: "0xabc".to_owned(),
    };
    let txn = store.begin();
    record_anchor(&txn, &project(), &row).unwrap();
    txn.commit().await.unwrap();
    let Proven { proof, accounts } = prove(&store, &project(), hold(1), ProveUnder::Best).await.unwrap();
    assert_eq!((proof.tree_size, proof.anchors.as_slice()), (1, [anchor].as_slice()));
    assert_eq!(accounts, [row.account.as_str()]);
    proof.verify(&identity().verifier_key(&project())).unwrap();
    let Proven { proof, accounts } = prove(&store, &project(), hold(2), ProveUnder::Best).await.unwrap();
    assert_eq!((proof.tree_size, proof.anchors.len(), accounts.len()), (2, 0, 0), "no chain has that root");
    assert_eq!(newest_anchor(&store, &project()).await.unwrap().unwrap(), row);
}

#[tokio::test]
async fn a_proof_for_one_chain_is_under_the_earliest_root_that_this_chain_has() {
    let store = MemoryStore::new();
    let anchor = async |chain: &str| {
        let head = head(&store, &project()).await.unwrap().unwrap();
        let anchor = Anchor {
            chain: chain.to_owned(),
            contract: String::new(),
            transaction: format!("{chain} at {}", head.size()),
            block: 1,
        };
        let (size, root, checkpoint) = (head.size(), head.root(), head.checkpoint);
        let (anchored_at, account) = (Timestamp::EPOCH, String::new());
        let row = AnchoredRoot { size, root, checkpoint, anchor, anchored_at, account };
        let txn = store.begin();
        record_anchor(&txn, &project(), &row).unwrap();
        txn.commit().await.unwrap();
    };
    let under = async |under: ProveUnder| {
        let proof = prove(&store, &project(), hold(0), under).await?.proof;
        proof.verify(&identity().verifier_key(&project())).unwrap();
        let anchors: Vec<String> = proof.anchors.into_iter().map(|anchor| anchor.transaction).collect();
        Ok::<_, ReceiptError>((proof.tree_size, anchors))
    };
    let on = |chain: &str| ProveUnder::AnchoredOn(chain.to_owned());
    let newest_on = |chain: &str| ProveUnder::NewestOn(chain.to_owned());
    // One chain is anchored on so often that its anchors fill more than a page before another has its first.
    let last = u32::try_from(RECEIPT_PAGE_MAX).unwrap() + 1;
    for number in 0..last {
        append(&store, [number]).await;
        sequence_all(&store).await;
        anchor("busy").await;
    }
    let pending = under(on("calm")).await.unwrap_err();
    assert_eq!(pending.code(), ErrorCode::ReceiptPending);
    assert!(pending.to_string().contains("calm has no root"), "{pending}");
    anchor("calm").await;
    assert_eq!(under(on("busy")).await.unwrap(), (1, vec!["busy at 1".to_owned()]));
    assert_eq!(under(on("calm")).await.unwrap(), (u64::from(last), vec![format!("calm at {last}")]));
    // Contracts keep the newest root alone.
    assert_eq!(under(newest_on("busy")).await.unwrap(), (u64::from(last), vec![format!("busy at {last}")]));
    append(&store, [last]).await;
    sequence_all(&store).await;
    let pending = prove(&store, &project(), hold(last), newest_on("busy")).await.unwrap_err();
    assert!(matches!(pending, ReceiptError::PendingOn { .. }), "{pending}");
    assert_eq!(under(ProveUnder::Best).await.unwrap(), (1, vec!["busy at 1".to_owned()]));
    let newest = prove(&store, &project(), hold(last - 1), ProveUnder::Best).await.unwrap().proof;
    let chains: Vec<&str> = newest.anchors.iter().map(|anchor| anchor.chain.as_str()).collect();
    assert_eq!(chains, ["busy", "calm"], "both have this size");
}

#[tokio::test]
async fn the_same_leaf_twice_is_one_receipt_and_another_for_the_same_hold_is_refused() {
    let store = MemoryStore::new();
    append(&store, [5]).await;
    append(&store, [5]).await;
    sequence_all(&store).await;
    assert_eq!(head(&store, &project()).await.unwrap().unwrap().size(), 1);
    let txn = store.begin();
    let other = Leaf { price: Micros::new(99), ..leaf(5) };
    assert!(matches!(append_pending(&txn, &other).await, Err(StoreError::Corrupt(_))));
}

#[tokio::test]
async fn a_list_goes_through_the_log_and_ends_with_what_is_on_its_way() {
    let store = MemoryStore::new();
    append(&store, 0..600).await;
    sequence_all(&store).await;
    append(&store, 600..603).await;
    let mut request = ListRequest { session: None, from: 0, receipts_max: 250 };
    let mut seen = BTreeSet::new();
    loop {
        let page = list(&store, &project(), &request).await.unwrap();
        seen.extend(page.receipts.iter().map(|receipt| (receipt.index.is_none(), receipt.leaf.hold)));
        let Some(next) = page.next else { break };
        request.from = next;
    }
    assert_eq!(seen.len(), 603);
    assert_eq!(seen.iter().filter(|(pending, _)| *pending).count(), 3);
    let one = ListRequest { session: Some(SessionId::from_bytes([1; 16])), from: 0, receipts_max: 1_000 };
    assert_eq!(list(&store, &project(), &one).await.unwrap().receipts.len(), 201);
}

async fn host(store: &Arc<dyn Store>) -> Host {
    let lease = SoleLease::take(&**store).await.unwrap();
    let environment = ReceiptLogEnvironment { store: Arc::clone(store), identity: Arc::new(identity()) };
    let host = HostBuilder::new(Arc::new(SystemClock::new()), Arc::new(lease));
    host.register::<ReceiptLog>(environment).start().await.unwrap()
}

async fn ask(host: &Host, request: ReceiptLogRequest) -> ReceiptLogResponse {
    let id = EntityId::from(&project());
    host.ask::<ReceiptLog>(&id, request, host.deadline_default()).await.unwrap()
}

#[tokio::test]
async fn the_entity_follows_the_store_by_itself() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    append(&*store, 0..3).await;
    let host = host(&store).await;
    let size = |response| match response {
        ReceiptLogResponse::Head(head) => head.map_or(0, |head: LogHead| head.size),
        other => panic!("{other:?}"),
    };
    assert_eq!(size(ask(&host, ReceiptLogRequest::Flush).await), 3);
    append(&*store, 3..2_000).await;
    assert_eq!(size(ask(&host, ReceiptLogRequest::Flush).await), 2_000);
    let ReceiptLogResponse::Proof(proof) = ask(&host, ReceiptLogRequest::Prove(hold(1_999), ProveUnder::Newest)).await
    else {
        panic!("no proof");
    };
    proof.verify(&identity().verifier_key(&project())).unwrap();
    let refused = ask(&host, ReceiptLogRequest::Get(hold(9_999))).await;
    assert!(matches!(refused, ReceiptLogResponse::Refused(steward_types::ErrorCode::ReceiptNotFound, _)));
}

/// What one process does in the interleaving test.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A step appends so many leaves in one transaction.
    Append(u32),
    /// A sequencer runs; it may die before its commit, or find that another one overtook it.
    Sequence { dies: bool, overtaken: bool },
}

async fn interleave(acts: Vec<Act>) {
    let store = MemoryStore::with_clock(Arc::new(ManualClock::new(Timestamp::EPOCH)));
    let (signer, mut count, mut edge) = (identity().signer(&project()), 0, Edge::default());
    for act in acts {
        match act {
            Act::Append(more) => {
                append(&store, count..count + more).await;
                count += more;
            }
            Act::Sequence { dies, overtaken } => {
                let txn = store.begin();
                let batch = sequence(&txn, &project(), &signer, &edge, Timestamp::EPOCH).await.unwrap();
                if overtaken {
                    let other = store.begin();
                    sequence(&other, &project(), &signer, &Edge::default(), Timestamp::EPOCH).await.unwrap();
                    other.commit().await.unwrap();
                }
                if !dies && txn.commit().await.is_ok() {
                    edge = batch.edge;
                }
            }
        }
    }
    sequence_all(&store).await;
    let request = ListRequest { session: None, from: 0, receipts_max: 1_000 };
    let page = list(&store, &project(), &request).await.unwrap();
    assert_eq!((page.size, page.next), (u64::from(count), None));
    // Within one transaction leaves sort by hold, transactions sort by commit: here both are the number.
    let found: Vec<_> = page.receipts.iter().map(|receipt| receipt.leaf.clone()).collect();
    assert_eq!(found, (0..count).map(leaf).collect::<Vec<_>>());
    for number in 0..count {
        let proof = prove(&store, &project(), hold(number), ProveUnder::Newest).await.unwrap().proof;
        proof.verify(&identity().verifier_key(&project())).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_leaf_enters_exactly_once_and_in_commit_order(acts in prop::collection::vec(prop_oneof![
        (1_u32..40).prop_map(Act::Append),
        (any::<bool>(), any::<bool>()).prop_map(|(dies, overtaken)| Act::Sequence { dies, overtaken }),
    ], 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(interleave(acts));
    }
}

#[tokio::test]
async fn appending_never_conflicts_with_sequencing() {
    let store = MemoryStore::new();
    append(&store, 0..10).await;
    let txn = store.begin();
    sequence(&txn, &project(), &identity().signer(&project()), &Edge::default(), Timestamp::EPOCH).await.unwrap();
    append(&store, 10..20).await;
    txn.commit().await.unwrap();
    sequence_all(&store).await;
    let size = store.run(async |txn| txn.load::<Head>(&records::head(&project())).await).await.unwrap();
    assert_eq!(size.unwrap().size(), 20);
}
