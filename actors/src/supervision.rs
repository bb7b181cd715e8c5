//! The supervision tree of a node.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

/// Watches over cells and over other supervisors, and outlives them all: what dies below it is cleaned up by
/// its own guard and comes back with its next message.
pub(crate) struct Supervisor;

/// A supervisor is told nothing; it only hears of its children.
pub(crate) enum SupervisorMessage {}

impl ractor::Message for SupervisorMessage {}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    /// Written out, because ractor's own would stop the parent on any child's exit.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(child, cause) = event {
            tracing::error!(child = %child.get_id(), %cause, "an actor failed outside of its own fault handling");
        }
        Ok(())
    }
}
