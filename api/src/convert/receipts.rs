//! Receipts, proofs and anchors.

use steward_actors::receipt_log::Proven;
use steward_actors::service::{AnchorState, CheckpointView, ConsistencyView, ReceiptView};
use steward_receipts::{Hash, Leaf};

use super::time;
use crate::proto::v1;

/// The agent that stands in the receipts of direct calls, which have none.
const DIRECT_AGENT: &str = "direct";

pub(crate) fn consistency(view: ConsistencyView) -> v1::ConsistencyResponse {
    let path = view.path.iter().map(|hash| hash.as_bytes().to_vec()).collect();
    v1::ConsistencyResponse { old_size: view.old_size, new_size: view.new_size, path }
}

pub(crate) fn receipt(view: &ReceiptView) -> v1::Receipt {
    let mut wire = leaf(&view.leaf);
    if let Some(index) = view.index {
        (wire.leaf_index, wire.logged, wire.leaf_hash) = (index, true, view.leaf_hash.to_string());
    }
    wire
}

pub(crate) fn leaf(leaf: &Leaf) -> v1::Receipt {
    // A direct call has turn 0, which no session's step has.
    let direct = leaf.turn == 0 && leaf.agent.as_str() == DIRECT_AGENT;
    let of_session = |text: String| if direct { String::new() } else { text };
    v1::Receipt {
        id: leaf.hold.to_string(),
        project: leaf.project.to_string(),
        agent: of_session(leaf.agent.to_string()),
        session: of_session(leaf.session.to_string()),
        turn: leaf.turn,
        step: of_session(leaf.step.to_string()),
        function: leaf.function.to_string(),
        model: leaf.model.as_ref().map(|model| model.id.to_string()).unwrap_or_default(),
        model_hash: leaf.model.as_ref().map(|model| model.hash.to_string()).unwrap_or_default(),
        prompt_hash: leaf.prompt_hash.to_string(),
        response_hash: leaf.response_hash.to_string(),
        input_tokens: leaf.tokens_in,
        output_tokens: leaf.tokens_out,
        duration_ms: leaf.duration_ms,
        price_micros: leaf.price.get(),
        settled_at: time(leaf.time),
        ..v1::Receipt::default()
    }
}

pub(crate) fn proof(proven: &Proven, root: Hash) -> v1::ProveReceiptResponse {
    let Proven { proof, accounts } = proven;
    let bytes = proof.leaf.encode();
    let view = ReceiptView { index: Some(proof.index), leaf_hash: Hash::of_leaf(&bytes), leaf: proof.leaf.clone() };
    let anchors = proof.anchors.iter().zip(accounts).map(|(anchor, account)| v1::Anchor {
        chain: anchor.chain.clone(),
        tree_size: proof.tree_size,
        root: root.as_bytes().to_vec(),
        state: "confirmed".to_owned(),
        transaction: anchor.transaction.clone(),
        block: anchor.block,
        contract: anchor.contract.clone(),
        created_at: None,
        account: account.clone(),
    });
    v1::ProveReceiptResponse {
        receipt: Some(receipt(&view)),
        leaf: bytes,
        leaf_index: proof.index,
        tree_size: proof.tree_size,
        root: root.as_bytes().to_vec(),
        path: proof.path.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
        checkpoint: proof.checkpoint.clone(),
        anchors: anchors.collect(),
        proof_json: proof.to_json(),
    }
}

pub(crate) fn checkpoint(view: CheckpointView) -> v1::CheckpointResponse {
    v1::CheckpointResponse {
        checkpoint: view.checkpoint,
        tree_size: view.tree_size,
        root: view.root.as_bytes().to_vec(),
        verifier_key: view.verifier_key,
    }
}

pub(crate) fn anchor(state: AnchorState) -> v1::Anchor {
    v1::Anchor {
        chain: state.chain,
        tree_size: state.tree_size,
        root: state.root.as_bytes().to_vec(),
        state: state.state,
        transaction: state.transaction,
        block: state.block,
        contract: state.contract,
        created_at: time(state.recorded),
        account: state.account,
    }
}
