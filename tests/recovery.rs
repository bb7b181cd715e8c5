//! Many sessions that wait for one moment, and a node that dies just before it. `steward-chaos recovery` does it with as
//! many as asked for.

use steward_chaos::measure::recovery::recovery;

use crate::parts;

const SESSIONS: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_of_a_node_that_died_have_their_turn_once_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let recovered = recovery(&parts::steward(), folder.path(), SESSIONS, |_| {}).await.unwrap();
    println!("{recovered}");
    assert!(recovered.is_exact, "{recovered}");
}
