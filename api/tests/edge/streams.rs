//! Streams: watching, conversing, deadlines, and a server that stops.

use std::time::Duration;

use steward_api::proto::v1;
use tonic::{Code, Request};

use crate::node::{Client, Node, PATIENCE, message, reason};

async fn events(client: &Client, session: &str, from: u64) -> Vec<v1::SessionEvent> {
    let watch = v1::WatchSessionRequest {
        session: session.to_owned(),
        from_sequence: from,
        stop_at_end: true,
        ..Default::default()
    };
    let mut stream = client.sessions().watch(watch).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(event) = stream.message().await.unwrap() {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn a_watch_goes_on_from_any_number_without_gap_or_repeat() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    client.deploy("clerk", "fn on_message(msg) { reply(chat(msg.text).text); }").await;
    let session = client.open("clerk").await.id;
    let last = client.run(&session, "count").await.last_sequence;
    let all = events(&client, &session, 0).await;
    let numbers: Vec<u64> = all.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    for from in 1..=last {
        assert_eq!(events(&client, &session, from).await, all[usize::try_from(from).unwrap() - 1..]);
    }
    assert!(events(&client, &session, last + 1).await.is_empty());
    let told: String =
        all.iter().filter(|e| e.kind() == v1::SessionEventKind::Delta).map(|e| e.text.as_str()).collect();
    assert_eq!(told, "one two three four");
    assert_eq!(all.last().unwrap().kind(), v1::SessionEventKind::TurnFinished);

    let watch = v1::WatchSessionRequest { session: session.clone(), from_sequence: last + 1, ..Default::default() };
    let mut live = client.sessions().watch(watch).await.unwrap().into_inner();
    client.run(&session, "again").await;
    assert_eq!(live.message().await.unwrap().unwrap().sequence, last + 1);
    let end = v1::EndSessionRequest { session: session.clone(), reason: "enough".to_owned() };
    client.sessions().end(end).await.unwrap();
    let mut ended = None;
    while let Some(event) = live.message().await.unwrap() {
        ended = Some(event);
    }
    let ended = ended.unwrap();
    assert_eq!((ended.kind(), ended.text.as_str()), (v1::SessionEventKind::Ended, "enough"));
}

#[tokio::test]
async fn a_conversation_sends_and_receives_on_one_call() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    client.deploy("parrot", "fn on_message(msg) { reply(msg.text); }").await;
    let session = client.open("parrot").await.id;
    let (parts, sent) = tokio::sync::mpsc::channel(4);
    let part = |session: &str, text: &str| v1::ConverseRequest {
        session: session.to_owned(),
        message: message(text),
        ..Default::default()
    };
    parts.send(part(&session, "one")).await.unwrap();
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let mut events = client.sessions().converse(sent).await.unwrap().into_inner();
    let mut replies = Vec::new();
    while replies.len() < 2 {
        let event = events.message().await.unwrap().unwrap();
        if event.kind() == v1::SessionEventKind::Reply {
            replies.push(event.text);
            if replies.len() == 1 {
                parts.send(part("", "two")).await.unwrap();
            }
        }
    }
    assert_eq!(replies, ["one", "two"]);
}

#[tokio::test]
async fn a_deadline_ends_a_call_and_a_stream_and_the_turn_goes_on() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    client.deploy("asker", r#"fn on_message(msg) { ask_human("?"); reply("done"); }"#).await;
    let session = client.open("asker").await.id;
    let mut run =
        Request::new(v1::RunRequest { session: session.clone(), message: message("x"), ..Default::default() });
    run.set_timeout(Duration::from_millis(300));
    let late = client.sessions().run(run).await.unwrap_err();
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late}");
    let mut watch = Request::new(v1::WatchSessionRequest { session: session.clone(), ..Default::default() });
    watch.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let mut stream = client.sessions().watch(watch).await.unwrap().into_inner();
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&end), "DEADLINE_EXCEEDED");
    let open = client.approvals().list(v1::ListApprovalsRequest::default()).await.unwrap().into_inner().approvals;
    let decide = v1::DecideApprovalRequest { id: open[0].id.clone(), approved: true, ..Default::default() };
    client.approvals().decide(decide).await.unwrap();
    let mut stream =
        client.sessions().watch(v1::WatchSessionRequest { session, ..Default::default() }).await.unwrap().into_inner();
    let replied = async {
        while let Some(event) = stream.message().await.unwrap() {
            if event.kind() == v1::SessionEventKind::Reply {
                return event.text;
            }
        }
        panic!("no reply");
    };
    assert_eq!(tokio::time::timeout(PATIENCE, replied).await.unwrap(), "done");
}

#[tokio::test]
async fn a_server_that_stops_tells_its_watchers_to_come_back() {
    let mut node = Node::start().await;
    let (client, _) = node.project("acme").await;
    let mut watch = client.approvals().watch(v1::WatchApprovalsRequest::default()).await.unwrap().into_inner();
    node.stop().await;
    let end = watch.message().await.unwrap_err();
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "NODE_DRAINING"));
}
