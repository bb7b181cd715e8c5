//! Names of functions: which there are, which a script may not use, and which was probably meant.

use std::sync::OnceLock;

use super::Functions;

/// Functions that call a closure at once and never keep it: only these may be given one that captures variables.
pub(super) const CLOSURE_TAKERS: &[&str] = &[
    "parallel",
    "map",
    "filter",
    "reduce",
    "reduce_rev",
    "for_each",
    "find",
    "find_map",
    "index_of",
    "some",
    "all",
    "sort",
    "order",
    "drain",
    "retain",
    "dedup",
    "zip",
];

/// Names that the language itself answers, with any number of parameters.
pub(super) const BUILT_IN: &[&str] = &["call", "type_of", "is_shared", "is_def_var", "is_def_fn", "curry"];

/// What a script may not use, and what it should use.
const FORBIDDEN: &[(&str, &str)] = &[
    ("eval", "the code of an agent is what was uploaded; write a function"),
    ("Fn", "write a closure, such as `|x| f(x)`"),
    ("curry", "write a closure, such as `|x| f(x, y)`"),
    ("print", "use log(text)"),
    ("debug", "use log(\"debug\", text)"),
    ("println", "use log(text)"),
    ("timestamp", "the time is a step: use now()"),
    ("elapsed", "take the difference of two now()"),
    ("rand", "randomness is a step: use random() or uuid()"),
    ("rand_float", "randomness is a step: use random() or uuid()"),
    ("get_fn_metadata_list", "scripts cannot look at the engine"),
    ("fetch", "use http(method, url)"),
    ("http_put", "use http(\"PUT\", url, #{json: …})"),
    ("http_delete", "use http(\"DELETE\", url)"),
    ("get_state", "use state(key)"),
];

/// Symbols that the parser refuses.
pub(crate) const DISABLED_SYMBOLS: &[&str] = &["eval", "Fn", "curry", "print", "debug"];

/// What to use in place of a method of a chain that is called as if it were a function.
pub(super) fn method_advice(name: &str) -> Option<&'static str> {
    match name {
        "wait" => Some("to wait for a time, use sleep(\"90s\"); for a transaction, chain(name).wait(id)"),
        _ => crate::host::METHODS
            .contains(&name)
            .then_some("write chain(name) before it, as in chain(\"eip155:1\").balance(account)"),
    }
}

/// What to use in place of a name.
pub(super) fn advice(name: &str) -> Option<&'static str> {
    FORBIDDEN.iter().find(|(forbidden, _)| *forbidden == name).map(|(_, advice)| *advice)
}

/// Every native function that a script can call: the host's and the standard library's.
pub(super) fn native() -> &'static Functions {
    static NATIVE: OnceLock<Functions> = OnceLock::new();
    NATIVE.get_or_init(|| {
        let engine = crate::program::new_engine();
        let listed = engine.collect_fn_metadata(
            None,
            |function| Some((function.metadata.name.to_string(), function.metadata.num_params)),
            true,
        );
        let mut functions = Functions::new();
        for (name, parameters) in listed {
            if advice(&name).is_none() {
                functions.entry(name).or_default().insert(parameters);
            }
        }
        functions
    })
}

/// Whether this is a function of the host.
pub(super) fn is_host(name: &str) -> bool {
    static HOST: OnceLock<Vec<String>> = OnceLock::new();
    let names = HOST.get_or_init(|| {
        let mut engine = rhai::Engine::new_raw();
        engine.register_global_module(crate::host::module());
        engine.collect_fn_metadata(None, |function| Some(function.metadata.name.to_string()), false)
    });
    let is_method = crate::host::REPLACED.contains(&name) || crate::host::METHODS.contains(&name);
    !is_method && names.iter().any(|known| known == name)
}

/// The known name that looks most like this one.
pub(super) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.chars().count() / 3).clamp(1, 3);
    let near = known.filter(|known| known.starts_with(|first: char| first.is_ascii_alphabetic()));
    let near = near.map(|known| (distance(name, known), known)).filter(|(distance, _)| *distance <= most);
    near.min().map(|(_, known)| known)
}

/// Edits between two words, where swapping neighbours is one: optimal string alignment.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = substituted.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let names = ["chat", "embed", "recall", "set_state"];
        let check = |name, meant| assert_eq!(closest(name, names.into_iter()), meant, "{name}");
        check("caht", Some("chat"));
        check("recal", Some("recall"));
        check("setstate", Some("set_state"));
        check("transfer", None);
    }
}
