//! What docs/scale.md counts with: the rows that a session, a turn, a node and a model leave in the store. The test prints
//! them and holds them to the figures there.

use std::collections::BTreeMap;

use serde_json::json;
use steward_actors::agent::UploadedBundle;
use steward_actors::service::{NewProject, NewSession, Reach};
use steward_storage::{RangeRead, Store};
use steward_types::{AgentId, Micros, ProjectId};

use super::world::World;

const MODEL: &str = "m-90000";
const SESSIONS: u64 = 50;

/// Rows and bytes below each first element of the keys.
type Rows = BTreeMap<String, (u64, u64)>;

async fn rows(store: &dyn Store) -> Rows {
    let mut found = Rows::new();
    let txn = store.begin();
    let mut range = Some(RangeRead::new(vec![0], vec![0xfe]));
    while let Some(rest) = range {
        let page = txn.range(rest.clone()).await.unwrap();
        for (key, value) in &page.rows {
            // A tuple's first element is a string: a type byte, the text, a zero; of the cluster's rows the second too.
            let parts: Vec<&[u8]> = key.split(|&byte| byte == 0).collect();
            let text = |part: &[u8]| String::from_utf8_lossy(&part[1.min(part.len())..]).into_owned();
            let first = text(parts[0]);
            let kind = if first == "cluster" { format!("cluster/{}", text(parts[1])) } else { first };
            let entry = found.entry(kind).or_default();
            *entry = (entry.0 + 1, entry.1 + (key.len() + value.len()) as u64);
        }
        range = rest.after(&page);
    }
    found
}

/// What came between two looks, for each of `count`.
fn each(before: &Rows, after: &Rows, count: u64) -> (f64, f64) {
    let sum = |rows: &Rows, pick: fn(&(u64, u64)) -> u64| rows.values().map(pick).sum::<u64>() as f64;
    let grown = |pick| (sum(after, pick) - sum(before, pick)) / count as f64;
    (grown(|&(rows, _)| rows), grown(|&(_, bytes)| bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_as_few_and_as_small_as_the_paper_says() {
    let world = World::new();
    let (first, _second) = (world.node(1, 100_000, &[MODEL]).await, world.node(2, 100_000, &[MODEL]).await);
    first.add(MODEL, "2").await.unwrap();
    let (project, agent): (ProjectId, AgentId) = ("acme".parse().unwrap(), "echo".parse().unwrap());
    let new = NewProject {
        id: project.clone(),
        limit: Some(Micros::new(1_000_000_000)),
        period: Default::default(),
        prices: None,
        chains: Vec::new(),
    };
    first.steward.create_project(new).await.unwrap();
    let script = "fn on_message(msg) { reply(chat(msg.text).text); }".to_owned();
    let manifest = format!("name = \"echo\"\n[models]\nchat = {MODEL:?}\n");
    let bundle = UploadedBundle { files: [("agent.rhai".to_owned(), script)].into(), manifest };
    first.steward.deploy_agent(&project, bundle).await.unwrap();
    let store = &*world.store;
    let empty = rows(store).await;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let new = NewSession {
            project: project.clone(),
            agent: agent.clone(),
            version: None,
            limit: None,
            label: String::new(),
            idempotency_key: String::new(),
        };
        sessions.push(first.steward.open_session(new).await.unwrap().id);
    }
    let opened = rows(store).await;
    let reach = Reach::Project(project);
    for id in sessions {
        let deadline = first.steward.host().deadline_default();
        let turn = first.steward.run_turn(&reach, id, json!({ "text": "one two three" }), "", deadline).await.unwrap();
        assert_eq!((turn.failure, turn.replies), (None, vec![json!("one two three")]));
    }
    let turned = rows(store).await;
    let (session, turn) = (each(&empty, &opened, SESSIONS), each(&opened, &turned, SESSIONS));
    println!(
        "a session: {:.1} rows, {:.0} bytes; a turn with one chat: {:.1} rows, {:.0} bytes",
        session.0, session.1, turn.0, turn.1
    );
    for (kind, (count, bytes)) in &turned {
        println!("{kind}: {count} rows of {} bytes", bytes / count);
    }
    assert!(session.0 <= 8.0 && session.1 <= 1_500.0, "{session:?}");
    assert!(turn.0 <= 20.0 && turn.1 <= 5_000.0, "{turn:?}");
    let of = |kind: &str| {
        let (count, bytes) = turned[kind];
        bytes / count
    };
    assert!(of("cluster/shard") <= 120 && of("cluster/node") <= 320 && of("cluster/machine") <= 600, "{turned:?}");
}
