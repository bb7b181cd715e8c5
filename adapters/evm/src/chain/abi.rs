//! Calls of contracts by their signatures: JSON to calldata and back, after the contract ABI of Solidity.
//!
//! Whole numbers go in as numbers or as text and come out as text where they may not fit 63 bits; addresses and bytes
//! are hexadecimal text, and bytes that are a call themselves go in as its method and arguments. Asks no endpoint.

use alloy::dyn_abi::{DynSolType, DynSolValue, FunctionExt, JsonAbiExt, Specifier};
use alloy::json_abi::{Function, Param};
use alloy::primitives::{Address, hex};
use serde_json::{Map, Value};
use steward_adapters::chain::{ChainError, ChainId, ContractCall, local_address};

/// Widest type whose values are numbers in JSON: wider ones may not fit 63 bits.
const NUMBER_BITS_MAX: usize = 56;

/// The calldata of a call, and the method's canonical name.
pub(super) fn encode(chain: &ChainId, signature: Option<&str>, arguments: &Value) -> Result<ContractCall, ChainError> {
    let function = function(signature)?;
    let Value::Array(given) = arguments else {
        return Err(rejected(format!("the arguments of {} must be an array", function.signature())));
    };
    if given.len() != function.inputs.len() {
        let (takes, given) = (function.inputs.len(), given.len());
        return Err(rejected(format!("{} takes {takes} arguments, but {given} are given", function.signature())));
    }
    let values = function.inputs.iter().zip(given).enumerate().map(|(number, (parameter, given))| {
        let place = format!("argument {} of {}", number + 1, function.name);
        value(chain, &type_of(parameter)?, given).map_err(|reason| rejected(format!("{place}: {reason}")))
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let input = function.abi_encode_input(&values).map_err(|error| rejected(error.to_string()))?;
    Ok(ContractCall { method: function.signature(), input: input.into(), tokens: None })
}

/// A method's canonical name: its types without spaces or names, and nothing of its answer.
pub(super) fn method(signature: &str) -> Result<String, ChainError> {
    Ok(function(Some(signature))?.signature())
}

/// What a contract answered: one value, or an array of several, or nothing.
pub(super) fn decode(signature: Option<&str>, answer: &[u8]) -> Result<Value, ChainError> {
    let function = function(signature)?;
    let not_such = |error: alloy::dyn_abi::Error| {
        let what = if answer.is_empty() { "nothing: is there a contract?".to_owned() } else { error.to_string() };
        rejected(format!("the answer is not what {} says: {what}", signature.unwrap_or_default()))
    };
    let mut values = function.abi_decode_output(answer).map_err(not_such)?;
    Ok(match values.len() {
        0 => Value::Null,
        1 => json(values.remove(0)),
        _ => Value::Array(values.into_iter().map(json).collect()),
    })
}

/// Reads `name(types)` or `name(types)(types of the answer)`.
fn function(signature: Option<&str>) -> Result<Function, ChainError> {
    let Some(signature) = signature else {
        let help = "contracts of this chain are called by signature: give one such as \"transfer(address,uint256)\"";
        return Err(rejected(help.to_owned()));
    };
    let shown: String = signature.chars().take(200).collect();
    let wrong = |reason: String| {
        rejected(format!("{shown:?} is no signature such as \"balanceOf(address)(uint256)\": {reason}"))
    };
    let end = end_of_arguments(signature).ok_or_else(|| wrong("its brackets do not match".to_owned()))?;
    let (call, answer) = signature.split_at(end);
    let text = match answer.trim() {
        "" => call.to_owned(),
        answer => format!("{call} returns {answer}"),
    };
    Function::parse(&text).map_err(|error| wrong(error.to_string()))
}

/// Where the first list in brackets ends.
fn end_of_arguments(signature: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, character) in signature.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(place + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn type_of(parameter: &Param) -> Result<DynSolType, ChainError> {
    parameter.resolve().map_err(|error| rejected(error.to_string()))
}

/// A JSON value as one of this type. Addresses are the chain's.
pub(crate) fn value(chain: &ChainId, kind: &DynSolType, given: &Value) -> Result<DynSolValue, String> {
    let wrong = || format!("{given} is no {kind}");
    match (kind, given) {
        (DynSolType::Array(of), Value::Array(given)) => {
            Ok(DynSolValue::Array(given.iter().map(|given| value(chain, of, given)).collect::<Result<_, _>>()?))
        }
        (DynSolType::FixedArray(of, length), Value::Array(given)) if given.len() == *length => {
            Ok(DynSolValue::FixedArray(given.iter().map(|given| value(chain, of, given)).collect::<Result<_, _>>()?))
        }
        (DynSolType::Tuple(kinds), Value::Array(given)) if given.len() == kinds.len() => {
            let values = kinds.iter().zip(given).map(|(kind, given)| value(chain, kind, given));
            Ok(DynSolValue::Tuple(values.collect::<Result<_, _>>()?))
        }
        (DynSolType::String, Value::String(text)) => Ok(DynSolValue::String(text.clone())),
        (DynSolType::Bool, Value::Bool(flag)) => Ok(DynSolValue::Bool(*flag)),
        (DynSolType::Address, Value::String(text)) => {
            let address = local_address(chain, text).and_then(super::unsigned::recipient);
            address.map(DynSolValue::Address).map_err(reason_of)
        }
        (DynSolType::Uint(_) | DynSolType::Int(_), Value::Number(number)) if !number.is_f64() => {
            kind.coerce_str(&number.to_string()).map_err(|_| wrong())
        }
        (DynSolType::Uint(_) | DynSolType::Int(_), Value::String(text)) if is_whole(text) => {
            kind.coerce_str(text).map_err(|_| wrong())
        }
        (DynSolType::Bytes | DynSolType::FixedBytes(_), Value::String(text)) if text.starts_with("0x") => {
            kind.coerce_str(text).map_err(|_| wrong())
        }
        (DynSolType::Bytes, Value::Object(call)) => call_within(chain, call).map(DynSolValue::Bytes),
        _ => Err(wrong()),
    }
}

/// The calldata of a call that another call carries, as wallets of several owners take it.
fn call_within(chain: &ChainId, call: &Map<String, Value>) -> Result<Vec<u8>, String> {
    let (Some(Value::String(method)), Some(arguments), 2) = (call.get("method"), call.get("arguments"), call.len())
    else {
        return Err("bytes that are a call have a method, as text, and arguments, and nothing else".to_owned());
    };
    let call = encode(chain, Some(method), arguments).map_err(reason_of)?;
    Ok(call.input.to_vec())
}

/// What is wrong with an argument, without the words for a whole call.
fn reason_of(error: ChainError) -> String {
    match error {
        ChainError::Rejected { reason } => reason,
        other => other.in_full(),
    }
}

/// Digits, with a minus before them at most: units such as `1 ether` are not guessed at.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A value as JSON has it.
pub(crate) fn json(value: DynSolValue) -> Value {
    match value {
        DynSolValue::Bool(flag) => flag.into(),
        DynSolValue::String(text) => text.into(),
        DynSolValue::Address(address) => Address::to_checksum(&address, None).into(),
        DynSolValue::Bytes(bytes) => hex::encode_prefixed(bytes).into(),
        DynSolValue::FixedBytes(word, length) => hex::encode_prefixed(&word[..length]).into(),
        DynSolValue::Function(function) => hex::encode_prefixed(function).into(),
        DynSolValue::Uint(number, bits) => match u64::try_from(number) {
            Ok(small) if bits <= NUMBER_BITS_MAX => small.into(),
            _ => number.to_string().into(),
        },
        DynSolValue::Int(number, bits) => match i64::try_from(number) {
            Ok(small) if bits <= NUMBER_BITS_MAX => small.into(),
            _ => number.to_string().into(),
        },
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) | DynSolValue::Tuple(values) => {
            Value::Array(values.into_iter().map(json).collect())
        }
        #[expect(unreachable_patterns, reason = "features of alloy that we do not use add kinds of values")]
        _ => Value::Null,
    }
}

const fn rejected(reason: String) -> ChainError {
    ChainError::Rejected { reason }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SOMEBODY: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

    fn encode(signature: Option<&str>, arguments: &Value) -> Result<ContractCall, ChainError> {
        super::encode(&"eip155:1".parse().unwrap(), signature, arguments)
    }

    #[test]
    fn a_call_is_encoded_by_its_signature_and_named_without_spaces_and_aliases() {
        let call = encode(Some("transfer(address to, uint amount)"), &json!([SOMEBODY, "1000"])).unwrap();
        assert_eq!(call.method, "transfer(address,uint256)");
        let expected = format!("a9059cbb{:0>64}{:0>64}", SOMEBODY[2..].to_lowercase(), "3e8");
        assert_eq!(hex::encode(&call.input), expected);
        let nested = encode(Some("f((uint8,bool)[],bytes4,string)"), &json!([[[7, true]], "0x01020304", "x"])).unwrap();
        assert_eq!(nested.method, "f((uint8,bool)[],bytes4,string)");
        assert_eq!(encode(Some("pause()(bool)"), &json!([])).unwrap().input.len(), 4);
    }

    #[test]
    fn an_address_among_the_arguments_may_stand_with_its_chain() {
        let (alone, own) = (json!(SOMEBODY), json!(format!("eip155:1:{SOMEBODY}")));
        let arguments = |address: &Value| json!([address, [address], [[address, 7]]]);
        let signature = Some("f(address,address[],(address,uint8)[])");
        let encoded = |address: &Value| encode(signature, &arguments(address)).unwrap();
        assert_eq!(encoded(&own), encoded(&alone));
        let other = json!([format!("eip155:5:{SOMEBODY}")]);
        let error = encode(Some("f(address)"), &other).unwrap_err().in_full();
        assert!(error.contains("argument 1 of f: ") && error.contains("eip155:5 and not of eip155:1"), "{error}");
        assert_eq!(encode(Some("f(string)"), &json!([own])).unwrap().input.len(), 4 + 32 * 4, "text stays text");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        let check = |signature: Option<&str>, arguments: Value, part: &str| {
            let error = encode(signature, &arguments).unwrap_err().in_full();
            assert!(error.contains(part), "{error}");
        };
        check(None, json!({"mint": {}}), "called by signature");
        check(Some("transfer(address"), json!([]), "brackets");
        check(Some("transfer(addres)"), json!([SOMEBODY]), "addres");
        check(Some("f(uint256)"), json!({}), "must be an array");
        check(Some("f(uint256)"), json!([1, 2]), "takes 1 arguments, but 2");
        check(Some("f(uint8)"), json!([256]), "argument 1 of f: 256 is no uint8");
        check(Some("f(uint256)"), json!(["1 ether"]), "is no uint256");
        check(Some("f(uint256)"), json!([1.5]), "is no uint256");
        check(Some("f(address)"), json!([SOMEBODY.replace('A', "a").replacen('a', "A", 1)]), "checksum");
        check(Some("f(bytes)"), json!(["00"]), "is no bytes");
        check(Some("f(bytes)"), json!([{"method": "pause()"}]), "argument 1 of f: bytes that are a call have a method");
        check(Some("f(bytes)"), json!([{"method": "pause()", "arguments": [], "value": 1}]), "and nothing else");
        check(
            Some("f(bytes)"),
            json!([{"method": "g(uint8)", "arguments": [256]}]),
            "argument 1 of f: argument 1 of g: 256 is no uint8",
        );
        check(Some("f(bytes4)"), json!([{"method": "pause()", "arguments": []}]), "is no bytes4");
    }

    #[test]
    fn a_call_within_a_call_is_given_by_its_signature_too() {
        let within = json!({"method": "slash(uint256, uint128 amount)", "arguments": [1, "1000000000000000000000"]});
        let carried = encode(Some("execute(address,bytes,uint256)"), &json!([SOMEBODY, within, 7])).unwrap();
        let bytes = encode(Some("slash(uint256,uint128)"), &json!([1, "1000000000000000000000"])).unwrap().input;
        let text = hex::encode_prefixed(bytes);
        let plain = encode(Some("execute(address,bytes,uint256)"), &json!([SOMEBODY, text, 7])).unwrap();
        assert_eq!(carried, plain);
    }

    #[test]
    fn an_answer_is_read_by_the_types_after_the_arguments() {
        let word = |number: u8| [vec![0_u8; 31], vec![number]].concat();
        assert_eq!(decode(Some("balanceOf(address)(uint256)"), &word(7)).unwrap(), json!("7"));
        assert_eq!(decode(Some("decimals()(uint8)"), &word(6)).unwrap(), json!(6));
        let two = [word(1), word(2)].concat();
        assert_eq!(decode(Some("both()(bool,int32)"), &two).unwrap(), json!([true, 2]));
        assert_eq!(decode(Some("nothing()"), &[]).unwrap(), Value::Null);
        let error = decode(Some("decimals()(uint8)"), &[]).unwrap_err().in_full();
        assert!(error.contains("is there a contract?"), "{error}");
    }
}
