//! Whether a call has something to call.

use std::collections::BTreeSet;

use rhai::FnCallExpr;

use super::{File, Functions, names};

/// How a call is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `f(x, y)`.
    Function,
    /// `x.f(y)`.
    Method,
}

/// What is wrong with a call in its own file, and advice.
pub(super) fn check_call(call: &FnCallExpr, style: Style, file: &File) -> Option<(String, Option<String>)> {
    let name = call.name.as_str();
    if call.op_token.is_some() || names::BUILT_IN.contains(&name) || !is_word(name) {
        return None;
    }
    if let Some(advice) = names::advice(name).filter(|_| !file.functions.contains_key(name)) {
        return Some((format!("`{name}` is not available in scripts"), Some(advice.to_owned())));
    }
    let given = call.args.len();
    let own = file.functions.get(name);
    let native = names::native().get(name);
    if let Some(advice) = names::method_advice(name) {
        let is_own = own.is_some_and(|counts| counts.contains(&given));
        if style == Style::Function && own.is_none() {
            return Some((format!("there is no function \"{name}\""), Some(advice.to_owned())));
        }
        if style == Style::Method && is_own && native.is_some_and(|counts| counts.contains(&(given + 1))) {
            let message = format!("this calls the script's own function {name}, not the chain's");
            return Some((message, Some("give the function another name".to_owned())));
        }
    }
    // A method's object is the first parameter of a native function, and `this` of the script's own.
    let native_given = if style == Style::Method { given + 1 } else { given };
    if own.is_some_and(|counts| counts.contains(&given)) || native.is_some_and(|counts| counts.contains(&native_given))
    {
        return None;
    }
    let known = match (own, native) {
        (None, None) => {
            let known = file.functions.keys().chain(names::native().keys()).map(String::as_str);
            let help = names::closest(name, known).map(|meant| format!("did you mean \"{meant}\"?"));
            return Some((format!("there is no function \"{name}\""), help));
        }
        (Some(own), _) => own.clone(),
        (None, Some(native)) if style == Style::Method => native.iter().map(|count| count.saturating_sub(1)).collect(),
        (None, Some(native)) => native.clone(),
    };
    Some(wrong_count(name, given, &known))
}

/// What is wrong with a call of a module's function.
pub(super) fn check_module_call(
    call: &FnCallExpr,
    module: &str,
    functions: &Functions,
) -> Option<(String, Option<String>)> {
    let name = call.name.as_str();
    match functions.get(name) {
        Some(counts) if counts.contains(&call.args.len()) => None,
        Some(counts) => Some(wrong_count(&format!("{module}::{name}"), call.args.len(), counts)),
        None => {
            let help = names::closest(name, functions.keys().map(String::as_str));
            let help = help.map(|meant| format!("did you mean \"{module}::{meant}\"?"));
            Some((format!("module \"{module}\" has no function \"{name}\""), help))
        }
    }
}

fn wrong_count(name: &str, given: usize, known: &BTreeSet<usize>) -> (String, Option<String>) {
    let known: Vec<String> = known.iter().map(usize::to_string).collect();
    let message = format!("{name} takes {} arguments, but {given} are given", known.join(" or "));
    (message, None)
}

fn is_word(name: &str) -> bool {
    name.chars().all(|character| character.is_alphanumeric() || character == '_')
}
