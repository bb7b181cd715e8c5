//! `steward shell`: the commands at a prompt, from a file, or piped in. A line is parsed as the command line is, so that
//! the shell has no command of its own but those that are about the shell.

mod complete;
mod line;
mod names;
mod prompt;

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, ensure};
use clap::{CommandFactory as _, Parser as _};

use crate::args::{Arguments, Global, Shell};
use crate::client;
use crate::commands::{self, Session};
use crate::output::Output;

/// What the prompt says.
const PROMPT: &str = "steward> ";

/// Commands that start or set up something on this machine, and so are no matter of a shell on a node.
const OUTSIDE: &[&str] = &["demo", "up", "login", "shell", "cluster", "completions"];

/// A shell: the node that it talks to, and how.
struct Prompt {
    session: Session,
    global: Global,
    echo: bool,
}

/// What a line was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Read the next line.
    Next,
    /// The shell is to end.
    End,
}

/// Runs `shell`.
///
/// # Errors
/// When the node's address or key is missing or malformed, a file cannot be read, or a command failed that did not come
/// from a terminal.
pub async fn run(shell: Shell, global: &Global, output: Output) -> anyhow::Result<()> {
    let Shell { command, file, echo, keep_going } = shell;
    let session = Session::from_global(global, output)?;
    let mut prompt = Prompt { session, global: global.clone(), echo };
    if let Some(command) = command {
        return prompt.run_all([Ok(command)], keep_going).await;
    }
    if let Some(file) = file {
        let text = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        return prompt.run_all(text.lines().map(|line| Ok(line.to_owned())), keep_going).await;
    }
    if std::io::stdin().is_terminal() {
        return prompt.interact().await;
    }
    prompt.run_all(std::io::stdin().lock().lines(), keep_going).await
}

impl Prompt {
    /// Runs lines that no person types: stops at the first that fails, unless told to go on.
    async fn run_all(
        &mut self,
        lines: impl IntoIterator<Item = std::io::Result<String>>,
        keep_going: bool,
    ) -> anyhow::Result<()> {
        let mut failed = 0;
        for line in lines {
            let line = line.context("the commands cannot be read")?;
            if self.echo && !line.trim().is_empty() {
                self.session.output.line(format!("{PROMPT}{line}"));
            }
            match self.run_line(&line).await {
                Ok(Then::Next) => {}
                Ok(Then::End) => break,
                Err(error) if keep_going => {
                    failed += 1;
                    commands::report(&error, self.session.output);
                }
                Err(error) => return Err(error),
            }
        }
        ensure!(failed == 0, "{failed} commands failed");
        Ok(())
    }

    /// Reads lines from a person, until there are no more.
    async fn interact(&mut self) -> anyhow::Result<()> {
        let (server, _) = client::resolve(&self.global)?;
        self.session
            .output
            .line(format!("steward shell on {server}: `help` lists the commands, Tab completes, Ctrl-D ends"));
        let mut reader = prompt::Reader::new(PROMPT, self.session.clone())?;
        loop {
            let (back, read) = reader.read().await?;
            reader = back;
            let Some(line) = read else { return Ok(()) };
            let interrupted = tokio::signal::ctrl_c();
            let ran = tokio::select! {
                ran = self.run_line(&line) => ran,
                _ = interrupted => Ok(Then::Next),
            };
            match ran {
                Ok(Then::Next) => {}
                Ok(Then::End) => return Ok(()),
                Err(error) => drop(commands::report(&error, self.session.output)),
            }
            reader.speak_of(&self.session.project);
        }
    }

    async fn run_line(&mut self, text: &str) -> anyhow::Result<Then> {
        let words = line::split(text)?;
        let Some(first) = words.first() else { return Ok(Then::Next) };
        match first.as_str() {
            "exit" | "quit" => return Ok(Then::End),
            "help" => return self.help(&words[1..]).map(|()| Then::Next),
            "use" => return self.use_project(&words[1..]).map(|()| Then::Next),
            outside if OUTSIDE.contains(&outside) => {
                anyhow::bail!("`{outside}` is not for the shell: run `steward {outside}` outside")
            }
            _ => {}
        }
        let arguments = match Arguments::try_parse_from(std::iter::once("steward".to_owned()).chain(words)) {
            Ok(arguments) => arguments,
            // Help that was asked for is a result.
            Err(error) if !error.use_stderr() => {
                self.session.output.line(error.render().to_string().trim_end());
                return Ok(Then::Next);
            }
            Err(error) => anyhow::bail!("{}", error.render().to_string().trim_end().trim_start_matches("error: ")),
        };
        let session = self.session_for(&arguments.global)?;
        Box::pin(commands::ask(arguments.command, &session)).await?;
        Ok(Then::Next)
    }

    /// The session for one line: the shell's, unless the line says otherwise.
    fn session_for(&self, line: &Global) -> anyhow::Result<Session> {
        let output = if line.json { Output::new(true) } else { self.session.output };
        let project = line.project.clone().filter(|project| Some(project) != self.global.project.as_ref());
        let project = project.unwrap_or_else(|| self.session.project.clone());
        let is_other = |said: &Option<String>, own: &Option<String>| said.is_some() && said != own;
        let client = if is_other(&line.server, &self.global.server) || is_other(&line.key, &self.global.key) {
            let server = line.server.clone().or_else(|| self.global.server.clone());
            let key = line.key.clone().or_else(|| self.global.key.clone());
            client::Client::from_global(&Global { server, key, ..line.clone() })?
        } else {
            self.session.client.clone()
        };
        Ok(Session { client, project, output })
    }

    fn help(&self, words: &[String]) -> anyhow::Result<()> {
        let mut command = commands_of_the_shell();
        for word in words {
            let found = command.find_subcommand(word).with_context(|| format!("there is no command {word:?}"))?;
            command = found.clone();
        }
        let output = self.session.output;
        output.line(command.render_help().to_string().trim_end());
        if words.is_empty() {
            output.line("\nIn the shell only: `use PROJECT`, `help [COMMAND]`, `exit`.");
        }
        Ok(())
    }

    fn use_project(&mut self, words: &[String]) -> anyhow::Result<()> {
        let [project] = words else { anyhow::bail!("name one project: use PROJECT") };
        self.session.project.clone_from(project);
        Ok(())
    }
}

/// The command line's commands as the shell has them.
fn commands_of_the_shell() -> clap::Command {
    let whole = Arguments::command();
    let kept: Vec<clap::Command> =
        whole.get_subcommands().filter(|command| !OUTSIDE.contains(&command.get_name())).cloned().collect();
    clap::Command::new("steward")
        .disable_help_subcommand(true)
        .about("The commands of the shell")
        .args(whole.get_arguments().filter(|argument| argument.is_global_set()).cloned())
        .subcommands(kept)
        .help_template("{about}\n\n{subcommands}")
}
