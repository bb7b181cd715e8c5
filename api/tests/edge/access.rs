//! Who may do what: keys, roles, tenants, bounds.

use steward_api::ApiConfig;
use steward_api::proto::google_rpc::RetryInfo;
use steward_api::proto::v1;
use tonic::Code;

use crate::node::{Node, bundle, details, fields, message, reason};

#[tokio::test]
async fn only_a_good_key_gets_in_and_every_bad_one_looks_alike() {
    let node = Node::start().await;
    let (client, key) = node.project("acme").await;
    client.sessions().list(v1::ListSessionsRequest::default()).await.unwrap();
    let other_secret = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    for bad in ["", "nonsense", &other_secret, &format!("stw_{}_{}", "0".repeat(16), "0".repeat(64))] {
        let refused = node.client(bad).await.sessions().list(v1::ListSessionsRequest::default()).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"), "{bad}");
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_a_secret_is_shown_once() {
    let node = Node::start().await;
    let (admin, _) = node.project("acme").await;
    let create = v1::CreateKeyRequest {
        label: "ci".to_owned(),
        role: v1::KeyRole::Member.into(),
        idempotency_key: "k".to_owned(),
        ..Default::default()
    };
    let made = admin.projects().create_key(create.clone()).await.unwrap().into_inner();
    let again = admin.projects().create_key(create).await.unwrap().into_inner();
    assert_eq!((again.secret.as_str(), &again.key), ("", &made.key));
    let member = node.client(&made.secret).await;
    member.sessions().list(v1::ListSessionsRequest::default()).await.unwrap();
    let key_id = made.key.unwrap().key_id;
    let revoke = v1::RevokeKeyRequest { project: String::new(), key_id: key_id.clone() };
    assert!(admin.projects().revoke_key(revoke).await.unwrap().into_inner().revoked_at.is_some());
    let refused = member.sessions().list(v1::ListSessionsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let keys = admin.projects().list_keys(v1::ListKeysRequest::default()).await.unwrap().into_inner().keys;
    assert_eq!(keys.iter().filter(|key| key.key_id == key_id && key.revoked_at.is_some()).count(), 1);
}

#[tokio::test]
async fn a_role_may_do_its_own_and_no_more() {
    let node = Node::start().await;
    let (admin, _) = node.project("acme").await;
    let member = node.client(&node.key("acme", v1::KeyRole::Member).await).await;
    let denied = |refused: tonic::Status| assert_eq!(reason(&refused), "PERMISSION_DENIED", "{refused}");
    denied(member.projects().list_keys(v1::ListKeysRequest::default()).await.unwrap_err());
    denied(member.budgets().set_limit(v1::SetLimitRequest::default()).await.unwrap_err());
    let deploy = v1::DeployAgentRequest { project: String::new(), bundle: Some(bundle("a", "fn on_message(m) {}")) };
    denied(member.agents().deploy(deploy).await.unwrap_err());
    denied(
        admin
            .projects()
            .create(v1::CreateProjectRequest { name: "b".to_owned(), ..Default::default() })
            .await
            .unwrap_err(),
    );
    denied(admin.models().remove(v1::RemoveModelRequest { name: "echo".to_owned() }).await.unwrap_err());
    denied(admin.actors().list(v1::ListActorsRequest::default()).await.unwrap_err());
    member.budgets().get(v1::GetBudgetRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_tenant_sees_nothing_of_another() {
    let node = Node::start().await;
    let (acme, _) = node.project("acme").await;
    let (other, _) = node.project("other").await;
    acme.deploy("clerk", "fn on_message(msg) { ask_human(\"?\"); }").await;
    let session = acme.open("clerk").await.id;
    let send = v1::SendRequest { session: session.clone(), message: message("hi"), ..Default::default() };
    acme.sessions().send(send.clone()).await.unwrap();
    let hidden = |refused: tonic::Status| assert_eq!(reason(&refused), "SESSION_NOT_FOUND", "{refused}");
    hidden(other.sessions().get(v1::GetSessionRequest { session: session.clone() }).await.unwrap_err());
    hidden(other.sessions().send(send).await.unwrap_err());
    let watch = v1::WatchSessionRequest { session: session.clone(), ..Default::default() };
    hidden(other.sessions().watch(watch).await.unwrap_err());
    let journal = v1::JournalRequest { session: session.clone(), ..Default::default() };
    hidden(other.sessions().journal(journal).await.unwrap_err());
    hidden(
        other
            .sessions()
            .end(v1::EndSessionRequest { session: session.clone(), ..Default::default() })
            .await
            .unwrap_err(),
    );
    let decide = v1::DecideApprovalRequest { id: format!("{session}.1.1"), approved: true, ..Default::default() };
    let refused = other.approvals().decide(decide).await.unwrap_err();
    assert_eq!(reason(&refused), "APPROVAL_NOT_FOUND");
    for project in ["acme", "nobody"] {
        let refused = other.budgets().get(v1::GetBudgetRequest { project: project.to_owned() }).await.unwrap_err();
        assert_eq!(reason(&refused), "PERMISSION_DENIED");
    }
    let listed = other.sessions().list(v1::ListSessionsRequest::default()).await.unwrap().into_inner();
    assert!(listed.sessions.is_empty());
    let listed = other.projects().list(v1::ListProjectsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.projects.len(), 1);
}

#[tokio::test]
async fn a_wrong_field_is_named_where_standard_clients_look() {
    let node = Node::start().await;
    let root = node.client(&node.root).await;
    let create = v1::CreateProjectRequest { name: "Not A Slug".to_owned(), ..Default::default() };
    let refused = root.projects().create(create).await.unwrap_err();
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["name".to_owned()]));
    let refused = root.sessions().get(v1::GetSessionRequest { session: "x".to_owned() }).await.unwrap_err();
    assert_eq!(fields(&refused), ["session"]);
    let refused = root.budgets().get(v1::GetBudgetRequest { project: "nobody".to_owned() }).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "PROJECT_NOT_FOUND"));
}

#[tokio::test]
async fn a_key_with_too_much_in_flight_is_told_when_to_come_back() {
    let node = Node::start_with(ApiConfig { key_requests_max: 1, ..ApiConfig::default() }).await;
    let (client, _) = node.project("acme").await;
    let _open = client.approvals().watch(v1::WatchApprovalsRequest::default()).await.unwrap();
    let refused = client.sessions().list(v1::ListSessionsRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert!(details::<RetryInfo>(&refused, "RetryInfo").unwrap().retry_delay.is_some());
}

#[tokio::test]
#[expect(clippy::needless_update, reason = "some of the requests have a project and nothing else")]
async fn an_operator_who_mistypes_a_project_is_told_so_and_not_shown_an_empty_one() {
    let node = Node::start().await;
    node.project("acme").await;
    let root = node.client(&node.root).await;
    let named = || "acne".to_owned();
    macro_rules! refused {
        ($($service:ident.$method:ident($request:ident);)*) => {
            $(let request = v1::$request { project: named(), ..Default::default() };
            let refused = root.$service().$method(request).await.map(drop).unwrap_err();
            assert_eq!(reason(&refused), "PROJECT_NOT_FOUND", "{}: {refused}", stringify!($service.$method));)*
        };
    }
    refused! {
        agents.list(ListAgentsRequest);
        approvals.list(ListApprovalsRequest);
        approvals.watch(WatchApprovalsRequest);
        budgets.get(GetBudgetRequest);
        budgets.statement(StatementRequest);
        budgets.audit(AuditRequest);
        modules.list(ListModulesRequest);
        projects.list_keys(ListKeysRequest);
        receipts.list(ListReceiptsRequest);
        receipts.list_anchors(ListAnchorsRequest);
        receipts.checkpoint(CheckpointRequest);
        receipts.consistency(ConsistencyRequest);
        receipts.verify(VerifyReceiptRequest);
        sessions.list(ListSessionsRequest);
        triggers.list(ListTriggersRequest);
    }
    let open = v1::OpenSessionRequest { project: named(), agent: "clerk".to_owned(), ..Default::default() };
    assert_eq!(reason(&root.sessions().open(open).await.unwrap_err()), "PROJECT_NOT_FOUND");
}
