//! `steward pause` and `resume`: operators hold an agent, a project or a chain back, and let it go on.

use steward_api::proto::v1;

use super::{Session, when};
use crate::args::{Confirm, Pause, Subject};

/// Runs `pause`; without a subject, shows what is paused.
///
/// # Errors
/// What the node refused.
pub async fn pause(command: Pause, session: &Session) -> anyhow::Result<()> {
    let Pause { subject, reason, yes } = command;
    let Some(subject) = subject else { return list(session).await };
    let subject = on_the_wire(subject, session);
    session.confirm(&format!("pause {}", words(&subject)), Confirm { yes })?;
    let request = v1::PauseRequest { subject: Some(subject.clone()), reason };
    let paused = session.client.operations().pause(request).await?.into_inner();
    if session.output.is_json() {
        return session.output.message("PauseResponse", &paused);
    }
    session.output.line(format!("{} is paused", words(&subject)));
    Ok(())
}

/// Runs `resume`.
///
/// # Errors
/// What the node refused.
pub async fn resume(subject: Subject, session: &Session) -> anyhow::Result<()> {
    let subject = on_the_wire(subject, session);
    let request = v1::ResumeRequest { subject: Some(subject.clone()) };
    let resumed = session.client.operations().resume(request).await?.into_inner();
    if session.output.is_json() {
        return session.output.message("ResumeResponse", &resumed);
    }
    let outcome = if resumed.was_paused { "goes on" } else { "was not paused" };
    session.output.line(format!("{} {outcome}", words(&subject)));
    Ok(())
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let pauses = session.client.operations().pauses(v1::PausesRequest {}).await?.into_inner().pauses;
    if output.is_json() {
        return pauses.iter().try_for_each(|pause| output.message("Pause", pause));
    }
    let row = |pause: &v1::Pause| {
        let subject = pause.subject.as_ref().map(words).unwrap_or_default();
        vec![subject, when(pause.since.as_ref()), pause.by.clone(), pause.reason.clone()]
    };
    output.table(&["paused", "since", "by", "reason"], pauses.iter().map(row).collect(), "nothing is paused");
    Ok(())
}

fn on_the_wire(subject: Subject, session: &Session) -> v1::PauseSubject {
    match subject {
        Subject::Agent { name } => {
            v1::PauseSubject { agent: name, project: session.project.clone(), chain: String::new() }
        }
        Subject::Project { name } => v1::PauseSubject { project: name, ..Default::default() },
        Subject::Chain { id } => v1::PauseSubject { chain: id, ..Default::default() },
    }
}

fn words(subject: &v1::PauseSubject) -> String {
    match (subject.agent.as_str(), subject.project.as_str(), subject.chain.as_str()) {
        ("", "", chain) => format!("chain {chain}"),
        ("", project, _) => format!("project {project}"),
        (agent, project, _) => format!("agent {agent} of project {project}"),
    }
}
