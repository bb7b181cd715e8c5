//! Why an entity is as it is, in sentences: what an operator would otherwise find out with five other commands.

use steward_types::{NodeId, SessionId};

use super::{ActorState, Failure, Reach, Steward};
use crate::host::EntityState;
use crate::session::journal::{StepState, Wait};
use crate::session::{SessionStatus, SessionView};

/// Dead letters of a node that are looked through.
const LETTERS_LOOKED_AT: usize = 1_000;

/// Why an entity is as it is.
#[derive(Debug, Clone)]
pub struct Why {
    /// Where it is in its life.
    pub state: EntityState,
    /// The reasons, a sentence each.
    pub reasons: Vec<String>,
}

impl Steward {
    /// Why an entity is as it is.
    ///
    /// # Errors
    /// [`EntityNotFound`](steward_types::ErrorCode::EntityNotFound) for an unknown kind.
    pub async fn why(&self, kind: &str, id: &str) -> Result<Why, Failure> {
        let (node, snapshot) = self.actor(kind, id).await?;
        let mut reasons = vec![life(&snapshot, node)];
        reasons.extend(self.whose_shard(&snapshot));
        reasons.extend(snapshot.last_fault.iter().map(|fault| format!("Its last fault: {fault}.")));
        if snapshot.mailbox_messages > 0 {
            reasons.push(format!("{} messages wait in its mailbox.", snapshot.mailbox_messages));
        }
        reasons.extend(self.letters_of(kind, id).await);
        if kind == "session"
            && let Ok(session) = id.parse::<SessionId>()
        {
            // What made it fail may be the rows that would say more.
            let unread = |failure: Failure| vec![format!("What the store has of it cannot be read: {failure}.")];
            reasons.extend(self.why_session(session).await.unwrap_or_else(unread));
        }
        if kind == "device" {
            reasons.extend(why_device(&snapshot));
        }
        if kind == "chain" {
            reasons.extend(self.why_chain(id).await);
        }
        Ok(Why { state: snapshot.state, reasons })
    }

    /// What holds a session's next turn back, if an operator does.
    ///
    /// # Errors
    /// The store's.
    pub async fn held_back(&self, view: &SessionView) -> Result<Option<crate::pause::Pause>, Failure> {
        let txn = self.store().begin();
        Ok(crate::pause::of_agent(&txn, &view.project, &view.agent).await?)
    }

    fn whose_shard(&self, snapshot: &ActorState) -> Option<String> {
        let shards = self.shards();
        let place = shards.get(snapshot.shard as usize).filter(|_| shards.len() > 1)?;
        let shard = snapshot.shard;
        Some(match (place.owner, place.target) {
            (None, _) => format!("Its shard {shard} has no owner: nothing of it can run until a node claims it."),
            (Some(owner), Some(target)) if owner != target => {
                format!("Its shard {shard} is {owner}'s and on its way to {target}.")
            }
            (Some(owner), _) => format!("Its shard {shard} is {owner}'s."),
        })
    }

    async fn letters_of(&self, kind: &str, id: &str) -> Vec<String> {
        let letters = self.dead_letters(LETTERS_LOOKED_AT).await;
        let all = letters.answers.into_iter().flat_map(|(_, letters)| letters);
        let of = all.filter(|letter| letter.kind == kind && letter.id.as_str() == id);
        of.map(|letter| format!("It could not handle {} at {}: {}.", letter.message, letter.at, letter.cause)).collect()
    }

    async fn why_session(&self, id: SessionId) -> Result<Vec<String>, Failure> {
        let view = match self.session(&Reach::Everything, id).await {
            Ok(view) => view,
            Err(failure) if failure.code == steward_types::ErrorCode::SessionNotFound => {
                return Ok(vec!["The store has no such session.".to_owned()]);
            }
            Err(failure) => return Err(failure),
        };
        let mut reasons = Vec::new();
        match view.status {
            SessionStatus::Ended => reasons.push("The session has ended.".to_owned()),
            SessionStatus::Idle => reasons.push(format!("{} messages wait for a turn.", view.waiting_messages)),
            SessionStatus::Running => reasons.push(format!("Turn {} is in flight.", view.turn)),
            SessionStatus::Waiting => {
                for (path, step) in self.turn_steps(id, view.turn).await? {
                    if let StepState::Waiting(wait) = &step.state {
                        reasons.push(format!("Turn {} waits in step {path} for {}.", view.turn, awaited(wait)));
                    }
                }
            }
        }
        if let Some(pause) = self.held_back(&view).await? {
            reasons.push(format!("No turn of it begins: {pause}."));
        }
        Ok(reasons)
    }

    async fn why_chain(&self, chain: &str) -> Vec<String> {
        let deadline = self.host().deadline(steward_types::limits::OPERATIONS_NODE_TIME_MAX);
        match self.parts().anchoring.status(chain, deadline).await {
            Ok(status) => {
                let mut reasons = vec![format!("{} of its transactions are unfinished.", status.intents)];
                reasons.extend(status.paused.map(|pause| format!("Nothing new is sent: {pause}.")));
                reasons.extend(status.stall.map(|stall| format!("Nothing is sent: {stall}.")));
                let failure = Some(status.last_failure).filter(|failure| !failure.is_empty());
                reasons.extend(failure.map(|failure| format!("What went wrong last: {failure}.")));
                reasons
            }
            Err(failure) => vec![format!("It does not answer: {failure}.")],
        }
    }
}

/// Why a device is of no use, if it is of none.
fn why_device(snapshot: &ActorState) -> Option<String> {
    let failure = snapshot.entity.as_ref()?.get("failure")?.as_str()?;
    Some(format!("It failed: {failure}. Nothing is run on it until its node is started again."))
}

fn life(snapshot: &ActorState, node: NodeId) -> String {
    match (snapshot.state, &snapshot.quarantine) {
        (_, Some(quarantine)) => {
            format!("It is in quarantine on {node} since {}: {}.", quarantine.since, quarantine.cause)
        }
        (EntityState::Resting, _) => "It is not in memory: its next message activates it.".to_owned(),
        (EntityState::Activating, _) => format!("It is being built from the store on {node}."),
        (EntityState::Active, _) => format!("It handles messages on {node}."),
        (EntityState::BackingOff, _) => {
            format!("It crashed {} times on {node}, and waits to be built again.", snapshot.restarts)
        }
        (EntityState::Leaving, _) => format!("It is leaving the memory of {node}."),
        (EntityState::Quarantined, None) => format!("It is set aside on {node}."),
    }
}

fn awaited(wait: &Wait) -> String {
    match wait {
        Wait::Person { expires } => format!("a person's decision, until {expires}"),
        Wait::Consent { expires } => format!("a person's consent to what it is about to spend, until {expires}"),
        Wait::Transaction { order, expires, .. } => format!("the transaction of {order}, until {expires}"),
        Wait::Timer { due } => format!("the clock, until {due}"),
        Wait::Session { child, expires: Some(expires), .. } => format!("session {child}, until {expires}"),
        Wait::Session { child, expires: None, .. } => format!("session {child}"),
    }
}
