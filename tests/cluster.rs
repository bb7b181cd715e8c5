//! A cluster of real processes as its operators change it: a new authority, a node that joins by a member's address,
//! and a watcher whose stream outlives the nodes that its session moves between.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use steward::client::Client;
use steward::commands::up::{READY_FILE, Ready};
use steward::process::{NodeProcess, NodeSetup, until};
use steward_api::proto::v1;
use steward_api::proto::v1::SessionEventKind as Kind;
use steward_chaos::fleet::Fleet;
use steward_chaos::store::{SharedStore, StoreChoice};
use steward_types::Micros;
use tokio::process::{Child, Command};

use crate::parts;
use crate::tenant::{self, PROJECT};

const ECHO: &str = "fn on_message(msg) { reply(msg.text); }";
const LIMIT: Micros = Micros::new(1_000_000_000);
/// How a process says that it took up other certificates.
const TAKEN_UP: &str = "the identity's files changed";

async fn start(folder: &Path, nodes: u32) -> Fleet {
    let setup = NodeSetup { folder: folder.to_owned(), ..tenant::setup(&folder.join("unused")) };
    Fleet::start(&setup, nodes, &StoreChoice::Served, None).await.unwrap()
}

/// A project with the agent `echo`, by the first node, and a client of each node for it.
async fn project(fleet: &Fleet) -> Vec<Client> {
    let (client, key) = tenant::create_project(&fleet.nodes[0], PROJECT, LIMIT).await;
    tenant::deploy(&client, "echo", ECHO, "").await;
    fleet.nodes.iter().map(|node| Client::new(node.server(), Some(&key)).unwrap()).collect()
}

async fn open(client: &Client) -> String {
    let request = v1::OpenSessionRequest { agent: "echo".to_owned(), ..Default::default() };
    client.sessions().open(request).await.unwrap().into_inner().id
}

/// Sends a message, again until a node takes it.
async fn send(client: &Client, session: &str, text: &str) -> u64 {
    let message = Some(v1::Message { text: text.to_owned(), data_json: String::new() });
    let request = v1::SendRequest { session: session.to_owned(), message, idempotency_key: text.to_owned() };
    let sent = until("a node that takes the message", async || client.sessions().send(request.clone()).await.ok());
    sent.await.unwrap().into_inner().turn
}

/// What the binary says to a command of `cluster`, which must succeed.
async fn cluster(arguments: &[&str], folders: &[&Path]) {
    let mut steward = Command::new(parts::steward());
    let ended = steward.arg("cluster").args(arguments).args(folders).output().await.unwrap();
    assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// A fourth process, started by the command line as a person would.
fn joining(data: &Path, identity: &Path, member: &str) -> Child {
    let mut steward = Command::new(parts::steward());
    steward.args(["up", "--listen", "127.0.0.1:0", "--member", member, "--data"]).arg(data).arg("--join").arg(identity);
    steward.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

/// The processes of a cluster with their identities, whose certificates change while they run.
struct Rotating<'a> {
    fleet: &'a Fleet,
    folder: &'a Path,
    clients: Vec<Client>,
    rounds: usize,
}

impl Rotating<'_> {
    fn authority(&self) -> PathBuf {
        self.folder.join("authority")
    }

    fn identities(&self) -> Vec<PathBuf> {
        ["store", "node-1", "node-2"].map(|name| self.folder.join(name).join("identity")).into()
    }

    /// Copies the authorities that are trusted to every identity.
    async fn spread(&mut self) {
        for identity in self.identities() {
            std::fs::copy(self.authority().join("ca.pem"), identity.join("ca.pem")).unwrap();
        }
        self.taken_up().await;
    }

    /// Gives every process a new certificate.
    async fn issue(&mut self) {
        for identity in self.identities() {
            cluster(&["issue"], &[&self.authority(), &identity]).await;
        }
        self.taken_up().await;
    }

    /// Waits until every process has taken up what changed once more; then breaks every connection, so that each is made
    /// anew, and calls through both nodes.
    async fn taken_up(&mut self) {
        self.rounds += 1;
        let Some(SharedStore::Served(store)) = &self.fleet.store else { panic!("a served store") };
        let processes: Vec<&NodeProcess> = self.fleet.nodes.iter().chain([store.as_ref()]).collect();
        let taken_up = until("new certificates in use", async || {
            let count = |node: &&NodeProcess| {
                std::fs::read_to_string(node.log_file()).unwrap().matches(TAKEN_UP).count() >= self.rounds
            };
            processes.iter().all(count).then_some(())
        });
        taken_up.await.unwrap();
        let network = self.fleet.network.as_ref().unwrap();
        let before = network.resets();
        (0..self.fleet.nodes.len()).for_each(|node| network.reset(node));
        // One to the store for each node, and the link between the two, which the calls before have made.
        until("connections that broke", async || (network.resets() >= before + 3).then_some(())).await.unwrap();
        self.call().await;
    }

    /// Calls through both nodes, so that about half of the calls go from one to the other.
    async fn call(&self) {
        for number in 0..16 {
            let session = open_again(&self.clients[0]).await;
            for client in &self.clients {
                send(client, &session, &format!("{number}")).await;
            }
        }
    }
}

/// Opens a session, again until a node does.
async fn open_again(client: &Client) -> String {
    let request = v1::OpenSessionRequest { agent: "echo".to_owned(), ..Default::default() };
    let opened = until("a session", async || client.sessions().open(request.clone()).await.ok());
    opened.await.unwrap().into_inner().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clusters_authority_is_replaced_while_it_works_and_the_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = start(folder.path(), 2).await;
    let clients = project(&fleet).await;
    let stranger = folder.path().join("stranger");
    let mut rotating = Rotating { fleet: &fleet, folder: folder.path(), clients, rounds: 0 };
    cluster(&["issue"], &[&rotating.authority(), &stranger]).await;

    rotating.call().await;
    cluster(&["rotate"], &[&rotating.authority()]).await;
    rotating.spread().await;
    rotating.issue().await;
    cluster(&["rotate", "--finish"], &[&rotating.authority()]).await;
    rotating.spread().await;

    // It trusts the new authority, and has a certificate of the old one.
    std::fs::copy(rotating.authority().join("ca.pem"), stranger.join("ca.pem")).unwrap();
    let member = fleet.network.as_ref().unwrap().advertise(0).to_string();
    let refused = joining(&folder.path().join("data"), &stranger, &member).wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("does not accept this node's certificate"), "{said}");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_knows_one_member_joins_and_gets_its_share() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = start(folder.path(), 3).await;
    let (data, identity) = (folder.path().join("data"), folder.path().join("fourth"));
    cluster(&["issue"], &[&folder.path().join("authority"), &identity]).await;
    let member = fleet.network.as_ref().unwrap().advertise(1).to_string();
    let mut fourth = joining(&data, &identity, &member);
    let ready: Ready = until("the fourth node", async || {
        assert!(fourth.try_wait().unwrap().is_none(), "the fourth node ended");
        serde_json::from_str(&std::fs::read_to_string(data.join(READY_FILE)).ok()?).ok()
    })
    .await
    .unwrap();
    let root = fleet.nodes[0].root_client().unwrap();
    let shares = until("a fourth of the shards for each", async || {
        let nodes = root.operations().nodes(v1::NodesRequest {}).await.ok()?.into_inner().nodes;
        (nodes.len() == 4 && nodes.iter().all(|node| node.shards == 256)).then_some(nodes)
    });
    let nodes = shares.await.unwrap();
    assert!(nodes.iter().any(|node| node.api_address == ready.server), "{nodes:?}");
    let told = Command::new("kill").args(["-TERM", &fourth.id().unwrap().to_string()]).status().await.unwrap();
    assert!(told.success());
    assert!(fourth.wait().await.unwrap().success(), "it hands its share over and ends");
    fleet.stop().await.unwrap();
}

/// A stream of a session's events that is held, and the number that must come next.
struct Held {
    events: BoxStream<'static, Result<v1::SessionEvent, String>>,
    next: u64,
}

impl Held {
    async fn open(client: &Client, session: &str, next: u64) -> Self {
        let request =
            v1::WatchSessionRequest { session: session.to_owned(), from_sequence: next, ..Default::default() };
        let events = client.sessions().watch(request).await.unwrap().into_inner();
        Self { events: events.map_err(|status| status.to_string()).boxed(), next }
    }

    /// Reads on to the end of a turn, which must come on this stream.
    async fn turn_finished(&mut self, turn: u64) {
        loop {
            let event = self.events.next().await.expect("the stream goes on").unwrap();
            assert_eq!(event.sequence, self.next, "nothing is left out and nothing comes twice");
            self.next += 1;
            if event.kind() == Kind::TurnFinished && event.turn == turn {
                return;
            }
        }
    }
}

/// The session's shard.
async fn shard(root: &Client, session: &str) -> u32 {
    let request = v1::InspectActorRequest { kind: "session".to_owned(), id: session.to_owned() };
    root.actors().inspect(request).await.unwrap().into_inner().shard
}

/// Waits until the shard is with a node for which `fits` says so, by its number among `ids`, and returns the number.
async fn owner(root: &Client, shard: u32, ids: &[String], fits: impl Fn(usize) -> bool) -> usize {
    let found = until("the shard's node", async || {
        let shards = root.operations().shards(v1::ShardsRequest::default()).await.ok()?.into_inner().shards;
        let owner = &shards.iter().find(|found| found.shard == shard)?.owner;
        ids.iter().position(|id| id == owner).filter(|at| fits(*at))
    });
    found.await.unwrap()
}

/// The ids of the fleet's nodes, in their order.
async fn ids(fleet: &Fleet) -> Vec<String> {
    let nodes = fleet.nodes[0].root_client().unwrap().operations().nodes(v1::NodesRequest {}).await.unwrap();
    let nodes = nodes.into_inner().nodes;
    let id = |node: &NodeProcess| nodes.iter().find(|found| found.api_address == node.server()).unwrap().id.clone();
    fleet.nodes.iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_follows_a_session_whose_nodes_are_drained_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = start(folder.path(), 3).await;
    let (clients, ids) = (project(&fleet).await, ids(&fleet).await);
    let session = open(&clients[0]).await;
    let root = fleet.nodes[0].root_client().unwrap();
    let shard = shard(&root, &session).await;
    let drained = owner(&root, shard, &ids, |_| true).await;
    let (watched, killed) = ((drained + 1) % 3, (drained + 2) % 3);
    let (client, root) = (&clients[watched], fleet.nodes[watched].root_client().unwrap());
    let mut held = Held::open(client, &session, 1).await;
    held.turn_finished(send(client, &session, "first").await).await;

    // The node that has the session is drained and ends.
    fleet.nodes[drained].terminate().await.unwrap();
    held.turn_finished(send(client, &session, "drained").await).await;
    // The session is put on the third node, which dies at once, in the middle of what it does.
    let place = v1::MoveShardRequest { shard, to: ids[killed].clone() };
    root.operations().move_shard(place).await.unwrap();
    owner(&root, shard, &ids, |at| at == killed).await;
    let turn = send(client, &session, "moved").await;
    fleet.nodes[killed].kill().await.unwrap();
    held.turn_finished(turn).await;
    held.turn_finished(send(client, &session, "killed").await).await;
    owner(&root, shard, &ids, |at| at == watched).await;

    // Its own node dies, and with it the stream: the next number goes on at another node.
    fleet.nodes[drained].start_again().await.unwrap();
    fleet.nodes[watched].kill().await.unwrap();
    held.events.next().await.unwrap().expect_err("the stream ends with its node");
    let client = &clients[drained];
    let mut resumed = Held::open(client, &session, held.next).await;
    resumed.turn_finished(send(client, &session, "resumed").await).await;
    for node in [killed, watched] {
        fleet.nodes[node].start_again().await.unwrap();
    }
    fleet.stop().await.unwrap();
}
