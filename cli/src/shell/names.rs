//! What the node knows by name, for completion: asked when Tab is pressed, and kept for a moment.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use steward_api::proto::v1;
use steward_types::{Clock as _, SystemClock};
use tokio::runtime::Handle;

use super::complete::Candidate;
use crate::commands::Session;

/// How long an answer is kept.
const KEPT_TIME: Duration = Duration::from_secs(5);
/// How long a person at the prompt is kept waiting for names.
const ASK_TIME_MAX: Duration = Duration::from_secs(2);
/// Sessions that completion offers, newest first.
const SESSIONS_MAX: u32 = 100;

/// A sort of thing that has names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Node,
    Session,
    Kind,
    Agent,
    Project,
    Chain,
    Model,
    Module,
    /// Nothing that the node could list.
    Other,
}

impl What {
    /// What an option of this name takes.
    pub(super) fn of_option(option: &str) -> Self {
        match option {
            "agent" => Self::Agent,
            "session" => Self::Session,
            "project" => Self::Project,
            "chain" => Self::Chain,
            "node" => Self::Node,
            _ => Self::Other,
        }
    }

    /// What a command's argument takes.
    pub(super) fn of_argument(path: &[&str], argument: &str) -> Self {
        match (path, argument) {
            (_, "node") => Self::Node,
            (_, "session") | (["trace"], "id") => Self::Session,
            (_, "kind") => Self::Kind,
            (_, "agent") | (["pause" | "resume", "agent"], "name") => Self::Agent,
            (["pause" | "resume", "project"] | ["projects", ..], "name") => Self::Project,
            (["breakers" | "chains" | "contracts" | "outbox" | "wallets", ..], "chain")
            | (["pause" | "resume", "chain"], "id") => Self::Chain,
            (["models", ..], "name") => Self::Model,
            (["modules", ..], "name") => Self::Module,
            _ => Self::Other,
        }
    }
}

/// Names of one node. It is used on a thread that may block.
pub(super) struct Names {
    session: Session,
    runtime: Handle,
    clock: SystemClock,
    kept: Mutex<BTreeMap<What, (Duration, Vec<Candidate>)>>,
}

impl Names {
    /// For a session, asked on the runtime that this is called on.
    pub(super) fn new(session: Session) -> Self {
        Self { session, runtime: Handle::current(), clock: SystemClock::new(), kept: Mutex::default() }
    }

    /// Forgets what belongs to another project.
    pub(super) fn speak_of(&mut self, project: &str) {
        if self.session.project != project {
            self.session.project = project.to_owned();
            self.kept.lock().clear();
        }
    }

    /// The names; none when the node does not tell them, because a person who types cannot use an error.
    pub(super) fn of(&self, what: What) -> Vec<Candidate> {
        let now = self.clock.monotonic();
        if let Some((at, found)) = self.kept.lock().get(&what)
            && now.saturating_sub(*at) < KEPT_TIME
        {
            return found.clone();
        }
        let asked = self.runtime.block_on(async {
            tokio::select! {
                found = self.ask(what) => found.unwrap_or_default(),
                () = self.clock.sleep(ASK_TIME_MAX) => Vec::new(),
            }
        });
        self.kept.lock().insert(what, (now, asked.clone()));
        asked
    }

    async fn ask(&self, what: What) -> Result<Vec<Candidate>, tonic::Status> {
        let (client, project) = (&self.session.client, self.session.project.clone());
        let named = |word: &str, about: &str| Candidate { word: word.to_owned(), about: about.to_owned() };
        Ok(match what {
            What::Other => Vec::new(),
            What::Node => {
                let nodes = client.operations().nodes(v1::NodesRequest {}).await?.into_inner().nodes;
                nodes.iter().map(|node| named(&node.id, &node.state)).collect()
            }
            What::Session => {
                let request = v1::ListSessionsRequest { project, page_size: SESSIONS_MAX, ..Default::default() };
                let sessions = client.sessions().list(request).await?.into_inner().sessions;
                sessions.iter().map(|session| named(&session.id, &session.agent)).collect()
            }
            What::Kind => {
                let nodes = client.operations().nodes(v1::NodesRequest {}).await?.into_inner().nodes;
                let kinds = nodes.iter().find_map(|node| node.report.as_ref()).map(|report| &report.kinds);
                kinds.into_iter().flatten().map(|kind| named(&kind.kind, "")).collect()
            }
            What::Agent => {
                let request = v1::ListAgentsRequest { project, page_size: 1000, ..Default::default() };
                let agents = client.agents().list(request).await?.into_inner().agents;
                agents.iter().map(|agent| named(&agent.name, "")).collect()
            }
            What::Project => {
                let request = v1::ListProjectsRequest { page_size: 1000, ..Default::default() };
                let projects = client.projects().list(request).await?.into_inner().projects;
                projects.iter().map(|project| named(&project.name, "")).collect()
            }
            What::Chain => {
                let breakers = client.operations().breakers(v1::BreakersRequest {}).await?.into_inner().breakers;
                breakers.iter().map(|breaker| named(&breaker.chain, &breaker.state)).collect()
            }
            What::Model => {
                let models = client.models().list(v1::ListModelsRequest {}).await?.into_inner().models;
                models.iter().map(|model| named(&model.name, &model.state)).collect()
            }
            What::Module => {
                let modules = client.modules().list(v1::ListModulesRequest { project }).await?.into_inner().modules;
                modules.iter().map(|module| named(&module.name, "")).collect()
            }
        })
    }
}
