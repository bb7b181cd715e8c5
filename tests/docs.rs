//! What the documents tell people to type: every command line parses, every TOML block is a configuration or price list.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;
use steward::args::Arguments;
use steward::commands::projects::parse_prices;
use steward::config::NodeConfig;

const DOCUMENTS: &[&str] =
    &["README.md", "docs/quickstart.md", "docs/operations.md", "docs/shell.md", "docs/chains.md"];

#[test]
fn every_command_line_in_a_block_parses() {
    let mut commands = BTreeSet::new();
    for document in DOCUMENTS {
        for block in blocks(&read(document)).into_iter().filter(|block| block.language == "sh") {
            let joined = block.text.replace("\\\n", " ");
            for line in joined.lines().map(str::trim).filter(|line| line.starts_with("steward ")) {
                let parsed = Arguments::try_parse_from(words(line));
                assert!(parsed.is_ok(), "{document}: {line}\n{}", parsed.unwrap_err());
                commands.insert(line.to_owned());
            }
        }
    }
    assert!(commands.len() >= 10, "{commands:#?}");
}

#[test]
fn every_command_named_in_the_text_exists() {
    let mut named = 0;
    for document in DOCUMENTS {
        for command in spans(&read(document)).into_iter().filter(|span| span.starts_with("steward ")) {
            // `steward budgets limit` in a sentence names a command; it need not give its arguments.
            if let Err(error) = Arguments::try_parse_from(words(&command)) {
                let is_named = matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                );
                assert!(is_named, "{document}: `{command}`\n{error}");
            }
            named += 1;
        }
    }
    assert!(named >= 8, "only {named} commands are named in {DOCUMENTS:?}");
}

#[test]
fn every_toml_block_is_a_configuration_or_a_price_list() {
    let (mut configurations, mut price_lists) = (0, 0);
    let pages = ["docs/operations.md", "docs/chains.md"].map(read).join("\n");
    for block in blocks(&pages).into_iter().filter(|block| block.language == "toml") {
        match (NodeConfig::parse(&block.text), parse_prices(&block.text)) {
            (Ok(_), _) => configurations += 1,
            (_, Ok(_)) => price_lists += 1,
            (Err(config), Err(prices)) => panic!("{}\n{config:#}\n{prices:#}", block.text),
        }
    }
    assert!(configurations > 0 && price_lists > 0, "{configurations} configurations, {price_lists} price lists");
}

#[test]
fn words_are_split_as_a_shell_splits_them() {
    let check = |line: &str, expected: &[&str]| assert_eq!(words(line), expected, "{line}");
    check("steward up --data ./data", &["steward", "up", "--data", "./data"]);
    check("run hello \"What is it?\"   # a question", &["run", "hello", "What is it?"]);
    check("--key \"$(cat ./data/root.key)\" 'a # b' c#d", &["--key", "$(cat ./data/root.key)", "a # b", "c#d"]);
}

/// A document of the repository.
pub fn read(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fenced block.
pub struct Block {
    /// What stands behind its first fence.
    pub language: String,
    /// What is in it.
    pub text: String,
}

/// The fenced blocks.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim().strip_prefix("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            blocks.push(Block { language: language.to_owned(), text: inside.join("\n") });
        }
    }
    blocks
}

/// What stands between single backticks outside blocks, its white space made one space.
fn spans(text: &str) -> Vec<String> {
    let mut outside = String::new();
    let mut is_inside = false;
    for line in text.lines() {
        if line.trim().starts_with("```") {
            is_inside = !is_inside;
        } else if !is_inside {
            outside.push_str(line);
            outside.push('\n');
        }
    }
    let spans = outside.split('`').skip(1).step_by(2);
    spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Splits a line into words as a shell does, as far as our documents go: quotes and comments. `$(…)` stays as it is.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
