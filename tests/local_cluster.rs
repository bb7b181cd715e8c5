//! The README's recipe: the script that starts three nodes on one machine, as a person starts and stops it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use steward::client::Client;
use steward::commands::up::{READY_FILE, Ready};
use steward::process::until;
use steward_api::proto::v1;
use steward_storage_fdb::devcluster::{DevCluster, SERVER_VARIABLE};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::parts;

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/local-cluster.sh")
}

/// What a process of the script says of itself once it is ready.
fn ready(folder: &Path, name: &str) -> Ready {
    let json = std::fs::read_to_string(folder.join(name).join("data").join(READY_FILE)).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// Starts the script, and returns once it says that its nodes are ready; with what it still has to say.
async fn start(folder: &Path, store: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(script());
    command.arg(parts::steward()).arg(folder).arg(store).env("STEWARD_FREE_PORTS", "1");
    let mut running = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut said = BufReader::new(running.stdout.take().unwrap()).lines();
    loop {
        let line = said.next_line().await.unwrap().expect("the script says that its nodes are ready");
        if line.starts_with("three nodes: http://127.0.0.1:") {
            return (running, said);
        }
    }
}

/// Starts, asks and stops the script's cluster, whose store process is named when it has one.
async fn check(folder: &Path, store: &str, store_process: &[&str]) {
    // A script whose reader went away would end of that.
    let (mut running, _said) = start(folder, store).await;
    let processes: Vec<Ready> = store_process.iter().chain(&NODES).map(|name| ready(folder, name)).collect();
    let key = std::fs::read_to_string(folder.join("node-1/data/root.key")).unwrap();
    let client = Client::new(&ready(folder, "node-1").server, Some(key.trim())).unwrap();
    let shares = until("a third of the shards for each", async || {
        let nodes = client.operations().nodes(v1::NodesRequest {}).await.ok()?.into_inner().nodes;
        let fair = nodes.len() == 3 && nodes.iter().all(|node| (341..=342).contains(&node.shards));
        fair.then_some(())
    });
    shares.await.unwrap();

    let id = running.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let ended = until("the end of the script", async || running.try_wait().unwrap()).await.unwrap();
    assert_eq!(ended.code(), Some(143), "it ends as SIGTERM ends a program");
    for process in processes {
        let left = Path::new("/proc").join(process.process.to_string());
        assert!(!left.exists(), "{} goes on as process {}", process.server, process.process);
    }
    for name in NODES {
        let log = std::fs::read_to_string(folder.join(name).join("log")).unwrap();
        assert!(log.contains("draining"), "{name} was stopped gracefully:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_recipe_starts_three_nodes_and_leaves_none_behind() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), "served", &["store"]).await;
    // What it left on the disk it starts again from.
    check(folder.path(), "served", &["store"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_recipe_starts_three_nodes_on_foundationdb() {
    let Some(fdbserver) = DevCluster::server_of_environment() else {
        println!("three nodes on FoundationDB skipped: {SERVER_VARIABLE} is not set");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let cluster = DevCluster::start(&fdbserver, &folder.path().join("fdb"), 1).await.unwrap();
    let store = format!("fdb:{}", cluster.cluster_file().display());
    check(&folder.path().join("nodes"), &store, &[]).await;
    cluster.stop().await.unwrap();
}
