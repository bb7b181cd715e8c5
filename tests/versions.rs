//! A turn stays on the version of its agent that it began with, whatever is deployed and whoever dies meanwhile.

use steward::process::until;
use steward_api::proto::v1;
use steward_api::proto::v1::SessionEventKind as Kind;

use crate::tenant::Tenant;

const FIRST: &str = "fn on_message(msg) { let asked = ask_human(\"Go on?\"); reply(`first ${asked.approved}`); }";
const SECOND: &str = "fn on_message(msg) { reply(\"second\"); }";

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_ends_on_the_version_that_it_began_with_and_the_next_takes_the_newest() {
    let mut tenant = Tenant::start().await;
    tenant.deploy("clerk", FIRST, "").await;
    let session = tenant.open("clerk").await;
    let message = Some(v1::Message { text: "begin".to_owned(), data_json: String::new() });
    let request = v1::SendRequest { session: session.clone(), message, idempotency_key: String::new() };
    let sent = tenant.client.sessions().send(request).await.unwrap().into_inner();
    let asked = until("the question", async || open_approval(&tenant).await).await.unwrap();

    tenant.deploy("clerk", SECOND, "").await;
    // The turn comes back from the store alone: its script is that of its version, and not the newest.
    tenant.node.kill().await.unwrap();
    tenant.node.start_again().await.unwrap();
    let request = v1::DecideApprovalRequest { id: asked.id, approved: true, ..Default::default() };
    tenant.client.approvals().decide(request).await.unwrap();
    assert_eq!(reply_of(&tenant, &session, sent.turn).await, "first true");

    assert_eq!(tenant.run(&session, "again").await.reply, "second");
    let request = v1::GetSessionRequest { session: session.clone() };
    assert_eq!(tenant.client.sessions().get(request).await.unwrap().into_inner().agent_version, 2);
    for turn in [1, 2] {
        let replayed = v1::ReplayRequest { session: session.clone(), turn };
        let replayed = tenant.client.sessions().replay(replayed).await.unwrap().into_inner();
        assert!(replayed.equal, "turn {turn} is replayed on its own version: {replayed:?}");
    }
}

async fn open_approval(tenant: &Tenant) -> Option<v1::Approval> {
    let request = v1::ListApprovalsRequest { state: v1::ApprovalState::Open.into(), ..Default::default() };
    tenant.client.approvals().list(request).await.unwrap().into_inner().approvals.pop()
}

/// Follows the session until the turn has ended, and gives what it replied.
pub async fn reply_of(tenant: &Tenant, session: &str, turn: u64) -> String {
    let request = v1::WatchSessionRequest { session: session.to_owned(), from_sequence: 1, ..Default::default() };
    let mut events = tenant.client.sessions().watch(request).await.unwrap().into_inner();
    let mut reply = String::new();
    while let Some(event) = events.message().await.unwrap() {
        match event.kind() {
            Kind::Reply if event.turn == turn => reply = event.text,
            Kind::TurnFinished if event.turn == turn => return reply,
            Kind::TurnFailed => panic!("{event:?}"),
            _ => {}
        }
    }
    panic!("the stream ended before the turn did")
}
