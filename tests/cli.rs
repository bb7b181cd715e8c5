//! The command line as a person uses it: the real binary, a home of its own, plain arguments.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use clap::CommandFactory as _;
use serde_json::Value;
use steward::args::Arguments;
use steward::client::Client;
use steward::process::NodeProcess;
use steward_api::proto::v1;

use crate::home::Home;
use crate::tenant::{self, PROJECT, Tenant};

const COUNTER: &str = "fn on_message(msg) {
    let count = (state(\"count\") ?? 0) + 1;
    set_state(\"count\", count);
    reply(`${chat(msg.text).text} ${count}`);
}
";

#[test]
fn a_check_names_line_column_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    home.agent("good", COUNTER);
    insta::assert_snapshot!(home.told(&["agents", "check", "good"]), @"good: good (1 script)");
    home.agent(
        "bad",
        "fn on_message(msg) {\n    let facts = recal(msg.text, 3);\n    facts.psh(1);\n    reply(now(1));\n}\n",
    );
    insta::assert_snapshot!(home.refused(&["agents", "check", "bad"]), @r#"
    agent.rhai:2:17 there is no function "recal"
      help: did you mean "recall"?
    agent.rhai:3:11 there is no function "psh"
      help: did you mean "push"?
    agent.rhai:4:11 now takes 0 arguments, but 1 are given
    error: 3 problems found in bad
    "#);
    let lines = String::from_utf8(home.run(&["--json", "agents", "check", "bad"]).stdout).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["file"], &first["line"], &first["column"]), (&"agent.rhai".into(), &2.into(), &17.into()));
    let missing = home.refused(&["agents", "check", "nowhere"]);
    assert!(missing.contains("nowhere/manifest.toml cannot be read"), "{missing}");
}

#[test]
fn help_names_every_command_and_completions_know_them() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    let commands = [
        "demo",
        "up",
        "login",
        "projects",
        "models",
        "agents",
        "sessions",
        "approvals",
        "budgets",
        "receipts",
        "logs",
        "actors",
        "store",
        "completions",
    ];
    let help = home.told(&["--help"]);
    let completions = home.told(&["completions", "bash"]);
    for command in commands {
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{command} ")));
        let line = line.unwrap_or_else(|| panic!("{command} in {help}"));
        assert!(line.trim().len() > command.len() + 5, "{command} says what it does: {line}");
        assert!(completions.contains(&format!("steward__{command}")) || completions.contains(command), "{command}");
        assert!(home.told(&[command, "--help"]).contains("Usage: steward"), "{command}");
    }
    let script = home.0.join("steward.bash");
    std::fs::write(&script, &completions).unwrap();
    let syntax = Command::new("bash").arg("-n").arg(script).status().unwrap();
    assert!(syntax.success(), "bash reads the completions");
    assert!(home.told(&["--version"]).starts_with("steward "));
}

/// A way to call each command that asks before it does what cannot be taken back.
const DESTRUCTIVE: &[&[&str]] = &[
    &["actors", "stop", "session", "ses_1"],
    &["breakers", "close", "eip155:1"],
    &["breakers", "open", "eip155:1"],
    &["drain", "nod_1"],
    &["models", "remove", "m"],
    &["modules", "remove", "m"],
    &["nodes", "evict", "nod_1"],
    &["pause", "project", "acme"],
    &["projects", "revoke", "acme", "key"],
    &["sessions", "cancel", "ses_1"],
    &["sessions", "end", "ses_1"],
    &["shards", "move", "7", "nod_1"],
    &["triggers", "resume", "agent", "trigger"],
];

/// The commands with the option `--yes` below one, by the words that lead to them.
fn asking(command: &clap::Command, path: &[String], found: &mut Vec<String>) {
    // Those answer an agent's questions with it.
    let asks = !matches!(path.join(" ").as_str(), "demo" | "agents run");
    if asks && command.get_arguments().any(|argument| argument.get_long() == Some("yes")) {
        found.push(path.join(" "));
    }
    for below in command.get_subcommands() {
        asking(below, &[path, &[below.get_name().to_owned()]].concat(), found);
    }
}

#[test]
fn every_command_that_cannot_be_taken_back_asks_and_is_refused_where_nobody_can_be_asked() {
    let mut found = Vec::new();
    asking(&Arguments::command(), &[], &mut found);
    let known = |path: &String| DESTRUCTIVE.iter().any(|words| words.join(" ").starts_with(path.as_str()));
    let unknown: Vec<&String> = found.iter().filter(|path| !known(path)).collect();
    assert!(unknown.is_empty(), "not in this test: {unknown:?}");
    assert_eq!(found.len(), DESTRUCTIVE.len(), "{found:?}");
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    for words in DESTRUCTIVE {
        // Nobody listens there: what is refused has not been asked of a node.
        let at_nobody = ["--key", "stw_a_b", "--server", "http://127.0.0.1:1"];
        let refused = home.refused(&[&at_nobody[..], words].concat());
        assert!(refused.contains("add --yes"), "{words:?}: {refused}");
        let agreed = home.refused(&[&at_nobody[..], words, &["--yes"]].concat());
        assert!(!agreed.contains("add --yes"), "{words:?}: {agreed}");
    }
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    let check = |arguments: &[&str], expected: &str| {
        let said = home.refused(arguments);
        assert!(said.contains(expected), "{arguments:?}: {expected:?} in {said}");
    };
    check(&["projects", "list"], "run `steward login --server URL --key KEY`");
    check(&["login"], "give the key: steward login --server URL --key");
    check(
        &["--key", "stw_a_b", "--server", "http://127.0.0.1:1", "models", "list"],
        "is it running, and at this --server?",
    );
    check(&["--key", "stw_a_b", "--server", "not an address", "models", "list"], "write it as http://");
    check(&["up", "--config", "absent.toml"], "absent.toml cannot be read");
    std::fs::write(home.0.join("wrong.toml"), "listenn = \"127.0.0.1:0\"\n").unwrap();
    check(&["up", "--config", "wrong.toml"], "listenn");
    check(&["--json", "projects", "list"], "{\"error\":{\"code\":null,\"message\":\"no API key: ");
    check(&["store", "backup", "mistyped", "b.steward"], "mistyped/store is not there: name the data folder");
    assert!(!home.0.join("mistyped").exists() && !home.0.join("b.steward").exists(), "nothing was made");
    let at_nobody = ["--key", "stw_a_b", "--server", "http://127.0.0.1:1", "agents", "run", "a", "hi", "--data"];
    for wrong in ["x", "[1]", "1"] {
        check(&[&at_nobody[..], &[wrong]].concat(), "--data is no JSON object, such as {\"amount\": 5}");
    }
    let typo = home.run(&["agent", "list"]);
    assert_eq!(typo.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&typo.stderr).contains("agents"), "a typing error is answered with a near command");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_login_everything_is_a_short_line_and_json_for_programs() {
    let tenant = Tenant::start().await;
    let home = Home::new(tenant.folder.path());
    let stranger = home.refused(&["login", "--server", tenant.node.server(), "--key", "stw_nobody_nothing"]);
    assert!(stranger.contains("UNAUTHENTICATED"), "{stranger}");
    let hello = home.told(&["login", "--server", tenant.node.server(), "--key", &tenant.key]);
    assert!(hello.contains("logged in") && hello.contains(PROJECT), "{hello}");
    // Another key for the same node: its address need not be said again.
    assert!(home.told(&["login", "--key", &tenant.key]).contains(tenant.node.server()));
    let file = home.0.join("config/steward/credentials.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!hello.contains(&tenant.key), "the key is not shown");

    home.agent("counter", COUNTER);
    assert!(home.told(&["agents", "deploy", "counter"]).contains("counter version 1"));
    assert!(home.told(&["agents", "deploy", "counter"]).contains("unchanged"));
    let ran = home.told(&["agents", "run", "counter", "hello"]);
    assert!(ran.contains("hello 1"), "{ran}");
    let failed = home.refused(&["agents", "run", "absent", "hello"]);
    assert!(failed.contains("AGENT_NOT_FOUND") && failed.contains("docs/errors/agent-not-found.md"), "{failed}");
    let failed: Value = serde_json::from_str(&home.refused(&["--json", "agents", "run", "absent", "hello"])).unwrap();
    let error = serde_json::json!({ "code": "AGENT_NOT_FOUND", "message": format!("the project {PROJECT} has no agent absent") });
    assert_eq!(failed, serde_json::json!({ "error": error }));
    let wrong = home.refused(&["sessions", "show", "x"]);
    assert_eq!(wrong.matches("session: ").count(), 1, "the field is named once: {wrong}");

    let sessions = home.told(&["--json", "sessions", "list"]);
    let session: Value = serde_json::from_str(sessions.lines().next().unwrap()).unwrap();
    let id = session["id"].as_str().unwrap();
    tenant.books_at_rest(1).await;
    let commands: &[&[&str]] = &[
        &["projects", "list"],
        &["projects", "show", PROJECT],
        &["projects", "keys", PROJECT],
        &["models", "list"],
        &["models", "show", tenant::MODEL],
        &["agents", "list"],
        &["sessions", "show", id],
        &["sessions", "replay", id],
        &["sessions", "follow", id, "--no-wait"],
        &["logs", id],
        &["approvals", "list"],
        &["budgets", "show"],
        &["budgets", "statement"],
        &["budgets", "audit"],
        &["receipts", "list"],
        &["receipts", "checkpoint"],
    ];
    for command in commands {
        let plain = home.told(command);
        assert!(!plain.trim().is_empty() && !plain.contains('\u{1b}'), "{command:?}: {plain:?}");
        let json = home.told(&[&["--json"][..], command].concat());
        for line in json.lines() {
            let value: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{command:?}: {error}: {line}"));
            assert!(value.is_object(), "{command:?}: {line}");
        }
    }
    proves_offline(&home);
    shows_that_the_log_only_grew(&home);
}

/// A kept checkpoint holds the log to its word: it only grew; another log's checkpoint, or a changed one, is refused.
fn shows_that_the_log_only_grew(home: &Home) {
    home.told(&["receipts", "checkpoint", "--out", "kept.note"]);
    home.told(&["agents", "run", "counter", "again"]);
    let since = ["receipts", "checkpoint", "--since", "kept.note"];
    let key = home.json(&["receipts", "checkpoint"])[0]["verifier_key"].as_str().unwrap().to_owned();
    let trusting = [&since[..], &["--trust", &key, "--out", "newest.note"]].concat();
    let told = home.told(&trusting);
    assert!(told.contains("the log only grew") && told.contains("then") && told.contains("now"), "{told}");
    let grown = &home.json(&since)[0];
    assert!(grown["grown"] == true && grown["from"] == 1 && grown["to"].as_u64().unwrap() >= 1, "{grown}");
    let kept = std::fs::read_to_string(home.0.join("kept.note")).unwrap();
    std::fs::write(home.0.join("kept.note"), kept.replacen("\n1\n", "\n2\n", 1)).unwrap();
    let refused = home.refused(&since);
    assert!(refused.contains("kept.note is no checkpoint of this log"), "{refused}");
}

/// A proof is made, verifies without a node, and does not once a byte of it has changed.
fn proves_offline(home: &Home) {
    let receipts = home.told(&["--json", "receipts", "list"]);
    let receipt: Value = serde_json::from_str(receipts.lines().next().unwrap()).unwrap();
    home.told(&["receipts", "prove", receipt["id"].as_str().unwrap(), "--out", "proof.json"]);
    let stranger = Home::new(&home.0.join("elsewhere"));
    let file = home.0.join("proof.json");
    let place = file.to_str().unwrap();
    assert!(stranger.refused(&["receipts", "verify", place]).contains("--trust KEY"));
    let checkpoint: Value = serde_json::from_str(&home.told(&["--json", "receipts", "checkpoint"])).unwrap();
    let verify = ["receipts", "verify", place, "--trust", checkpoint["verifier_key"].as_str().unwrap()];
    stranger.told(&verify);
    let proof = std::fs::read_to_string(&file).unwrap();
    let forged =
        proof.replacen("\"tree_size\": 1", "\"tree_size\": 2", 1).replacen("\"tree_size\":1", "\"tree_size\":2", 1);
    assert_ne!(forged, proof, "the proof names its tree's size: {proof}");
    std::fs::write(&file, forged).unwrap();
    let refused = stranger.refused(&verify);
    assert!(
        refused.contains("error:") && refused.contains("PROOF_INVALID (docs/errors/proof-invalid.md)"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_node_serves_the_same_session() {
    let tenant = Tenant::start().await;
    let home = Home::new(tenant.folder.path());
    tenant.deploy("counter", COUNTER, "").await;
    let session = tenant.open("counter").await;
    assert_eq!(tenant.run(&session, "first").await.reply, "first 1");
    tenant.books_at_rest(1).await;
    let Tenant { node, key, folder, .. } = tenant;
    let data = folder.path().join("node/data");
    let data_text = data.to_str().unwrap();
    let busy = home.refused(&["store", "backup", data_text, "early.steward"]);
    assert!(busy.contains("STORE_LOCKED (docs/errors/store-locked.md)"), "{busy}");
    assert!(!home.0.join("early.steward").exists());
    node.stop().await.unwrap();

    let summary: Value =
        serde_json::from_str(&home.told(&["--json", "store", "backup", data_text, "b.steward"])).unwrap();
    assert!(summary["rows"].as_u64().unwrap() > 0, "{summary}");
    let restored = folder.path().join("restored");
    let restored_data = restored.join("data");
    home.told(&["store", "restore", "b.steward", restored_data.to_str().unwrap()]);
    let again = home.refused(&["store", "restore", "b.steward", restored_data.to_str().unwrap()]);
    assert!(again.contains("name another folder"), "{again}");
    // As docs/operations.md says, the log's signing key is kept beside the backup.
    std::fs::copy(data.join("log.key"), restored_data.join("log.key")).unwrap();

    let node = NodeProcess::start(tenant::setup(&restored)).await.unwrap();
    let client = Client::new(node.server(), Some(&key)).unwrap();
    assert_eq!(tenant::run(&client, &session, "second").await.reply, "second 2");
    let audit = client.budgets().audit(v1::AuditRequest::default()).await.unwrap().into_inner();
    assert!(audit.exact && audit.steps_settled == 2, "{audit:?}");
    node.stop().await.unwrap();
}
