//! `steward triggers`: events of chains that start sessions, and how far each is.

use steward_api::proto::v1;

use super::Session;
use crate::args::Triggers;
use crate::output::Tone;

/// Runs one of `triggers`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Option<Triggers>, session: &Session) -> anyhow::Result<()> {
    match command.unwrap_or(Triggers::Ls) {
        Triggers::Ls => list(session).await,
        Triggers::Resume { agent, trigger, from, confirm } => {
            let place = from.as_deref().unwrap_or("at its checkpoint, or now if the chain is a new one");
            session.confirm(&format!("let {agent}/{trigger} go on ({place})"), confirm)?;
            resume(session, agent, trigger, from.unwrap_or_default()).await
        }
    }
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let (mut triggers, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListTriggersRequest { project: session.project.clone(), page_size: 1000, page_token };
        let page = session.client.triggers().list(request).await?.into_inner();
        triggers.extend(page.triggers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if output.is_json() {
        return triggers.iter().try_for_each(|trigger| output.message("Trigger", trigger));
    }
    let rows = triggers.iter().map(row).collect();
    let heading = ["trigger", "agent", "chain", "state", "checkpoint", "behind", "started", "skipped"];
    output.table(&heading, rows, "no agent of the project has a trigger");
    for trigger in &triggers {
        tell_problems(session, trigger);
    }
    Ok(())
}

fn row(trigger: &v1::Trigger) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    vec![
        trigger.name.clone(),
        trigger.agent.clone(),
        trigger.chain.clone(),
        trigger.state.clone(),
        number(trigger.checkpoint),
        number(trigger.lag_blocks),
        trigger.started.to_string(),
        trigger.skipped.to_string(),
    ]
}

/// Why a trigger does not go on, what failed before, and what it left out.
fn tell_problems(session: &Session, trigger: &v1::Trigger) {
    let output = session.output;
    let name = format!("{}/{}", trigger.agent, trigger.name);
    let tell = |what: &str, text: &str| output.line(output.paint(Tone::Warning, format!("{name}: {what}: {text}")));
    if !trigger.reason.is_empty() {
        tell(&trigger.state, &trigger.reason);
    }
    if !trigger.last_error.is_empty() && trigger.last_error != trigger.reason {
        tell("failed", &trigger.last_error);
    }
    for skipped in &trigger.skipped_events {
        let v1::SkippedEvent { block, transaction, index, code, reason, .. } = skipped;
        tell("skipped", &format!("event {index} of {transaction} in block {block}: {code}: {reason}"));
    }
}

async fn resume(session: &Session, agent: String, trigger: String, from: String) -> anyhow::Result<()> {
    let (project, name) = (session.project.clone(), trigger);
    let request = v1::ResumeTriggerRequest { project, agent, name, from };
    let resumed = session.client.triggers().resume(request).await?.into_inner();
    if session.output.is_json() {
        return session.output.message("Trigger", &resumed);
    }
    session.output.line(format!("{}/{} goes on", resumed.agent, resumed.name));
    Ok(())
}
