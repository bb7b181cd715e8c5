//! The supervision tree of a node, as one value: what stands where, and what happens when it dies.
//!
//! [`TREE`] is what the host starts from and what ARCHITECTURE.md shows. A crash inside of an entity never comes this
//! far: its cell catches it. Here is what watches the cells themselves.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

/// What a supervisor does when a child dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Starts it again at once.
    Always,
    /// Nothing: the entity's next message starts a new cell, which rebuilds it from the store.
    OnDemand,
}

impl Restart {
    const fn text(self) -> &'static str {
        match self {
            Self::Always => "restarted at once",
            Self::OnDemand => "comes back with its next message",
        }
    }
}

/// One place in the tree.
#[derive(Debug)]
pub enum Place {
    /// A supervisor, which outlives whatever dies below it.
    Supervisor {
        /// Its name.
        name: &'static str,
        /// What it is for.
        purpose: &'static str,
        /// What stands below it.
        below: &'static [Place],
    },
    /// An actor of the host's own.
    Actor {
        /// Its name.
        name: &'static str,
        /// What it is for.
        purpose: &'static str,
        /// What happens when it dies.
        restart: Restart,
    },
    /// A supervisor for the cells of one kind of entity.
    Kind {
        /// The kind's name.
        name: &'static str,
        /// What its entities are.
        purpose: &'static str,
        /// What happens when a cell dies.
        restart: Restart,
    },
}

/// The supervision tree of a node.
pub static TREE: Place = Place::Supervisor {
    name: "node",
    purpose: "everything of one node",
    below: &[
        Place::Actor { name: "sweeper", purpose: "makes idle entities leave memory", restart: Restart::Always },
        Place::Supervisor {
            name: "tenancy",
            purpose: "who may do what",
            below: &[
                kind("project", "a tenant: its keys, prices and agents"),
                kind("agent", "an agent's versions and which of them new turns take"),
            ],
        },
        Place::Supervisor {
            name: "work",
            purpose: "what agents do",
            below: &[
                kind("session", "one conversation or job and its turns"),
                kind("timers", "wakes sessions whose sleep or wait is over"),
                kind("memory", "the vectors that a project remembers"),
                kind("trigger", "starts a session for each event of a chain that its agent wants"),
            ],
        },
        Place::Supervisor {
            name: "machines",
            purpose: "what models run on",
            below: &[
                kind("device", "a device and its memory"),
                kind("model", "a model's replica: its queue and its generations"),
            ],
        },
        Place::Supervisor {
            name: "money",
            purpose: "what is spent, and the proof of it",
            below: &[
                kind("budget", "one level of a budget tree"),
                kind("receipt-log", "the Merkle log of receipts"),
                kind("chain", "the outbox of one chain"),
            ],
        },
        Place::Supervisor { name: "other", purpose: "kinds that the tree does not name", below: &[] },
    ],
};

const OTHER: &str = "other";

const fn kind(name: &'static str, purpose: &'static str) -> Place {
    Place::Kind { name, purpose, restart: Restart::OnDemand }
}

impl Place {
    /// The tree as text, one place a line.
    pub fn render(&self) -> String {
        let mut text = String::new();
        self.render_into(&mut text, "", "");
        text
    }

    fn render_into(&self, text: &mut String, lead: &str, lead_below: &str) {
        let (line, below) = match self {
            Self::Supervisor { name, purpose, below } => (format!("{name}: {purpose}"), *below),
            Self::Actor { name, purpose, restart } => {
                (format!("{name} (actor): {purpose}; {}", restart.text()), &[][..])
            }
            Self::Kind { name, purpose, restart } => {
                (format!("{name} (entities): {purpose}; {}", restart.text()), &[][..])
            }
        };
        let _ = writeln!(text, "{lead}{line}");
        for (index, place) in below.iter().enumerate() {
            let (tee, bar) = if index + 1 == below.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            place.render_into(text, &format!("{lead_below}{tee}"), &format!("{lead_below}{bar}"));
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Supervisor { name, .. } | Self::Actor { name, .. } | Self::Kind { name, .. } => name,
        }
    }

    const fn below(&self) -> &'static [Self] {
        match self {
            Self::Supervisor { below, .. } => below,
            Self::Actor { .. } | Self::Kind { .. } => &[],
        }
    }

    /// The branch of the root that a kind stands under.
    fn branch_of(&self, kind: &str) -> &'static str {
        let holds = |branch: &&Self| branch.below().iter().any(|place| place.name() == kind);
        self.below().iter().find(holds).map_or(OTHER, Self::name)
    }
}

/// An actor that a supervisor keeps alive.
#[derive(Clone)]
pub(crate) struct Child {
    name: &'static str,
    restart: Restart,
    spawn: Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>,
}

impl Child {
    pub(crate) fn new(
        name: &'static str,
        restart: Restart,
        spawn: impl Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync + 'static,
    ) -> Self {
        Self { name, restart, spawn: Arc::new(spawn) }
    }
}

/// The running supervisors of one node: the root and its branches.
pub(crate) struct Supervisors {
    root: ActorCell,
    children: Children,
    branches: HashMap<&'static str, ActorCell>,
}

type Children = Arc<Mutex<HashMap<ActorId, Child>>>;

impl Supervisors {
    /// Starts the root and its branches as [`TREE`] has them.
    pub(crate) async fn start() -> Result<Self, SpawnErr> {
        let children = Children::default();
        let (root, _) = Supervisor::spawn(None, Supervisor, Arc::clone(&children)).await?;
        let root = root.get_cell();
        let mut branches = HashMap::new();
        for place in TREE.below() {
            if let Place::Supervisor { name, .. } = place {
                branches.insert(*name, supervisor_below(root.clone()).await?);
            }
        }
        Ok(Self { root, children, branches })
    }

    /// Starts the supervisor of the cells of a kind.
    pub(crate) async fn of_kind(&self, kind: &str) -> Result<ActorCell, SpawnErr> {
        supervisor_below(self.branches[TREE.branch_of(kind)].clone()).await
    }

    /// Starts an actor under the root, and keeps it alive as its restart says.
    pub(crate) async fn keep(&self, child: Child) -> Result<(), SpawnErr> {
        let actor = (child.spawn)(self.root.clone()).await?;
        self.children.lock().insert(actor.get_id(), child);
        Ok(())
    }

    /// Ends every actor of the tree.
    pub(crate) fn stop(&self) {
        self.children.lock().clear();
        self.root.kill();
    }
}

async fn supervisor_below(parent: ActorCell) -> Result<ActorCell, SpawnErr> {
    let (supervisor, _) = Supervisor::spawn_linked(None, Supervisor, Children::default(), parent).await?;
    Ok(supervisor.get_cell())
}

/// Watches over actors, and outlives them all.
struct Supervisor;

/// A supervisor is told nothing; it only hears of its children.
enum SupervisorMessage {}

impl ractor::Message for SupervisorMessage {}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = Children;
    type Arguments = Children;

    async fn pre_start(
        &self,
        _: ActorRef<SupervisorMessage>,
        children: Children,
    ) -> Result<Children, ActorProcessingErr> {
        Ok(children)
    }

    /// Written out, because ractor's own would stop the parent on any child's exit.
    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        let dead = match event {
            SupervisionEvent::ActorFailed(dead, cause) => {
                tracing::error!(actor = %dead.get_id(), %cause, "an actor failed outside of its own fault handling");
                dead
            }
            SupervisionEvent::ActorTerminated(dead, ..) => dead,
            _ => return Ok(()),
        };
        let child = children.lock().remove(&dead.get_id());
        if let Some(child) = child.filter(|child| child.restart == Restart::Always) {
            match (child.spawn)(myself.get_cell()).await {
                Ok(actor) => drop(children.lock().insert(actor.get_id(), child)),
                Err(cause) => tracing::error!(name = child.name, %cause, "an actor could not be started again"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
