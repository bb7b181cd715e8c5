//! The keys of a session's rows. Everything of one session lies below `("session", id)`; the indexes lie beside it.

use steward_storage::StoreError;
use steward_storage::key::pack;
use steward_types::{ProjectId, SessionId, StepPath, Timestamp};

use super::approval::ApprovalId;

const SESSION: &str = "session";
const RUNNABLE: &str = "session_runnable";
const OF_PROJECT: &str = "session_of_project";
const TIMER: &str = "session_timer";
const APPROVAL: &str = "approval";

/// The session's record.
pub fn record(session: SessionId) -> Vec<u8> {
    pack(&(SESSION, &session.as_bytes()[..], "record"))
}

/// The session's head row: watch it to hear of new events.
pub fn head(session: SessionId) -> Vec<u8> {
    pack(&(SESSION, &session.as_bytes()[..], "head"))
}

/// An event of its log.
pub fn event(session: SessionId, seq: u64) -> Vec<u8> {
    pack(&(SESSION, &session.as_bytes()[..], "event", seq))
}

/// A client's key that has been taken.
pub fn taken_key(session: SessionId, key: &str) -> Vec<u8> {
    pack(&(SESSION, &session.as_bytes()[..], "taken", key))
}

/// A turn, and before it began its waiting message.
pub fn turn(session: SessionId, turn: u64) -> Vec<u8> {
    pack(&(SESSION, &session.as_bytes()[..], "turn", turn))
}

/// A step of a turn's journal. Steps sort as the script runs them.
pub fn step(session: SessionId, turn: u64, step: &StepPath) -> Vec<u8> {
    pack(&(SESSION, &session.as_bytes()[..], "step", turn, &step_bytes(step)[..]))
}

/// What all steps of a turn's journal start with.
pub fn steps(session: SessionId, turn: u64) -> Vec<u8> {
    pack(&(SESSION, &session.as_bytes()[..], "step", turn))
}

/// The step of a journal row's key.
///
/// # Errors
/// [`StoreError::Corrupt`] when it is no such key.
pub fn step_path(key: &[u8]) -> Result<StepPath, StoreError> {
    let (_, _, _, _, bytes): (String, Vec<u8>, String, u64, Vec<u8>) = steward_storage::key::unpack(key)?;
    let words: Vec<String> =
        bytes.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap_or_default()).to_string()).collect();
    words.join(".").parse().map_err(|error| StoreError::Corrupt(format!("a journal's key: {error}")))
}

/// A value of the script's `state`.
pub fn state(session: SessionId, name: &str) -> Vec<u8> {
    pack(&(SESSION, &session.as_bytes()[..], "state", name))
}

/// The session's entry in the index of those that have something to do.
pub fn runnable(session: SessionId) -> Vec<u8> {
    pack(&(RUNNABLE, &session.as_bytes()[..]))
}

/// What all entries of that index start with.
pub fn runnables() -> Vec<u8> {
    pack(&(RUNNABLE,))
}

/// The session's entry in its project's list.
pub fn of_project(project: &ProjectId, session: SessionId) -> Vec<u8> {
    pack(&(OF_PROJECT, project.as_str(), &session.as_bytes()[..]))
}

/// What all entries of a project's list start with.
pub fn all_of_project(project: &ProjectId) -> Vec<u8> {
    pack(&(OF_PROJECT, project.as_str()))
}

/// A timer: sorted by when it is due.
pub fn timer(due: Timestamp, session: SessionId, turn: u64, step: &StepPath) -> Vec<u8> {
    pack(&(TIMER, due.as_millis(), &session.as_bytes()[..], turn, &step_bytes(step)[..]))
}

/// From the first timer to the first that is due after `due`.
pub fn timers_until(due: Timestamp) -> (Vec<u8>, Vec<u8>) {
    (pack(&(TIMER,)), pack(&(TIMER, due.as_millis().saturating_add(1))))
}

/// What all timers start with.
pub fn timers() -> Vec<u8> {
    pack(&(TIMER,))
}

/// Counts the timers ever set: watch it to hear of a new one.
pub fn timers_set() -> Vec<u8> {
    pack(&("session_timers_set",))
}

/// An approval of a project.
pub fn approval(project: &ProjectId, id: &ApprovalId) -> Vec<u8> {
    pack(&(APPROVAL, project.as_str(), &id.session.as_bytes()[..], id.turn, &step_bytes(&id.step)[..]))
}

/// Counts the changes to a project's approvals: watch it to hear of them.
pub fn approval_changes(project: &ProjectId) -> Vec<u8> {
    pack(&("approval_changes", project.as_str()))
}

/// What all approvals of a project start with.
pub fn approvals(project: &ProjectId) -> Vec<u8> {
    pack(&(APPROVAL, project.as_str()))
}

/// When the timer under `key` is due.
pub fn timer_due(key: &[u8]) -> Result<Timestamp, StoreError> {
    let (_, millis, _, _, _): (String, u64, Vec<u8>, u64, Vec<u8>) = steward_storage::key::unpack(key)?;
    Ok(Timestamp::from_millis(millis))
}

/// The numbers of a path as big-endian words, so that bytes sort as paths do.
fn step_bytes(step: &StepPath) -> Vec<u8> {
    step.numbers().iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_sort_as_the_script_runs_them() {
        let key = |text: &str| step(SessionId::from_bytes([1; 16]), 1, &text.parse().unwrap());
        assert!(key("3") < key("3.1.1") && key("3.1.2") < key("3.2.1") && key("3.2.1") < key("10"));
        assert!(key("256") > key("255") && key("1").starts_with(&steps(SessionId::from_bytes([1; 16]), 1)));
    }

    #[test]
    fn timers_sort_by_when_they_are_due() {
        let key = |ms| timer(Timestamp::from_millis(ms), SessionId::from_bytes([1; 16]), 1, &StepPath::top(1));
        let (begin, end) = timers_until(Timestamp::from_millis(300));
        assert!(begin < key(1) && key(300) < end && end < key(301));
        assert_eq!(timer_due(&key(300)).unwrap(), Timestamp::from_millis(300));
    }
}
