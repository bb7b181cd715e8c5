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

    /// What may be begun of an effect. While the chain is paused, only what follows transactions that were sent before; one
    /// that was signed may have been sent by a process that died before it said so, and is asked after.
    pub(super) fn allowed(&self, effect: Effect) -> Option<Effect> {
        let (Effect::Sign { intent, .. } | Effect::Broadcast { intent, .. }) = &effect else { return Some(effect) };
        let was_sent = || self.desk.outbox.intents().get(intent).is_some_and(Intent::was_sent);
        match effect {
            effect if self.paused.is_none() || was_sent() => Some(effect),
            Effect::Broadcast { intent, transaction } => {
                Some(Effect::Query { intent, transactions: vec![transaction] })
            }
            _ => None,
        }
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
