//! The tree as ARCHITECTURE.md shows it, and what its supervisors do.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const BEGIN: &str = "<!-- supervision-tree:begin -->";
const END: &str = "<!-- supervision-tree:end -->";

/// Set `UPDATE_DOCS=1` to write the tree into the file instead of comparing.
#[test]
fn the_architecture_shows_the_tree_that_the_host_starts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the begin marker");
    let (shown, after) = rest.split_once(END).expect("the end marker");
    let tree = format!("\n```text\n{}```\n", TREE.render());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{tree}{END}{after}")).unwrap();
    } else {
        assert_eq!(shown, tree, "run the test with UPDATE_DOCS=1 to bring ARCHITECTURE.md up to date");
    }
}

#[test]
fn every_kind_stands_under_one_branch() {
    assert_eq!(TREE.branch_of("session"), "work");
    assert_eq!(TREE.branch_of("budget"), "money");
    assert_eq!(TREE.branch_of("a kind of a test"), "other");
}

struct Mortal;

enum Die {}

impl ractor::Message for Die {}

impl Actor for Mortal {
    type Msg = Die;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Die>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[tokio::test]
async fn an_actor_that_dies_is_started_again_and_its_supervisor_lives() {
    let supervisors = Supervisors::start().await.unwrap();
    let (started, lives) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (count, cells) = (Arc::clone(&started), Arc::clone(&lives));
    let child = Child::new("mortal", Restart::Always, move |supervisor| {
        let (count, cells) = (Arc::clone(&count), Arc::clone(&cells));
        Box::pin(async move {
            let (mortal, _) = Mortal::spawn_linked(None, Mortal, (), supervisor).await?;
            count.fetch_add(1, Ordering::SeqCst);
            cells.lock().push(mortal.get_cell());
            Ok(mortal.get_cell())
        })
    });
    supervisors.keep(child).await.unwrap();
    for death in 1..=3 {
        let alive = lives.lock().last().cloned().unwrap();
        alive.kill();
        let restarted = tokio::time::timeout(std::time::Duration::from_secs(60), async {
            while started.load(Ordering::SeqCst) <= death {
                tokio::task::yield_now().await;
            }
        });
        restarted.await.expect("started again");
    }
    supervisors.stop();
}
