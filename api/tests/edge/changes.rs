//! What an operator's key changes, by whatever service, stands in the audit trail; what a project's own key changes does
//! not. A method that nobody has sorted fails the test.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use steward_api::proto::{DESCRIPTORS, v1};

use crate::node::{Client, Node, bundle};

const CLERK: &str = r#"fn on_message(msg) { reply(chat(msg.text).text); }"#;

/// Methods that change nothing.
const READS: &[&str] = &[
    "Actors.DeadLetters",
    "Actors.Inspect",
    "Actors.List",
    "Actors.Watch",
    "Agents.Check",
    "Agents.Get",
    "Agents.List",
    "Approvals.List",
    "Approvals.Watch",
    "Budgets.Audit",
    "Budgets.Get",
    "Budgets.Statement",
    "Chains.Contracts",
    "Chains.List",
    "Chains.Outbox",
    "Chains.Wallets",
    "Models.Get",
    "Models.List",
    "Modules.Get",
    "Modules.List",
    "Operations.Audit",
    "Operations.Breakers",
    "Operations.Doctor",
    "Operations.Nodes",
    "Operations.Pauses",
    "Operations.Quarantine",
    "Operations.Shards",
    "Operations.StoreStats",
    "Operations.Trace",
    "Operations.Why",
    "Projects.Get",
    "Projects.List",
    "Projects.ListKeys",
    "Receipts.Checkpoint",
    "Receipts.Consistency",
    "Receipts.Get",
    "Receipts.List",
    "Receipts.ListAnchors",
    "Receipts.Prove",
    "Receipts.Verify",
    "Sessions.Get",
    "Sessions.Journal",
    "Sessions.List",
    "Sessions.Replay",
    "Sessions.Watch",
    "Triggers.List",
];

/// Methods that let agents work: sessions' logs and receipts tell of them.
const WORK: &[&str] = &["Sessions.Converse", "Sessions.Open", "Sessions.Run", "Sessions.Send"];

/// Methods that change something, with the operation in the trail.
const CHANGES: &[(&str, &str)] = &[
    ("Actors.Ask", "ask actor"),
    ("Actors.Release", "release actor"),
    ("Actors.Stop", "stop actor"),
    ("Actors.Tell", "tell actor"),
    ("Agents.Deploy", "deploy agent"),
    ("Approvals.Decide", "decide approval"),
    ("Budgets.SetLimit", "set limit"),
    ("Chains.Deploy", "deploy contract"),
    ("Models.Add", "add model"),
    ("Models.Remove", "remove model"),
    ("Modules.Deploy", "deploy modules"),
    ("Modules.Remove", "remove module"),
    ("Operations.Drain", "drain"),
    ("Operations.Evict", "evict"),
    ("Operations.ForceBreaker", "force breaker"),
    ("Operations.MoveShard", "move shard"),
    ("Operations.Pause", "pause"),
    ("Operations.Resume", "resume"),
    ("Operations.Undrain", "undrain"),
    ("Projects.Create", "create project"),
    ("Projects.CreateKey", "create key"),
    ("Projects.RevokeKey", "revoke key"),
    ("Projects.SetAnchoring", "set anchoring"),
    ("Projects.SetPrices", "set prices"),
    ("Receipts.Anchor", "anchor"),
    ("Sessions.Cancel", "cancel turn"),
    ("Sessions.End", "end session"),
    ("Sessions.Fork", "fork session"),
    ("Triggers.Resume", "resume trigger"),
];

#[test]
fn every_method_is_sorted_by_whether_it_changes_something() {
    let descriptors = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let services = descriptors.file.iter().filter(|file| file.package() == "steward.v1").flat_map(|file| &file.service);
    let methods = services
        .flat_map(|service| service.method.iter().map(|method| format!("{}.{}", service.name(), method.name())));
    let sorted = READS.iter().chain(WORK).chain(CHANGES.iter().map(|(method, _)| method));
    assert_eq!(methods.collect::<BTreeSet<_>>(), sorted.map(|method| (*method).to_owned()).collect());
}

/// Does each change that a project's admin may do too. Some fail for want of a subject; they are asked for all the same.
async fn change_project(client: &Client, session: &str) {
    let project = "acme".to_owned();
    let deploy = v1::DeployAgentRequest { project: project.clone(), bundle: Some(bundle("clerk", CLERK)) };
    client.agents().deploy(deploy).await.unwrap();
    let sources = BTreeMap::from([("tax".to_owned(), "fn rate() { 7 }".to_owned())]);
    client.modules().deploy(v1::DeployModulesRequest { project: project.clone(), sources }).await.unwrap();
    let remove = v1::RemoveModuleRequest { project: project.clone(), name: "tax".to_owned() };
    client.modules().remove(remove).await.unwrap();
    let approval = format!("{session}.1.1");
    let decide = v1::DecideApprovalRequest { id: approval, approved: true, ..Default::default() };
    client.approvals().decide(decide).await.unwrap_err();
    let limit = v1::SetLimitRequest { project: project.clone(), limit_micros: Some(2_000_000), ..Default::default() };
    client.budgets().set_limit(limit).await.unwrap();
    let label = "ci".to_owned();
    let create = v1::CreateKeyRequest {
        project: project.clone(),
        label,
        role: v1::KeyRole::Member.into(),
        ..Default::default()
    };
    let key_id = client.projects().create_key(create).await.unwrap().into_inner().key.unwrap().key_id;
    client.projects().revoke_key(v1::RevokeKeyRequest { project: project.clone(), key_id }).await.unwrap();
    let anchoring = v1::SetAnchoringRequest { project: project.clone(), ..Default::default() };
    client.projects().set_anchoring(anchoring).await.unwrap();
    let function = v1::Price { per_call_micros: 1, ..Default::default() };
    let prices =
        v1::PriceList { model_default: Some(function), function_default: Some(function), ..Default::default() };
    client
        .projects()
        .set_prices(v1::SetPricesRequest { project: project.clone(), prices: Some(prices) })
        .await
        .unwrap();
    client.receipts().anchor(v1::AnchorRequest { project: project.clone(), ..Default::default() }).await.unwrap_err();
    let fork = v1::ForkSessionRequest { session: session.to_owned(), ..Default::default() };
    let forked = client.sessions().fork(fork).await.unwrap().into_inner().id;
    let reason = String::new();
    client.sessions().cancel(v1::CancelTurnRequest { session: forked.clone(), reason: reason.clone() }).await.unwrap();
    client.sessions().end(v1::EndSessionRequest { session: forked, reason }).await.unwrap();
    let resume = v1::ResumeTriggerRequest { project, agent: "clerk".into(), name: "none".into(), from: String::new() };
    client.triggers().resume(resume).await.unwrap_err();
}

/// Does each change that only an operator may do.
async fn change_cluster(root: &Client) {
    let (kind, id) = ("timers".to_owned(), "0".to_owned());
    let payload = Some(v1::Payload { r#type: String::new(), json: "{}".to_owned() });
    let (mut actors, mut operations) = (root.actors(), root.operations());
    let _ = actors.tell(v1::TellActorRequest { kind: kind.clone(), id: id.clone(), message: payload.clone() }).await;
    let _ = actors.ask(v1::AskActorRequest { kind: kind.clone(), id: id.clone(), request: payload }).await;
    actors.release(v1::ReleaseActorRequest { kind: kind.clone(), id: id.clone() }).await.unwrap();
    actors.stop(v1::StopActorRequest { kind, id }).await.unwrap();
    let name = "second".to_owned();
    let add = v1::AddModelRequest { name: name.clone(), path: "echo".to_owned(), ..Default::default() };
    root.models().add(add).await.unwrap();
    root.models().remove(v1::RemoveModelRequest { name }).await.unwrap();
    let node = format!("nod_{}", "7".repeat(32));
    operations.drain(v1::DrainRequest { node: node.clone(), within: None }).await.unwrap_err();
    operations.undrain(v1::UndrainRequest { node: node.clone() }).await.unwrap_err();
    operations.evict(v1::EvictRequest { node }).await.unwrap_err();
    operations.move_shard(v1::MoveShardRequest { shard: 1, to: String::new() }).await.unwrap_err();
    let force =
        v1::ForceBreakerRequest { chain: "eip155:1".to_owned(), state: "open".to_owned(), ..Default::default() };
    operations.force_breaker(force).await.unwrap_err();
    let (chain, contract) = ("eip155:1".to_owned(), "escrow".to_owned());
    let deploy = v1::DeployContractRequest { chain, contract, ..Default::default() };
    root.chains().deploy(deploy).await.unwrap_err();
    let subject = Some(v1::PauseSubject { project: "acme".to_owned(), ..Default::default() });
    operations.pause(v1::PauseRequest { subject: subject.clone(), reason: String::new() }).await.unwrap();
    operations.resume(v1::ResumeRequest { subject }).await.unwrap();
}

/// How often each operation stands in the trail; none is left as begun.
async fn trail(root: &Client) -> BTreeMap<String, usize> {
    let request = v1::AuditTrailRequest { page_size: 1000, ..Default::default() };
    let entries = root.operations().audit(request).await.unwrap().into_inner().entries;
    let mut counts = BTreeMap::new();
    for entry in entries {
        assert_ne!(entry.outcome, "begun", "{entry:?}");
        *counts.entry(entry.operation).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn what_an_operators_key_changes_is_in_the_trail_once_and_what_a_projects_key_changes_is_not() {
    let node = Node::start().await;
    let (admin, _) = node.project("acme").await;
    let root = node.client(&node.root).await;
    admin.deploy("clerk", CLERK).await;
    let session = admin.open("clerk").await.id;
    admin.run(&session, "hello").await;
    let made = [("create key", 1), ("create project", 1)].map(|(operation, count)| (operation.to_owned(), count));
    assert_eq!(trail(&root).await, made.clone().into());
    change_project(&admin, &session).await;
    assert_eq!(trail(&root).await, made.into());
    change_project(&root, &session).await;
    change_cluster(&root).await;
    let expected = CHANGES.iter().map(|(_, operation)| {
        let also_for_the_tenant = usize::from(*operation == "create key");
        ((*operation).to_owned(), 1 + also_for_the_tenant)
    });
    assert_eq!(trail(&root).await, expected.collect());
}

#[tokio::test]
async fn an_entry_has_no_secret_and_keeps_the_beginning_of_arguments_that_are_long() {
    let node = Node::start().await;
    let root = node.client(&node.root).await;
    let key = node.project("acme").await.1;
    let long = v1::Bundle { manifest_toml: "#".repeat(50_000), ..bundle("clerk", CLERK) };
    let deploy = v1::DeployAgentRequest { project: "acme".to_owned(), bundle: Some(long) };
    let _ = root.agents().deploy(deploy).await;
    let entries = root.operations().audit(v1::AuditTrailRequest::default()).await.unwrap().into_inner().entries;
    assert!(entries.iter().all(|entry| !format!("{entry:?}").contains(&key)));
    let deployed = &entries[0];
    assert_eq!(deployed.operation, "deploy agent");
    assert!(deployed.arguments_json.starts_with("{\"cut\":") && deployed.arguments_json.len() < 20_000);
}
