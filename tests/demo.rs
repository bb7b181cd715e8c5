//! The demo as a newcomer runs it, with the real models and the real chain that `setup.sh` has fetched.

use std::path::Path;

use steward::sources::{KNOWN, Source};
use tokio::process::Command;

use crate::parts;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_keeps_every_promise_and_leaves_a_proof() {
    let folder = tempfile::tempdir().unwrap();
    keep_models(&folder.path().join("models"));
    let mut demo = Command::new(parts::steward());
    demo.args(["demo", "--yes", "--dir"]).arg(folder.path()).arg("--anvil").arg(parts::anvil());
    let ended = demo.kill_on_drop(true).output().await.unwrap();
    let (told, trouble) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{told}{trouble}");
    for expected in ["kill -9", "started again", "approve", "steward receipts verify", "all of it held"] {
        assert!(told.contains(expected), "{expected:?} in:\n{told}");
    }
    let last = told.trim().lines().last().unwrap();
    assert!(last.starts_with("all of it held in"), "{last}");

    // The proof that it left is good for anyone, offline, with nothing but the file and the log's key.
    let mut verify = Command::new(parts::steward());
    let trusted =
        told.split("--trust '").nth(1).and_then(|rest| rest.split('\'').next()).expect("it tells the log's key");
    verify.args(["receipts", "verify"]).arg(folder.path().join("demo/proof.json")).args(["--trust", trusted]);
    let verified = verify.output().await.unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// Puts the models where the demo keeps what it has fetched before.
fn keep_models(cache: &Path) {
    for known in KNOWN {
        let Source::Pypi { package, version, path } = known.source.parse().unwrap() else {
            panic!("{} does not come from a Python package", known.name);
        };
        let folder = cache.join("pypi").join(format!("{package}-{version}"));
        std::fs::create_dir_all(&folder).unwrap();
        let top = path.split('/').next().unwrap();
        std::os::unix::fs::symlink(parts::cached("models").join(top), folder.join(top)).unwrap();
    }
}
