//! From source to a parsed file, or to the one thing that the parser stumbled over.

use rhai::{Engine, LexError, ParseErrorType};

use super::{File, Functions, names};
use crate::diagnostic::Diagnostic;

/// Parses a file.
pub(super) fn parse(engine: &Engine, name: &str, source: &str) -> Result<File, Diagnostic> {
    let mut ast = engine.compile(source).map_err(|error| {
        let (line, column) = place(error.1);
        let (message, help) = explain(&error.0);
        Diagnostic { file: name.to_owned(), line, column, message, help }
    })?;
    ast.set_source(name);
    let mut functions = Functions::new();
    for function in ast.iter_functions() {
        functions.entry(function.name.to_owned()).or_default().insert(function.params.len());
    }
    Ok(File { name: name.to_owned(), ast, functions })
}

/// Line and column; zeros when they are not known.
pub(super) fn place(position: rhai::Position) -> (u32, u32) {
    let number = |part: Option<usize>| part.and_then(|part| u32::try_from(part).ok()).unwrap_or(0);
    (number(position.line()), number(position.position()))
}

fn explain(error: &ParseErrorType) -> (String, Option<String>) {
    let help = match error {
        ParseErrorType::Reserved(word) | ParseErrorType::BadInput(LexError::ImproperSymbol(word, _))
            if !word.is_empty() && names::advice(word).is_some() =>
        {
            let message = format!("`{word}` is not available in scripts");
            return (message, names::advice(word).map(str::to_owned));
        }
        ParseErrorType::VariableUndefined(name) => {
            let message = format!("there is no variable \"{name}\" here");
            let help = "a function sees its parameters and its own variables; a constant of the file is `global::NAME`";
            return (message, Some(help.to_owned()));
        }
        ParseErrorType::ExprTooDeep => Some("name parts of it with `let`, or move them into functions"),
        ParseErrorType::ModuleUndefined(_) => Some("write `import \"name\" as name;` at the top of the file"),
        _ => None,
    };
    (error.to_string(), help.map(str::to_owned))
}
