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
        let _ = writeln!(std::io::stdout(), "{}", self.printable(text.as_ref()));
    }

    /// Tells a person on standard error what a result lacks; a program, as a line of JSON among the results.
    pub fn warn(self, text: impl AsRef<str>) {
        if self.json {
            return self.line(serde_json::json!({ "warning": text.as_ref() }).to_string());
        }
        self.complain(Tone::Warning, "", text);
    }

    /// Tells a person on standard error what is wrong, after a word in its tone.
    pub fn complain(self, tone: Tone, word: &str, text: impl AsRef<str>) {
        let told = match word {
            "" => self.paint(tone, text),
            word => format!("{} {}", self.paint(tone, word), text.as_ref()),
        };
        let _ = writeln!(std::io::stderr(), "{}", self.printable(&told));
    }

    /// Clears the screen of a terminal and goes to its upper left corner (ECMA-48).
    pub fn clear(self) {
        let mut out = std::io::stdout();
        let _ = write!(out, "\u{1b}[2J\u{1b}[H");
        let _ = out.flush();
    }

    /// Prints text as it comes, without a line's end.
    pub fn part(self, text: impl AsRef<str>) {
        let mut out = std::io::stdout();
        let _ = write!(out, "{}", self.printable(text.as_ref()));
        let _ = out.flush();
    }

    /// The text in its colour, or as it is where there is none.
    pub fn paint(self, tone: Tone, text: impl AsRef<str>) -> String {
        let (style, text) = (tone.style(), text.as_ref());
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The text as a terminal may have it. Much of what is printed is the word of others: of models, scripts, endpoints. What
    /// would move the cursor, clear the screen or turn the line's direction is written as its number; what ends a line, tabs
    /// and our own colours stay.
    fn printable(self, text: &str) -> String {
        let mut printable = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let painted = if self.colour { own_colour(rest) } else { None };
            let taken = painted.unwrap_or(character.len_utf8());
            if painted.is_some() || is_harmless(character) {
                printable.push_str(&rest[..taken]);
            } else {
                // As JSON writes it, so that a value of JSON stays the same value.
                printable.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            rest = &rest[taken..];
        }
        printable
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
        // Before the columns are laid out, which go by what is seen.
        table.add_rows(rows.iter().map(|row| row.iter().map(|cell| self.printable(cell))));
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

impl Tone {
    const ALL: [Self; 6] = [Self::Heading, Self::Good, Self::Warning, Self::Bad, Self::Faint, Self::Voice];

    const fn style(self) -> Style {
        match self {
            Self::Heading => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Faint => Style::new().dimmed(),
            Self::Voice => AnsiColor::Cyan.on_default(),
        }
    }
}

/// How long the sequence of ours is that the text begins with.
fn own_colour(text: &str) -> Option<usize> {
    if !text.starts_with('\u{1b}') {
        return None;
    }
    let sequences = Tone::ALL.into_iter().flat_map(|tone| [format!("{}", tone.style()), format!("{:#}", tone.style())]);
    sequences.filter(|sequence| !sequence.is_empty() && text.starts_with(sequence)).map(|found| found.len()).next()
}

/// Whether a character only shows itself. Besides controls, those do not that turn the direction of what follows (UAX 9).
fn is_harmless(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    matches!(character, '\n' | '\t') || !(character.is_control() || turns)
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Output = Output { json: false, colour: false };
    const COLOURED: Output = Output { json: false, colour: true };

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_obeyed() {
        let check =
            |output: Output, text: &str, expected: &str| assert_eq!(output.printable(text), expected, "{text:?}");
        for output in [PLAIN, COLOURED] {
            check(output, "two\nlines\tand a tab, größer", "two\nlines\tand a tab, größer");
            check(output, "gone\u{1b}[2J\u{1b}[H\r\u{7}", r"gone\u001b[2J\u001b[H\u000d\u0007");
            check(output, "\u{1b}]0;title\u{7}", r"\u001b]0;title\u0007");
            check(output, "\u{9b}2J\u{7f}", r"\u009b2J\u007f");
            check(output, "pay \u{202e}ecila", r"pay \u202eecila");
            check(output, "\u{1b}[8mhidden", r"\u001b[8mhidden");
        }
        check(PLAIN, "\u{1b}[32mall is well\u{1b}[0m", r"\u001b[32mall is well\u001b[0m");
    }

    #[test]
    fn our_own_colours_stay_and_json_stays_the_same_value() {
        for tone in Tone::ALL {
            let painted = COLOURED.paint(tone, "word");
            assert!(painted.starts_with('\u{1b}'));
            assert_eq!(COLOURED.printable(&painted), painted);
        }
        let value = serde_json::json!({ "said": "\u{1b}[2J\u{9b}\u{202e}\u{7f}" });
        let printed = Output { json: true, colour: false }.printable(&value.to_string());
        assert!(printed.is_ascii() && !printed.contains('\u{7f}'), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }
}
