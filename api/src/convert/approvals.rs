//! Approvals.

use steward_actors::service::Failure;
use steward_actors::session::{Approval, ApprovalState};

use super::{json, time};
use crate::proto::v1;

pub(crate) fn approval(approval: Approval) -> v1::Approval {
    let decision = approval.decision;
    v1::Approval {
        id: approval.id.to_string(),
        project: approval.project.to_string(),
        session: approval.id.session.to_string(),
        agent: approval.agent.to_string(),
        turn: approval.id.turn,
        step: approval.id.step.to_string(),
        question: approval.question,
        data_json: json(&approval.details),
        state: state(approval.state).into(),
        created_at: time(approval.asked),
        expires_at: time(approval.expires),
        decided_at: decision.as_ref().and_then(|decision| time(decision.decided)),
        decided_by: decision.as_ref().map(|decision| decision.decided_by.clone()).unwrap_or_default(),
        comment: decision.and_then(|decision| decision.comment).unwrap_or_default(),
    }
}

fn state(state: ApprovalState) -> v1::ApprovalState {
    match state {
        ApprovalState::Open => v1::ApprovalState::Open,
        ApprovalState::Approved => v1::ApprovalState::Approved,
        ApprovalState::Rejected => v1::ApprovalState::Rejected,
        ApprovalState::Expired => v1::ApprovalState::Expired,
        ApprovalState::Cancelled => v1::ApprovalState::Cancelled,
    }
}

pub(crate) fn state_from(number: i32) -> Result<Option<ApprovalState>, Failure> {
    match v1::ApprovalState::try_from(number) {
        Ok(v1::ApprovalState::Unspecified) => Ok(None),
        Ok(v1::ApprovalState::Open) => Ok(Some(ApprovalState::Open)),
        Ok(v1::ApprovalState::Approved) => Ok(Some(ApprovalState::Approved)),
        Ok(v1::ApprovalState::Rejected) => Ok(Some(ApprovalState::Rejected)),
        Ok(v1::ApprovalState::Expired) => Ok(Some(ApprovalState::Expired)),
        Ok(v1::ApprovalState::Cancelled) => Ok(Some(ApprovalState::Cancelled)),
        Err(_) => Err(Failure::field("state", format!("there is no state {number}"))),
    }
}
