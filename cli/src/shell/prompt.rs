//! Reads lines from a person at a terminal: editing, history that stays, completion.

use std::borrow::Cow;

use anyhow::Context as _;
use reedline::{
    ColumnarMenu, Completer, CompletionResult, DefaultHinter, Emacs, FileBackedHistory, KeyCode, KeyModifiers,
    MenuBuilder as _, Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    default_emacs_keybindings,
};
use std::sync::Arc;

use parking_lot::Mutex;

use super::complete::Completion;
use super::names::Names;
use crate::commands::Session;
use crate::credentials;

/// Lines that are remembered from one shell to the next.
const HISTORY_LINES_MAX: usize = 10_000;
const MENU: &str = "completion";

/// Reads lines. Reading blocks, so it goes to a thread and comes back with the line.
pub(super) struct Reader {
    editor: Reedline,
    prompt: Line,
    completion: Arc<Mutex<Completion>>,
}

impl Reader {
    /// A reader with the history of earlier shells.
    ///
    /// # Errors
    /// When the history cannot be kept.
    pub(super) fn new(prompt: &'static str, session: Session) -> anyhow::Result<Self> {
        let file = credentials::file()?.with_file_name("history");
        let history = FileBackedHistory::with_file(HISTORY_LINES_MAX, file.clone());
        let history = history.with_context(|| format!("{} cannot be kept", file.display()))?;
        let completion = Completion::new(super::commands_of_the_shell(), Names::new(session));
        let completion = Arc::new(Mutex::new(completion));
        let mut keys = default_emacs_keybindings();
        let complete = vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext];
        keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(complete));
        let editor = Reedline::create()
            .with_history(Box::new(history))
            .with_completer(Box::new(Shared(Arc::clone(&completion))))
            .with_menu(ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU))))
            .with_hinter(Box::new(DefaultHinter::default()))
            .with_edit_mode(Box::new(Emacs::new(keys)));
        Ok(Self { editor, prompt: Line(prompt), completion })
    }

    /// The next line; nothing at the end of the input.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub(super) async fn read(mut self) -> anyhow::Result<(Self, Option<String>)> {
        let read = tokio::task::spawn_blocking(move || {
            let signal = self.editor.read_line(&self.prompt);
            (self, signal)
        });
        let (reader, signal) = read.await.context("the prompt crashed")?;
        let line = match signal.context("the terminal cannot be read")? {
            Signal::Success(line) => Some(line),
            // The line is thrown away, as in any shell.
            Signal::CtrlC => Some(String::new()),
            _ => None,
        };
        Ok((reader, line))
    }

    /// From now on names are of this project.
    pub(super) fn speak_of(&self, project: &str) {
        self.completion.lock().speak_of(project);
    }
}

/// Completion that the reader can still reach.
struct Shared(Arc<Mutex<Completion>>);

impl Completer for Shared {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        self.0.lock().complete(line, position)
    }
}

/// The prompt: one word and no ornament.
struct Line(&'static str);

impl Prompt for Line {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        self.0.into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed(": ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        format!("(history: {}) ", search.term).into()
    }
}
