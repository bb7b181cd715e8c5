//! How results reach people and programs: tables and colour in a terminal, plain text when piped, JSON when asked.

use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use prost_reflect::{DescriptorPool, DynamicMessage};

/// Where results go, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    json: bool,
    colour: bool,
}

/// What a text means, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Heading,
    /// It went well.
    Good,
    /// It wants attention.
    Warning,
    /// It failed.
    Bad,
    /// Of less weight.
    Faint,
    /// What a model said.
    Voice,
}

impl Output {
    /// JSON when `json`, else for people; colour only in a terminal and where `NO_COLOR` is not set.
    pub fn new(json: bool) -> Self {
        let colour = !json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colour }
    }

    /// Whether results are JSON.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints a line; a reader that has gone away is no error.
    pub fn line(self, text: impl AsRef<str>) {
        let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
    }

    /// Tells a person on standard error what a result lacks; a program, as a line of JSON among the results.
    pub fn warn(self, text: impl AsRef<str>) {
        if self.json {
            return self.line(serde_json::json!({ "warning": text.as_ref() }).to_string());
        }
        let _ = writeln!(std::io::stderr(), "{}", self.paint(Tone::Warning, text));
    }

    /// Prints text as it comes, without a line's end.
    pub fn part(self, text: impl AsRef<str>) {
        let mut out = std::io::stdout();
        let _ = write!(out, "{}", text.as_ref());
        let _ = out.flush();
    }

    /// The text in its colour, or as it is where there is none.
    pub fn paint(self, tone: Tone, text: impl AsRef<str>) -> String {
        let style = match tone {
            Tone::Heading => Style::new().bold(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Warning => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Voice => AnsiColor::Cyan.on_default(),
        };
        let text = text.as_ref();
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Prints rows under a heading; says `nothing` where there are none.
    pub fn table(self, heading: &[&str], rows: Vec<Vec<String>>, nothing: &str) {
        if rows.is_empty() {
            return self.line(nothing);
        }
        let mut table = Table::new();
        table.load_preset(if self.colour { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(heading);
        table.add_rows(rows);
        for line in table.lines() {
            self.line(line.trim_end());
        }
    }

    /// Prints name and value pairs, aligned.
    pub fn facts(self, facts: &[(&str, String)]) {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in facts {
            self.line(format!("{}  {value}", self.paint(Tone::Faint, format!("{name:<width$}"))));
        }
    }

    /// Prints a message of the API as one line of JSON (the canonical mapping of protobuf).
    ///
    /// # Errors
    /// None in practice: `name` is a message of `steward.v1`.
    pub fn message<M: prost::Message>(self, name: &str, message: &M) -> anyhow::Result<()> {
        self.line(message_json(name, message)?.to_string());
        Ok(())
    }

    /// A progress bar on standard error; hidden when that is no terminal.
    pub fn progress(self, what: &str, total_bytes: u64) -> ProgressBar {
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(total_bytes) };
        let template = "  {msg:<34} {bar:30.cyan/blue} {bytes:>10} of {total_bytes:>10} {eta:>4}";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what.to_owned());
        bar
    }

    /// A spinner on standard error for work whose size is not known.
    pub fn spinner(self, what: &str) -> ProgressBar {
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        let style = ProgressStyle::with_template("  {spinner:.cyan} {msg} {elapsed:.dim}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        bar
    }
}

/// A message of the API in protobuf's canonical JSON.
///
/// # Errors
/// When `name` is not a message of `steward.v1`.
pub fn message_json<M: prost::Message>(name: &str, message: &M) -> anyhow::Result<serde_json::Value> {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        DescriptorPool::decode(steward_api::proto::DESCRIPTORS).expect("the committed descriptors decode")
    });
    let descriptor =
        pool.get_message_by_name(&format!("steward.v1.{name}")).with_context(|| format!("no message {name}"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let options = prost_reflect::SerializeOptions::new().skip_default_fields(false).use_proto_field_name(true);
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &options)?)
}
