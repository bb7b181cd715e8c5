//! The operators' shell as an operator uses it: the real binary on real nodes. Commands in, transcripts out.
//!
//! `STEWARD_UPDATE=1` writes the transcripts, and the one that docs/shell.md shows, instead of comparing them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use steward::process::{NodeProcess, NodeSetup, until};
use steward_api::proto::v1;
use steward_chaos::fleet::Fleet;

use crate::parts;
use crate::tenant::{self, PROJECT, Tenant};

const COUNTER: &str = "fn on_message(msg) {
    let count = (state(\"count\") ?? 0) + 1;
    set_state(\"count\", count);
    reply(`${msg.text} ${count}`);
}
";

const BEGIN: &str = "<!-- transcript:begin -->";
const END: &str = "<!-- transcript:end -->";

/// How one run of the binary ended.
struct Ended {
    success: bool,
    /// Standard output and error in the order in which they were written.
    said: String,
}

/// A shell on a node, with the key of its operator or another.
pub struct Shell<'a> {
    server: &'a str,
    key: String,
    home: &'a Path,
}

impl<'a> Shell<'a> {
    /// With the operator's key of a node.
    pub fn of_root(node: &'a NodeProcess, home: &'a Path) -> Self {
        let key = std::fs::read_to_string(node.root_key_file()).unwrap().trim().to_owned();
        Self { server: node.server(), key, home }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut steward = Command::new(parts::steward());
        steward.args(["--server", self.server, "--key", &self.key]).args(arguments);
        steward.current_dir(self.home).env("HOME", self.home).env("XDG_CONFIG_HOME", self.home.join("config"));
        for inherited in ["STEWARD_SERVER", "STEWARD_KEY", "STEWARD_PROJECT", "STEWARD_CA"] {
            steward.env_remove(inherited);
        }
        steward
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ended {
        let path = self.home.join("said");
        let said = File::create(&path).unwrap();
        let mut steward = self.command(arguments);
        steward.stdin(Stdio::piped()).stdout(said.try_clone().unwrap()).stderr(said);
        let mut running = steward.spawn().unwrap();
        running.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let success = running.wait().unwrap().success();
        Ended { success, said: std::fs::read_to_string(path).unwrap() }
    }

    /// What one command of the shell says, which must succeed.
    pub fn told(&self, command: &str) -> String {
        let ended = self.run(&["shell", "-c", command], "");
        assert!(ended.success, "{command}: {}", ended.said);
        ended.said
    }

    /// The JSON values that one command prints.
    fn json(&self, command: &str) -> Vec<Value> {
        let told = self.told(&format!("{command} --json"));
        told.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{command}: {line}"))).collect()
    }

    /// What one command says when it fails.
    pub fn refused(&self, command: &str) -> String {
        let ended = self.run(&["shell", "-c", command], "");
        assert!(!ended.success, "{command}: {}", ended.said);
        ended.said
    }
}

/// Ids, times and addresses by a name that is the same in each run, and columns that do not depend on their widths.
struct Normal {
    names: HashMap<String, String>,
    counts: HashMap<&'static str, usize>,
    key_id: String,
}

impl Normal {
    fn new(key: &str) -> Self {
        let key_id = key.trim_start_matches("stw_").split('_').next().unwrap().to_owned();
        Self { names: HashMap::new(), counts: HashMap::new(), key_id }
    }

    fn text(&mut self, text: &str) -> String {
        let lines: Vec<String> = text.lines().map(|line| self.line(line)).collect();
        lines.join("\n") + "\n"
    }

    fn line(&mut self, line: &str) -> String {
        if line.starts_with("steward> ") {
            return line.to_owned();
        }
        let of_a_node = line.trim_start().starts_with("nod_");
        let mut normal = String::new();
        for (at, part) in line.split("  ").filter(|part| !part.trim().is_empty()).enumerate() {
            let words: Vec<String> = part.trim().split(' ').map(|word| self.word(word, of_a_node)).collect();
            normal += if at == 0 { "" } else { "  " };
            normal += &words.join(" ");
        }
        let indent = line.len() - line.trim_start().len();
        format!("{}{normal}", " ".repeat(indent))
    }

    fn word(&mut self, word: &str, of_a_node: bool) -> String {
        if of_a_node && word.parse::<u64>().is_ok() {
            return "N".to_owned();
        }
        let core = word.trim_matches(|letter: char| matches!(letter, '.' | ',' | ':' | ';' | '`' | '(' | ')' | '*'));
        // Which node is asked, and so marked, is a matter of their random ids.
        let word = if of_a_node { word.trim_end_matches('*') } else { word };
        if core.is_empty() { word.to_owned() } else { word.replace(core, &self.named(core)) }
    }

    fn named(&mut self, word: &str) -> String {
        for prefix in ["nod_", "ses_", "hold_"] {
            if let Some((hex, rest)) = word.strip_prefix(prefix).and_then(|rest| rest.split_at_checked(32))
                && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
            {
                let id = format!("{prefix}{hex}");
                let counts = &mut self.counts;
                let name = self.names.entry(id).or_insert_with(|| {
                    let count = counts.entry(prefix).or_default();
                    *count += 1;
                    format!("{prefix}{count}")
                });
                return format!("{name}{rest}");
            }
        }
        let is_time = word.len() == 24 && word.ends_with('Z') && word.as_bytes()[10] == b'T';
        match word {
            _ if is_time => "TIME".to_owned(),
            word if word == self.key_id => "KEY".to_owned(),
            word if word.contains("127.0.0.1:") => "ADDRESS".to_owned(),
            word => word.to_owned(),
        }
    }
}

fn update() -> bool {
    std::env::var_os("STEWARD_UPDATE").is_some()
}

fn transcripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

/// Runs a file of commands and compares what comes of it.
fn check_transcript(shell: &Shell<'_>, name: &str) -> String {
    let commands = transcripts().join(format!("{name}.commands"));
    let ended = shell.run(&["shell", "--echo", "--keep-going", commands.to_str().unwrap()], "");
    let said = Normal::new(&shell.key).text(&ended.said);
    let golden = transcripts().join(format!("{name}.out"));
    if update() {
        std::fs::write(&golden, &said).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(said, expected, "{}: STEWARD_UPDATE=1 writes it", golden.display());
    said
}

/// Runs a file of commands about things whose ids are known only now: `{name}` in it stands for an id.
fn check_about(shell: &Shell<'_>, name: &str, ids: &[(&str, &str)]) {
    let template = std::fs::read_to_string(transcripts().join(format!("{name}.commands"))).unwrap();
    let filled = ids.iter().fold(template, |text, (name, id)| text.replace(&format!("{{{name}}}"), id));
    let commands = shell.home.join(format!("{name}.commands"));
    std::fs::write(&commands, filled).unwrap();
    let ended = shell.run(&["shell", "--echo", "--keep-going", commands.to_str().unwrap()], "");
    let named = ids.iter().fold(ended.said, |text, (name, id)| text.replace(id, &format!("{{{name}}}")));
    let said = Normal::new(&shell.key).text(&named);
    let golden = transcripts().join(format!("{name}.out"));
    if update() {
        std::fs::write(&golden, &said).unwrap();
    }
    assert_eq!(said, std::fs::read_to_string(&golden).unwrap_or_default(), "{}", golden.display());
}

async fn counter(tenant: &Tenant) {
    tenant.deploy("counter", COUNTER, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_commands_makes_the_transcript_that_the_docs_show() {
    let tenant = Tenant::start().await;
    counter(&tenant).await;
    let said = check_transcript(&Shell::of_root(&tenant.node, tenant.folder.path()), "one-node");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/shell.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the begin marker");
    let (shown, after) = rest.split_once(END).expect("the end marker");
    let block = format!("\n```text\n{said}```\n");
    if update() {
        std::fs::write(&page, format!("{before}{BEGIN}{block}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(shown, block, "docs/shell.md: STEWARD_UPDATE=1 writes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_looked_at_forked_cancelled_and_traced() {
    let tenant = Tenant::start().await;
    counter(&tenant).await;
    tenant.deploy("asker", "fn on_message(msg) { ask_human(\"May I?\"); }", "").await;
    let session = tenant.open("counter").await;
    assert_eq!(tenant.run(&session, "hello").await.reply, "hello 1");
    let asking = tenant.open("asker").await;
    let message = Some(v1::Message { text: "go".to_owned(), data_json: String::new() });
    let send = v1::SendRequest { session: asking.clone(), message, ..Default::default() };
    tenant.client.sessions().send(send).await.unwrap();
    let waits = until("a session that waits", async || {
        let get = v1::GetSessionRequest { session: asking.clone() };
        let shown = tenant.client.sessions().get(get).await.ok()?.into_inner();
        (shown.state() == v1::SessionState::Waiting).then_some(())
    });
    waits.await.unwrap();
    tenant.books_at_rest(0).await;
    let shell = Shell::of_root(&tenant.node, tenant.folder.path());
    check_about(&shell, "session", &[("session", &session), ("asking", &asking)]);
    // What happened in one millisecond has no order, so that this is no part of the transcript.
    let traced = shell.told(&format!("trace {session}"));
    for line in ["turn_started", "set_state begun", "set_state done", "reply done", "turn_finished"] {
        assert!(traced.contains(line), "{line}: {traced}");
    }
    let inspected = shell.told(&format!("actors inspect session {session}"));
    assert!(inspected.contains("resting") || inspected.contains("active"), "{inspected}");
    let node = shell.json("nodes")[0]["id"].as_str().unwrap().to_owned();
    let shown = shell.told(&format!("nodes show {node}"));
    assert!(shown.contains("embedded") && shown.contains("session"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_at_a_terminal_completes_ids_and_has_a_history() {
    let tenant = Tenant::start().await;
    counter(&tenant).await;
    let session = tenant.open("counter").await;
    assert_eq!(tenant.run(&session, "hello").await.reply, "hello 1");
    let shell = Shell::of_root(&tenant.node, tenant.folder.path());
    let mut python = Command::new("python3");
    python.arg(parts::client("shell_pty.py")).arg(parts::steward()).args([shell.server, &shell.key, &session]);
    python.current_dir(shell.home).env("HOME", shell.home).env("XDG_CONFIG_HOME", shell.home.join("config"));
    let ended = python.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let history = std::fs::read_to_string(shell.home.join("config/steward/history")).unwrap();
    assert!(history.contains(&format!("sessions show {session}")), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_come_from_an_argument_a_file_or_a_pipe_and_are_plain() {
    let tenant = Tenant::start().await;
    let home = tenant.folder.path();
    let shell = Shell::of_root(&tenant.node, home);
    let told = shell.told("nodes");
    assert!(told.contains("up") && !told.contains('\u{1b}'), "{told}");
    let nodes = shell.json("nodes");
    assert_eq!((nodes.len(), &nodes[0]["state"]), (1, &"up".into()));
    let piped = shell.run(&["--json", "shell"], "nodes\n\n# a comment\nshards\n");
    assert!(piped.success && piped.said.lines().count() == 1025, "one node and 1,024 shards");
    let file = home.join("commands");
    std::fs::write(&file, "nodes\nnonsense\nshards\n").unwrap();
    let file = file.to_str().unwrap();
    let stopped = shell.run(&["shell", file], "");
    assert!(
        !stopped.success && stopped.said.contains("nonsense") && !stopped.said.contains("owner"),
        "{}",
        stopped.said
    );
    let went_on = shell.run(&["shell", "--keep-going", file], "");
    assert!(!went_on.success && went_on.said.contains("owner") && went_on.said.contains("1 commands failed"));
    assert!(shell.refused("actors stop timers all").contains("add --yes"), "nobody can be asked");
    assert!(shell.told("help drain").contains("Hand a node's shards"));
    let stats = shell.json("store stats");
    assert_eq!(stats[0]["store"], "embedded");
    assert_eq!(shell.json("top --every 0.1").len(), 1, "one frame when piped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projects_key_is_refused_what_is_an_operators() {
    let tenant = Tenant::start().await;
    counter(&tenant).await;
    let home = tenant.folder.path();
    let shell = Shell { server: tenant.node.server(), key: tenant.key.clone(), home };
    for command in [
        "nodes",
        "shards",
        "doctor",
        "audit",
        "top",
        "trace ses_1",
        "drain nod_1 --yes",
        "store stats",
        "chains",
        "outbox",
        "wallets",
        "contracts",
    ] {
        let refused = shell.refused(command);
        assert!(refused.contains("PERMISSION_DENIED"), "{command}: {refused}");
    }
    assert!(shell.refused("pause project acme --yes").contains("PERMISSION_DENIED"));
    assert!(shell.told("agents run counter hello").contains("hello 1"), "its own project's things are its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_survives_a_kill_and_is_seen_and_audited() {
    let mut tenant = Tenant::start().await;
    counter(&tenant).await;
    let session = tenant.open("counter").await;
    let folder = tenant.folder.path().to_owned();
    let paused = "pause agent counter --project acme --reason upgrade --yes";
    Shell::of_root(&tenant.node, &folder).told(paused);
    let send = v1::SendRequest {
        session: session.clone(),
        message: Some(v1::Message { text: "hello".to_owned(), data_json: String::new() }),
        ..Default::default()
    };
    let sent = tenant.client.sessions().send(send).await.unwrap().into_inner();
    tenant.node.kill().await.unwrap();
    tenant.node.start_again().await.unwrap();
    let shell = Shell::of_root(&tenant.node, &folder);
    let shown = shell.told(&format!("sessions show {session}"));
    assert!(shown.contains("held back") && shown.contains("upgrade"), "{shown}");
    let why = shell.told(&format!("actors why session {session}"));
    assert!(why.contains("No turn of it begins"), "{why}");
    let seen = tenant.client.sessions().get(v1::GetSessionRequest { session: session.clone() }).await.unwrap();
    assert_eq!((seen.get_ref().turns, seen.get_ref().inbox), (0, 1));
    assert!(shell.told("resume agent counter --project acme").contains("goes on"));
    let watch = v1::WatchSessionRequest { session, from_sequence: sent.watch_from, ..Default::default() };
    let mut events = tenant.client.sessions().watch(watch).await.unwrap().into_inner();
    while let Some(event) = events.message().await.unwrap() {
        if event.kind() == v1::SessionEventKind::TurnFinished {
            break;
        }
    }
    let trail = shell.json("audit");
    let told: Vec<_> = trail.iter().map(|entry| (&entry["operation"], &entry["outcome"])).collect();
    let operations = ["resume", "pause", "create key", "create project"].map(Value::from);
    let done = Value::from("done");
    assert_eq!(told, operations.each_ref().map(|operation| (operation, &done)));
}

/// Three nodes on a served store.
async fn three(folder: &Path) -> Fleet {
    let setup = NodeSetup { folder: folder.to_owned(), ..tenant::setup(&folder.join("unused")) };
    Fleet::start(&setup, 3, &steward_chaos::store::StoreChoice::Served, None).await.unwrap()
}

/// How many shards each living node has, by id.
fn owned(shell: &Shell<'_>) -> HashMap<String, u64> {
    let nodes = shell.json("nodes").into_iter().filter(|node| node["state"] != "down" && node["id"].is_string());
    nodes.map(|node| (node["id"].as_str().unwrap().to_owned(), node["shards"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_are_seen_drained_and_missed_from_any_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = three(folder.path()).await;
    let home = folder.path().to_owned();
    let shares = until("a share of the shards for each", async || {
        let shares = owned(&Shell::of_root(&fleet.nodes[0], &home));
        let fair = shares.len() == 3 && shares.values().all(|shards| (341..=342).contains(shards));
        fair.then_some(shares)
    });
    let shares = shares.await.unwrap();
    check_transcript(&Shell::of_root(&fleet.nodes[0], &home), "three-nodes");

    // Another node than the one that is asked is drained, and comes back.
    let asked = Shell::of_root(&fleet.nodes[0], &home);
    let this = asked.json("nodes").into_iter().find(|node| node["is_this"] == true).unwrap();
    let other = shares.keys().find(|id| this["id"] != id.as_str()).unwrap().clone();
    assert!(asked.told(&format!("drain {other} --yes")).contains("has no shard left"));
    assert_eq!(owned(&asked)[&other], 0);
    let report = asked.told("doctor");
    assert!(report.contains("notice") && report.contains(&format!("steward undrain {other}")), "{report}");
    asked.told(&format!("undrain {other}"));
    let back = until("its shards again", async || (owned(&asked)[&other] > 300).then_some(()));
    back.await.unwrap();
    asked.told(&format!("shards move 7 {other} --yes"));
    let moved = until("the shard where it was put", async || {
        let shards = asked.json(&format!("shards ls --node {other}"));
        shards.iter().any(|shard| shard["shard"] == 7 && shard["pinned"] == other.as_str()).then_some(())
    });
    moved.await.unwrap();
    let operations: Vec<_> =
        asked.json("audit").iter().map(|entry| entry["operation"].as_str().unwrap().to_owned()).collect();
    assert_eq!(operations, ["move shard", "undrain", "drain"]);

    // A node that is gone is named as missing, until the others have taken it for dead.
    fleet.nodes[2].kill().await.unwrap();
    let asked = Shell::of_root(&fleet.nodes[0], &home);
    let named = until("the lost node by name", async || {
        let nodes = asked.json("nodes");
        nodes.iter().any(|node| node["warning"].is_string() || node["state"] == "down").then_some(())
    });
    named.await.unwrap();
    let report = asked.run(&["shell", "-c", "doctor"], "").said;
    assert!(report.contains("members"), "a node that is gone is a finding: {report}");
    let taken_over = until("its shards with the others", async || {
        let owned = owned(&asked);
        (owned.len() == 2 && owned.values().sum::<u64>() == 1024).then_some(())
    });
    taken_over.await.unwrap();
    fleet.nodes[2].start_again().await.unwrap();
    // A node that lives is taken for dead, and joins again.
    let asked = Shell::of_root(&fleet.nodes[0], &home);
    let shown = asked.told(&format!("nodes show {other}"));
    assert!(shown.contains(&other) && shown.contains("served"), "{shown}");
    assert!(asked.refused(&format!("nodes evict {other}")).contains("add --yes"), "nobody can be asked");
    assert!(asked.told(&format!("nodes evict {other} --yes")).contains("is taken for dead"));
    assert_eq!(asked.json("audit")[0]["operation"], "evict");
    until("the evicted node with its share", async || {
        let shares = owned(&asked);
        (shares.len() == 3 && shares[&other] > 300).then_some(())
    })
    .await
    .unwrap();
    fleet.stop().await.unwrap();
}

#[test]
fn the_project_of_these_tests_is_the_tenants() {
    assert_eq!(PROJECT, "acme", "the transcripts name it");
}
