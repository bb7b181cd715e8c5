//! What the facts mean for triggers.

use super::Finding;
use super::judge::Found;
use crate::service::TriggerView;
use crate::trigger::TriggerCondition;

/// A trigger starts sessions, or says why not. One that waits is told of by what it waits for.
pub(super) fn trigger_follows(view: &TriggerView) -> Found {
    let name = &view.name;
    let about = format!("trigger {name}");
    match &view.status {
        Ok(status) if status.condition == TriggerCondition::Stopped => {
            let (agent, trigger) = (&name.agent, &name.trigger);
            let remedy =
                format!("mend that, then `steward --project {} triggers resume {agent} {trigger}`", name.project);
            vec![Finding::critical(about, format!("it has stopped: {}", status.reason), remedy)]
        }
        Ok(_) => Vec::new(),
        // Why one in quarantine is there stands among the entities that are set aside.
        Err(failure) => vec![Finding::warning(
            about,
            format!("it does not answer, and starts no session: {failure}"),
            format!("see `steward actors why trigger {name}`"),
        )],
    }
}
