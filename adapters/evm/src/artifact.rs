//! Our contracts as they are committed in `contracts/evm/artifacts`: what they are made with, and what their errors say.
//! Asks no endpoint.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use alloy::dyn_abi::{DynSolType, JsonAbiExt as _, Specifier as _};
use alloy::json_abi::{Constructor, Error, JsonAbi};
use alloy::primitives::Bytes;
use serde::Deserialize;
use serde_json::Value;
use steward_adapters::chain::{ChainError, ChainId};

use crate::chain::abi;

/// The contracts that a person may want, by the names that people give them. The receipt log's is deployed by the outbox
/// itself.
const SOURCES: [(&str, &str); 5] = [
    ("escrow", include_str!("../../../contracts/evm/artifacts/Escrow.json")),
    ("identity", include_str!("../../../contracts/evm/artifacts/IdentityRegistry.json")),
    ("multi-owner", include_str!("../../../contracts/evm/artifacts/MultiOwner.json")),
    ("reputation", include_str!("../../../contracts/evm/artifacts/ReputationRegistry.json")),
    ("stake", include_str!("../../../contracts/evm/artifacts/Stake.json")),
];

/// What is read of an artifact, once.
static ARTIFACTS: LazyLock<BTreeMap<&str, Artifact>> = LazyLock::new(|| {
    let read = |(name, text)| (name, serde_json::from_str(text).expect("the committed artifact is one"));
    SOURCES.into_iter().map(read).collect()
});

/// The errors of all our contracts, by their selectors.
static ERRORS: LazyLock<BTreeMap<[u8; 4], &Error>> = LazyLock::new(|| {
    let errors = ARTIFACTS.values().flat_map(|artifact| artifact.abi.errors());
    errors.map(|error| (error.selector().0, error)).collect()
});

#[derive(Debug, Deserialize)]
struct Artifact {
    abi: JsonAbi,
    bytecode: Bytecode,
}

#[derive(Debug, Deserialize)]
struct Bytecode {
    object: Bytes,
}

/// What a contract's constructor is given, encoded: its arguments by name, as text; a list with commas between.
pub(crate) fn encode(
    chain: &ChainId,
    contract: &str,
    arguments: &BTreeMap<String, String>,
) -> Result<Bytes, ChainError> {
    let artifact = find(contract)?;
    let parameters = artifact.abi.constructor.iter().flat_map(|constructor| &constructor.inputs);
    let parameters: Vec<(&str, DynSolType)> = parameters
        .map(|parameter| Ok((parameter.name.trim_end_matches('_'), parameter.resolve().map_err(refused)?)))
        .collect::<Result<_, ChainError>>()?;
    let takes = || match parameters.as_slice() {
        [] => format!("{contract} takes no argument"),
        some => {
            let some: Vec<String> = some.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
            format!("{contract} takes {}", some.join(", "))
        }
    };
    if let Some(unknown) = arguments.keys().find(|name| !parameters.iter().any(|(known, _)| known == name)) {
        return Err(refused(format!("{unknown:?} is no argument: {}", takes())));
    }
    let given = parameters.iter().map(|(name, kind)| {
        let text = arguments.get(*name).ok_or_else(|| refused(format!("{name} is missing: {}", takes())))?;
        abi::value(chain, kind, &as_json(kind, text)).map_err(|reason| refused(format!("{name}: {reason}")))
    });
    let given = given.collect::<Result<Vec<_>, _>>()?;
    let Some(constructor) = &artifact.abi.constructor else { return Ok(Bytes::new()) };
    Constructor::abi_encode_input(constructor, &given).map(Bytes::from).map_err(refused)
}

/// The code that makes a contract with these encoded arguments.
pub(crate) fn deploy_code(contract: &str, arguments: &[u8]) -> Result<Bytes, ChainError> {
    Ok([&find(contract)?.bytecode.object, arguments].concat().into())
}

/// What a contract of ours said when it reverted: `NotOpen(id: 7)`. Nothing for another's words.
pub(crate) fn error_in_words(data: &[u8]) -> Option<String> {
    let (selector, rest) = data.split_first_chunk::<4>()?;
    let error = ERRORS.get(selector)?;
    let values = error.abi_decode_input(rest).ok()?;
    let values = error.inputs.iter().zip(values).map(|(parameter, value)| match abi::json(value) {
        Value::String(text) => format!("{}: {text}", parameter.name),
        other => format!("{}: {other}", parameter.name),
    });
    Some(format!("{}({})", error.name, values.collect::<Vec<_>>().join(", ")))
}

fn find(contract: &str) -> Result<&'static Artifact, ChainError> {
    ARTIFACTS.get(contract).ok_or_else(|| {
        let names: Vec<&str> = ARTIFACTS.keys().copied().collect();
        refused(format!("there is no contract {contract:?}: there are {}", names.join(", ")))
    })
}

fn as_json(kind: &DynSolType, text: &str) -> Value {
    match kind {
        DynSolType::Array(_) => text.split(',').map(|item| Value::from(item.trim())).collect(),
        _ => text.into(),
    }
}

fn refused(reason: impl std::fmt::Display) -> ChainError {
    ChainError::Rejected { reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use alloy::hex;
    use steward_types::limits::{CHAIN_DEPLOYMENT_ARGUMENTS_BYTES_MAX, OUTBOX_ATTEMPTS_MAX, VALUE_BYTES_MAX};

    use super::*;

    const SOMEBODY: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

    fn encode(contract: &str, arguments: &BTreeMap<String, String>) -> Result<Bytes, ChainError> {
        super::encode(&"eip155:1".parse().unwrap(), contract, arguments)
    }

    fn given(arguments: &[(&str, &str)]) -> BTreeMap<String, String> {
        arguments.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_constructors_arguments_are_given_by_name() {
        let word = format!("{:0>64}", SOMEBODY[2..].to_lowercase());
        let escrow = encode("escrow", &given(&[("token", SOMEBODY), ("owner", SOMEBODY)])).unwrap();
        assert_eq!(hex::encode(&escrow), format!("{word}{word}"));
        let owners = format!("{SOMEBODY}, {SOMEBODY}");
        let owners = encode("multi-owner", &given(&[("owners", &owners), ("threshold", "2")])).unwrap();
        assert_eq!(hex::encode(&owners), format!("{:0>64}{:0>64}{:0>64}{word}{word}", "40", "2", "2"));
        let with_chains = format!("eip155:1:{SOMEBODY},eip155:1:{SOMEBODY}");
        assert_eq!(encode("multi-owner", &given(&[("owners", &with_chains), ("threshold", "2")])).unwrap(), owners);
        assert!(encode("identity", &given(&[])).unwrap().is_empty());
        assert!(deploy_code("escrow", &escrow).unwrap().ends_with(&escrow));
    }

    #[test]
    fn what_a_contract_is_not_made_with_is_refused_with_what_it_is() {
        let check = |contract: &str, arguments: &[(&str, &str)], part: &str| {
            let error = encode(contract, &given(arguments)).unwrap_err().in_full();
            assert!(error.contains(part), "{error}");
        };
        check("vault", &[], "there are escrow, identity, multi-owner, reputation, stake");
        check("escrow", &[("token", SOMEBODY)], "owner is missing: escrow takes token (address), owner (address)");
        check("identity", &[("owner", SOMEBODY)], "identity takes no argument");
        check("escrow", &[("token", "0x12"), ("owner", SOMEBODY)], "token: \"0x12\" is no address");
        let elsewhere = format!("eip155:5:{SOMEBODY}");
        check("escrow", &[("token", &elsewhere), ("owner", SOMEBODY)], "an account of eip155:5 and not of eip155:1");
    }

    #[test]
    fn every_deployment_fits_its_row_however_often_it_is_signed_anew() {
        for (name, artifact) in ARTIFACTS.iter() {
            // With its arguments, and what else a signed transaction has.
            let signed = artifact.bytecode.object.len() + CHAIN_DEPLOYMENT_ARGUMENTS_BYTES_MAX + 200;
            assert!(signed * OUTBOX_ATTEMPTS_MAX < VALUE_BYTES_MAX, "{name} has {signed} bytes");
        }
    }

    #[test]
    fn what_our_contracts_say_when_they_revert_is_read() {
        let error = ERRORS.values().find(|error| error.name == "NotOpen").unwrap();
        let data = [error.selector().as_slice(), &[0; 31], &[7]].concat();
        assert_eq!(error_in_words(&data).unwrap(), "NotOpen(id: 7)");
        assert_eq!(error_in_words(&data[..20]), None);
        assert_eq!(error_in_words(&[1, 2, 3, 4]), None);
    }
}
