//! Approvals: what agents ask people.

use std::collections::BTreeMap;

use futures::Stream;
use futures::stream::try_unfold;
use serde_json::Value;
use steward_storage::StoreExt;
use steward_types::limits::APPROVALS_MAX;
use steward_types::{ErrorCode, ProjectId, SessionId};

use super::{Failure, Reach, Steward, error::unexpected};
use crate::session::{
    Approval, ApprovalId, ApprovalState, Decide, ReadError, SessionRequest, SessionResponse, key, read,
};

/// Which approvals to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// Only those in this state.
    pub state: Option<ApprovalState>,
    /// Only this session's.
    pub session: Option<SessionId>,
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Whether the answer is yes.
    pub approved: bool,
    /// What is answered besides yes or no.
    pub answer: Value,
    /// Words for the agent.
    pub comment: Option<String>,
    /// Who answers: a key's id.
    pub decided_by: String,
}

impl Steward {
    /// A project's approvals after `after`, in the order of their sessions, at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn approvals(
        &self,
        project: &ProjectId,
        filter: &ApprovalFilter,
        after: Option<&ApprovalId>,
        limit: usize,
    ) -> Result<Vec<Approval>, Failure> {
        let all = read::approvals(self.store(), project, APPROVALS_MAX).await?;
        let order = |id: &ApprovalId| (id.session, id.turn, id.step.clone());
        let fits = |approval: &Approval| {
            filter.state.is_none_or(|state| state == approval.state)
                && filter.session.is_none_or(|session| session == approval.id.session)
                && after.is_none_or(|after| order(&approval.id) > order(after))
        };
        Ok(all.into_iter().filter(fits).take(limit).collect())
    }

    /// Answers an approval. The same answer again changes nothing.
    ///
    /// # Errors
    /// [`ErrorCode::ApprovalNotFound`], also when it is another project's; [`ErrorCode::ApprovalDecided`].
    pub async fn decide(&self, reach: &Reach, id: ApprovalId, decision: Decision) -> Result<Approval, Failure> {
        let missing = |_| Failure::from(ReadError::ApprovalNotFound(id.clone()));
        self.session(reach, id.session).await.map_err(|failure| match failure.code {
            ErrorCode::SessionNotFound => missing(()),
            _ => failure,
        })?;
        let session = id.session;
        let Decision { approved, answer, comment, decided_by } = decision;
        let decide = Decide { approval: id, approved, answer, comment, decided_by };
        match self.ask_session(session, SessionRequest::Decide(decide)).await? {
            SessionResponse::Decided(approval) => Ok(approval),
            _ => Err(unexpected("the session")),
        }
    }

    /// Every open approval of a project, then each that changes. Dropping the stream costs nothing.
    pub fn watch_approvals(
        &self,
        project: ProjectId,
    ) -> impl Stream<Item = Result<Approval, Failure>> + Send + 'static + use<> {
        let watcher = Watcher { steward: self.clone(), project, seen: None, news: Vec::new() };
        try_unfold(watcher, |mut watcher| async move {
            let approval = watcher.next().await?;
            Ok(Some((approval, watcher)))
        })
    }
}

struct Watcher {
    steward: Steward,
    project: ProjectId,
    seen: Option<BTreeMap<ApprovalId, ApprovalState>>,
    news: Vec<Approval>,
}

impl Watcher {
    async fn next(&mut self) -> Result<Approval, Failure> {
        loop {
            if let Some(approval) = self.news.pop() {
                return Ok(approval);
            }
            let row = key::approval_changes(&self.project);
            let row = &row;
            // The watch stands before the list is read, so that no change falls between the two.
            let changed = self.steward.store().run(|txn| async move { Ok::<_, Failure>(txn.watch(row)?) }).await?;
            self.look().await?;
            if self.news.is_empty() {
                changed.await?;
            }
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let all = read::approvals(self.steward.store(), &self.project, APPROVALS_MAX).await?;
        let seen = self.seen.take();
        let is_news = |approval: &Approval| match &seen {
            None => approval.state == ApprovalState::Open,
            Some(seen) => seen.get(&approval.id) != Some(&approval.state),
        };
        self.news = all.iter().filter(|approval| is_news(approval)).rev().cloned().collect();
        self.seen = Some(all.into_iter().map(|approval| (approval.id, approval.state)).collect());
        Ok(())
    }
}
