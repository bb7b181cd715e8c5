//! `chain(name)` and what can be asked of it. What `chain` answers is a function of Rhai with the name in it, because
//! only those have a method `call`; it is no step and keeps nothing else.

use rhai::{Dynamic, FnPtr, FuncRegistration, ImmutableString, Module, NativeCallContext};
use serde_json::Value;
use steward_types::Amount;

use super::arguments::{json, kind, options, text};
use super::{Answer, step};
use crate::call::{BalanceOptions, HostCall};

/// The function behind the method `call`.
const CALL: &str = "chain_call";

/// Names that are methods of a chain and nothing else: a script may have functions of these names.
pub(crate) const METHODS: &[&str] = &["balance", "read", "send", "wait"];

macro_rules! methods {
    ($module:ident: $($name:literal($($argument:ident),*) => |$chain:ident| $call:expr;)*) => {
        $(FuncRegistration::new($name).in_global_namespace().set_into_module(
            $module,
            |context: NativeCallContext<'_>, chain: FnPtr $(, $argument: Dynamic)*| -> Answer {
                step(&context, || -> Result<HostCall, String> {
                    let $chain = name_of(&chain)?;
                    Ok($call)
                })
            },
        );)*
    };
}

macro_rules! calls {
    ($module:ident: $($($argument:ident),* => $call:expr;)*) => {
        $(FuncRegistration::new(CALL).in_global_namespace().set_into_module(
            $module,
            |context: NativeCallContext<'_>, chain: ImmutableString $(, $argument: Dynamic)*| -> Answer {
                step(&context, || -> Result<HostCall, String> {
                    let call: fn(String, &[Dynamic]) -> Result<HostCall, String> = $call;
                    call(chain.to_string(), &[$($argument),*])
                })
            },
        );)*
    };
}

/// Registers `chain` and its methods.
pub(super) fn register(module: &mut Module) {
    FuncRegistration::new("chain").in_global_namespace().set_into_module(module, chain);
    methods! { module:
        "balance"(account) => |chain| HostCall::ChainBalance { chain, account: text("account", &account)?, options: Default::default() };
        "balance"(account, of) => |chain| HostCall::ChainBalance { chain, account: text("account", &account)?, options: balance_options(&of)? };
        "read"(contract, message) => |chain| read(chain, &[contract, message])?;
        "read"(contract, signature, arguments) => |chain| read(chain, &[contract, signature, arguments])?;
        "read"(contract, signature, arguments, o) => |chain| read(chain, &[contract, signature, arguments, o])?;
        "send"(to, much) => |chain| HostCall::ChainSend { chain, to: text("to", &to)?, amount: amount("amount", &much)?, options: Default::default() };
        "send"(to, much, o) => |chain| HostCall::ChainSend { chain, to: text("to", &to)?, amount: amount("amount", &much)?, options: options(&o)? };
        "wait"(id) => |chain| HostCall::ChainWait { chain, id: text("id", &id)?, options: Default::default() };
        "wait"(id, o) => |chain| HostCall::ChainWait { chain, id: text("id", &id)?, options: options(&o)? };
    }
    calls! { module:
        contract, message => call;
        contract, signature, arguments => call;
        contract, signature, arguments, o => call;
    }
}

fn chain(context: NativeCallContext<'_>, name: Dynamic) -> Answer {
    let name = text("name", &name)
        .map_err(|reason| super::exception(&context, &super::invalid(&context, &reason), "chain", None))?;
    let mut chain = FnPtr::new(CALL)?;
    chain.set_curry([Dynamic::from(ImmutableString::from(name))]);
    Ok(Dynamic::from(chain))
}

/// The name within what `chain` answered.
fn name_of(chain: &FnPtr) -> Result<String, String> {
    let name = chain.iter_curry().next().filter(|_| chain.fn_name() == CALL);
    let name = name.and_then(|name| name.read_lock::<ImmutableString>().map(|name| name.to_string()));
    name.ok_or_else(|| "this is a method of a chain: write chain(\"eip155:1\") before it".to_owned())
}

/// A whole number of the smallest unit, as a number or, beyond 64 bits, as text.
fn amount(name: &str, value: &Dynamic) -> Result<Amount, String> {
    let help =
        || format!("{name} must be a whole number of the smallest unit, from 0: a number, or its digits as text");
    match value.as_int() {
        Ok(units) => u64::try_from(units).map(Amount::from).map_err(|_| help()),
        Err(_) => text(name, value).ok().and_then(|digits| digits.parse().ok()).ok_or_else(help),
    }
}

/// An asset by its name, or options.
fn balance_options(value: &Dynamic) -> Result<BalanceOptions, String> {
    match value.read_lock::<ImmutableString>() {
        Some(asset) => Ok(BalanceOptions { asset: Some(asset.to_string()), ..BalanceOptions::default() }),
        None => options(value),
    }
}

/// What is asked of a contract, as the arguments say it.
struct Asked<'a> {
    contract: String,
    signature: Option<String>,
    arguments: Value,
    options: Option<&'a Dynamic>,
}

/// `(contract, message [, options])` or `(contract, signature, arguments [, options])`.
fn asked(arguments: &[Dynamic]) -> Result<Asked<'_>, String> {
    let (contract, rest) = arguments.split_first().ok_or("give it a contract")?;
    let contract = text("contract", contract)?;
    let (signature, rest) = match rest.split_first() {
        Some((message, _)) if message.is_map() => (None, rest),
        Some((signature, rest)) => {
            let wrong = |_| {
                format!(
                    "signature must be text such as \"transfer(address,uint256)\", or a map as the whole message; it is {}",
                    kind(signature)
                )
            };
            (Some(text("signature", signature).map_err(wrong)?), rest)
        }
        None => return Err("give it a signature and arguments, or a message".to_owned()),
    };
    match rest {
        [given] => Ok(Asked { contract, signature, arguments: json("arguments", given)?, options: None }),
        [given, options] => {
            Ok(Asked { contract, signature, arguments: json("arguments", given)?, options: Some(options) })
        }
        [] => Err("the arguments are missing: give an array, [] for none".to_owned()),
        _ => Err("there are too many arguments".to_owned()),
    }
}

fn read(chain: String, arguments: &[Dynamic]) -> Result<HostCall, String> {
    let Asked { contract, signature, arguments, options: given } = asked(arguments)?;
    let options = given.map(options).transpose()?.unwrap_or_default();
    Ok(HostCall::ChainRead { chain, contract, signature, arguments, options })
}

fn call(chain: String, arguments: &[Dynamic]) -> Result<HostCall, String> {
    let Asked { contract, signature, arguments, options: given } = asked(arguments)?;
    let options = given.map(call_options).transpose()?.unwrap_or_default();
    Ok(HostCall::ChainCall { chain, contract, signature, arguments, options })
}

/// Options with `value` as a number or as text.
fn call_options(value: &Dynamic) -> Result<crate::call::ContractCallOptions, String> {
    let Some(mut given) = value.read_lock::<rhai::Map>().map(|map| map.clone()) else { return options(value) };
    if let Some(coin) = given.get_mut("value") {
        *coin = Dynamic::from(ImmutableString::from(amount("value", coin)?.to_string()));
    }
    options(&Dynamic::from_map(given))
}
