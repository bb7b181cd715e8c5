//! Each service, through its generated client.

use steward_api::proto::v1;
use tonic::Code;

use crate::node::{Node, bundle, fields, message, reason};

const CLERK: &str = r#"fn on_message(msg) {
    let answer = chat(msg.text);
    reply(answer.text);
    answer.usage.completion_tokens
}"#;

#[tokio::test]
async fn a_project_is_created_once_and_priced() {
    let node = Node::start().await;
    let root = node.client(&node.root).await;
    let create = v1::CreateProjectRequest { name: "acme".to_owned(), limit_micros: Some(5), ..Default::default() };
    let first = root.projects().create(create.clone()).await.unwrap().into_inner();
    assert_eq!(root.projects().create(create.clone()).await.unwrap().into_inner(), first);
    let other = v1::CreateProjectRequest { chains: vec!["anvil".to_owned()], ..create };
    assert_eq!(reason(&root.projects().create(other).await.unwrap_err()), "PROJECT_EXISTS");
    let free = v1::Price::default();
    let prices = v1::PriceList { model_default: Some(free), function_default: Some(free), ..Default::default() };
    let set = v1::SetPricesRequest { project: "acme".to_owned(), prices: Some(prices.clone()) };
    assert_eq!(root.projects().set_prices(set).await.unwrap().into_inner().prices, Some(prices));
    for name in ["beta", "gamma"] {
        root.projects().create(v1::CreateProjectRequest { name: name.to_owned(), ..Default::default() }).await.unwrap();
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = v1::ListProjectsRequest { page_size: 2, page_token };
        let page = root.projects().list(list).await.unwrap().into_inner();
        names.extend(page.projects.into_iter().map(|project| project.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["acme", "beta", "gamma"]);
}

#[tokio::test]
async fn a_project_says_how_long_and_how_many_receipts_may_wait() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    let shown = client.projects().get(v1::GetProjectRequest::default()).await.unwrap().into_inner();
    assert_eq!((shown.anchor_interval.unwrap().seconds, shown.anchor_receipts), (60, None));
    let set = |seconds: i64, receipts: Option<u64>| v1::SetAnchoringRequest {
        project: String::new(),
        chains: vec!["anvil".to_owned()],
        anchor_interval: Some(prost_types::Duration { seconds, nanos: 0 }),
        anchor_receipts: receipts,
    };
    for (seconds, receipts, field) in [
        (0, None, "anchor_interval"),
        (-1, None, "anchor_interval"),
        (30 * 24 * 3_600 + 1, None, "anchor_interval"),
        (1, Some(0), "anchor_receipts"),
        (1, Some(1_000_001), "anchor_receipts"),
    ] {
        let refused = client.projects().set_anchoring(set(seconds, receipts)).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_REQUEST", "{refused:?}");
        assert!(refused.message().contains(field), "{refused:?}");
    }
    let changed = client.projects().set_anchoring(set(600, Some(1_000))).await.unwrap().into_inner();
    assert_eq!((changed.anchor_interval.as_ref().unwrap().seconds, changed.anchor_receipts), (600, Some(1_000)));
    let shown = client.projects().get(v1::GetProjectRequest::default()).await.unwrap().into_inner();
    assert_eq!(shown, changed);
}

#[tokio::test]
async fn an_agent_is_checked_deployed_once_and_read_back() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    let wrong = v1::CheckAgentRequest {
        project: String::new(),
        bundle: Some(bundle("clerk", "fn on_message(msg) {\n  caht(msg);\n}")),
    };
    let found = client.agents().check(wrong.clone()).await.unwrap().into_inner().diagnostics;
    assert_eq!((found[0].file.as_str(), found[0].line, found[0].column), ("agent.rhai", 2, 3));
    let deploy = v1::DeployAgentRequest { project: String::new(), bundle: wrong.bundle };
    let refused = client.agents().deploy(deploy).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), fields(&refused).len()), ("SCRIPT_INVALID", 1));

    let first = client.deploy("clerk", CLERK).await;
    assert!(first.created && !client.deploy("clerk", CLERK).await.created);
    let second = client.deploy("clerk", "fn on_message(msg) { reply(1); }").await;
    assert_eq!(second.agent.unwrap().newest.unwrap().number, 2);
    let get = v1::GetAgentRequest { name: "clerk".to_owned(), version: 1, ..Default::default() };
    let got = client.agents().get(get).await.unwrap().into_inner();
    assert_eq!((got.bundle.unwrap(), got.versions), (bundle("clerk", CLERK), vec![1, 2]));
    let listed = client.agents().list(v1::ListAgentsRequest::default()).await.unwrap().into_inner().agents;
    assert_eq!((listed.len(), listed[0].newest.as_ref().unwrap().number), (1, 2));
    let missing = v1::OpenSessionRequest { agent: "nobody".to_owned(), ..Default::default() };
    assert_eq!(reason(&client.sessions().open(missing).await.unwrap_err()), "AGENT_NOT_FOUND");
}

#[tokio::test]
async fn a_turn_runs_is_journaled_replays_equally_and_is_paid_to_the_micro_unit() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    client.deploy("clerk", CLERK).await;
    let open = v1::OpenSessionRequest {
        agent: "clerk".to_owned(),
        idempotency_key: "once".to_owned(),
        label: "first".to_owned(),
        ..Default::default()
    };
    let session = client.sessions().open(open.clone()).await.unwrap().into_inner();
    assert_eq!(client.sessions().open(open).await.unwrap().into_inner().id, session.id);
    let run = v1::RunRequest {
        session: session.id.clone(),
        message: message("please count"),
        idempotency_key: "m1".to_owned(),
    };
    let outcome = client.sessions().run(run.clone()).await.unwrap().into_inner();
    assert_eq!((outcome.turn, outcome.reply.as_str(), outcome.result_json.as_str()), (1, "one two three four", "4"));
    assert!(outcome.spent_micros > 0 && outcome.failure.is_none());
    assert_eq!(client.sessions().run(run).await.unwrap().into_inner(), outcome);

    let journal = v1::JournalRequest { session: session.id.clone(), ..Default::default() };
    let entries = client.sessions().journal(journal).await.unwrap().into_inner().entries;
    let chat = entries.iter().find(|entry| entry.function == "chat").unwrap();
    assert_eq!((chat.state.as_str(), chat.price_micros), ("finished", outcome.spent_micros));
    let replay = v1::ReplayRequest { session: session.id.clone(), turn: 0 };
    let replayed = client.sessions().replay(replay).await.unwrap().into_inner();
    assert!(replayed.equal && replayed.steps > 0, "{}", replayed.divergence);

    let got = client.sessions().get(v1::GetSessionRequest { session: session.id.clone() }).await.unwrap().into_inner();
    assert_eq!((got.spent_micros, got.turns, got.label.as_str()), (outcome.spent_micros, 1, "first"));
    let statement = v1::StatementRequest { spender: session.id.clone(), ..Default::default() };
    let statement = client.budgets().statement(statement).await.unwrap().into_inner();
    assert_eq!(
        (statement.settled_micros, statement.lines[0].hold_id.as_str()),
        (outcome.spent_micros, chat.hold_id.as_str())
    );
    let audit = client.budgets().audit(v1::AuditRequest::default()).await.unwrap().into_inner();
    assert!(audit.exact, "{:?}", audit.differences);
    assert_eq!(audit.receipts_micros, outcome.spent_micros);
    let budget = client.budgets().get(v1::GetBudgetRequest::default()).await.unwrap().into_inner();
    assert_eq!(budget.balance.unwrap().limit_micros, Some(1_000_000));

    let ended = v1::EndSessionRequest { session: session.id.clone(), ..Default::default() };
    let ended = client.sessions().end(ended).await.unwrap().into_inner();
    assert_eq!(ended.state(), v1::SessionState::Ended);
    let late = v1::SendRequest { session: session.id, message: message("hi"), ..Default::default() };
    assert_eq!(reason(&client.sessions().send(late).await.unwrap_err()), "SESSION_ENDED");
}

#[tokio::test]
async fn a_receipt_is_proven_and_a_changed_proof_is_not() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    client.deploy("clerk", CLERK).await;
    let session = client.open("clerk").await.id;
    client.run(&session, "count").await;
    let list = v1::ListReceiptsRequest { session: session.clone(), ..Default::default() };
    let listed = client.receipts().list(list).await.unwrap().into_inner().receipts;
    assert_eq!((listed.len(), listed[0].function.as_str(), listed[0].output_tokens), (1, "chat", 4));
    let prove = v1::ProveReceiptRequest { id: listed[0].id.clone(), ..Default::default() };
    let proof = client.receipts().prove(prove).await.unwrap().into_inner();
    assert!(proof.receipt.as_ref().unwrap().logged && proof.root.len() == 32);
    let verify = v1::VerifyReceiptRequest { proof_json: proof.proof_json.clone(), ..Default::default() };
    let verified = client.receipts().verify(verify).await.unwrap().into_inner();
    assert!(verified.valid && verified.receipt.unwrap().id == listed[0].id, "{}", verified.problem);
    let price = format!("\"price\": {}", listed[0].price_micros);
    let forged = proof.proof_json.replace(&price, "\"price\": 1");
    assert_ne!(forged, proof.proof_json, "{}", proof.proof_json);
    let verify = v1::VerifyReceiptRequest { proof_json: forged, ..Default::default() };
    assert!(!client.receipts().verify(verify).await.unwrap().into_inner().valid);
    let head = client.receipts().checkpoint(v1::CheckpointRequest::default()).await.unwrap().into_inner();
    assert_eq!((head.tree_size, head.root), (1, proof.root));
    let refused = client.receipts().anchor(v1::AnchorRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "CHAIN_NOT_FOUND");
}

#[tokio::test]
async fn a_person_is_asked_and_decides_once() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    client
        .deploy("asker", r#"fn on_message(msg) { let ok = ask_human("Pay?"); reply(ok.approved + " " + ok.comment); }"#)
        .await;
    let session = client.open("asker").await.id;
    let mut changes = client.approvals().watch(v1::WatchApprovalsRequest::default()).await.unwrap().into_inner();
    let waiting = {
        let (client, session) = (client.clone(), session.clone());
        async move { client.run(&session, "go").await }
    };
    let deciding = async {
        let asked = changes.message().await.unwrap().unwrap();
        assert_eq!((asked.question.as_str(), asked.state()), ("Pay?", v1::ApprovalState::Open));
        let decide = v1::DecideApprovalRequest {
            id: asked.id.clone(),
            approved: true,
            comment: "fine".to_owned(),
            ..Default::default()
        };
        let decided = client.approvals().decide(decide.clone()).await.unwrap().into_inner();
        assert_eq!(decided.state(), v1::ApprovalState::Approved);
        client.approvals().decide(decide.clone()).await.unwrap();
        let other = v1::DecideApprovalRequest { approved: false, ..decide };
        assert_eq!(reason(&client.approvals().decide(other).await.unwrap_err()), "APPROVAL_DECIDED");
        let changed = changes.message().await.unwrap().unwrap();
        assert_eq!((changed.id, changed.comment.as_str()), (asked.id, "fine"));
    };
    let (outcome, ()) = tokio::join!(waiting, deciding);
    assert_eq!(outcome.reply, "true fine");
    let open = v1::ListApprovalsRequest { state: v1::ApprovalState::Open.into(), ..Default::default() };
    assert!(client.approvals().list(open).await.unwrap().into_inner().approvals.is_empty());
}

#[tokio::test]
async fn a_turn_is_cancelled_and_its_session_goes_on() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    client.deploy("asker", r#"fn on_message(msg) { if msg.text == "ask" { ask_human("?"); } reply(msg.text); }"#).await;
    let session = client.open("asker").await.id;
    let send = v1::SendRequest { session: session.clone(), message: message("ask"), ..Default::default() };
    client.sessions().send(send).await.unwrap();
    let watch = v1::WatchSessionRequest { session: session.clone(), from_sequence: 1, ..Default::default() };
    let mut events = client.sessions().watch(watch).await.unwrap().into_inner();
    let mut until = async |kind: v1::SessionEventKind| loop {
        let event = events.message().await.unwrap().expect("the stream goes on");
        if event.kind() == kind {
            return event;
        }
    };
    let asked = until(v1::SessionEventKind::ApprovalRequested).await;
    let cancel = v1::CancelTurnRequest { session: session.clone(), reason: "no longer needed".to_owned() };
    client.sessions().cancel(cancel).await.unwrap();
    assert_eq!(until(v1::SessionEventKind::TurnCancelled).await.turn, 1);
    let decide = v1::DecideApprovalRequest { id: asked.name, approved: true, ..Default::default() };
    assert_eq!(reason(&client.approvals().decide(decide).await.unwrap_err()), "APPROVAL_DECIDED");
    assert_eq!(client.run(&session, "again").await.reply, "again");
    let stranger = node.project("other").await.0;
    let cancel = v1::CancelTurnRequest { session, reason: String::new() };
    assert_eq!(reason(&stranger.sessions().cancel(cancel).await.unwrap_err()), "SESSION_NOT_FOUND");
}

#[tokio::test]
async fn models_are_added_listed_and_removed_and_a_bad_file_is_refused() {
    let node = Node::start().await;
    let root = node.client(&node.root).await;
    let add = v1::AddModelRequest { name: "two".to_owned(), path: "two.gguf".to_owned(), ..Default::default() };
    let added = root.models().add(add.clone()).await.unwrap().into_inner();
    assert_eq!((added.state.as_str(), added.r#use()), ("ready", v1::ModelUse::Generate));
    root.models().add(add.clone()).await.unwrap();
    let taken = v1::AddModelRequest { path: "other.gguf".to_owned(), ..add };
    assert_eq!(reason(&root.models().add(taken).await.unwrap_err()), "MODEL_EXISTS");
    let corrupt = v1::AddModelRequest { name: "bad".to_owned(), path: "corrupt.gguf".to_owned(), ..Default::default() };
    assert_eq!(reason(&root.models().add(corrupt).await.unwrap_err()), "MODEL_FILE_INVALID");
    let names = |models: Vec<v1::Model>| models.into_iter().map(|model| model.name).collect::<Vec<_>>();
    let listed = root.models().list(v1::ListModelsRequest {}).await.unwrap().into_inner();
    assert_eq!(names(listed.models), ["echo", "two"]);
    root.models().remove(v1::RemoveModelRequest { name: "two".to_owned() }).await.unwrap();
    let refused = root.models().get(v1::GetModelRequest { name: "two".to_owned() }).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "MODEL_NOT_FOUND"));
}

#[tokio::test]
async fn an_operator_looks_at_any_actor_and_asks_it_in_its_own_words() {
    let node = Node::start().await;
    let (client, _) = node.project("acme").await;
    client.deploy("clerk", CLERK).await;
    let session = client.open("clerk").await.id;
    let root = node.client(&node.root).await;
    let list = v1::ListActorsRequest { kind: "session".to_owned(), ..Default::default() };
    let listed = root.actors().list(list).await.unwrap().into_inner().actors;
    assert_eq!((listed.len(), listed[0].id.as_str()), (1, session.as_str()));
    let inspect = v1::InspectActorRequest { kind: "session".to_owned(), id: session.clone() };
    let seen = root.actors().inspect(inspect).await.unwrap().into_inner();
    assert_eq!(
        (seen.summary.unwrap().state.as_str(), seen.state.unwrap().r#type.as_str()),
        ("active", "session.snapshot")
    );
    let ask = |json: &str| v1::AskActorRequest {
        kind: "session".to_owned(),
        id: session.clone(),
        request: Some(v1::Payload { r#type: String::new(), json: json.to_owned() }),
    };
    let answer = root.actors().ask(ask("\"Show\"")).await.unwrap().into_inner().response.unwrap();
    assert!(answer.json.contains(&session), "{}", answer.json);
    assert_eq!(reason(&root.actors().ask(ask("\"Nonsense\"")).await.unwrap_err()), "INVALID_REQUEST");
    let mut watch = root
        .actors()
        .watch(v1::WatchActorRequest { kind: "session".to_owned(), id: session.clone(), interval: None })
        .await
        .unwrap()
        .into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let stop = v1::StopActorRequest { kind: "session".to_owned(), id: session.clone() };
    assert!(root.actors().stop(stop.clone()).await.unwrap().into_inner().was_live);
    assert!(!root.actors().stop(stop).await.unwrap().into_inner().was_live);
    let tell = |json: &str| v1::TellActorRequest {
        kind: "session".to_owned(),
        id: session.clone(),
        message: Some(v1::Payload { r#type: String::new(), json: json.to_owned() }),
    };
    assert_eq!(reason(&root.actors().tell(tell("\"Nonsense\"")).await.unwrap_err()), "INVALID_REQUEST");
    root.actors().tell(tell("\"Show\"")).await.unwrap();
    let stop = v1::StopActorRequest { kind: "session".to_owned(), id: session.clone() };
    assert!(root.actors().stop(stop).await.unwrap().into_inner().was_live, "what it was told has activated it");
    assert_eq!(reason(&client.actors().tell(tell("\"Show\"")).await.unwrap_err()), "PERMISSION_DENIED");
    let unknown = v1::ListActorsRequest { kind: "nothing".to_owned(), ..Default::default() };
    let unknown = root.actors().list(unknown).await.unwrap_err();
    assert_eq!(reason(&unknown), "ENTITY_NOT_FOUND");
    let (kinds, said) = ("there are: agent, budget, ", unknown.message());
    assert!(said.starts_with("there is no kind of entity named \"nothing\"; ") && said.contains(kinds), "{said}");
}
