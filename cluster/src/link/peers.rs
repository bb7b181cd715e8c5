//! What is known of the peers that this node dials.

use std::collections::HashMap;

use parking_lot::Mutex;
use steward_types::NodeId;
use steward_types::limits::LINK_EVENTS_MAX;
use tokio::sync::broadcast;

/// How a peer looks from here, judged by the control lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It answers.
    Up,
    /// Its connection stands, and it has not been heard for `LINK_SILENT_TIME`.
    Silent,
    /// It cannot be reached.
    Down,
}

/// A peer's state changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// It answers (again).
    Up(NodeId),
    /// It has not been heard for `LINK_SILENT_TIME`.
    Silent(NodeId),
    /// It cannot be reached.
    Down(NodeId),
}

#[derive(Debug)]
pub(super) struct Peers {
    states: Mutex<HashMap<NodeId, PeerState>>,
    events: broadcast::Sender<PeerEvent>,
}

impl Peers {
    pub fn new() -> Self {
        Self { states: Mutex::default(), events: broadcast::channel(LINK_EVENTS_MAX).0 }
    }

    pub fn state(&self, node: &NodeId) -> Option<PeerState> {
        self.states.lock().get(node).copied()
    }

    pub fn watch(&self) -> broadcast::Receiver<PeerEvent> {
        self.events.subscribe()
    }

    /// Records the state; watchers hear of it when it is a new one.
    pub fn set(&self, node: NodeId, state: PeerState) {
        if self.states.lock().insert(node, state) != Some(state) {
            let event = match state {
                PeerState::Up => PeerEvent::Up(node),
                PeerState::Silent => PeerEvent::Silent(node),
                PeerState::Down => PeerEvent::Down(node),
            };
            tracing::info!(?event, "a peer changed");
            // Nobody may be watching.
            let _ = self.events.send(event);
        }
    }

    pub fn forget(&self, node: &NodeId) {
        self.states.lock().remove(node);
    }
}
