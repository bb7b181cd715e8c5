//! Modules: who imports whom, and loading them in an order in which each finds what it imports.

use std::collections::{BTreeMap, BTreeSet};

use rhai::module_resolvers::StaticModuleResolver;
use rhai::{AST, ASTNode, Engine, Expr, Module, Scope, Stmt};

use super::{File, parsing};
use crate::bundle::{Bundle, MAIN_FILE, PROJECT_PREFIX};
use crate::diagnostic::Diagnostic;

/// Operations that loading one module may take: it only has constants.
const LOAD_OPERATIONS_MAX: u64 = 10_000;

/// One `import`.
pub(super) struct Import {
    /// The module's name; `None` when it is not written as text.
    pub(super) module: Option<String>,
    /// Its name in the file.
    pub(super) alias: String,
    /// Where it stands.
    pub(super) position: rhai::Position,
}

/// The file name of a module in messages.
pub(super) fn file_name(module: &str) -> String {
    format!("{module}.rhai")
}

/// Whether a module may be called so.
pub(super) fn is_name(name: &str) -> bool {
    let name = name.strip_prefix(PROJECT_PREFIX).unwrap_or(name);
    let first = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && rest && name.len() <= 63 && file_name(name) != MAIN_FILE
}

/// Every import of a file, wherever it stands.
pub(super) fn imports(ast: &AST) -> Vec<Import> {
    let mut imports = Vec::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Stmt(Stmt::Import(parts, position))) = path.last() {
            let module = match &parts.0 {
                Expr::StringConstant(name, _) => Some(name.to_string()),
                _ => None,
            };
            imports.push(Import { module, alias: parts.1.name.to_string(), position: *position });
        }
        true
    });
    imports
}

/// The project's modules that are imported and not there.
pub(super) fn missing(files: &[File], bundle: &Bundle) -> BTreeSet<String> {
    let imported = files.iter().flat_map(|file| imports(&file.ast)).filter_map(|import| import.module);
    imported.filter(|name| name.starts_with(PROJECT_PREFIX) && !bundle.modules.contains_key(name)).collect()
}

/// Gives the engine every module that is imported from the main script on.
pub(super) fn load(engine: &mut Engine, files: &BTreeMap<String, File>, bundle: &Bundle, found: &mut Vec<Diagnostic>) {
    let mut order = Vec::new();
    let mut done = BTreeSet::new();
    for module in bundle.modules.keys() {
        visit(module, files, &mut Vec::new(), &mut done, &mut order, found);
    }
    if !found.is_empty() {
        return;
    }
    let mut resolver = StaticModuleResolver::new();
    engine.set_max_operations(LOAD_OPERATIONS_MAX);
    engine.set_module_resolver(resolver.clone());
    for module in order {
        let file = &files[&file_name(&module)];
        match Module::eval_ast_as_new(Scope::new(), &file.ast, engine) {
            Ok(loaded) => resolver.insert(module, loaded),
            Err(error) => {
                let (line, column) = parsing::place(error.position());
                let message = format!("the module cannot be loaded: {}", error.unwrap_inner());
                found.push(Diagnostic { file: file.name.clone(), line, column, message, help: None });
            }
        }
        engine.set_module_resolver(resolver.clone());
    }
    engine.set_max_operations(0);
}

/// Puts a module after those that it imports, and reports one that imports itself by way of others.
fn visit(
    module: &str,
    files: &BTreeMap<String, File>,
    path: &mut Vec<String>,
    done: &mut BTreeSet<String>,
    order: &mut Vec<String>,
    found: &mut Vec<Diagnostic>,
) {
    if done.contains(module) {
        return;
    }
    let Some(file) = files.get(&file_name(module)) else { return };
    path.push(module.to_owned());
    for import in imports(&file.ast) {
        let Some(next) = import.module else { continue };
        if let Some(start) = path.iter().position(|above| *above == next) {
            let (line, column) = parsing::place(import.position);
            let circle = path[start..].join(" → ");
            let message = format!("modules import each other in a circle: {circle} → {next}");
            found.push(Diagnostic { file: file.name.clone(), line, column, message, help: None });
        } else {
            visit(&next, files, path, done, order, found);
        }
    }
    path.pop();
    done.insert(module.to_owned());
    order.push(module.to_owned());
}
