//! What went wrong and must be seen: dead letters, and entities in quarantine. Both are bounded, oldest out first.

use std::borrow::Cow;
use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use steward_types::Timestamp;

use super::id::EntityId;

/// A message that an entity could not handle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Counts up from 1 on this node since its start.
    pub number: u64,
    /// The entity's kind.
    pub kind: Cow<'static, str>,
    /// The entity.
    pub id: EntityId,
    /// Which message it was: the name of the request's variant.
    pub message: String,
    /// Why it was not handled.
    pub cause: String,
    /// When.
    pub at: Timestamp,
}

/// Why and since when an entity is set aside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Quarantine {
    /// The entity's kind.
    pub kind: Cow<'static, str>,
    /// The entity.
    pub id: EntityId,
    /// Why.
    pub cause: String,
    /// Since when.
    pub since: Timestamp,
    /// When it is tried again by itself; `None` when only an operator releases it.
    pub until: Option<Timestamp>,
}

impl Quarantine {
    /// Whether it still holds at `now`.
    pub(crate) fn lasts(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The dead letters of a node.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    kept_max: usize,
    letters: Mutex<(u64, VecDeque<DeadLetter>)>,
}

impl DeadLetters {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { kept_max, letters: Mutex::default() }
    }

    /// Keeps a letter, and drops the oldest when there are too many.
    pub(crate) fn keep(&self, kind: &'static str, id: EntityId, message: String, cause: String, at: Timestamp) {
        let mut letters = self.letters.lock();
        letters.0 += 1;
        let number = letters.0;
        letters.1.push_back(DeadLetter { number, kind: kind.into(), id, message, cause, at });
        if letters.1.len() > self.kept_max {
            letters.1.pop_front();
        }
    }

    /// The newest `count` letters, newest first.
    pub(crate) fn newest(&self, count: usize) -> Vec<DeadLetter> {
        self.letters.lock().1.iter().rev().take(count).cloned().collect()
    }

    /// How many there were since the start.
    pub(crate) fn total(&self) -> u64 {
        self.letters.lock().0
    }
}
