//! Changes on an operator's word: each leaves an entry in the audit trail, whatever service it came by.
//!
//! Work is no change of this kind: opening sessions, messages and direct calls stand in sessions' logs and receipts,
//! whoever asked for them.

use serde_json::Value;
use steward_actors::project::Role;
use steward_actors::service::{Caller, Failure};

use super::Services;

/// What is changed, as the trail tells it.
pub(super) struct Change {
    operation: &'static str,
    subject: String,
    arguments: Value,
}

impl Change {
    /// An operation on a subject, without arguments.
    pub(super) fn new(operation: &'static str, subject: impl ToString) -> Self {
        Self { operation, subject: subject.to_string(), arguments: Value::Null }
    }

    /// With these arguments; secrets are none.
    pub(super) fn with(self, arguments: Value) -> Self {
        Self { arguments, ..self }
    }
}

impl Services {
    /// Changes something, with an entry in the audit trail when an operator asks. What a project's own keys do is the
    /// project's.
    pub(super) async fn change<T>(
        &self,
        caller: &Caller,
        change: Change,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if caller.role != Role::Root {
            return work.await;
        }
        let operator = self.steward.operator(caller.key.clone());
        operator.audited(change.operation, change.subject, change.arguments, work).await
    }
}
