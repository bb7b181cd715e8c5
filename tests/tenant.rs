//! A node in a process of its own with one project on it: what most end-to-end tests start from.

use std::collections::BTreeMap;
use std::path::Path;

use steward::client::Client;
use steward::process::{NodeProcess, NodeSetup, Role, until};
use steward_api::proto::v1;
use steward_types::Micros;
use tempfile::TempDir;

use crate::parts;

/// The project's name.
pub const PROJECT: &str = "acme";
/// The model that needs no file.
pub const MODEL: &str = "scripted";
const LIMIT: Micros = Micros::new(1_000_000_000);

/// A node, its project, and an admin's key for it. Dropping it kills the node and removes what it wrote.
pub struct Tenant {
    /// The node.
    pub node: NodeProcess,
    /// A client with the project's key.
    pub client: Client,
    /// The project's key.
    pub key: String,
    /// Holds the node's folder, and whatever else the test writes.
    pub folder: TempDir,
}

impl Tenant {
    /// Starts a node and creates the project.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same with more in the node's configuration.
    pub async fn start_with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = setup(&folder.path().join("node"));
        setup.config.push_str(more);
        let node = NodeProcess::start(setup).await.unwrap();
        let (client, key) = create_project(&node, PROJECT, LIMIT).await;
        Self { node, client, key, folder }
    }

    /// Another project on the same node: a client and the key.
    pub async fn second_project(&self, name: &str, limit: Micros) -> (Client, String) {
        create_project(&self.node, name, limit).await
    }

    /// Deploys an agent of one script; `manifest` is added to the manifest.
    pub async fn deploy(&self, name: &str, script: &str, manifest: &str) {
        deploy(&self.client, name, script, manifest).await;
    }

    /// Opens a session.
    pub async fn open(&self, agent: &str) -> String {
        let request = v1::OpenSessionRequest { agent: agent.to_owned(), ..Default::default() };
        self.client.sessions().open(request).await.unwrap().into_inner().id
    }

    /// Sends a message and waits until its turn has ended.
    pub async fn run(&self, session: &str, text: &str) -> v1::RunResponse {
        run(&self.client, session, text).await
    }

    /// What an agent of this one script answers to its first message.
    pub async fn run_once(&self, agent: &str, script: &str, manifest: &str) -> serde_json::Value {
        self.deploy(agent, script, manifest).await;
        let ran = self.run(&self.open(agent).await, "go").await;
        assert!(ran.failure.is_none(), "{:?}", ran.failure);
        serde_json::from_str(&ran.result_json).unwrap()
    }

    /// An anchor of the log at this size or a larger one, once it is final.
    pub async fn anchored(&self, leaves: u64) -> v1::Anchor {
        let anchor = until("the anchor", async || {
            let listed =
                self.client.receipts().list_anchors(v1::ListAnchorsRequest::default()).await.ok()?.into_inner();
            listed.anchors.into_iter().find(|anchor| anchor.state == "confirmed" && anchor.tree_size >= leaves)
        });
        anchor.await.unwrap()
    }

    /// Waits until the project's first trigger has seen its chain: from then on it misses nothing.
    pub async fn until_following(&self) {
        let following = until("the trigger", async || {
            let request = v1::ListTriggersRequest::default();
            let trigger = self.client.triggers().list(request).await.ok()?.into_inner().triggers.pop()?;
            (trigger.state == "following" && trigger.final_block.is_some()).then_some(())
        });
        following.await.unwrap();
    }

    /// What a session was told that a trigger of this agent started for an event of this sort, once it is there.
    pub async fn session_of_trigger(
        &self,
        agent: &str,
        is_meant: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let told = until("a session of the trigger", async || {
            let request = v1::ListSessionsRequest { agent: agent.to_owned(), page_size: 100, ..Default::default() };
            for session in self.client.sessions().list(request).await.ok()?.into_inner().sessions {
                let message = self.first_message(session.id).await;
                if is_meant(&message) {
                    return Some(message);
                }
            }
            None
        });
        told.await.unwrap()
    }

    async fn first_message(&self, session: String) -> serde_json::Value {
        let watch = v1::WatchSessionRequest { session, from_sequence: 1, ..Default::default() };
        let mut events = self.client.sessions().watch(watch).await.unwrap().into_inner();
        while let Some(event) = events.message().await.unwrap() {
            if event.kind() == v1::SessionEventKind::Message {
                return serde_json::from_str(&event.data_json).unwrap();
            }
        }
        panic!("the session has no message");
    }

    /// Asserts that the node's log has something in it, and none of these.
    pub fn assert_log_lacks(&self, secrets: &[&str]) {
        let log = std::fs::read_to_string(self.node.log_file()).unwrap();
        assert!(!log.is_empty());
        for (number, secret) in secrets.iter().enumerate() {
            assert!(!log.contains(secret), "secret {number} is in the log");
        }
    }

    /// What the command line says to these words, with the project's key.
    pub fn told(&self, words: &[&str]) -> String {
        let mut steward = std::process::Command::new(parts::steward());
        steward.args(["--server", self.node.server(), "--key", &self.key]).args(words).env("HOME", self.folder.path());
        let ended = steward.output().unwrap();
        let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(ended.status.success(), "{words:?}: {said}");
        said
    }

    /// Every receipt of the project.
    async fn receipts(&self) -> Vec<v1::Receipt> {
        let (mut receipts, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListReceiptsRequest { page_size: 1000, page_token, ..Default::default() };
            let page = self.client.receipts().list(request).await.unwrap().into_inner();
            receipts.extend(page.receipts);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return receipts;
            }
        }
    }

    /// Waits until nothing is held and every receipt is in the log, and asserts that the books are exact and have
    /// `steps` steps, each with a receipt.
    pub async fn books_at_rest(&self, steps: u64) -> (v1::AuditResponse, Vec<v1::Receipt>) {
        let receipts = until("every receipt in the log", async || {
            let listed = self.receipts().await;
            let is_settled = listed.len() as u64 >= steps && listed.iter().all(|receipt| receipt.logged);
            is_settled.then_some(listed)
        });
        let receipts = receipts.await.unwrap();
        let audit = self.client.budgets().audit(v1::AuditRequest::default()).await.unwrap().into_inner();
        assert!(audit.exact, "{audit:?}");
        assert_eq!((audit.steps_settled, audit.steps_open, audit.held_micros), (steps, 0, 0), "{audit:?}");
        assert_eq!((audit.receipts, audit.receipts_micros), (steps, audit.settled_micros), "{audit:?}");
        assert_eq!(receipts.len() as u64, steps);
        (audit, receipts)
    }
}

/// How a node with the scripted model is started in a folder.
pub fn setup(folder: &Path) -> NodeSetup {
    std::fs::create_dir_all(folder).unwrap();
    NodeSetup {
        binary: parts::steward(),
        folder: folder.to_owned(),
        role: Role::Node,
        config: "scripted_model = true\nlog_name = \"tests.steward\"\n".to_owned(),
        environment: Vec::new(),
    }
}

/// Deploys an agent of one script in a client's project; `manifest` is added to the manifest.
pub async fn deploy(client: &Client, name: &str, script: &str, manifest: &str) {
    let models = format!("[models]\nchat = {MODEL:?}\nembed = {MODEL:?}\n");
    let bundle = v1::Bundle {
        files: BTreeMap::from([("agent.rhai".to_owned(), script.to_owned())]),
        manifest_toml: format!("name = {name:?}\n{models}{manifest}"),
    };
    let request = v1::DeployAgentRequest { project: String::new(), bundle: Some(bundle) };
    client.agents().deploy(request).await.unwrap_or_else(|status| panic!("{name}: {status:?}"));
}

/// Sends a message and waits until its turn has ended.
pub async fn run(client: &Client, session: &str, text: &str) -> v1::RunResponse {
    let message = Some(v1::Message { text: text.to_owned(), data_json: String::new() });
    let request = v1::RunRequest { session: session.to_owned(), message, idempotency_key: String::new() };
    client.sessions().run(request).await.unwrap().into_inner()
}

/// Lets a project anchor on this chain.
pub async fn anchor_on(node: &NodeProcess, project: &str, chain: &str) {
    let chains = vec![chain.to_owned()];
    let anchoring = v1::SetAnchoringRequest { project: project.to_owned(), chains, ..Default::default() };
    node.root_client().unwrap().projects().set_anchoring(anchoring).await.unwrap();
}

/// A project on a node: a client with an admin's key, and the key.
pub async fn create_project(node: &NodeProcess, name: &str, limit: Micros) -> (Client, String) {
    let root = node.root_client().unwrap();
    let price = |per_token: u64, per_call_micros| v1::Price {
        per_million_input_tokens_micros: per_token * 1_000_000,
        per_million_output_tokens_micros: 2 * per_token * 1_000_000,
        per_second_micros: 0,
        per_call_micros,
    };
    let prices =
        v1::PriceList { model_default: Some(price(3, 1)), function_default: Some(price(0, 7)), ..Default::default() };
    let create = v1::CreateProjectRequest {
        name: name.to_owned(),
        limit_micros: Some(limit.get()),
        prices: Some(prices),
        ..Default::default()
    };
    root.projects().create(create).await.unwrap();
    let key = v1::CreateKeyRequest {
        project: name.to_owned(),
        label: "test".to_owned(),
        role: v1::KeyRole::Admin.into(),
        idempotency_key: String::new(),
    };
    let key = root.projects().create_key(key).await.unwrap().into_inner().secret;
    (Client::new(node.server(), Some(&key)).unwrap(), key)
}
