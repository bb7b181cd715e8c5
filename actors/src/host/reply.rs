//! The answer that an asker waits for. It is always given: a reply dropped unanswered goes back to its cell,
//! which knows why it was dropped.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::error::AskError;

/// How an answer reaches its asker.
pub(crate) type Answer<R> = oneshot::Sender<Result<R, AskError>>;

/// Takes the replies that were dropped unanswered.
pub(crate) trait Unanswered<R>: Send + Sync {
    fn give_back(&self, answer: Answer<R>);
}

/// Answers one request, once. A reply dropped unanswered answers with the fault that dropped it.
pub struct Reply<R> {
    answer: Option<Answer<R>>,
    unanswered: Arc<dyn Unanswered<R>>,
}

impl<R> Reply<R> {
    pub(crate) fn new(answer: Option<Answer<R>>, unanswered: Arc<dyn Unanswered<R>>) -> Self {
        Self { answer, unanswered }
    }

    /// Answers. Nothing happens when nobody waits any more.
    pub fn send(mut self, response: R) {
        self.answer_with(Ok(response));
    }

    /// Whether somebody still waits for the answer: false for a tell, and once the asker has given up.
    pub fn is_wanted(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| !answer.is_closed())
    }

    /// Returns once nobody waits for the answer any more; at once for a tell. Dropping the future changes nothing.
    pub async fn abandoned(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.closed().await;
        }
    }

    pub(crate) fn fail(mut self, error: AskError) {
        self.answer_with(Err(error));
    }

    /// Forgets the asker, who learns by other means that nothing was done.
    pub(crate) fn withdraw(mut self) {
        self.answer = None;
    }

    /// Takes the way back to the asker, to try another delivery.
    pub(crate) fn into_answer(mut self) -> Option<Answer<R>> {
        self.answer.take()
    }

    fn answer_with(&mut self, result: Result<R, AskError>) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(result);
        }
    }
}

impl<R> std::fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("wanted", &self.is_wanted()).finish_non_exhaustive()
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.unanswered.give_back(answer);
        }
    }
}
