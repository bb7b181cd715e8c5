//! What a trigger decides: which events get sessions, under which ids, and when it moves on. Pure: it asks neither chain
//! nor store, and time is given.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use steward_adapters::chain::{EmittedEvent, EventId};
use steward_adapters::cursor::{Cursor, Misfit, Span};
use steward_types::limits::{TRIGGER_SESSIONS_AT_ONCE, TRIGGER_SESSIONS_OPEN_MAX, TRIGGER_TRIES_MAX};
use steward_types::{ErrorCode, SessionId, Timestamp};

use super::record::{Assigned, SkippedEvent, TriggerState};

/// A trigger at work: what is stored of it, and the events that it has read and not taken.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub(super) state: TriggerState,
    span: Span,
    queue: VecDeque<EmittedEvent>,
    /// The last block of the answer that the queue is from.
    reach: Option<u64>,
    /// How often the first event's session was refused for the event's own sake.
    tries: u32,
}

/// A session that is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) event: EmittedEvent,
    pub(super) session: SessionId,
}

/// How that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The session is there.
    Started,
    /// It was refused for the event's own sake; whether trying again cannot help.
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        reason: String,
        /// Whether the same can never be taken.
        for_good: bool,
    },
    /// It could not be asked for now.
    Later(String),
}

impl Feed {
    pub(super) fn new(state: TriggerState) -> Self {
        Self { state, span: Span::default(), queue: VecDeque::new(), reach: None, tries: 0 }
    }

    /// From where events are wanted; nothing while some wait to be taken.
    pub(super) fn reader(&self) -> Option<(Cursor, Span)> {
        let cursor = self.state.cursor.filter(|_| self.reach.is_none())?;
        Some((cursor, self.span))
    }

    /// The blocks to ask about next, if there are any and events are wanted.
    pub(super) fn range(&self, final_block: u64) -> Option<RangeInclusive<u64>> {
        let (cursor, span) = self.reader()?;
        cursor.range(final_block, span)
    }

    /// Whether events wait to be taken.
    pub(super) fn has_events(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Begins at a block, unless it has begun.
    pub(super) fn begin(&mut self, block: u64) -> Cursor {
        *self.state.cursor.get_or_insert(Cursor::before(block))
    }

    /// Goes on at another block. What was read and not taken is forgotten.
    pub(super) fn go_to(&mut self, block: u64) {
        self.state.cursor = Some(Cursor::before(block));
        self.state.assigned.clear();
        (self.queue, self.reach, self.tries) = (VecDeque::new(), None, 0);
    }

    /// The events of the blocks from the checkpoint's to `to`.
    ///
    /// # Errors
    /// [`Misfit`]: they are not to be believed, and nothing changes.
    pub(super) fn found(&mut self, to: u64, events: Vec<EmittedEvent>) -> Result<(), Misfit> {
        let Some(cursor) = &self.state.cursor else { return Ok(()) };
        self.queue = cursor.fresh(to, events)?.into();
        self.reach = Some(to);
        self.span.grow();
        self.pass_if_empty();
        Ok(())
    }

    /// There were too many events in the blocks that were asked about. False when it was one block.
    pub(super) const fn ask_about_fewer(&mut self) -> bool {
        self.span.halve()
    }

    /// How many more sessions may be started before some have ended.
    pub(super) fn room(&self) -> usize {
        TRIGGER_SESSIONS_OPEN_MAX.saturating_sub(self.state.open.len())
    }

    /// These sessions have ended their turns.
    pub(super) fn closed(&mut self, sessions: &[SessionId]) {
        self.state.open.retain(|session| !sessions.contains(session));
    }

    /// The next sessions to start, each with the id that its event has for good. The ids must be stored before the
    /// sessions are asked for.
    pub(super) fn assign(&mut self, mut fresh: impl FnMut() -> SessionId) -> Vec<Start> {
        let most = self.room().min(TRIGGER_SESSIONS_AT_ONCE);
        let mut starts = Vec::new();
        for event in self.queue.iter().take(most) {
            let known = self.state.assigned.iter().find(|assigned| assigned.event == event.id);
            let session = known.map(|assigned| assigned.session).unwrap_or_else(|| {
                let session = fresh();
                self.state.assigned.push(Assigned { event: event.id.clone(), session });
                session
            });
            starts.push(Start { event: event.clone(), session });
        }
        starts
    }

    /// Takes in how the first of the sessions went, in their order. Gives the events that are skipped now, and why the
    /// others were not taken.
    pub(super) fn concluded(&mut self, outcomes: Vec<Outcome>, now: Timestamp) -> (Vec<SkippedEvent>, Option<String>) {
        let mut skipped = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Started => {
                    if let Some((_, Some(session))) = self.take() {
                        self.state.open.push(session);
                        self.state.started += 1;
                    }
                }
                Outcome::Refused { code, reason, for_good } => {
                    self.tries += 1;
                    if !for_good && self.tries < TRIGGER_TRIES_MAX {
                        return (skipped, Some(reason));
                    }
                    if let Some((event, _)) = self.take() {
                        self.state.skipped += 1;
                        skipped.push(SkippedEvent { event, code, reason, at: now });
                    }
                }
                Outcome::Later(reason) => return (skipped, Some(reason)),
            }
        }
        (skipped, None)
    }

    /// Moves past the first event, and tells its session's id.
    fn take(&mut self) -> Option<(EventId, Option<SessionId>)> {
        let EmittedEvent { id, .. } = self.queue.pop_front()?;
        self.tries = 0;
        let at = self.state.assigned.iter().position(|assigned| assigned.event == id);
        let session = at.map(|at| self.state.assigned.remove(at).session);
        if let Some(cursor) = &mut self.state.cursor {
            cursor.take(&id);
        }
        self.pass_if_empty();
        Some((id, session))
    }

    fn pass_if_empty(&mut self) {
        if self.queue.is_empty()
            && let (Some(cursor), Some(to)) = (&mut self.state.cursor, self.reach.take())
        {
            cursor.pass(to);
        }
    }
}

#[cfg(test)]
mod tests;
