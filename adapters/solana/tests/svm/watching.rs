//! Events are told only by an endpoint that has every block they could be in, and goes through all of a list.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use solana_message::Message;
use solana_pubkey::Pubkey;
use solana_signature::Signature;
use steward_adapters::chain::{Chain as _, ChainError, EmittedEvent, EventFilter};
use steward_adapters::signer::Signer as _;
use steward_adapters_solana::SolanaChain;
use steward_types::limits::SOLANA_BLOCKS_LISTED_MAX;

use crate::cluster::key;
use crate::endpoint::{Answer, GENESIS, asked, is_unavailable, newest};
use crate::history::{Node, TOO_OLD, slot_of};

/// An account with one transaction in a block of this height, and a newer one ten blocks later. Lists have one transaction;
/// another node answers the second list than the first.
struct Busy {
    node: Node,
    height: u64,
    /// The height up to which the other node has blocks.
    other: u64,
}

impl Busy {
    fn answer(&self, method: &str, parameters: &Value) -> Answer {
        match method {
            "getGenesisHash" => Ok(json!(GENESIS)),
            "getLatestBlockhash" => Ok(newest(slot_of(self.node.finalized))),
            "getSlot" => Ok(json!(slot_of(self.node.finalized))),
            "getSignaturesForAddress" => self.list(&parameters[1]),
            "getTransaction" => Ok(transaction()),
            _ => self.node.answer(method, parameters),
        }
    }

    fn list(&self, config: &Value) -> Answer {
        let (newer, older) = (Signature::from([8; 64]).to_string(), Signature::from([7; 64]).to_string());
        let listed = |signature: &str, height: u64| {
            let slot = slot_of(height);
            json!([{ "signature": signature, "slot": slot, "err": null, "confirmationStatus": "finalized" }])
        };
        let Some(before) = config["before"].as_str() else { return Ok(listed(&newer, self.height + 10)) };
        let is_behind = config["minContextSlot"].as_u64() > Some(slot_of(self.other));
        match before == newer {
            _ if is_behind => Err(TOO_OLD),
            true if self.other >= self.height + 10 => Ok(listed(&older, self.height)),
            _ => Ok(json!([])),
        }
    }

    async fn events(&self, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError> {
        let filter = EventFilter { address: key(2).address().to_owned(), event: "transaction".to_owned() };
        let question = async |chain: &SolanaChain| chain.events(&filter, from, to).await;
        asked(|method, parameters| self.answer(method, parameters), question).await
    }
}

fn transaction() -> Value {
    let payer: Pubkey = key(1).address().parse().unwrap();
    let message = Message::new_with_blockhash(&[], Some(&payer), &GENESIS.parse().unwrap()).serialize();
    let bytes = BASE64.encode([&[1][..], &[7; 64], &message].concat());
    json!({ "slot": 1, "transaction": [bytes, "base64"], "meta": null, "blockTime": null })
}

fn busy() -> Busy {
    let node = Node::whole();
    Busy { height: node.finalized - 100, other: node.finalized, node }
}

#[tokio::test]
async fn events_are_told_only_of_slots_of_which_no_block_is_missing() {
    let (all, at) = (busy(), slot_of(busy().height));
    assert_eq!(all.events(at - 20, at).await.unwrap().len(), 1);
    assert_eq!(all.events(at - 90, at + 1).await.unwrap().len(), 1, "slots without a block are none that are missing");
    for lacks in [all.height..all.height + 1, all.height - 20..all.height - 3, all.height - 30..all.height + 30] {
        is_unavailable(Busy { node: Node { lacks, ..Node::whole() }, ..busy() }.events(at - 20, at).await);
    }
    // None of them is in the slots that are asked about.
    let lacks = all.height - 40..all.height - 20;
    let beyond = Busy { node: Node { lacks, ..Node::whole() }, ..busy() };
    assert_eq!(beyond.events(at - 20, at).await.unwrap().len(), 1);
    let long = Busy { node: Node { finalized: SOLANA_BLOCKS_LISTED_MAX, ..Node::whole() }, ..busy() };
    let many = long.events(1, SOLANA_BLOCKS_LISTED_MAX).await.unwrap_err();
    assert!(matches!(many, ChainError::TooMany { .. }), "{many}");
}

#[tokio::test]
async fn a_list_is_not_taken_to_end_where_a_node_lacks_what_it_goes_on_from() {
    let at = slot_of(busy().height);
    let other = busy().height + 5;
    is_unavailable(Busy { other, ..busy() }.events(at - 20, at).await);
    assert_eq!(busy().events(at - 20, at).await.unwrap().len(), 1);
}
