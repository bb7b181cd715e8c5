//! Triggers.

use steward_actors::service::{Failure, TriggerView};
use steward_actors::trigger::{Resume, SkippedEvent};
use steward_scripting::TriggerFrom;

use super::time;
use crate::proto::v1;

pub(crate) fn trigger(view: TriggerView) -> v1::Trigger {
    let TriggerView { name, spec, status, skipped } = view;
    let of_spec = v1::Trigger {
        project: name.project.to_string(),
        agent: name.agent.to_string(),
        name: name.trigger.to_string(),
        version: spec.version,
        chain: spec.chain,
        address: spec.filter.address,
        event: spec.filter.event,
        skipped_events: skipped.into_iter().map(skipped_event).collect(),
        ..v1::Trigger::default()
    };
    match status {
        Err(failure) => v1::Trigger { state: "unknown".to_owned(), reason: failure.to_string(), ..of_spec },
        Ok(status) => v1::Trigger {
            state: status.condition.as_str().to_owned(),
            lag_blocks: status.lag_blocks(),
            reason: status.reason,
            last_error: status.last_error,
            checkpoint: status.checkpoint,
            final_block: status.final_block,
            started: status.started,
            skipped: status.skipped,
            open: status.open,
            ..of_spec
        },
    }
}

fn skipped_event(skipped: SkippedEvent) -> v1::SkippedEvent {
    let SkippedEvent { event, code, reason, at } = skipped;
    v1::SkippedEvent {
        block: event.block,
        transaction: event.transaction,
        index: event.index,
        code: code.to_string(),
        reason,
        at: time(at),
    }
}

pub(crate) fn resume_from(from: &str) -> Result<Resume, Failure> {
    match from {
        "" => Ok(Resume::Itself),
        "now" => Ok(Resume::At(TriggerFrom::Now)),
        number => {
            let block = number.parse().map_err(|_| Failure::field("from", "write \"now\" or the number of a block"))?;
            Ok(Resume::At(TriggerFrom::Block(block)))
        }
    }
}
