//! What a chain does while an operator holds it back: while it is paused nothing new is signed or sent, and what was sent
//! is followed to its end.

use steward_adapters::outbox::{Effect, Intent};
use steward_storage::{StoreError, StoreExt};
use steward_types::ErrorCode;

use super::entity::ChainActor;
use super::forced;
use super::messages::ChainResponse;
use crate::host::{Context, Fault};
use crate::pause::{self, PauseSubject};

impl ChainActor {
    /// Takes in whether the chain is paused, and what its breaker was ordered to be.
    pub(super) async fn heed_operators(&mut self, context: &Context<Self>) -> Result<(), Fault> {
        let subject = &PauseSubject::Chain(self.id.as_str().to_owned());
        let chain = self.id.as_str();
        let store = &context.environment().store;
        let heed = store.run(|txn| async move {
            let paused = pause::of(&txn, subject).await?;
            Ok::<_, StoreError>((paused, forced::of_chain(&txn, chain).await?))
        });
        let (paused, forced) = heed.await?;
        self.paused = paused;
        self.breaker.force(forced);
        Ok(())
    }

    /// Whether an effect may be begun: while the chain is paused, only what follows transactions that were sent before.
    pub(super) fn may_do(&self, effect: &Effect) -> bool {
        let (Effect::Sign { intent, .. } | Effect::Broadcast { intent, .. }) = effect else { return true };
        let was_sent = |intent: &Intent| intent.attempts.iter().any(|attempt| attempt.sent);
        self.paused.is_none() || self.desk.outbox.intents().get(intent).is_some_and(was_sent)
    }

    /// Nobody waits for a chain that is paused. What they asked for stays wanted.
    pub(super) fn refuse_while_paused(&mut self) {
        let Some(paused) = &self.paused else { return };
        let message = format!("{paused}; it is anchored once the chain is resumed");
        for waiter in self.waiters.drain(..) {
            waiter.reply.send(ChainResponse::Refused(ErrorCode::Paused, message.clone()));
        }
        let why = paused.to_string();
        self.refuse_deployment_waiters(ErrorCode::Paused, &why);
    }
}
