//! Triggers: what is wrong with an agent's, which there are and how they are, and going on after one stopped.

use futures::StreamExt as _;
use steward_adapters::chain::{EventFilter, read_filter};
use steward_scripting::{Diagnostic, Manifest, Trigger};
use steward_storage::StoreExt as _;
use steward_types::limits::{OPERATIONS_NODES_AT_ONCE, PAGE_ITEMS_MAX, TRIGGER_SKIPPED_SHOWN};
use steward_types::{AgentId, ErrorCode, ProjectId, TriggerId};

use super::{Failure, Steward, error::unexpected};
use crate::agent::MANIFEST_FILE;
use crate::chain::spending::canonical_rules;
use crate::host::EntityId;
use crate::trigger::{
    Resume, SkippedEvent, TriggerActor, TriggerName, TriggerRequest, TriggerResponse, TriggerSpec, TriggerStatus,
    canonical, skipped, specs,
};

/// A trigger with how it is.
#[derive(Debug)]
pub struct TriggerView {
    /// Which one.
    pub name: TriggerName,
    /// What its agent says of it.
    pub spec: TriggerSpec,
    /// How it is, or why that cannot be told now.
    pub status: Result<TriggerStatus, Failure>,
    /// The newest events that it skipped, newest first.
    pub skipped: Vec<SkippedEvent>,
}

impl Steward {
    /// A project's triggers after `after`, by agent and name, at most `limit`.
    ///
    /// # Errors
    /// The store's. A trigger that does not answer is in the list, with why.
    pub async fn triggers(
        &self,
        project: &ProjectId,
        after: Option<&TriggerName>,
        limit: usize,
    ) -> Result<Vec<TriggerView>, Failure> {
        let found = specs(self.store(), Some(project), after, limit).await?;
        let views = found.into_iter().map(|(name, spec)| self.trigger_view(name, spec));
        let views: Vec<Result<TriggerView, Failure>> =
            futures::stream::iter(views).buffered(OPERATIONS_NODES_AT_ONCE).collect().await;
        views.into_iter().collect()
    }

    /// Lets a trigger go on that has stopped.
    ///
    /// # Errors
    /// [`ErrorCode::EntityNotFound`] when the agent has no such trigger; [`ErrorCode::InvalidRequest`] when it has not
    /// stopped and no place is named.
    pub async fn resume_trigger(&self, name: &TriggerName, resume: Resume) -> Result<TriggerView, Failure> {
        let row = &name.spec_row();
        let spec = self.store().run(|txn| async move { txn.load_snapshot::<TriggerSpec>(row).await }).await?;
        let missing = || Failure::new(ErrorCode::EntityNotFound, format!("there is no trigger {name}"));
        let spec = spec.ok_or_else(missing)?;
        match self.ask_trigger(name, TriggerRequest::Resume(resume)).await? {
            TriggerResponse::Done => self.trigger_view(name.clone(), spec).await,
            TriggerResponse::Refused(code, message) => Err(Failure::new(code, message).with("trigger", name)),
            TriggerResponse::Status(_) => Err(unexpected("the trigger")),
        }
    }

    async fn trigger_view(&self, name: TriggerName, spec: TriggerSpec) -> Result<TriggerView, Failure> {
        let skipped = skipped(self.store(), &name, TRIGGER_SKIPPED_SHOWN).await?;
        let status = match self.ask_trigger(&name, TriggerRequest::Status).await {
            Ok(TriggerResponse::Status(status)) => Ok(*status),
            Ok(_) => Err(unexpected("the trigger")),
            Err(failure) => Err(failure),
        };
        Ok(TriggerView { name, spec, status, skipped })
    }

    async fn ask_trigger(&self, name: &TriggerName, request: TriggerRequest) -> Result<TriggerResponse, Failure> {
        Ok(self.host().ask::<TriggerActor>(&entity(name)?, request, self.deadline()).await?)
    }

    /// What is wrong with what a manifest says of chains: triggers on chains that this node does not have, or of events that
    /// they cannot have, and rules that they cannot read.
    pub(super) fn chain_problems(&self, manifest: &Manifest) -> Vec<Diagnostic> {
        let chains = &self.parts().chains;
        let rules = manifest.chains.iter().filter_map(|(chain, rules)| {
            let (_, problems) = canonical_rules(rules, &*chains.get(chain)?.chain);
            let told = move |problem| Diagnostic::of_file(MANIFEST_FILE, format!("chains.{chain:?}.{problem}"));
            Some(problems.into_iter().map(told))
        });
        let triggers = manifest.triggers.iter().filter_map(|trigger| self.trigger_problem(trigger));
        rules.flatten().chain(triggers).collect()
    }

    fn trigger_problem(&self, trigger: &Trigger) -> Option<Diagnostic> {
        let chains = &self.parts().chains;
        if let Some(settings) = chains.get(&trigger.chain) {
            let wrong = read_filter(&*settings.chain, &filter_of(trigger)).err()?;
            return Some(Diagnostic::of_file(
                MANIFEST_FILE,
                format!("the trigger {}: {}", trigger.name, wrong.in_full()),
            ));
        }
        let message = format!("the trigger {}: this node has no chain {}", trigger.name, trigger.chain);
        let known: Vec<&str> = chains.keys().map(String::as_str).collect();
        let help = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        Some(Diagnostic::of_file(MANIFEST_FILE, message).with_help(help))
    }

    /// Triggers with their filters as their chains write them.
    pub(super) fn canonical_triggers(&self, triggers: Vec<Trigger>) -> Vec<Trigger> {
        let canonical = |trigger: Trigger| {
            let EventFilter { address, event } = canonical(filter_of(&trigger), &trigger.chain, &self.parts().chains);
            Trigger { address, event, ..trigger }
        };
        triggers.into_iter().map(canonical).collect()
    }

    /// Tells an agent's triggers that there is a new version. One that is not reached now looks by itself.
    pub(super) fn wake_triggers_of(&self, project: &ProjectId, agent: &AgentId, triggers: Vec<TriggerId>) {
        for trigger in triggers {
            let name = TriggerName { project: project.clone(), agent: agent.clone(), trigger };
            if let Err(error) = self.wake_trigger(&name) {
                tracing::warn!(trigger = %name, %error, "a trigger was not told of its agent's new version");
            }
        }
    }

    /// Wakes every trigger that lives on this node: it then follows its chain by itself.
    pub(super) async fn wake_triggers(&self) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = specs(self.store(), None, after.as_ref(), PAGE_ITEMS_MAX).await?;
            for (name, _) in &page {
                // One that cannot be woken, such as one in quarantine, keeps no other from being.
                if self.host().serves::<TriggerActor>(&entity(name)?)
                    && let Err(error) = self.wake_trigger(name)
                {
                    tracing::warn!(trigger = %name, %error, "a trigger could not be woken");
                }
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    fn wake_trigger(&self, name: &TriggerName) -> Result<(), Failure> {
        Ok(self.host().tell::<TriggerActor>(&entity(name)?, TriggerRequest::Wake)?)
    }
}

fn entity(name: &TriggerName) -> Result<EntityId, Failure> {
    EntityId::new(name.to_string()).map_err(|error| Failure::field("trigger", error.to_string()))
}

fn filter_of(trigger: &Trigger) -> EventFilter {
    EventFilter { address: trigger.address.clone(), event: trigger.event.clone() }
}
