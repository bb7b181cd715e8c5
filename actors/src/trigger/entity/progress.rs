//! What a trigger makes of what its workers say.

use steward_adapters::chain::{ChainError, EmittedEvent};
use steward_scripting::TriggerFrom;
use steward_types::limits::{
    CHAIN_TICK_MIN, TRIGGER_CHAIN_TIME, TRIGGER_POLL_TIME, TRIGGER_SAVE_TIME, TRIGGER_SESSIONS_OPEN_MAX,
    TRIGGER_SESSIONS_TIME,
};
use steward_types::{SessionId, Timestamp};

use super::{Next, TriggerActor};
use crate::host::{Context, Fault};
use crate::trigger::feed::{Feed, Outcome};
use crate::trigger::looking::{Look, Question, Sight};
use crate::trigger::record::{Resume, TriggerState};

impl TriggerActor {
    /// What to find out now; nothing for a trigger that is not, or that has stopped.
    pub(super) fn question(&self, now: Timestamp) -> Option<Question> {
        let state = self.feed.as_ref().map(|feed| &feed.state)?;
        let is_over = self.spec.is_none() && state.ended;
        if is_over || state.stopped.is_some() {
            return None;
        }
        let feed = self.feed.as_ref()?;
        let is_due = self.seen.same_chain.is_none_or(|asked| now.saturating_since(asked) >= TRIGGER_CHAIN_TIME);
        let genesis = is_due || state.cursor.is_none() || state.resume.is_some() || state.ended;
        // Where it goes on is decided first.
        let reader = feed.reader().filter(|_| state.resume.is_none() && !state.ended);
        Some(Question { reader, genesis, ..Question::of(&self.name, state) })
    }

    /// Takes in a look: what the agent says comes first, then what the chain is, then its events.
    pub(super) async fn looked(&mut self, look: Look, context: &Context<Self>) -> Result<Next, Fault> {
        let Look { spec, held, closed, chain } = look;
        self.spec = spec;
        let Some(feed) = &mut self.feed else { return Ok(Next::Rest) };
        feed.closed(&closed);
        let Some(spec) = &self.spec else {
            feed.state.ended = true;
            self.save(&[], context).await?;
            return Ok(Next::Rest);
        };
        if !feed.state.is_of(spec) {
            self.feed = Some(Feed::new(TriggerState::new(spec)));
            self.seen = super::Seen::default();
            return Ok(Next::LookAfter(CHAIN_TICK_MIN));
        }
        match chain {
            Err(reason) => Ok(self.failed(reason)),
            Ok(sight) => self.sighted(sight, held, context).await,
        }
    }

    async fn sighted(&mut self, sight: Sight, held: Option<String>, context: &Context<Self>) -> Result<Next, Fault> {
        let Sight { final_block, genesis, found } = sight;
        let now = context.clock().now();
        let went_back = self.seen.final_block.is_some_and(|seen| final_block < seen);
        self.seen.final_block = Some(final_block);
        match genesis {
            Some(genesis) => {
                self.seen.same_chain = Some(now);
                let before = self.feed.as_ref().map(|feed| feed.state.clone());
                let is_same = self.is_same_chain(&genesis, final_block);
                // Where it goes on is stored before anything is read from there, or a kill would decide it anew.
                if before.as_ref() != self.feed.as_ref().map(|feed| &feed.state) {
                    self.save(&[], context).await?;
                }
                if !is_same {
                    return Ok(Next::Rest);
                }
            }
            // A chain that was reset begins low. Nothing of this look is used before that is known.
            None if went_back => {
                self.seen.same_chain = None;
                return Ok(Next::LookAfter(CHAIN_TICK_MIN));
            }
            None => {}
        }
        if let Some((to, events)) = found
            && let Some(next) = self.take_in(to, events)
        {
            return Ok(next);
        }
        self.seen.failures = 0;
        self.reason = held.unwrap_or_default();
        self.begin_sessions(final_block, now, context).await
    }

    /// Whether the chain is the one that the trigger reads, or an operator said that it shall be. Begins where a new
    /// trigger, or one that goes on, begins.
    fn is_same_chain(&mut self, genesis: &str, final_block: u64) -> bool {
        let (Some(feed), Some(spec)) = (&mut self.feed, &self.spec) else { return false };
        let place = |from: TriggerFrom| match from {
            TriggerFrom::Now => final_block.saturating_add(1),
            TriggerFrom::Block(block) => block,
        };
        let is_new = feed.state.genesis.is_empty();
        let is_same = is_new || feed.state.genesis == genesis;
        match (is_same, feed.state.resume.take()) {
            (_, Some(Resume::At(from))) => feed.go_to(place(from)),
            (false, Some(Resume::Itself)) => feed.go_to(place(TriggerFrom::Now)),
            (false, None) => {
                feed.state.stopped = Some(format!(
                    "{} was reset, or is another: its first block is {genesis} and was {}. See that the endpoints are \
                     right, then `steward triggers resume`",
                    feed.state.chain, feed.state.genesis
                ));
                tracing::error!(trigger = %self.name, "a trigger stopped: its chain is not the one that it was");
                return false;
            }
            (true, Some(Resume::Itself) | None) => {
                let begun = feed.begin(place(spec.from));
                // One that the agent had before does not read what came between.
                if feed.state.ended && place(spec.from) > begun.block {
                    feed.go_to(place(spec.from));
                }
            }
        }
        feed.state.ended = false;
        feed.state.genesis = genesis.to_owned();
        true
    }

    /// Takes in an answer about events. Gives what to do next where they cannot be used.
    fn take_in(&mut self, to: u64, events: Result<Vec<EmittedEvent>, ChainError>) -> Option<Next> {
        let feed = self.feed.as_mut()?;
        match events {
            Ok(events) => match feed.found(to, events) {
                Ok(()) => None,
                Err(misfit) => Some(self.failed(misfit.to_string())),
            },
            Err(ChainError::TooMany { .. }) if feed.ask_about_fewer() => Some(Next::LookAfter(CHAIN_TICK_MIN)),
            Err(error) => {
                // It may be that nobody can answer about so many in time.
                feed.ask_about_fewer();
                Some(self.failed(error.in_full()))
            }
        }
    }

    /// Starts the sessions of the next events, or waits.
    async fn begin_sessions(
        &mut self,
        final_block: u64,
        now: Timestamp,
        context: &Context<Self>,
    ) -> Result<Next, Fault> {
        let Some(feed) = &mut self.feed else { return Ok(Next::Rest) };
        if feed.has_events() && self.reason.is_empty() && feed.room() == 0 {
            self.reason = format!("{TRIGGER_SESSIONS_OPEN_MAX} of its sessions have not ended their turns");
        }
        if !feed.has_events() || !self.reason.is_empty() {
            let is_behind = !feed.has_events() && feed.range(final_block).is_some() && self.reason.is_empty();
            let is_due = self.seen.saved.is_none_or(|saved| now.saturating_since(saved) >= TRIGGER_SAVE_TIME);
            if is_due {
                self.save(&[], context).await?;
            }
            return Ok(Next::LookAfter(if is_behind { CHAIN_TICK_MIN } else { TRIGGER_POLL_TIME }));
        }
        let (clock, entropy) = (context.clock().as_ref(), context.environment().entropy.as_ref());
        let starts = feed.assign(|| SessionId::generate(clock, entropy));
        self.save(&[], context).await?;
        Ok(Next::Start(starts))
    }

    /// Takes in how the sessions went, and moves the checkpoint past those that are there.
    pub(super) async fn started(&mut self, outcomes: Vec<Outcome>, context: &Context<Self>) -> Result<Next, Fault> {
        let Some(feed) = &mut self.feed else { return Ok(Next::Rest) };
        let before = feed.state.started;
        let (skipped, problem) = feed.concluded(outcomes, context.clock().now());
        let started = feed.state.started - before;
        metrics::counter!("steward_trigger_sessions_total").increment(started);
        for event in &skipped {
            metrics::counter!("steward_trigger_skipped_total").increment(1);
            tracing::error!(trigger = %self.name, event = %event.event, reason = %event.reason, "an event starts no session");
        }
        self.save(&skipped, context).await?;
        Ok(match problem {
            Some(reason) => self.failed(reason),
            None => Next::LookAfter(TRIGGER_SESSIONS_TIME),
        })
    }
}
