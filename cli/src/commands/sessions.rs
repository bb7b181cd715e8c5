//! `steward sessions` and `steward logs`: list, show, follow, replay, cancel, end.

use futures::StreamExt as _;
use steward_api::proto::v1;
use steward_api::proto::v1::SessionEventKind as Kind;
use steward_types::{Micros, Timestamp};

use super::Session;
use crate::args::{Logs, Sessions};
use crate::output::{Output, Tone};

/// What the session's history says of a cancellation from here.
const REASON: &str = "from the command line";

/// Runs one of `sessions`.
///
/// # Errors
/// What the node refused; for `replay`, that the turn went another way.
pub async fn run(command: Sessions, session: &Session) -> anyhow::Result<()> {
    let (output, mut sessions) = (session.output, session.client.sessions());
    match command {
        Sessions::List { agent, most } => {
            let request = v1::ListSessionsRequest {
                project: session.project.clone(),
                agent: agent.unwrap_or_default(),
                page_size: most,
                ..Default::default()
            };
            let listed = sessions.list(request).await?.into_inner();
            if output.is_json() {
                return listed.sessions.iter().try_for_each(|one| output.message("Session", one));
            }
            let rows = listed.sessions.iter().map(|one| {
                let spent = Micros::new(one.spent_micros).to_string();
                vec![one.id.clone(), one.agent.clone(), state_word(one.state()).into(), one.turns.to_string(), spent]
            });
            output.table(&["session", "agent", "state", "turns", "spent"], rows.collect(), "no session yet");
            Ok(())
        }
        Sessions::Show { session: id } => show(session, id).await,
        Sessions::Follow { session: id, from, no_wait } => follow(session, id, from, no_wait).await,
        Sessions::Replay { session: id, turn } => {
            let replayed = sessions.replay(v1::ReplayRequest { session: id, turn }).await?.into_inner();
            if output.is_json() {
                output.message("ReplayResponse", &replayed)?;
            }
            anyhow::ensure!(replayed.equal, "turn {} went another way: {}", replayed.turn, replayed.divergence);
            if !output.is_json() {
                let equal = output.paint(Tone::Good, "equal");
                output.line(format!("turn {}: {} steps from the journal, {equal}", replayed.turn, replayed.steps));
            }
            Ok(())
        }
        Sessions::Journal { session: id, turn } => journal(session, id, turn).await,
        Sessions::Fork { session: id, at, label } => fork(session, id, at, label).await,
        Sessions::Cancel { session: id, confirm } => {
            session.confirm(&format!("cancel the turn in hand of {id}"), confirm)?;
            let request = v1::CancelTurnRequest { session: id, reason: REASON.to_owned() };
            changed(output, &sessions.cancel(request).await?.into_inner())
        }
        Sessions::End { session: id, confirm } => {
            session.confirm(&format!("end {id}"), confirm)?;
            let request = v1::EndSessionRequest { session: id, reason: REASON.to_owned() };
            changed(output, &sessions.end(request).await?.into_inner())
        }
    }
}

fn changed(output: Output, session: &v1::Session) -> anyhow::Result<()> {
    if output.is_json() {
        return output.message("Session", session);
    }
    output.line(format!("{} is {}", session.id, state_word(session.state())));
    Ok(())
}

async fn fork(session: &Session, id: String, turn: u64, label: String) -> anyhow::Result<()> {
    let output = session.output;
    let request = v1::ForkSessionRequest { session: id.clone(), turn, label, idempotency_key: String::new() };
    let forked = session.client.sessions().fork(request).await?.into_inner();
    if output.is_json() {
        return output.message("Session", &forked);
    }
    output.line(format!("{} has the first {} turns of {id}", forked.id, forked.turns));
    Ok(())
}

async fn journal(session: &Session, id: String, turn: u64) -> anyhow::Result<()> {
    let (output, mut sessions) = (session.output, session.client.sessions());
    let mut request = v1::JournalRequest { session: id, turn, page_size: 1000, page_token: String::new() };
    let mut steps = 0;
    loop {
        let page = sessions.journal(request.clone()).await?.into_inner();
        steps += page.entries.len();
        for entry in &page.entries {
            if output.is_json() {
                output.message("JournalEntry", entry)?;
                continue;
            }
            let place = output.paint(Tone::Heading, format!("{}/{}", entry.turn, entry.step));
            let price = Micros::new(entry.price_micros);
            output.line(format!("{place} {} {} {price}", entry.function, entry.state));
            if !entry.arguments_json.is_empty() {
                output.line(format!("    asked    {}", shorten(&entry.arguments_json, 200)));
            }
            match &entry.failure {
                Some(failure) => output.line(format!("    failed   {}: {}", failure.reason, failure.message)),
                None if entry.result_json.is_empty() => {}
                None => output.line(format!("    answered {}", shorten(&entry.result_json, 200))),
            }
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if steps == 0 && !output.is_json() {
        output.line("no step yet");
    }
    Ok(())
}

async fn show(session: &Session, id: String) -> anyhow::Result<()> {
    let (output, mut sessions) = (session.output, session.client.sessions());
    let one = sessions.get(v1::GetSessionRequest { session: id.clone() }).await?.into_inner();
    let request = v1::JournalRequest { session: id, turn: 0, page_size: 1000, page_token: String::new() };
    let journal = sessions.journal(request).await?.into_inner();
    if output.is_json() {
        output.message("Session", &one)?;
        return journal.entries.iter().try_for_each(|entry| output.message("JournalEntry", entry));
    }
    let mut facts = vec![
        ("session", one.id.clone()),
        ("agent", format!("{} version {}", one.agent, one.agent_version)),
        ("state", state_word(one.state()).to_owned()),
        ("turns", one.turns.to_string()),
        ("spent", Micros::new(one.spent_micros).to_string()),
    ];
    if one.inbox > 0 {
        facts.push(("inbox", one.inbox.to_string()));
    }
    if !one.held_back.is_empty() {
        facts.push(("held back", output.paint(Tone::Warning, &one.held_back)));
    }
    if !one.forked_from.is_empty() {
        facts.push(("forked from", one.forked_from.clone()));
    }
    output.facts(&facts);
    let rows = journal.entries.iter().map(|entry| {
        let result = entry.failure.as_ref().map_or(&entry.result_json, |failure| &failure.message);
        let price = Micros::new(entry.price_micros).to_string();
        let words = [entry.function.clone(), entry.state.clone(), price, shorten(result, 60)];
        [entry.turn.to_string(), entry.step.clone()].into_iter().chain(words).collect()
    });
    output.table(&["turn", "step", "function", "state", "price", "result"], rows.collect(), "no step yet");
    Ok(())
}

async fn follow(session: &Session, id: String, from: u64, no_wait: bool) -> anyhow::Result<()> {
    let request =
        v1::WatchSessionRequest { session: id, from_sequence: from, without_deltas: false, stop_at_end: no_wait };
    let mut events = session.client.sessions().watch(request).await?.into_inner();
    let mut printer = Printer::new(session.output);
    while let Some(event) = events.next().await {
        printer.print(&event?)?;
    }
    Ok(())
}

/// Runs `logs`: a line an event, tokens left out.
///
/// # Errors
/// What the node refused.
pub async fn logs(logs: &Logs, session: &Session) -> anyhow::Result<()> {
    let request = v1::WatchSessionRequest {
        session: logs.session.clone(),
        from_sequence: 1,
        without_deltas: true,
        stop_at_end: !logs.follow,
    };
    let mut events = session.client.sessions().watch(request).await?.into_inner();
    while let Some(event) = events.next().await {
        let event = event?;
        if session.output.is_json() {
            session.output.message("SessionEvent", &event)?;
            continue;
        }
        let at = event.at.as_ref().map(to_timestamp).unwrap_or_default();
        let place = if event.turn == 0 { String::new() } else { format!("{}/{}", event.turn, event.step) };
        let kind = event.kind().as_str_name().trim_start_matches("SESSION_EVENT_KIND_").to_ascii_lowercase();
        let said = [event.name.as_str(), event.text.as_str(), event.data_json.as_str()];
        let said: Vec<&str> = said.into_iter().filter(|text| !text.is_empty()).collect();
        let failure = event.failure.map(|failure| format!(" {}: {}", failure.reason, failure.message));
        let said = shorten(&said.join(" "), 160);
        session.output.line(format!("{at} {place:<6} {kind:<18} {said}{}", failure.unwrap_or_default()));
    }
    Ok(())
}

pub(crate) fn to_timestamp(at: &prost_types::Timestamp) -> Timestamp {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    Timestamp::from_millis(
        seconds.saturating_mul(1000).saturating_add(u64::try_from(at.nanos / 1_000_000).unwrap_or(0)),
    )
}

/// Prints a session's events as a story: the model's words as they come, the rest a line each.
#[derive(Debug)]
pub struct Printer {
    output: Output,
    in_words: bool,
}

impl Printer {
    /// A printer at the start of a line.
    pub fn new(output: Output) -> Self {
        Self { output, in_words: false }
    }

    /// Prints one event.
    ///
    /// # Errors
    /// None in practice.
    pub fn print(&mut self, event: &v1::SessionEvent) -> anyhow::Result<()> {
        let output = self.output;
        if output.is_json() {
            return output.message("SessionEvent", event);
        }
        if event.kind() == Kind::Delta {
            if !self.in_words {
                output.part(output.paint(Tone::Faint, "  model  "));
                self.in_words = true;
            }
            output.part(output.paint(Tone::Voice, event.text.replace('\n', "\n         ")));
            return Ok(());
        }
        if let Some(line) = self.line(event) {
            if std::mem::take(&mut self.in_words) {
                output.line("");
            }
            output.line(line);
        }
        Ok(())
    }

    fn line(&self, event: &v1::SessionEvent) -> Option<String> {
        let output = self.output;
        let faint = |word: &str| output.paint(Tone::Faint, word);
        let cost = || Micros::new(event.micros).to_string();
        Some(match event.kind() {
            Kind::Message => format!("{} {}", output.paint(Tone::Heading, "▶ you   "), said(&event.data_json)),
            Kind::StepStarted => {
                format!("{} {} {}", faint("  step  "), event.name, faint(&shorten(&event.data_json, 90)))
            }
            Kind::StepFinished => {
                let price = if event.micros == 0 { String::new() } else { format!(" {}", faint(&cost())) };
                format!("{} {}{price} {}", faint("    =   "), event.name, faint(&shorten(&event.data_json, 90)))
            }
            Kind::StepFailed => {
                let failure = event.failure.clone().unwrap_or_default();
                format!("{} {} {}", faint("    =   "), event.name, output.paint(Tone::Warning, failure.message))
            }
            Kind::Reply => format!("{} {}", output.paint(Tone::Good, "◀ agent "), event.text),
            Kind::Emitted => format!("{} {} {}", faint("  event "), event.name, event.data_json),
            Kind::Logged => format!("{} {}", faint("  log   "), event.text),
            Kind::ApprovalRequested => {
                let asks = output.paint(Tone::Warning, "? asks  ");
                format!(
                    "{asks} {}\n         {}",
                    event.text,
                    faint(&format!("steward approvals approve {}", event.name))
                )
            }
            Kind::ApprovalDecided => format!("{} {}", faint("  answer"), event.data_json),
            Kind::Suspended => faint("  waits, and holds no memory meanwhile"),
            Kind::Resumed => faint("  goes on"),
            Kind::TurnFinished => format!("{} {}", faint("  spent "), cost()),
            Kind::TurnFailed => {
                let failure = event.failure.clone().unwrap_or_default();
                let place = match (failure.file.as_str(), failure.line) {
                    ("", _) => String::new(),
                    (file, line) => format!(" at {file}:{line}"),
                };
                output.paint(Tone::Bad, format!("  failed {}: {}{place}", failure.reason, failure.message))
            }
            Kind::TurnCancelled => output.paint(Tone::Warning, "  cancelled"),
            Kind::Ended => faint("  the session has ended"),
            Kind::Opened | Kind::TurnStarted | Kind::Delta | Kind::Unspecified => return None,
        })
    }
}

/// A message's text; the whole message where it has none.
fn said(message_json: &str) -> String {
    let message: serde_json::Value = serde_json::from_str(message_json).unwrap_or_default();
    message["text"].as_str().filter(|text| !text.is_empty()).map_or_else(|| shorten(message_json, 120), str::to_owned)
}

/// The text's first line, cut after `most` characters.
pub fn shorten(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= most && line.len() == text.len() {
        return line.to_owned();
    }
    format!("{}…", line.chars().take(most).collect::<String>())
}

fn state_word(state: v1::SessionState) -> &'static str {
    match state {
        v1::SessionState::Unspecified => "unknown",
        v1::SessionState::Idle => "idle",
        v1::SessionState::Running => "running",
        v1::SessionState::Waiting => "waiting",
        v1::SessionState::Ended => "ended",
    }
}
