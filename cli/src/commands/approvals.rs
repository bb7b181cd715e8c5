//! `steward approvals`: what agents ask people, and the answers.

use steward_api::proto::v1;

use super::Session;
use crate::args::Approvals;
use crate::output::Tone;

/// Runs one of `approvals`.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Approvals, session: &Session) -> anyhow::Result<()> {
    match command {
        Approvals::List { all } => list(session, all).await,
        Approvals::Approve { id, comment } => decide(session, id, true, comment).await,
        Approvals::Reject { id, comment } => decide(session, id, false, comment).await,
    }
}

async fn list(session: &Session, all: bool) -> anyhow::Result<()> {
    let output = session.output;
    let state = if all { v1::ApprovalState::Unspecified } else { v1::ApprovalState::Open };
    let request = v1::ListApprovalsRequest {
        project: session.project.clone(),
        state: state.into(),
        page_size: 1000,
        ..Default::default()
    };
    let listed = session.client.approvals().list(request).await?.into_inner();
    if output.is_json() {
        return listed.approvals.iter().try_for_each(|approval| output.message("Approval", approval));
    }
    let rows = listed.approvals.iter().map(|approval| {
        vec![
            approval.id.clone(),
            approval.agent.clone(),
            state_word(approval.state()).to_owned(),
            approval.question.clone(),
        ]
    });
    output.table(&["approval", "agent", "state", "question"], rows.collect(), "nobody is asked anything");
    Ok(())
}

/// Answers a question.
///
/// # Errors
/// When it was answered otherwise before, or is not there.
pub async fn decide(session: &Session, id: String, approved: bool, comment: String) -> anyhow::Result<()> {
    let request = v1::DecideApprovalRequest { id, approved, comment, answer_json: String::new() };
    let decided = session.client.approvals().decide(request).await?.into_inner();
    if session.output.is_json() {
        return session.output.message("Approval", &decided);
    }
    let tone = if approved { Tone::Good } else { Tone::Warning };
    let word = session.output.paint(tone, state_word(decided.state()));
    session.output.line(format!("{word}: {}", decided.question));
    Ok(())
}

fn state_word(state: v1::ApprovalState) -> &'static str {
    match state {
        v1::ApprovalState::Unspecified => "unknown",
        v1::ApprovalState::Open => "open",
        v1::ApprovalState::Approved => "approved",
        v1::ApprovalState::Rejected => "rejected",
        v1::ApprovalState::Expired => "expired",
        v1::ApprovalState::Cancelled => "cancelled",
    }
}
