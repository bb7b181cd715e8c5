//! The promise, short: a real node is killed at random points under load. `just chaos` does it at length.

use std::path::{Path, PathBuf};
use std::time::Duration;

use steward_chaos::nemesis::Fault;
use steward_chaos::plan::Down;
use steward_chaos::report::Report;
use steward_chaos::run::Programs;
use steward_chaos::{Plan, run};
use steward_storage_fdb::devcluster::{DevCluster, SERVER_VARIABLE};

use crate::parts;

/// Faults of a short run of a cluster: three rounds.
const CLUSTER_FAULTS: u32 = 30;

fn programs(fdbserver: Option<PathBuf>) -> Programs {
    Programs { steward: parts::steward(), anvil: parts::anvil(), fdbserver }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_at_random_points_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = Plan::read(Path::new("../chaos/runs/kill.toml")).unwrap();
    plan.kills = parts::kills(12);
    plan.life_max = Duration::from_millis(900);
    let programs = programs(None);
    let report = run(&plan, &programs, folder.path(), |_| {}).await.unwrap();
    println!("{report}");
    assert!(report.is_good(), "{report}");
    assert_eq!(report.fired(Fault::Kill).felt, plan.kills);
    assert!(report.faults.hit * 10 >= report.faults.done * 9, "the kills missed the turns: {report}");
    assert!(report.effects_asked >= report.effects_done as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_nodes_store_and_network_fail_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = Plan::read(Path::new("../chaos/runs/cluster.toml")).unwrap();
    plan.kills = parts::kills(CLUSTER_FAULTS);
    plan.sessions = 12;
    plan.registers = 2;
    plan.down_max = Duration::from_secs(3);
    plan.down.insert(Fault::Pause, Down { min: Duration::from_secs(1), max: Duration::from_secs(6) });
    let programs = programs(None);
    let report = run(&plan, &programs, folder.path(), |_| {}).await.unwrap();
    println!("{report}");
    assert!(report.is_good(), "{report}");
    assert_every_fault_bit(&plan, &report);
    assert!(report.faults.withheld_bytes > 0 && report.faults.connections_reset > 0, "{report}");
    assert!(report.registers.appends > 0 && report.registers.reads > 0, "{report}");
    assert!(report.faults.hit * 10 >= report.faults.done * 8, "the faults missed the turns: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_on_foundationdb_whose_nodes_and_store_die_keeps_every_promise() {
    let Some(fdbserver) = DevCluster::server_of_environment() else {
        println!("the chaos run on FoundationDB skipped: {SERVER_VARIABLE} is not set");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut plan = Plan::read(Path::new("../chaos/runs/foundationdb.toml")).unwrap();
    plan.kills = parts::kills(CLUSTER_FAULTS);
    plan.sessions = 12;
    plan.down_max = Duration::from_secs(3);
    let report = run(&plan, &programs(Some(fdbserver)), folder.path(), |_| {}).await.unwrap();
    println!("{report}");
    assert!(report.is_good(), "{report}");
    assert_every_fault_bit(&plan, &report);
}

fn assert_every_fault_bit(plan: &Plan, report: &Report) {
    assert!(plan.kills as usize >= plan.faults.len(), "a short run has every kind of fault");
    assert_eq!(report.faults.done, plan.kills);
    for fault in &plan.faults {
        assert!(report.fired(*fault).felt > 0, "no {fault:?} bit: {report}");
    }
}
