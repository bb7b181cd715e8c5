//! A rolling restart under load, whose clients know of it by the nodes' readiness alone.

use steward_chaos::measure::rolling::rolling;
use steward_chaos::measure::stage::Binaries;

use crate::parts;

#[tokio::test(flavor = "multi_thread")]
async fn every_node_is_restarted_under_load_and_no_call_fails() {
    let folder = tempfile::tempdir().unwrap();
    let binaries = Binaries { steward: parts::steward(), next: parts::steward() };
    let rolled = rolling(&binaries, folder.path(), 1, 4).await.unwrap();
    println!("{rolled}");
    assert!(rolled.is_good(), "{rolled}");
    assert_eq!((rolled.restarts, rolled.drains.len()), (3, 3));
}
