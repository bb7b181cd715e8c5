//! The demo as a newcomer runs it, with the real models and the real chain that `setup.sh` has fetched.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use steward::sources::{KNOWN, Source};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::parts;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_keeps_every_promise_and_leaves_a_proof() {
    let folder = tempfile::tempdir().unwrap();
    keep_models(&folder.path().join("models"));
    let ended = demo(folder.path()).arg("--yes").output().await.unwrap();
    let (told, trouble) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{told}{trouble}");
    for expected in ["kill -9", "started again", "approve", "steward receipts verify", "all of it held"] {
        assert!(told.contains(expected), "{expected:?} in:\n{told}");
    }
    for known in KNOWN {
        let loaded = format!("sha256 {}… as it should be", &known.sha256[..16]);
        assert!(told.contains(&loaded), "{loaded:?} in:\n{told}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_second_terminal_answers_with_the_line_that_the_demo_prints() {
    let folder = tempfile::tempdir().unwrap();
    keep_models(&folder.path().join("models"));
    // Nobody ever types into the demo's own terminal; it stays open.
    let mut running = demo(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut before = Vec::new();
    let line = loop {
        let line = told.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended:\n{}", before.join("\n")));
        if line.contains(" approvals approve ses_") && line.contains("--key") {
            break line;
        }
        before.push(line);
    };
    let mut terminal = Command::new("sh");
    for inherited in ["STEWARD_SERVER", "STEWARD_KEY", "STEWARD_PROJECT"] {
        terminal.env_remove(inherited);
    }
    let answered = terminal.arg("-c").arg(&line).current_dir("/").env("HOME", "/nowhere").output().await.unwrap();
    assert!(answered.status.success(), "{line}: {}", String::from_utf8_lossy(&answered.stderr));
    assert!(String::from_utf8_lossy(&answered.stdout).starts_with("approved: "), "{answered:?}");
    let mut after = Vec::new();
    while let Some(line) = told.next_line().await.unwrap() {
        after.push(line);
    }
    assert!(running.wait().await.unwrap().success(), "{}", after.join("\n"));
    assert!(after.last().unwrap().starts_with("all of it held in"), "{}", after.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_model_that_was_changed_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    keep_models(&models);
    let kept = kept_at(&models, KNOWN[0].source);
    let whole = std::fs::read(&kept).unwrap();
    let (link, last) = (kept.parent().unwrap().to_owned(), whole.len() - 1);
    std::fs::remove_file(&link).unwrap();
    std::fs::create_dir(&link).unwrap();
    std::fs::write(&kept, [&whole[..last], &[!whole[last]]].concat()).unwrap();

    let ended = demo(folder.path()).arg("--yes").output().await.unwrap();
    let (told, trouble) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(1), "{told}{trouble}");
    assert!(!told.contains("as it should be"), "{told}");
    let advice = format!("remove {} and run this again", kept.display());
    let expected = format!("but {} was asked for", KNOWN[0].sha256);
    for expected in ["smollm2-135m was not loaded", &advice, "its SHA-256 is", &expected, "MODEL_FILE_INVALID"] {
        assert!(trouble.contains(expected), "{expected:?} in:\n{trouble}");
    }
}

fn demo(folder: &Path) -> Command {
    let mut demo = Command::new(parts::steward());
    demo.args(["demo", "--dir"]).arg(folder).arg("--anvil").arg(parts::anvil()).kill_on_drop(true);
    demo
}

/// Puts the models where the demo keeps what it has fetched before.
pub fn keep_models(cache: &Path) {
    for known in KNOWN {
        let kept = kept_at(cache, known.source);
        let (folder, name) = (kept.parent().unwrap(), kept.parent().unwrap().file_name().unwrap());
        std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(parts::cached("models").join(name), folder).unwrap();
    }
}

/// Where the demo keeps a model from a Python package.
fn kept_at(cache: &Path, source: &str) -> PathBuf {
    let Source::Pypi { package, version, path } = source.parse().unwrap() else {
        panic!("{source} is no Python package");
    };
    cache.join("pypi").join(format!("{package}-{version}")).join(path)
}
