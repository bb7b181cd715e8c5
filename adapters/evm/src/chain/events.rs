//! Events of contracts: logs found by address and signature, their arguments read as the signature says.

use alloy::dyn_abi::{DynSolEvent, DynSolValue, Specifier};
use alloy::json_abi::Event;
use alloy::primitives::{Address, U64, hex};
use alloy::providers::Provider;
use alloy::rpc::client::BatchRequest;
use alloy::rpc::types::{Filter, Log};
use alloy::transports::TransportError;
use serde_json::{Map, Value};
use steward_adapters::chain::{ChainError, EmittedEvent, EventFilter, EventId};
use steward_types::limits::{CHAIN_EVENTS_MAX, EVENT_FILTER_BYTES_MAX};

use super::reply::{Failure, failure};
use super::unsigned::recipient;
use super::{EvmChain, malformed};

/// The events of one contract under one signature.
pub(super) struct Shape {
    contract: Address,
    event: Event,
    decoder: DynSolEvent,
}

impl Shape {
    /// Reads a filter: the contract's address and the event's signature, such as
    /// `Transfer(address indexed from, address indexed to, uint256 value)`.
    pub(super) fn parse(filter: &EventFilter) -> Result<Self, ChainError> {
        let EventFilter { address, event } = filter;
        let refused = |reason: String| ChainError::Rejected { reason };
        if address.len().max(event.len()) > EVENT_FILTER_BYTES_MAX {
            return Err(refused(format!("an address and an event may have {EVENT_FILTER_BYTES_MAX} bytes")));
        }
        let contract = recipient(address)?;
        let wrong = |problem: &dyn std::fmt::Display| {
            let like = "Transfer(address indexed from, address indexed to, uint256 value)";
            refused(format!("{event:?} is no event's signature, such as {like}: {problem}"))
        };
        let event = Event::parse(event).map_err(|error| wrong(&error))?;
        if event.anonymous {
            return Err(wrong(&"an anonymous event has no signature in its logs"));
        }
        if event.inputs.iter().filter(|input| input.indexed).count() > 3 {
            return Err(wrong(&"at most three arguments can be indexed"));
        }
        let decoder: DynSolEvent = event.resolve().map_err(|error| wrong(&error))?;
        Ok(Self { contract, event, decoder })
    }

    /// It as a filter: the address in lower case, types in full, one space where there must be one.
    pub(super) fn filter(&self) -> EventFilter {
        let written = self.event.full_signature();
        let event = written.strip_prefix("event ").unwrap_or(&written).to_owned();
        EventFilter { address: format!("{:#x}", self.contract), event }
    }

    fn read(&self, log: &Log) -> Result<EmittedEvent, ChainError> {
        let (Some(block), Some(transaction), Some(index)) = (log.block_number, log.transaction_hash, log.log_index)
        else {
            return Err(malformed("a log", "it does not say where it stands"));
        };
        if log.address() != self.contract || log.removed {
            return Err(malformed("a log", "it is of another contract, or of a block that is on the chain no more"));
        }
        let id = EventId { block, transaction: transaction.to_string(), index };
        Ok(EmittedEvent { id, name: self.event.name.clone(), arguments: self.arguments(log) })
    }

    fn arguments(&self, log: &Log) -> Result<Map<String, Value>, String> {
        let decoded = self.decoder.decode_log_parts(log.topics().iter().copied(), &log.data().data);
        let decoded = decoded.map_err(|error| format!("the log does not fit the signature: {error}"))?;
        let (mut indexed, mut body) = (decoded.indexed.iter(), decoded.body.iter());
        let mut arguments = Map::new();
        for (place, input) in self.event.inputs.iter().enumerate() {
            let value = if input.indexed { indexed.next() } else { body.next() };
            let value = value.ok_or_else(|| format!("the log has no argument {place}"))?;
            let name = if input.name.is_empty() { place.to_string() } else { input.name.clone() };
            arguments.insert(name, json(value));
        }
        Ok(arguments)
    }
}

impl EvmChain {
    /// The logs of this shape in final blocks.
    pub(super) async fn emitted(&self, shape: &Shape, from: u64, to: u64) -> Result<Vec<EmittedEvent>, ChainError> {
        if from > to {
            return Ok(Vec::new());
        }
        self.check_chain().await?;
        let filter = Filter::new().address(shape.contract).event_signature(shape.event.selector());
        let blocks = (to - from).saturating_add(1);
        let asked = self.logs(&filter.from_block(from).to_block(to)).await;
        let (head, logs) = asked.map_err(|error| self.failed_logs(error, blocks))?;
        // Whatever a node says of blocks that it does not have yet, in logs or in words.
        if to > head || to > self.final_block(head).await? {
            return Err(ChainError::Behind { chain: self.config.chain.clone(), block: to });
        }
        let logs = logs.map_err(|error| self.failed_logs(error, blocks))?;
        if from < to && logs.len() > CHAIN_EVENTS_MAX {
            let reason = format!("there are {} and {CHAIN_EVENTS_MAX} are given at once", logs.len());
            return Err(ChainError::TooMany { chain: self.config.chain.clone(), reason });
        }
        let mut events = logs.iter().map(|log| shape.read(log)).collect::<Result<Vec<_>, _>>()?;
        events.sort_by_key(|event| (event.id.block, event.id.index));
        Ok(events)
    }
}

impl EvmChain {
    /// Logs, and the newest block of the node that found them. A node asked about blocks that it does not have yet answers
    /// with what it has; and behind one address may be several, of which one is behind. So both are one request, which one
    /// node answers.
    async fn logs(&self, filter: &Filter) -> Result<(u64, Result<Vec<Log>, TransportError>), TransportError> {
        let mut batch = BatchRequest::new(self.provider.client());
        let head = batch.add_call::<_, U64>("eth_blockNumber", &())?;
        let logs = batch.add_call::<_, Vec<Log>>("eth_getLogs", &(filter,))?;
        batch.send().await?;
        Ok((head.await?.to(), logs.await))
    }

    /// What a failed question for logs means: of fewer blocks the answer may be shorter.
    fn failed_logs(&self, error: TransportError, blocks: u64) -> ChainError {
        let is_long = matches!(failure(&error), Failure::TooLong(_));
        let failed = self.failed(error);
        if is_long && blocks > 1 {
            return ChainError::TooMany { chain: self.config.chain.clone(), reason: failed.in_full() };
        }
        failed
    }
}

/// Numbers are text, since most of them have more bits than JSON's readers keep.
fn json(value: &DynSolValue) -> Value {
    match value {
        DynSolValue::Bool(value) => Value::Bool(*value),
        DynSolValue::Int(number, _) => Value::String(number.to_string()),
        DynSolValue::Uint(number, _) => Value::String(number.to_string()),
        DynSolValue::FixedBytes(word, length) => Value::String(hex::encode_prefixed(&word[..*length])),
        DynSolValue::Address(address) => Value::String(address.to_string()),
        DynSolValue::Function(function) => Value::String(hex::encode_prefixed(function.0)),
        DynSolValue::Bytes(bytes) => Value::String(hex::encode_prefixed(bytes)),
        DynSolValue::String(text) => Value::String(text.clone()),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) | DynSolValue::Tuple(values) => {
            Value::Array(values.iter().map(json).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bytes, LogData, U256};
    use serde_json::json;

    use super::*;

    const CONTRACT: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

    fn filter(event: &str) -> EventFilter {
        EventFilter { address: CONTRACT.to_owned(), event: event.to_owned() }
    }

    fn log(topics: Vec<B256>, data: Vec<u8>) -> Log {
        let data = LogData::new_unchecked(topics, Bytes::from(data));
        let inner = alloy::primitives::Log { address: CONTRACT.parse().unwrap(), data };
        let (block_number, transaction_hash, log_index) = (Some(7), Some(B256::repeat_byte(1)), Some(3));
        Log { inner, block_number, transaction_hash, log_index, ..Log::default() }
    }

    #[test]
    fn arguments_are_read_by_name_or_by_place() {
        let shape = Shape::parse(&filter("Paid(address indexed from, uint256 value, string note, bool)")).unwrap();
        let from: Address = CONTRACT.parse().unwrap();
        let body = DynSolValue::Tuple(vec![
            DynSolValue::Uint(U256::MAX, 256),
            DynSolValue::String("thanks".to_owned()),
            DynSolValue::Bool(true),
        ]);
        let topics = vec![shape.event.selector(), from.into_word()];
        let event = shape.read(&log(topics.clone(), body.abi_encode_params())).unwrap();
        assert_eq!((event.id.block, event.id.index, event.name.as_str()), (7, 3, "Paid"));
        let expected = json!({ "from": CONTRACT, "value": U256::MAX.to_string(), "note": "thanks", "3": true });
        assert_eq!(Value::Object(event.arguments.unwrap()), expected);
        // Under one signature a contract may index other arguments: then nothing is guessed.
        let other = shape.read(&log([topics, vec![B256::ZERO]].concat(), Vec::new())).unwrap();
        assert!(other.arguments.unwrap_err().contains("does not fit"), "it is told");
    }

    #[test]
    fn a_filter_has_one_writing_whatever_its_spaces_and_capitals() {
        let written = "Transfer(address indexed from, address to, uint256[2] values)";
        let lower = CONTRACT.to_lowercase();
        for (address, event) in [
            (CONTRACT, written),
            (lower.as_str(), "event  Transfer( address  indexed from,address to,uint[2] values ) "),
        ] {
            let shape = Shape::parse(&EventFilter { address: address.to_owned(), event: event.to_owned() }).unwrap();
            assert_eq!(shape.filter(), EventFilter { address: lower.clone(), event: written.to_owned() });
        }
        let unnamed = Shape::parse(&filter("Transfer(address, address,uint256)")).unwrap().filter();
        assert_eq!(unnamed.event, "Transfer(address, address, uint256)");
        assert_eq!(Shape::parse(&unnamed).unwrap().filter(), unnamed);
        let tuple = Shape::parse(&filter("Paid((address,uint8)[] indexed who,bytes)")).unwrap().filter();
        assert_eq!(Shape::parse(&tuple).unwrap().filter(), tuple);
    }

    #[test]
    fn what_is_no_event_is_refused_with_what_would_be_one() {
        let check = |filter: EventFilter, part: &str| {
            let Err(ChainError::Rejected { reason }) = Shape::parse(&filter).map(drop) else { panic!("{filter:?}") };
            assert!(reason.contains(part), "{reason}");
        };
        check(EventFilter { address: "0x12".to_owned(), ..filter("A()") }, "no address of this chain");
        let mistyped = CONTRACT.replace("Aeb", "aeb");
        check(EventFilter { address: mistyped, ..filter("A()") }, "checksum");
        check(filter("Transfer"), "Transfer(address indexed");
        check(filter("Transfer(adres)"), "adres");
        check(filter("A(uint8) anonymous"), "anonymous");
        check(filter(&format!("A({})", "uint8,".repeat(100))), "512 bytes");
        check(filter("A(uint8 indexed,uint8 indexed,uint8 indexed,uint8 indexed)"), "three");
    }
}
