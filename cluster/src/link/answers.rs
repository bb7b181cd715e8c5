//! Answers to calls that may come again under the same request id: a repetition waits for the first or gets its answer,
//! and is not done twice while the first is remembered.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use steward_types::NodeId;
use steward_types::limits::{LINK_ANSWERS_KEPT_BYTES_MAX, LINK_ANSWERS_KEPT_MAX};
use tokio::sync::oneshot;

use super::frame::{FRAME_OVERHEAD_BYTES, Outcome, RequestId};

type Key = (NodeId, RequestId);

/// The remembered answers of one node, bounded in number and bytes; the oldest go first.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    running: HashMap<Key, Vec<oneshot::Sender<Outcome>>>,
    finished: HashMap<Key, Outcome>,
    oldest: VecDeque<Key>,
    bytes: usize,
}

/// What to do with a call.
pub(super) enum Start {
    /// It is new: do it, and say how it ended.
    First(First),
    /// It is being done.
    Running(oneshot::Receiver<Outcome>),
    /// It was done.
    Finished(Outcome),
}

/// The right to do a call. Dropping it unfinished lets the next repetition do the call.
pub(super) struct First {
    answers: Answers,
    key: Key,
}

impl Answers {
    /// Looks the call up and, if it is new, records that it is being done.
    pub fn start(&self, peer: NodeId, id: RequestId) -> Start {
        let key = (peer, id);
        let mut kept = self.0.lock();
        if let Some(outcome) = kept.finished.get(&key) {
            return Start::Finished(outcome.clone());
        }
        if let Some(waiting) = kept.running.get_mut(&key) {
            let (sender, outcome) = oneshot::channel();
            waiting.push(sender);
            return Start::Running(outcome);
        }
        kept.running.insert(key, Vec::new());
        Start::First(First { answers: self.clone(), key })
    }
}

impl First {
    /// Keeps the outcome, if the call was done, and gives it to the repetitions that wait.
    pub fn finish(self, outcome: &Outcome) {
        let mut kept = self.answers.0.lock();
        for waiting in kept.running.remove(&self.key).unwrap_or_default() {
            // The repetition's channel may be gone.
            let _ = waiting.send(outcome.clone());
        }
        if !matches!(outcome, Outcome::Overloaded { .. } | Outcome::Expired) {
            kept.keep(self.key, outcome.clone());
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.answers.0.lock().running.remove(&self.key);
    }
}

impl Kept {
    fn keep(&mut self, key: Key, outcome: Outcome) {
        self.bytes += bytes(&outcome);
        self.finished.insert(key, outcome);
        self.oldest.push_back(key);
        while self.oldest.len() > LINK_ANSWERS_KEPT_MAX || self.bytes > LINK_ANSWERS_KEPT_BYTES_MAX {
            let Some(gone) = self.oldest.pop_front().and_then(|key| self.finished.remove(&key)) else { return };
            self.bytes -= bytes(&gone);
        }
    }
}

fn bytes(outcome: &Outcome) -> usize {
    FRAME_OVERHEAD_BYTES
        + match outcome {
            Outcome::Answer(payload) => payload.len(),
            Outcome::Refused { message, .. } => message.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId::from_bytes([1; 16]);

    #[tokio::test]
    async fn a_repetition_waits_for_the_first_and_later_gets_its_answer() {
        let answers = Answers::default();
        let Start::First(first) = answers.start(PEER, [1; 16]) else { panic!("a new call is the first") };
        let Start::Running(repetition) = answers.start(PEER, [1; 16]) else { panic!("the first is running") };
        first.finish(&Outcome::Answer("done".into()));
        assert_eq!(repetition.await, Ok(Outcome::Answer("done".into())));
        assert!(matches!(answers.start(PEER, [1; 16]), Start::Finished(_)));
    }

    #[test]
    fn a_call_that_was_not_done_is_done_by_its_repetition() {
        let answers = Answers::default();
        let Start::First(first) = answers.start(PEER, [1; 16]) else { panic!("a new call is the first") };
        first.finish(&Outcome::Expired);
        let Start::First(second) = answers.start(PEER, [1; 16]) else { panic!("it was not done") };
        drop(second);
        assert!(matches!(answers.start(PEER, [1; 16]), Start::First(_)));
    }

    #[test]
    fn the_oldest_answers_are_forgotten_at_the_bound() {
        let answers = Answers::default();
        for number in 0..=LINK_ANSWERS_KEPT_MAX as u128 {
            let Start::First(first) = answers.start(PEER, number.to_le_bytes()) else { panic!("each call is new") };
            first.finish(&Outcome::Answer("done".into()));
        }
        assert!(matches!(answers.start(PEER, 0u128.to_le_bytes()), Start::First(_)));
        assert!(matches!(answers.start(PEER, 1u128.to_le_bytes()), Start::Finished(_)));
    }
}
