//! The Operations service on a node that is alone.

use steward_api::proto::v1;
use tonic::Code;

use crate::node::{Client, Node, message, reason};

const CLERK: &str = r#"fn on_message(msg) {
    let answer = chat(msg.text);
    reply(answer.text);
}"#;

fn project(name: &str) -> Option<v1::PauseSubject> {
    Some(v1::PauseSubject { project: name.to_owned(), ..Default::default() })
}

/// The trail without what made the test's projects.
async fn trail(root: &Client) -> Vec<v1::AuditTrailEntry> {
    let entries = root.operations().audit(v1::AuditTrailRequest::default()).await.unwrap().into_inner().entries;
    entries.into_iter().filter(|entry| !entry.operation.starts_with("create ")).collect()
}

#[tokio::test]
async fn only_an_operators_key_may_use_it() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    let mut operations = client.operations();
    let refused = [
        operations.nodes(v1::NodesRequest {}).await.unwrap_err(),
        operations.doctor(v1::DoctorRequest::default()).await.unwrap_err(),
        operations.audit(v1::AuditTrailRequest::default()).await.unwrap_err(),
        operations.pause(v1::PauseRequest { subject: project("acme"), reason: String::new() }).await.unwrap_err(),
        operations.drain(v1::DrainRequest::default()).await.unwrap_err(),
        operations.trace(v1::TraceRequest::default()).await.unwrap_err(),
    ];
    for status in refused {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));
    }
    assert!(trail(&node.client(&node.root).await).await.is_empty(), "what was not permitted was not begun");
}

#[tokio::test]
async fn a_node_that_is_alone_is_a_cluster_of_one_and_cannot_be_drained() {
    let node = Node::start().await;
    let root = node.client(&node.root).await;
    let nodes = root.operations().nodes(v1::NodesRequest {}).await.unwrap().into_inner();
    assert_eq!((nodes.nodes.len(), nodes.missing.len()), (1, 0));
    let one = &nodes.nodes[0];
    assert_eq!((one.state.as_str(), one.shards, one.is_this), ("up", 1024, true));
    let report = one.report.as_ref().unwrap();
    assert_eq!((report.store.as_str(), report.models[0].state.as_str()), ("memory", "ready"));
    let shards = root.operations().shards(v1::ShardsRequest::default()).await.unwrap().into_inner().shards;
    assert_eq!((shards.len(), &shards[7].owner), (1024, &one.id));
    let drain = v1::DrainRequest { node: one.id.clone(), within: None };
    assert_eq!(reason(&root.operations().drain(drain).await.unwrap_err()), "NODE_ALONE");
    let unknown = v1::EvictRequest { node: format!("nod_{}", "7".repeat(32)) };
    assert_eq!(reason(&root.operations().evict(unknown).await.unwrap_err()), "NODE_NOT_FOUND");
    let beyond = v1::MoveShardRequest { shard: 1024, to: String::new() };
    assert_eq!(reason(&root.operations().move_shard(beyond).await.unwrap_err()), "INVALID_REQUEST");
    let outcomes: Vec<_> = trail(&root).await.into_iter().map(|entry| (entry.operation, entry.outcome)).collect();
    let expected = [("move shard", "INVALID_REQUEST"), ("evict", "NODE_NOT_FOUND"), ("drain", "NODE_ALONE")];
    assert_eq!(outcomes, expected.map(|(operation, outcome)| (operation.to_owned(), outcome.to_owned())));
}

#[tokio::test]
async fn a_paused_project_queues_messages_refuses_direct_calls_and_goes_on_when_resumed() {
    let node = Node::start().await;
    let (client, key) = node.project("acme").await;
    let root = node.client(&node.root).await;
    client.deploy("clerk", CLERK).await;
    let session = client.open("clerk").await.id;
    let pause = v1::PauseRequest { subject: project("acme"), reason: "an audit".to_owned() };
    root.operations().pause(pause).await.unwrap();
    let send = v1::SendRequest { session: session.clone(), message: message("hello"), ..Default::default() };
    let sent = client.sessions().send(send).await.unwrap().into_inner();
    let get = v1::GetSessionRequest { session: session.clone() };
    let seen = client.sessions().get(get.clone()).await.unwrap().into_inner();
    assert_eq!((seen.turns, seen.inbox), (0, 1));
    assert!(seen.held_back.contains("project acme is paused") && seen.held_back.ends_with(": an audit"));
    let why = v1::WhyRequest { kind: "session".to_owned(), id: session.clone() };
    let why = root.operations().why(why).await.unwrap().into_inner();
    assert!(why.reasons.iter().any(|reason| reason.contains("No turn of it begins")), "{:?}", why.reasons);
    let body = r#"{"model": "echo", "messages": [{"role": "user", "content": "hi"}]}"#;
    let direct = reqwest::Client::new().post(node.url("/v1/chat/completions")).bearer_auth(&key);
    let refused = direct.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let text = refused.text().await.unwrap();
    assert!(text.contains("paused"), "{text}");
    let paused = root.operations().pauses(v1::PausesRequest {}).await.unwrap().into_inner().pauses;
    assert_eq!((paused.len(), paused[0].reason.as_str()), (1, "an audit"));

    let resume = v1::ResumeRequest { subject: project("acme") };
    assert!(root.operations().resume(resume.clone()).await.unwrap().into_inner().was_paused);
    assert!(!root.operations().resume(resume).await.unwrap().into_inner().was_paused);
    let watch = v1::WatchSessionRequest { session, from_sequence: sent.watch_from, ..Default::default() };
    let mut events = client.sessions().watch(watch).await.unwrap().into_inner();
    while let Some(event) = events.message().await.unwrap() {
        if event.kind() == v1::SessionEventKind::TurnFinished {
            break;
        }
    }
    assert!(client.sessions().get(get).await.unwrap().into_inner().held_back.is_empty());
    let operations: Vec<_> = trail(&root).await.into_iter().map(|entry| entry.operation).collect();
    assert_eq!(operations, ["resume", "resume", "pause"]);
}

#[tokio::test]
async fn what_was_paid_for_is_traced_from_its_receipt() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    let root = node.client(&node.root).await;
    client.deploy("clerk", CLERK).await;
    let session = client.open("clerk").await.id;
    client.run(&session, "hello").await;
    let journal = v1::JournalRequest { session: session.clone(), ..Default::default() };
    let steps = client.sessions().journal(journal).await.unwrap().into_inner().entries;
    let hold = steps.iter().find(|step| !step.hold_id.is_empty()).unwrap().hold_id.clone();
    let trace = |id: String| {
        let root = root.clone();
        async move { root.operations().trace(v1::TraceRequest { id }).await }
    };
    let whole = trace(session.clone()).await.unwrap().into_inner();
    let by_receipt = trace(hold).await.unwrap().into_inner();
    assert_eq!((&by_receipt.session, by_receipt.project.as_str()), (&session, "acme"));
    for source in ["journal", "budget", "receipt"] {
        assert!(by_receipt.lines.iter().any(|line| line.source == source), "{source}: {:#?}", by_receipt.lines);
    }
    assert!(whole.lines.len() > by_receipt.lines.len());
    let at = |line: &v1::TraceLine| line.at.map(|at| (at.seconds, at.nanos));
    assert!(whole.lines.is_sorted_by_key(at), "{:#?}", whole.lines);
    assert_eq!(reason(&trace(format!("hold_{}", "0".repeat(32))).await.unwrap_err()), "RECEIPT_NOT_FOUND");
    assert_eq!(reason(&trace("nonsense".to_owned()).await.unwrap_err()), "INVALID_REQUEST");
}

#[tokio::test]
async fn the_doctor_finds_nothing_on_a_node_that_is_well_and_the_store_is_counted() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    let root = node.client(&node.root).await;
    client.deploy("clerk", CLERK).await;
    client.run(&client.open("clerk").await.id, "hello").await;
    let found = root.operations().doctor(v1::DoctorRequest { audit: true }).await.unwrap().into_inner();
    assert_eq!(found.findings, []);
    assert!(found.checks.contains(&"budgets".to_owned()) && found.checks.len() > 8, "{:?}", found.checks);
    let stats = root.operations().store_stats(v1::StoreStatsRequest {}).await.unwrap().into_inner();
    let part = |name: &str| stats.parts.iter().find(|part| part.name == name).map_or(0, |part| part.rows);
    assert!(part("session") > 5 && part("project") == 1 && part("api_key") == 2, "{stats:#?}");
}

#[tokio::test]
async fn a_fork_is_a_session_of_its_own() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    client.deploy("clerk", CLERK).await;
    let session = client.open("clerk").await.id;
    client.run(&session, "one").await;
    client.run(&session, "two").await;
    let fork = v1::ForkSessionRequest {
        session: session.clone(),
        turn: 1,
        idempotency_key: "f".to_owned(),
        ..Default::default()
    };
    let forked = client.sessions().fork(fork.clone()).await.unwrap().into_inner();
    assert_eq!((forked.turns, forked.spent_micros), (1, 0));
    assert_eq!(forked.forked_from, format!("{session}/1"));
    assert_eq!(client.sessions().fork(fork).await.unwrap().into_inner().id, forked.id, "once for a key");
    let replay = v1::ReplayRequest { session: forked.id.clone(), turn: 1 };
    assert!(client.sessions().replay(replay).await.unwrap().into_inner().equal);
    assert_eq!(client.run(&forked.id, "three").await.turn, 2);
    let later = v1::ForkSessionRequest { session, turn: 9, ..Default::default() };
    assert_eq!(reason(&client.sessions().fork(later).await.unwrap_err()), "INVALID_REQUEST");
    let (stranger, _) = node.project("other").await;
    let foreign = v1::ForkSessionRequest { session: forked.id, ..Default::default() };
    assert_eq!(reason(&stranger.sessions().fork(foreign).await.unwrap_err()), "SESSION_NOT_FOUND");
}
