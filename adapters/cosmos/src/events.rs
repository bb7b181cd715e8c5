//! Events of a Cosmos chain, read from the results of its blocks: the state's own record, which unlike the index of
//! transactions never lags behind a block.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use steward_adapters::chain::{ChainError, EmittedEvent, EventFilter, EventId};
use steward_types::limits::{COSMOS_EVENT_BLOCKS_MAX, EVENT_FILTER_BYTES_MAX};

use crate::node::{Node, malformed};
use crate::transaction::{hash_of, own_account};

/// The attribute by which wasmd says whose event it is. A contract cannot write it: its own keys begin with no `_`.
const CONTRACT_KEY: &str = "_contract_address";

/// Events of one type in which one attribute is an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    kind: String,
    key: String,
    address: String,
}

/// What a block's transactions and the chain itself did.
#[derive(Debug, Deserialize)]
struct BlockResults {
    txs_results: Option<Vec<TransactionResult>>,
    begin_block_events: Option<Vec<EventAnswer>>,
    end_block_events: Option<Vec<EventAnswer>>,
    /// Since CometBFT 0.38, in place of the two before.
    finalize_block_events: Option<Vec<EventAnswer>>,
}

#[derive(Debug, Deserialize)]
struct TransactionResult {
    #[serde(default)]
    code: u32,
    events: Option<Vec<EventAnswer>>,
}

#[derive(Debug, Deserialize)]
struct EventAnswer {
    #[serde(rename = "type")]
    kind: String,
    attributes: Option<Vec<Attribute>>,
}

#[derive(Debug, Deserialize)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: Option<String>,
}

#[derive(Deserialize)]
struct BlockAnswer {
    block: Block,
}

#[derive(Deserialize)]
struct Block {
    data: BlockData,
}

#[derive(Deserialize)]
struct BlockData {
    txs: Option<Vec<String>>,
}

impl Selector {
    /// Reads a filter: `wasm` or `wasm-…` for a contract's events, otherwise the type and the attribute that is to be the
    /// address, such as `transfer.recipient`.
    pub fn parse(filter: &EventFilter, prefix: &str) -> Result<Self, ChainError> {
        let EventFilter { address, event } = filter;
        let refused = |reason: String| ChainError::Rejected { reason };
        if address.len().max(event.len()) > EVENT_FILTER_BYTES_MAX {
            return Err(refused(format!("an address and an event may have {EVENT_FILTER_BYTES_MAX} bytes")));
        }
        let address = own_account(address, prefix)?;
        let is_wasm = event == "wasm" || event.starts_with("wasm-");
        let parts = if is_wasm { Some((event.as_str(), CONTRACT_KEY)) } else { event.rsplit_once('.') };
        let good = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
        match parts {
            Some((kind, key)) if good(kind) && good(key) => {
                Ok(Self { kind: kind.to_owned(), key: key.to_owned(), address: address.to_string() })
            }
            _ => Err(refused(format!(
                "{event:?} names no events: write wasm or wasm-NAME for a contract's, otherwise TYPE.ATTRIBUTE, such as \
                 transfer.recipient"
            ))),
        }
    }

    /// Whose events they are.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The event's arguments, if it is one of these.
    fn arguments(&self, event: &EventAnswer) -> Option<Map<String, Value>> {
        if event.kind != self.kind {
            return None;
        }
        let attributes = || event.attributes.iter().flatten();
        // Typed events of the SDK have their values as JSON.
        let is_address = |value: &Option<String>| value.as_deref().is_some_and(|v| v.trim_matches('"') == self.address);
        if !attributes().any(|attribute| attribute.key == self.key && is_address(&attribute.value)) {
            return None;
        }
        let mut arguments = Map::new();
        for Attribute { key, value } in attributes() {
            let value = Value::String(value.clone().unwrap_or_default());
            match arguments.get_mut(key) {
                None => drop(arguments.insert(key.clone(), value)),
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        Some(arguments)
    }

    /// Those among the events of one transaction, or of the chain itself, with their numbers.
    fn among<'a>(
        &'a self,
        events: impl IntoIterator<Item = &'a EventAnswer>,
    ) -> impl Iterator<Item = (u64, Map<String, Value>)> {
        (0..).zip(events).filter_map(|(index, event)| Some((index, self.arguments(event)?)))
    }
}

/// The events of these blocks, oldest first: those of transactions, in their order, and then what the chain did by itself.
pub async fn emitted(node: &Node, selector: &Selector, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError> {
    if from > to {
        return Ok(Vec::new());
    }
    let standing = node.standing().await?;
    if to > standing.block {
        return Err(ChainError::Behind { chain: node.chain().clone(), block: to });
    }
    let (first, oldest) = (from.max(1), standing.oldest_block);
    if oldest > first {
        return Err(node.unavailable(&format!("it keeps no block before {oldest}, and {first} is asked for")));
    }
    if to - from >= COSMOS_EVENT_BLOCKS_MAX {
        let reason = format!("{COSMOS_EVENT_BLOCKS_MAX} blocks are read at once");
        return Err(ChainError::TooMany { chain: node.chain().clone(), reason });
    }
    let mut found = Vec::new();
    for block in first..=to {
        found.extend(of_block(node, selector, block).await?);
    }
    Ok(found)
}

async fn of_block(node: &Node, selector: &Selector, block: u64) -> Result<Vec<EmittedEvent>, ChainError> {
    let height = json!({ "height": block.to_string() });
    let results: BlockResults = match node.ask("block_results", height.clone()).await {
        // The block is there a moment before its results are.
        Err(error) if error.in_full().contains("could not find results") => {
            return Err(ChainError::Behind { chain: node.chain().clone(), block });
        }
        answer => answer?,
    };
    let event = |transaction: &str, index, arguments| EmittedEvent {
        id: EventId { block, transaction: transaction.to_owned(), index },
        name: selector.kind.clone(),
        arguments: Ok(arguments),
    };
    let mut found = Vec::new();
    let transactions = results.txs_results.iter().flatten().enumerate();
    // What a transaction did that failed was undone, but for its fee.
    for (place, result) in transactions.filter(|(_, result)| result.code == 0) {
        let own: Vec<_> = selector.among(result.events.iter().flatten()).collect();
        found.extend(own.into_iter().map(|(index, arguments)| (place, index, arguments)));
    }
    let mut events = Vec::new();
    if !found.is_empty() {
        let hashes = hashes(node, height).await?;
        for (place, index, arguments) in found {
            let hash =
                hashes.get(place).ok_or_else(|| malformed("the block", "it has fewer transactions than results"))?;
            events.push(event(hash, index, arguments));
        }
    }
    let by_itself = [&results.begin_block_events, &results.end_block_events, &results.finalize_block_events];
    let by_itself = by_itself.into_iter().flatten().flatten();
    events.extend(selector.among(by_itself).map(|(index, arguments)| event("", index, arguments)));
    Ok(events)
}

/// The hashes of a block's transactions.
async fn hashes(node: &Node, height: Value) -> Result<Vec<String>, ChainError> {
    let answer: BlockAnswer = node.ask("block", height).await?;
    let transactions = answer.block.data.txs.unwrap_or_default().into_iter().map(|transaction| {
        let bytes = STANDARD.decode(transaction);
        let bytes = bytes.map_err(|error| malformed("a transaction of the block", &error.to_string()))?;
        Ok(hex::encode_upper(hash_of(&bytes)))
    });
    transactions.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "wasm1tfd95kj6tfd95kj6tfd95kj6tfd95kj65te63y";

    fn selector(event: &str) -> Result<Selector, ChainError> {
        Selector::parse(&EventFilter { address: ADDRESS.to_owned(), event: event.to_owned() }, "wasm")
    }

    fn event(kind: &str, attributes: &[(&str, &str)]) -> EventAnswer {
        let attribute =
            |(key, value): &(&str, &str)| Attribute { key: (*key).to_owned(), value: Some((*value).to_owned()) };
        EventAnswer { kind: kind.to_owned(), attributes: Some(attributes.iter().map(attribute).collect()) }
    }

    #[test]
    fn an_event_is_meant_by_its_type_and_the_attribute_that_is_the_address() {
        let check = |selected: &str, event: EventAnswer, meant: bool| {
            assert_eq!(selector(selected).unwrap().arguments(&event).is_some(), meant, "{selected}: {event:?}");
        };
        let paid = || event("transfer", &[("recipient", ADDRESS), ("sender", "wasm1other"), ("amount", "5ustake")]);
        check("transfer.recipient", paid(), true);
        check("transfer.sender", paid(), false);
        check("wasm", paid(), false);
        check("wasm-paid", event("wasm-paid", &[(CONTRACT_KEY, ADDRESS), ("n", "1")]), true);
        check("wasm", event("wasm", &[("_contract_address", "wasm1other"), ("to", ADDRESS)]), false);
        let typed = event("cosmos.bank.v1.EventSend", &[("to", &format!("\"{ADDRESS}\""))]);
        check("cosmos.bank.v1.EventSend.to", typed, true);
    }

    #[test]
    fn a_repeated_attribute_is_a_list() {
        let wasm = event("wasm", &[(CONTRACT_KEY, ADDRESS), ("to", "a"), ("to", "b"), ("to", "c")]);
        let arguments = selector("wasm").unwrap().arguments(&wasm).unwrap();
        assert_eq!(Value::Object(arguments), json!({ CONTRACT_KEY: ADDRESS, "to": ["a", "b", "c"] }));
    }

    #[test]
    fn what_names_no_events_is_refused() {
        for wrong in ["", "transfer", ".recipient", "transfer.", "trans fer.to"] {
            let refused = selector(wrong);
            assert!(matches!(refused, Err(ChainError::Rejected { .. })), "{wrong:?}: {refused:?}");
        }
        let elsewhere = EventFilter { address: ADDRESS.to_owned(), event: "wasm".to_owned() };
        assert!(Selector::parse(&elsewhere, "osmo").unwrap_err().to_string().contains("osmo1"));
    }
}
