//! A model of a cluster of real processes: one replica, asked from every node, whose node is killed while it generates.

use futures::future::join_all;
use steward::client::Client;
use steward::process::{NodeProcess, until};
use steward_api::proto::v1;
use steward_chaos::fleet::Fleet;
use steward_types::Micros;

use crate::tenant::{self, PROJECT, Tenant};

const MODEL: &str = "single";
const SESSIONS: usize = 6;
const WORDS: usize = 3_000;
/// gRPC's number of UNAVAILABLE.
const UNAVAILABLE: i32 = 14;

/// Offers the scripted model under another name, once in the cluster.
async fn add_model(node: &NodeProcess) {
    let request = v1::AddModelRequest {
        name: MODEL.to_owned(),
        path: tenant::MODEL.to_owned(),
        replicas: 1,
        ..v1::AddModelRequest::default()
    };
    let added = node.root_client().unwrap().models().add(request).await.unwrap().into_inner();
    assert_eq!((added.state.as_str(), added.replicas_wished), ("ready", 1), "{added:?}");
}

/// The node that has the model ready, by its id.
async fn holder(client: &Client) -> Option<String> {
    let request = v1::GetModelRequest { name: MODEL.to_owned() };
    let model = client.models().get(request).await.ok()?.into_inner();
    let ready = model.replicas.into_iter().find(|replica| replica.state == "ready")?;
    Some(ready.node)
}

/// Which of the processes is the node of this id: each says in its log who it is when it joins.
fn process_of(nodes: &[NodeProcess], id: &str) -> usize {
    let is_it = |node: &NodeProcess| {
        let log = std::fs::read_to_string(node.log_file()).unwrap();
        log.lines().any(|line| line.contains("joined the cluster") && line.contains(id))
    };
    nodes.iter().position(is_it).unwrap_or_else(|| panic!("no process is {id}"))
}

/// Sends a message and waits until its turn has ended, as a client does whose node may say that it is not the time: the
/// same key makes it one turn, however often it is asked for.
async fn run(client: &Client, session: &str, text: &str) -> v1::RunResponse {
    let message = Some(v1::Message { text: text.to_owned(), data_json: String::new() });
    let request = v1::RunRequest { session: session.to_owned(), message, idempotency_key: "once".to_owned() };
    let ended = until("the end of a turn", async || match client.sessions().run(request.clone()).await {
        Ok(ended) => Some(ended.into_inner()),
        Err(status) if i32::from(status.code()) == UNAVAILABLE => None,
        Err(status) => panic!("{session}: {status:?}"),
    });
    ended.await.unwrap()
}

/// Waits until the session's log has a piece of the model's answer.
async fn first_piece(client: &Client, session: &str) {
    let request = v1::WatchSessionRequest { session: session.to_owned(), ..Default::default() };
    let mut events = client.sessions().watch(request).await.unwrap().into_inner();
    loop {
        let event = events.message().await.unwrap().expect("the session goes on");
        if event.kind() == v1::SessionEventKind::Delta {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_whose_node_is_killed_goes_on_elsewhere_and_is_paid_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(&tenant::setup(folder.path()), 3).await.unwrap();
    add_model(&fleet.nodes[0]).await;
    let id = holder(&fleet.nodes[0].root_client().unwrap()).await.unwrap();
    let mut victim = fleet.nodes.remove(process_of(&fleet.nodes, &id));
    let node = fleet.nodes.remove(0);
    let (client, key) = tenant::create_project(&node, PROJECT, Micros::new(1_000_000_000)).await;
    let tenant = Tenant { node, client, key, folder };
    let script =
        format!("fn on_message(msg) {{ reply(chat(msg.text, #{{model: {MODEL:?}, max_tokens: 4000}}).text); }}");
    tenant.deploy("reader", &script, "").await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(tenant.open("reader").await);
    }
    let text: String = (0..WORDS).map(|word| format!("word{word} ")).collect();
    let turns = join_all(sessions.iter().map(|session| run(&tenant.client, session, &text)));
    let killing = async {
        first_piece(&tenant.client, &sessions[0]).await;
        victim.kill().await.unwrap();
    };
    let (turns, ()) = tokio::join!(turns, killing);
    for turn in turns {
        assert_eq!(turn.failure, None);
        assert_eq!(turn.reply, text);
    }
    let root = tenant.node.root_client().unwrap();
    let elsewhere = until("the model on another node", async || holder(&root).await.filter(|now| *now != id));
    elsewhere.await.unwrap();
    let (audit, receipts) = tenant.books_at_rest(SESSIONS as u64).await;
    for receipt in &receipts {
        assert_eq!(receipt.output_tokens, WORDS as u64, "{audit:?}");
    }
    victim.start_again().await.unwrap();
    for node in [victim, tenant.node].into_iter().chain(fleet.nodes) {
        node.stop().await.unwrap();
    }
    fleet.store.unwrap().stop().await.unwrap();
}
