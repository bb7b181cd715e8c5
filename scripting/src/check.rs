//! The upload check: everything that can be known to be wrong before a script runs, with its place.
//!
//! It also carries safety that running relies on: no dynamic code, no imports from outside the bundle, and no
//! closure that captures variables may be stored, so that values never form cycles or chains of closures.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, Engine};
use steward_types::limits::{SCRIPT_BYTES_MAX, SCRIPT_MODULES_MAX};

use crate::bundle::{Bundle, MAIN_FILE};
use crate::diagnostic::Diagnostic;

mod calls;
mod modules;
mod names;
mod parsing;
mod walk;

pub(crate) use names::DISABLED_SYMBOLS;

/// The functions of one file by name, each with its numbers of parameters.
type Functions = BTreeMap<String, BTreeSet<usize>>;

/// A parsed file.
struct File {
    name: String,
    ast: AST,
    functions: Functions,
}

/// Checks a bundle with an engine that has all host functions, and gives that engine the bundle's modules.
pub(crate) fn check(bundle: &Bundle, engine: &mut Engine) -> Result<AST, Vec<Diagnostic>> {
    let mut found = Vec::new();
    check_sizes(bundle, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let mut files = BTreeMap::new();
    for (name, source) in sources(bundle) {
        match parsing::parse(engine, &name, source) {
            Ok(file) => drop(files.insert(name, file)),
            Err(diagnostic) => found.push(diagnostic),
        }
    }
    for file in files.values() {
        walk::check_file(file, &files, bundle, &mut found);
    }
    if let Some(main) = files.get(MAIN_FILE) {
        check_handlers(main, &mut found);
    }
    if found.is_empty() {
        modules::load(engine, &files, bundle, &mut found);
    }
    found.sort();
    found.dedup();
    match files.remove(MAIN_FILE) {
        Some(main) if found.is_empty() => Ok(main.ast),
        _ => Err(found),
    }
}

/// The project's modules that a bundle imports and lacks. Files that do not parse import nothing.
pub(crate) fn missing_modules(bundle: &Bundle, engine: &Engine) -> BTreeSet<String> {
    let within_size = sources(bundle).filter(|(_, source)| source.len() <= SCRIPT_BYTES_MAX);
    let files: Vec<File> =
        within_size.filter_map(|(name, source)| parsing::parse(engine, &name, source).ok()).collect();
    modules::missing(&files, bundle)
}

/// Every source with its file's name.
fn sources(bundle: &Bundle) -> impl Iterator<Item = (String, &String)> {
    let modules = bundle.modules.iter().map(|(name, source)| (modules::file_name(name), source));
    std::iter::once((MAIN_FILE.to_owned(), &bundle.script)).chain(modules)
}

fn check_sizes(bundle: &Bundle, found: &mut Vec<Diagnostic>) {
    let mut check_size = |file: &str, source: &str| {
        if source.len() > SCRIPT_BYTES_MAX {
            let bytes = source.len();
            let message = format!("the file has {bytes} bytes; {SCRIPT_BYTES_MAX} are allowed");
            found.push(Diagnostic::of_file(file, message).with_help("split it into modules"));
        }
    };
    check_size(MAIN_FILE, &bundle.script);
    for (name, source) in &bundle.modules {
        check_size(&modules::file_name(name), source);
    }
    if bundle.modules.len() > SCRIPT_MODULES_MAX {
        let count = bundle.modules.len();
        let message = format!("there are {count} modules, the project's among them; {SCRIPT_MODULES_MAX} are allowed");
        found.push(Diagnostic::of_file(MAIN_FILE, message));
    }
    for name in bundle.modules.keys().filter(|name| !modules::is_name(name)) {
        let message = format!("{name:?} is no name for a module");
        let help = "use a letter, then letters, digits and '_', 63 at most";
        found.push(Diagnostic::of_file(MAIN_FILE, message).with_help(help));
    }
}

fn check_handlers(main: &File, found: &mut Vec<Diagnostic>) {
    const HELP: &str = "every agent has `fn on_message(msg) { … }`";
    match main.functions.get("on_message") {
        Some(counts) if counts.contains(&1) => {}
        Some(_) => {
            let message = "the handler on_message must have one parameter, the message";
            found.push(Diagnostic::of_file(MAIN_FILE, message).with_help(HELP));
        }
        None => {
            let message = "there is no handler on_message";
            found.push(Diagnostic::of_file(MAIN_FILE, message).with_help(HELP));
        }
    }
}
