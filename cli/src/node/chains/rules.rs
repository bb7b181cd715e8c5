//! Rules of spending on each family of chains: one thing, however it is written, and what is nothing of the chain's is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use steward_actors::chain::{FeePrice, SpendingTerms, canonical_terms};
use steward_adapters::chain::{Chain, EventFilter, read_filter};
use steward_adapters::signer::SecretKey;
use steward_adapters_cosmos::{CosmosChain, CosmosConfig, GasPrice};
use steward_adapters_evm::{EvmChain, EvmConfig};
use steward_adapters_solana::{SolanaChain, SolanaConfig};
use steward_scripting::Manifest;
use steward_scripting::manifest::SpendingRules;
use steward_types::Amount;

use super::configured_contract;

const KEY: [u8; 32] = [7; 32];
const NOWHERE: &str = "http://127.0.0.1:1";
const EVM_LOWER: &str = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
const EVM_CHECKSUM: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const WASM: &str = "wasm1tfd95kj6tfd95kj6tfd95kj6tfd95kj65te63y";
const SOLANA: &str = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr";

fn evm() -> EvmChain {
    let signer = steward_adapters_evm::LocalSigner::new(&SecretKey::from_bytes(KEY)).unwrap();
    let (chain, endpoint) = ("eip155:1".parse().unwrap(), NOWHERE.parse().unwrap());
    EvmChain::new(EvmConfig { chain, endpoint, confirmations: 1, gas_max: 1 }, Arc::new(signer)).unwrap()
}

fn cosmos() -> CosmosChain {
    let signer = steward_adapters_cosmos::LocalSigner::new(&SecretKey::from_bytes(KEY), "wasm").unwrap();
    let config = CosmosConfig {
        chain: "cosmos:test-1".parse().unwrap(),
        endpoint: NOWHERE.parse().unwrap(),
        prefix: "wasm".to_owned(),
        denom: "ucosm".to_owned(),
        gas_price: GasPrice::from_millionths(1),
        gas_max: 1,
        pruned: false,
    };
    CosmosChain::new(config, Arc::new(signer)).unwrap()
}

fn solana() -> SolanaChain {
    let signer = steward_adapters_solana::LocalSigner::new(&SecretKey::from_bytes(KEY));
    let (chain, endpoint) = (format!("solana:{}", "1".repeat(32)).parse().unwrap(), NOWHERE.parse().unwrap());
    SolanaChain::new(SolanaConfig { chain, endpoint, units_max: 1 }, Arc::new(signer)).unwrap()
}

/// The rules as people write them, for one project.
fn terms(rules: &str) -> SpendingTerms {
    let manifest = Manifest::parse(&format!("name = \"payer\"\n[chains.c]\n{rules}")).unwrap();
    let projects = BTreeMap::from([("acme".to_owned(), manifest.chains["c"].clone())]);
    SpendingTerms { fee_max: Amount::ZERO, fee_price: FeePrice { micros: 1, per: Amount::new(1) }, projects }
}

fn read(chain: &dyn Chain, rules: &str) -> SpendingRules {
    canonical_terms(&terms(rules), chain).unwrap().projects.remove("acme").unwrap()
}

fn check_refused(chain: &dyn Chain, rules: &str, key: &str, reason: &str) {
    let problem = canonical_terms(&terms(rules), chain).unwrap_err();
    assert_eq!(problem.key, format!("spending.projects.acme.{key}"), "{problem}");
    assert!(problem.reason.contains(reason), "{problem}");
}

const CAPS: &str = "{ max_per_transaction = \"5\", max_per_day = \"9\" }";

#[test]
fn whatever_names_an_account_may_name_its_chain_too_and_no_other() {
    let (evm, cosmos, solana) = (evm(), cosmos(), solana());
    let chains: [(&dyn Chain, &str, &str, &str); 3] = [
        (&evm, EVM_LOWER, "transfer(address,uint256)", "Transfer(address indexed from)"),
        (&cosmos, WASM, "mint", "wasm"),
        (&solana, SOLANA, "mint(address,uint64)", "memo"),
    ];
    for (chain, address, method, event) in chains {
        let id = chain.id();
        let own = format!("{id}:{address}");
        let rules = read(chain, &format!("pay = [{own:?}]\ncall = [\"{own}:{method}\", \"{own}:*\"]"));
        assert_eq!(rules.pay, [address]);
        assert_eq!(rules.call, [format!("{address}:{method}"), format!("{address}:*")]);
        let asset = if id.namespace() == "cosmos" { "factory/wasm1/gold" } else { address };
        let rules = read(chain, &format!("assets.\"{id}:{asset}\" = {CAPS}"));
        assert_eq!(rules.assets.keys().collect::<Vec<_>>(), [asset]);
        let filter = |address: &str| EventFilter { address: address.to_owned(), event: event.to_owned() };
        assert_eq!(read_filter(chain, &filter(&own)).unwrap(), read_filter(chain, &filter(address)).unwrap());

        for other in ["eip155:5", "cosmos:other-1", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"] {
            let foreign = format!("{other}:{address}");
            let reason = format!("{foreign} is an account of {other} and not of {id}");
            check_refused(chain, &format!("pay = [{foreign:?}]"), "pay[0]", &reason);
            check_refused(chain, &format!("call = [\"{foreign}:{method}\"]"), "call[0]", &reason);
            check_refused(chain, &format!("assets.{foreign:?} = {CAPS}"), &format!("assets.{foreign:?}"), &reason);
            let error = read_filter(chain, &filter(&foreign)).unwrap_err().in_full();
            assert!(error.contains(&reason), "{error}");
        }
        check_refused(chain, &format!("call = [{own:?}]"), "call[0]", "CONTRACT:METHOD");
    }
}

#[test]
fn a_denom_with_colons_is_no_account() {
    let rules = read(&cosmos(), &format!("assets.\"gold:1\" = {CAPS}\nassets.\"cosmos:test-1:a:b:c\" = {CAPS}"));
    assert_eq!(rules.assets.keys().collect::<Vec<_>>(), ["a:b:c", "gold:1"]);
}

#[test]
fn a_configured_contract_may_stand_with_its_chain() {
    let read = |text: &str| configured_contract(&evm(), text).map_err(|error| format!("{error:#}"));
    assert_eq!(read(EVM_CHECKSUM).unwrap(), EVM_CHECKSUM);
    assert_eq!(read(&format!("eip155:1:{EVM_CHECKSUM}")).unwrap(), EVM_CHECKSUM);
    let of_another = read(&format!("eip155:5:{EVM_CHECKSUM}")).unwrap_err();
    assert!(of_another.contains("contract: ") && of_another.contains("eip155:5 and not of eip155:1"), "{of_another}");
    assert!(read("0x12").unwrap_err().contains("no address"));
}

#[test]
fn on_evm_chains_capitals_spaces_and_names_of_arguments_mean_nothing() {
    let chain = evm();
    let shouted = EVM_LOWER.to_uppercase().replace("0X", "0x");
    for (address, method) in [
        (EVM_LOWER, "transfer(address,uint256)"),
        (EVM_CHECKSUM, "transfer( address to, uint256 amount )"),
        (&shouted, "transfer(address, uint256)"),
    ] {
        let rules = format!(
            "pay = [{address:?}, \"*\"]\ncall = [\"{address}:{method}\", \"{address}:*\"]\nassets.{address:?} = {CAPS}"
        );
        let rules = read(&chain, &rules);
        assert_eq!(rules.pay, [EVM_LOWER, "*"]);
        assert!(rules.may_call(EVM_LOWER, "transfer(address,uint256)"), "{rules:?}");
        assert_eq!(rules.call[1], format!("{EVM_LOWER}:*"));
        assert_eq!(rules.caps(Some(EVM_LOWER)).unwrap().max_per_day, Amount::new(9));
    }
    check_refused(&chain, "pay = [\"*\", \"0x12\"]", "pay[1]", "no address");
    let mistyped = EVM_CHECKSUM.replace("Aeb", "aeb");
    check_refused(&chain, &format!("pay = [{mistyped:?}]"), "pay[0]", "checksum");
    check_refused(&chain, &format!("call = [\"{EVM_LOWER}:transfer\"]"), "call[0]", "no signature");
    check_refused(&chain, &format!("call = [{EVM_LOWER:?}]"), "call[0]", "CONTRACT:METHOD");
    let twice = format!("assets.{EVM_LOWER:?} = {CAPS}\nassets.{EVM_CHECKSUM:?} = {CAPS}");
    check_refused(&chain, &twice, &format!("assets.{EVM_LOWER:?}"), "twice");
}

#[test]
fn on_cosmos_chains_an_address_may_be_in_capitals_and_the_chains_own_denom_is_its_coin() {
    let chain = cosmos();
    for address in [WASM.to_owned(), WASM.to_uppercase()] {
        let rules = format!(
            "pay = [{address:?}]\ncall = [\"{address}:mint\"]\nassets.ucosm = {CAPS}\nassets.\"factory/{WASM}/gold\" = {CAPS}"
        );
        let rules = read(&chain, &rules);
        assert_eq!((rules.pay, rules.call), (vec![WASM.to_owned()], vec![format!("{WASM}:mint")]));
        assert_eq!(rules.coin.max_per_day, Amount::new(9));
        assert_eq!(rules.assets.len(), 1);
        let filter = EventFilter { address, event: "transfer.recipient".to_owned() };
        assert_eq!(chain.canonical_filter(&filter).unwrap().address, WASM);
    }
    let mixed = WASM.replacen("tfd9", "TFD9", 1);
    check_refused(&chain, &format!("pay = [{mixed:?}]"), "pay[0]", "begin with wasm1");
    let foreign = "cosmos1tfd95kj6tfd95kj6tfd95kj6tfd95kj6ytnxd4";
    check_refused(&chain, &format!("pay = [{foreign:?}]"), "pay[0]", "begin with wasm1");
    check_refused(&chain, &format!("call = [\"{WASM}:no such\"]"), "call[0]", "no method");
    check_refused(&chain, &format!("coin = {CAPS}\nassets.ucosm = {CAPS}"), "assets.\"ucosm\"", "`coin`");
    check_refused(&chain, &format!("assets.\"1\" = {CAPS}"), "assets.\"1\"", "name of a coin");
}

#[test]
fn on_solana_an_address_is_its_base58_and_only_tokens_are_called() {
    let chain = solana();
    let rules = read(&chain, &format!("pay = [{SOLANA:?}]\nassets.{SOLANA:?} = {CAPS}"));
    assert_eq!((rules.pay, rules.assets.len()), (vec![SOLANA.to_owned()], 1));
    let filter = EventFilter { address: SOLANA.to_owned(), event: "memo".to_owned() };
    assert_eq!(chain.canonical_filter(&filter).unwrap(), filter);
    check_refused(&chain, &format!("pay = [{:?}]", SOLANA.to_lowercase()), "pay[0]", "base58");
    let rules = read(&chain, &format!("call = [\"{SOLANA}:mint(address to, uint64 amount)\"]"));
    assert!(rules.may_call(SOLANA, "mint(address,uint64)") && !rules.may_call(SOLANA, "burn(uint64)"), "{rules:?}");
    check_refused(&chain, &format!("call = [\"{SOLANA}:freeze\"]"), "call[0]", "no method of a token");
    check_refused(&chain, &format!("assets.gold = {CAPS}"), "assets.\"gold\"", "base58");
}
