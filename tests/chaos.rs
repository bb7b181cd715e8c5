//! The promise, short: real nodes are killed at random points under load, and a cluster's nodes, store and network fail.
//! `just chaos` and `just chaos-cluster` do it at length. A binary of its own, because no other test runs beside it then:
//! that everything goes on within seconds is promised of a machine that has seconds to give.

use std::path::{Path, PathBuf};
use std::time::Duration;

use steward_chaos::nemesis::Fault;
use steward_chaos::plan::Down;
use steward_chaos::report::Report;
use steward_chaos::run::Programs;
use steward_chaos::{Plan, run};
use steward_storage_fdb::devcluster::{DevCluster, SERVER_VARIABLE};
use steward_tests::parts;
use tokio::sync::Mutex;

/// Held by the run that is on: each has the machine for itself.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Faults of a cluster: each round has every kind of them.
const CLUSTER_FAULTS: u32 = 300;
/// On FoundationDB, which few machines have.
const FOUNDATIONDB_FAULTS: u32 = 12;

fn programs(fdbserver: Option<PathBuf>) -> Programs {
    Programs { steward: parts::steward(), anvil: parts::anvil(), fdbserver }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_at_random_points_keeps_every_promise() {
    let _alone = ALONE.lock().await;
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
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let mut plan = Plan::read(Path::new("../chaos/runs/cluster.toml")).unwrap();
    plan.kills = parts::kills(CLUSTER_FAULTS);
    plan.sessions = 12;
    plan.registers = 2;
    plan.life_max = Duration::from_millis(1_500);
    plan.down_max = Duration::from_millis(1_500);
    for fault in [Fault::Cut, Fault::CutOneWay] {
        plan.down.insert(fault, Down { min: Duration::from_secs(1), max: Duration::from_secs(2) });
    }
    for fault in [Fault::CutStore, Fault::CutStoreOneWay] {
        plan.down.insert(fault, Down { min: Duration::from_millis(500), max: Duration::from_secs(2) });
    }
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
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let mut plan = Plan::read(Path::new("../chaos/runs/foundationdb.toml")).unwrap();
    plan.kills = parts::kills(FOUNDATIONDB_FAULTS);
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
