//! Completion: commands and options from the command line's own definition, ids from the node.

use clap::{Arg, Command};
use reedline::{Completer, CompletionResult, Span, Suggestion};

use super::line;
use super::names::{Names, What};

/// One way to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The word.
    pub word: String,
    /// What it is.
    pub about: String,
}

/// What can stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// One of these words.
    Words(Vec<Candidate>),
    /// The name of something that the node knows.
    Name(What),
}

/// Completes lines with what the command line takes and the node knows.
pub(super) struct Completion {
    command: Command,
    names: Names,
}

impl Completion {
    pub(super) fn new(command: Command, names: Names) -> Self {
        Self { command, names }
    }

    /// From now on names are of this project.
    pub(super) fn speak_of(&mut self, project: &str) {
        self.names.speak_of(project);
    }
}

impl Completer for Completion {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        let typed = line::typed(&line[..position]);
        let candidates = match place(&self.command, &typed.words, &typed.word) {
            Place::Words(words) => words,
            Place::Name(what) => self.names.of(what),
        };
        let suggestion = |candidate: Candidate| Suggestion {
            value: candidate.word,
            description: Some(candidate.about).filter(|about| !about.is_empty()),
            span: Span::new(typed.start, position),
            append_whitespace: true,
            ..Suggestion::default()
        };
        let fitting = candidates.into_iter().filter(|candidate| candidate.word.starts_with(&typed.word));
        CompletionResult::fresh(fitting.map(suggestion).collect::<Vec<_>>())
    }
}

/// What can follow `words` when `word` has been typed.
pub(super) fn place(root: &Command, words: &[String], word: &str) -> Place {
    let (mut command, mut positional, mut path) = (root, 0, Vec::new());
    let mut words = words.iter();
    while let Some(next) = words.next() {
        if let Some(option) = next.strip_prefix("--") {
            let takes_value =
                options(command, root).find(|arg| arg.get_long() == Some(option)).is_some_and(takes_value);
            if takes_value && words.next().is_none() {
                return Place::Name(What::of_option(option));
            }
        } else if let Some(found) = command.find_subcommand(next) {
            (command, positional) = (found, 0);
            path.push(found.get_name());
        } else {
            positional += 1;
        }
    }
    if word.starts_with('-') {
        let long = options(command, root).filter_map(|arg| Some((arg.get_long()?, arg)));
        return Place::Words(
            long.map(|(long, arg)| Candidate { word: format!("--{long}"), about: help(arg) }).collect(),
        );
    }
    if command.has_subcommands() && positional == 0 {
        let words = command.get_subcommands().filter(|found| !found.is_hide_set());
        let about = |found: &Command| found.get_about().map(|about| first_line(&about.to_string())).unwrap_or_default();
        return Place::Words(
            words.map(|found| Candidate { word: found.get_name().to_owned(), about: about(found) }).collect(),
        );
    }
    match command.get_positionals().nth(positional) {
        Some(arg) if !arg.get_possible_values().is_empty() => {
            let values = arg.get_possible_values();
            let word = |value: &clap::builder::PossibleValue| value.get_name().to_owned();
            Place::Words(values.iter().map(|value| Candidate { word: word(value), about: String::new() }).collect())
        }
        Some(arg) => Place::Name(What::of_argument(&path, arg.get_id().as_str())),
        None => Place::Words(Vec::new()),
    }
}

/// The options of a command, and those that every command takes.
fn options<'a>(command: &'a Command, root: &'a Command) -> impl Iterator<Item = &'a Arg> {
    command.get_opts().chain(command.get_arguments().filter(|arg| is_flag(arg))).chain(
        root.get_arguments()
            .filter(move |arg| arg.is_global_set() && !command.get_arguments().any(|own| own.get_id() == arg.get_id())),
    )
}

fn is_flag(arg: &Arg) -> bool {
    !arg.is_positional() && !takes_value(arg)
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(|help| first_line(&help.to_string())).unwrap_or_default()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Place {
        let typed = line::typed(line);
        place(&crate::shell::commands_of_the_shell(), &typed.words, &typed.word)
    }

    fn words(line: &str) -> Vec<String> {
        match at(line) {
            Place::Words(words) => words.into_iter().map(|candidate| candidate.word).collect(),
            Place::Name(what) => panic!("{line:?} is completed with {what:?}"),
        }
    }

    #[test]
    fn commands_and_their_subcommands_are_completed() {
        let first = words("");
        for command in ["nodes", "shards", "actors", "sessions", "doctor", "drain", "top"] {
            assert!(first.contains(&command.to_owned()), "{command} in {first:?}");
        }
        for outside in ["up", "demo", "login", "shell"] {
            assert!(!first.contains(&outside.to_owned()), "{outside} is not for the shell");
        }
        assert_eq!(words("nodes "), ["ls", "show", "evict"]);
        assert_eq!(words("pause "), ["agent", "project", "chain"]);
    }

    #[test]
    fn options_are_completed_with_those_of_every_command() {
        let options = words("drain nod_1 --");
        assert!(options.contains(&"--within".to_owned()) && options.contains(&"--yes".to_owned()), "{options:?}");
        assert!(words("nodes show --").iter().all(|option| option != "--within"));
    }

    #[test]
    fn ids_are_asked_of_the_node() {
        let check = |line: &str, what: What| assert_eq!(at(line), Place::Name(what), "{line:?}");
        check("drain ", What::Node);
        check("nodes evict nod_", What::Node);
        check("shards move 7 ", What::Node);
        check("sessions show ", What::Session);
        check("actors inspect ", What::Kind);
        check("pause agent ", What::Agent);
        check("pause project ", What::Project);
        check("breakers open ", What::Chain);
        check("chains show ", What::Chain);
        check("outbox ", What::Chain);
        check("wallets show ", What::Chain);
        check("models show ", What::Model);
        check("sessions list --agent ", What::Agent);
        check("shards move ", What::Other);
    }
}
