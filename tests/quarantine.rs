//! A session of which a row is damaged on disk is set aside: its neighbours go on, operators see why, and it goes on where
//! it was once the row is whole.

use std::sync::Arc;

use steward::node::STORE_FOLDER;
use steward::process::until;
use steward_api::proto::v1;
use steward_storage::{Isolation, Store, StoreError, StoreExt as _, key};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{SessionId, SystemClock};

use crate::shell::Shell;
use crate::tenant::Tenant;
use crate::versions::reply_of;

const CLERK: &str = "fn on_message(msg) { if msg.text == \"sleep\" { sleep(\"1s\"); } reply(msg.text); }";

/// Kills the node and replaces a session's record before it is started again; returns what was there.
async fn replace_record(tenant: &mut Tenant, session: &str, record: &[u8]) -> Vec<u8> {
    tenant.node.kill().await.unwrap();
    let folder = tenant.node.root_key_file().with_file_name(STORE_FOLDER);
    let store = EmbeddedStore::open(&EmbeddedConfig::new(folder), Arc::new(SystemClock::new())).unwrap();
    let id: SessionId = session.parse().unwrap();
    let row = &key::pack(&("session", &id.as_bytes()[..], "record"));
    let store: Arc<dyn Store> = Arc::new(store);
    let replaced = store.run(|txn| async move {
        let before = txn.get(row, Isolation::Snapshot).await?.expect("the session has a record");
        txn.set(row, record)?;
        Ok::<_, StoreError>(before.to_vec())
    });
    let before = replaced.await.unwrap();
    drop(store);
    tenant.node.start_again().await.unwrap();
    before
}

/// Waits until operators see the session and what is wrong with it.
async fn set_aside(shell: &Shell<'_>, session: &str) {
    let seen = until("the quarantine", async || {
        let listed = shell.told("quarantine");
        listed.contains(session).then_some(listed)
    });
    let seen = seen.await.unwrap();
    assert!(seen.contains("corrupt: record session"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_a_damaged_row_is_set_aside_and_goes_on_once_it_is_whole() {
    let mut tenant = Tenant::start().await;
    tenant.deploy("clerk", CLERK, "").await;
    let (session, neighbour) = (tenant.open("clerk").await, tenant.open("clerk").await);
    let message = Some(v1::Message { text: "sleep".to_owned(), data_json: String::new() });
    let send = v1::SendRequest { session: session.clone(), message, idempotency_key: String::new() };
    let sent = tenant.client.sessions().send(send).await.unwrap().into_inner();
    let whole = replace_record(&mut tenant, &session, b"no record at all").await;
    // Its turn is to go on after the second, and its record cannot be read.
    let shell = Shell::of_root(&tenant.node, tenant.folder.path());
    set_aside(&shell, &session).await;
    assert_eq!(tenant.run(&neighbour, "hello").await.reply, "hello");
    let release = format!("quarantine release session {session}");
    let doctor = shell.refused("doctor");
    assert!(doctor.contains("critical") && doctor.contains(&format!("`steward {release}`")), "{doctor}");
    let why = shell.told(&format!("actors why session {session}"));
    assert!(why.contains("in quarantine") && why.contains("cannot be read"), "{why}");
    let refused = shell.refused(&format!("sessions show {session}"));
    assert!(refused.contains("RECORD_CORRUPT"), "{refused}");
    // Let out, it is tried again, and set aside again.
    assert!(shell.told(&release).contains("released"));
    set_aside(&shell, &session).await;

    assert_eq!(replace_record(&mut tenant, &session, &whole).await, b"no record at all");
    assert_eq!(reply_of(&tenant, &session, sent.turn).await, "sleep", "it went on where it was");
}
