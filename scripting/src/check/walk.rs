//! One walk over a file's syntax tree that looks at every call, import and closure.

use std::collections::BTreeMap;

use rhai::{ASTNode, Expr, FnAccess, FnCallExpr, Stmt};

use super::calls::{Style, check_call, check_module_call};
use super::{File, Functions, modules, names, parsing};
use crate::bundle::{Bundle, PROJECT_PREFIX};
use crate::diagnostic::Diagnostic;

/// Checks a file that parses.
pub(super) fn check_file(file: &File, files: &BTreeMap<String, File>, bundle: &Bundle, found: &mut Vec<Diagnostic>) {
    let mut walk = Walk { file, files, aliases: modules::imports(&file.ast), found };
    walk.check_imports(bundle);
    walk.check_definitions();
    walk.check_top_level();
    file.ast.walk(&mut |path: &[ASTNode<'_>]| {
        walk.visit(path);
        true
    });
}

struct Walk<'a> {
    file: &'a File,
    files: &'a BTreeMap<String, File>,
    aliases: Vec<modules::Import>,
    found: &'a mut Vec<Diagnostic>,
}

impl Walk<'_> {
    fn report(&mut self, position: rhai::Position, message: String, help: Option<String>) {
        let (line, column) = parsing::place(position);
        self.found.push(Diagnostic { file: self.file.name.clone(), line, column, message, help });
    }

    fn visit(&mut self, path: &[ASTNode<'_>]) {
        let Some(node) = path.last() else { return };
        match node {
            ASTNode::Stmt(Stmt::FnCall(call, position)) | ASTNode::Expr(Expr::FnCall(call, position)) => {
                self.visit_call(call, Style::Function, *position);
            }
            ASTNode::Expr(Expr::MethodCall(call, position)) => self.visit_call(call, Style::Method, *position),
            ASTNode::Stmt(Stmt::Share(captured)) if !is_passed_on(path) => {
                let names: Vec<&str> = captured.iter().map(|(variable, _)| variable.name.as_str()).collect();
                let message =
                    format!("a closure that uses variables from outside ({}) cannot be kept", names.join(", "));
                let help = "pass it straight to parallel, map, filter, sort and the like; for many branches write \
                            `parallel(items, |item| …)`";
                let position = captured.first().map_or(rhai::Position::NONE, |(variable, _)| variable.pos);
                self.report(position, message, Some(help.to_owned()));
            }
            _ => {}
        }
    }

    fn visit_call(&mut self, call: &FnCallExpr, style: Style, position: rhai::Position) {
        let Some(root) = call.namespace.path.first() else {
            if let Some((message, help)) = check_call(call, style, self.file) {
                self.report(position, message, help);
            }
            return;
        };
        let Some(import) = self.aliases.iter().find(|import| import.alias == root.name.as_str()) else { return };
        let Some(module) = import.module.as_deref() else { return };
        let Some(imported) = self.files.get(&modules::file_name(module)) else { return };
        if let Some((message, help)) = check_module_call(call, &import.alias, &exported(imported)) {
            self.report(position, message, help);
        }
    }

    fn check_imports(&mut self, bundle: &Bundle) {
        for import in std::mem::take(&mut self.aliases) {
            match &import.module {
                None => {
                    let help = "write the module's name as text: `import \"pricing\" as pricing;`".to_owned();
                    self.report(import.position, "an import must name its module".to_owned(), Some(help));
                }
                Some(module) if self.file.name.starts_with(PROJECT_PREFIX) && !module.starts_with(PROJECT_PREFIX) => {
                    let message = format!("a module of the project cannot import \"{module}\", which is one agent's");
                    let help = format!("make it a module of the project and write \"{PROJECT_PREFIX}{module}\"");
                    self.report(import.position, message, Some(help));
                }
                Some(module) if !bundle.modules.contains_key(module) => {
                    let help = missing_help(module, bundle);
                    self.report(import.position, format!("there is no module \"{module}\""), Some(help));
                }
                Some(_) if import.alias.is_empty() => {
                    let help = "write `import \"pricing\" as pricing;`".to_owned();
                    self.report(import.position, "an import without `as` gives nothing".to_owned(), Some(help));
                }
                Some(_) => {}
            }
            self.aliases.push(import);
        }
    }

    fn check_definitions(&mut self) {
        for name in self.file.functions.keys() {
            let taken = names::is_host(name) || names::CLOSURE_TAKERS.contains(&name.as_str());
            if taken {
                let message = format!("the function {name} hides Steward's own {name}");
                let found = Diagnostic::of_file(&self.file.name, message).with_help("give it another name");
                self.found.push(found);
            }
        }
    }

    /// Outside functions only constants and imports may stand: they are read anew for each turn.
    fn check_top_level(&mut self) {
        let file = self.file;
        for statement in file.ast.statements() {
            let allowed = match statement {
                Stmt::Noop(..) | Stmt::Import(..) | Stmt::Export(..) => true,
                Stmt::Var(parts, flags, _) => flags.intersects(rhai::ASTFlags::CONSTANT) && is_plain(&parts.1),
                _ => false,
            };
            if !allowed {
                let message = "outside functions only imports and `const NAME = value;` may stand".to_owned();
                let help = "move it into a function".to_owned();
                self.report(statement.position(), message, Some(help));
            }
        }
    }
}

/// What to do about an import that finds nothing.
fn missing_help(module: &str, bundle: &Bundle) -> String {
    let known = bundle.modules.keys().map(String::as_str);
    match (names::closest(module, known), module.strip_prefix(PROJECT_PREFIX)) {
        (Some(meant), _) => format!("did you mean \"{meant}\"?"),
        (None, Some(name)) => format!("give it to the project first: `steward modules deploy {name}.rhai`"),
        (None, None) => format!(
            "put {module}.rhai into the agent's folder, or import a module of the project: \"{PROJECT_PREFIX}NAME\""
        ),
    }
}

/// Whether an expression needs nothing run but operators.
fn is_plain(expression: &Expr) -> bool {
    let mut plain = true;
    expression.walk(&mut Vec::new(), &mut |path: &[ASTNode<'_>]| {
        plain &= match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, _))) => call.op_token.is_some(),
            Some(ASTNode::Expr(Expr::MethodCall(..) | Expr::Stmt(..))) | Some(ASTNode::Stmt(_)) => false,
            _ => true,
        };
        plain
    });
    plain
}

/// Whether the closure that captures here is an argument of a function that calls it at once.
fn is_passed_on(path: &[ASTNode<'_>]) -> bool {
    let [.., ASTNode::Expr(above), ASTNode::Expr(Expr::Stmt(_)), _] = path else { return false };
    let takes = |call: &FnCallExpr, names: &[&str]| call.namespace.is_empty() && names.contains(&call.name.as_str());
    match above {
        Expr::FnCall(call, _) | Expr::MethodCall(call, _) => takes(call, names::CLOSURE_TAKERS),
        Expr::Array(..) => match path {
            [.., ASTNode::Expr(Expr::FnCall(call, _)), _, _, _]
            | [.., ASTNode::Stmt(Stmt::FnCall(call, _)), _, _, _] => takes(call, &["parallel"]),
            _ => false,
        },
        _ => false,
    }
}

fn exported(file: &File) -> Functions {
    let mut functions = Functions::new();
    for function in file.ast.iter_functions().filter(|function| function.access == FnAccess::Public) {
        functions.entry(function.name.to_owned()).or_default().insert(function.params.len());
    }
    functions
}
