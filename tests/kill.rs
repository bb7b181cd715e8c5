//! The promise, short: a real node is killed at random points under load. `just chaos` does it at length.

use std::path::{Path, PathBuf};
use std::time::Duration;

use steward_chaos::run::Programs;
use steward_chaos::{Plan, run};
use steward_storage_fdb::devcluster::{DevCluster, SERVER_VARIABLE};

use crate::parts;

fn programs(fdbserver: Option<PathBuf>) -> Programs {
    Programs { steward: parts::steward(), anvil: parts::anvil(), fdbserver }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_at_random_points_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = Plan::read(Path::new("../chaos/runs/kill.toml")).unwrap();
    plan.kills = parts::kills();
    plan.life_max = Duration::from_millis(900);
    let programs = programs(None);
    let report = run(&plan, &programs, folder.path(), |_| {}).await.unwrap();
    println!("{report}");
    assert!(report.is_good(), "{report}");
    assert_eq!(report.faults.kills, plan.kills);
    assert!(report.faults.hit * 10 >= report.faults.done * 9, "the kills missed the turns: {report}");
    assert!(report.effects_asked >= report.effects_done as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_nodes_and_store_die_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = Plan::read(Path::new("../chaos/runs/cluster.toml")).unwrap();
    plan.kills = parts::kills();
    plan.sessions = 12;
    plan.down_max = Duration::from_secs(3);
    let programs = programs(None);
    let report = run(&plan, &programs, folder.path(), |_| {}).await.unwrap();
    println!("{report}");
    assert!(report.is_good(), "{report}");
    let faults = report.faults;
    assert_eq!(faults.done, plan.kills);
    assert!(faults.kills > 0 && faults.pauses > 0 && faults.store_kills > 0 && faults.drains > 0, "{report}");
    assert!(faults.hit * 10 >= faults.done * 8, "the faults missed the turns: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_on_foundationdb_whose_nodes_and_store_die_keeps_every_promise() {
    let Some(fdbserver) = DevCluster::server_of_environment() else {
        println!("the chaos run on FoundationDB skipped: {SERVER_VARIABLE} is not set");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut plan = Plan::read(Path::new("../chaos/runs/foundationdb.toml")).unwrap();
    plan.kills = parts::kills();
    plan.sessions = 12;
    plan.down_max = Duration::from_secs(3);
    let report = run(&plan, &programs(Some(fdbserver)), folder.path(), |_| {}).await.unwrap();
    println!("{report}");
    assert!(report.is_good(), "{report}");
    let faults = report.faults;
    assert_eq!(faults.done, plan.kills);
    assert!(faults.kills > 0 && faults.pauses > 0 && faults.drains > 0, "{report}");
    assert!(faults.store_kills > 0 && faults.store_pauses > 0, "{report}");
}
