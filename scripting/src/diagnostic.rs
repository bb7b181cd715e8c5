//! What the upload check says about a script.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that is wrong with a script, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The file, such as `agent.rhai`.
    pub file: String,
    /// The line, from 1; 0 when it is the file as a whole.
    pub line: u32,
    /// The column, from 1; 0 when it is the line as a whole.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do, when that is known.
    pub help: Option<String>,
}

impl Diagnostic {
    /// About a file as a whole.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0, column: 0, message: message.into(), help: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// `agent.rhai:3:5: there is no function "caht" (did you mean "chat"?)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}
