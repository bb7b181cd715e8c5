//! Commands that people type and the quickstart does not show, each with and without `--json`.

use std::process::{Child, Stdio};

use serde_json::Value;
use steward::process::{NodeProcess, until};
use steward_adapters_evm::{Anvil, Mining};
use steward_types::Micros;

use crate::home::Home;
use crate::parts;
use crate::tenant::{self, PROJECT, Tenant};

const ASKER: &str = "fn on_message(msg) { let asked = ask_human(\"Pay?\"); reply(`${asked.approved}: ${msg.text}`); }";

/// A home that is logged in as the project's admin.
async fn logged_in() -> (Tenant, Home) {
    let tenant = Tenant::start().await;
    let home = Home::new(tenant.folder.path());
    home.told(&["login", "--server", tenant.node.server(), "--key", &tenant.key]);
    (tenant, home)
}

/// Starts a command whose end is waited for later.
fn start(home: &Home, arguments: &[&str]) -> Child {
    let mut steward = home.command(parts::steward());
    steward.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether it worked, and all that it said.
fn ended(child: Child) -> (bool, String) {
    let ended = child.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (ended.status.success(), said)
}

/// A command as an operator types it: flags win over what `login` remembers.
fn operator<'a>(key: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["--key", key, "-p", "other"][..], arguments].concat()
}

/// The one approval that waits.
async fn waiting(home: &Home) -> String {
    let open = until("the question", async || home.json(&["approvals", "list"]).into_iter().next());
    open.await.unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_answer_agents_and_end_what_they_do() {
    let (_tenant, home) = logged_in().await;
    home.agent("asker", ASKER);
    home.told(&["agents", "deploy", "asker"]);

    let asking = start(&home, &["agents", "run", "asker", "rent"]);
    let approval = waiting(&home).await;
    assert!(home.told(&["approvals", "approve", &approval, "--comment", "go on"]).starts_with("approved: Pay?"));
    let (is_good, said) = ended(asking);
    assert!(is_good && said.contains("true: rent") && said.contains(&format!("steward approvals approve {approval}")));

    let asking = start(&home, &["agents", "run", "asker", "yacht"]);
    let approval = waiting(&home).await;
    let rejected = home.json(&["approvals", "reject", &approval]);
    assert_eq!(rejected[0]["state"], "APPROVAL_STATE_REJECTED");
    assert!(ended(asking).1.contains("false: yacht"));
    let other = home.refused(&["approvals", "approve", &approval]);
    assert!(other.contains("APPROVAL_DECIDED"), "{other}");
    assert!(home.told(&["approvals", "list", "--all"]).contains("rejected"));
    assert!(home.told(&["agents", "run", "asker", "bread", "--yes"]).contains("true: bread"));

    let asking = start(&home, &["agents", "run", "asker", "house"]);
    let approval = waiting(&home).await;
    let session = approval.split('.').next().unwrap();
    assert!(home.refused(&["sessions", "cancel", session]).contains("add --yes"));
    home.told(&["sessions", "cancel", session, "--yes"]);
    let (is_good, said) = ended(asking);
    assert!(!is_good && said.contains("cancelled"), "{said}");

    let following = start(&home, &["logs", session, "-f"]);
    assert_eq!(home.json(&["sessions", "end", session, "--yes"])[0]["state"], "SESSION_STATE_ENDED");
    let (is_good, log) = ended(following);
    assert!(
        is_good && log.contains("approval_requested") && log.trim().lines().last().unwrap().contains("ended"),
        "{log}"
    );
    assert!(home.refused(&["agents", "run", "asker", "more", "--session", session]).contains("SESSION_ENDED"));
    let events = home.json(&["logs", session]);
    assert_eq!(events.last().unwrap()["kind"], "SESSION_EVENT_KIND_ENDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_keys_prices_limits_and_models_are_managed() {
    let (tenant, home) = logged_in().await;
    let limited = home.json(&["budgets", "limit", "3.5", "--period", "daily"]);
    assert_eq!((&limited[0]["limit_micros"], &limited[0]["period"]), (&"3500000".into(), &"PERIOD_DAILY".into()));
    assert!(home.told(&["budgets", "limit", "2", "--agent", "asker"]).contains('2'));
    assert!(home.told(&["budgets", "show"]).contains("3.5"));

    let key = std::fs::read_to_string(tenant.node.root_key_file()).unwrap();
    let key = key.trim();
    let created = home.json(&operator(key, &["projects", "create", "other", "--limit", "5", "--period", "monthly"]));
    assert_eq!(created[0]["name"], "other");
    std::fs::write(home.0.join("prices.toml"), "[model_default]\nper_second = \"0.01\"\n").unwrap();
    assert!(home.told(&operator(key, &["projects", "prices", "other", "prices.toml"])).contains("other"));
    let shown = home.json(&operator(key, &["projects", "show", "other"]));
    assert_eq!(shown[0]["prices"]["model_default"]["per_second_micros"], "10000");

    let made = home.told(&operator(key, &["projects", "key", "other", "--label", "till", "--admin"]));
    let secret = made.lines().next().unwrap();
    assert!(home.told(&["--key", secret, "projects", "list"]).contains("other"));
    let keys = home.json(&operator(key, &["projects", "keys", "other"]));
    let shown = home.told(&operator(key, &["projects", "keys", "other"]));
    assert!(shown.contains(" admin ") && !shown.contains("KEY_ROLE"), "{shown}");
    let nope = home.refused(&["--key", key, "-p", "nope", "sessions", "list"]);
    assert!(nope.contains("there is no project nope") && nope.contains("PROJECT_NOT_FOUND"), "{nope}");
    let till = keys.iter().find(|key| key["label"] == "till").unwrap()["key_id"].as_str().unwrap().to_owned();
    assert!(home.refused(&operator(key, &["projects", "revoke", "other", &till])).contains("add --yes"));
    home.told(&operator(key, &["projects", "revoke", "other", &till, "--yes"]));
    assert!(home.refused(&["--key", secret, "projects", "list"]).contains("UNAUTHENTICATED"));

    assert!(home.refused(&operator(key, &["models", "remove", tenant::MODEL])).contains("add --yes"));
    assert!(home.told(&operator(key, &["models", "remove", tenant::MODEL, "--yes"])).contains("is unloaded"));
    assert!(home.told(&["models", "list"]).contains("no model yet"));
    let nobody = home.refused(&operator(key, &["models", "add", "mine", "file:absent.gguf"]));
    assert!(nobody.contains("absent.gguf is not there"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_anchored_by_hand_and_its_proof_names_the_anchor() {
    const CHAIN: &str = "eip155:31337";
    let anvil = Anvil::start(&parts::anvil(), Mining::Automatic).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    let endpoint = anvil.url().as_str();
    setup.config +=
        &format!("[[chains]]\nid = {CHAIN:?}\nendpoint = {endpoint:?}\nkey_env = \"ANCHORER\"\nconfirmations = 1\n");
    let key: String = Anvil::development_key().expose().iter().map(|byte| format!("{byte:02x}")).collect();
    setup.environment.push(("ANCHORER".to_owned(), key));
    let node = NodeProcess::start(setup).await.unwrap();
    let (client, key) = tenant::create_project(&node, PROJECT, Micros::new(1_000_000)).await;
    let tenant = Tenant { node, client, key, folder };
    let home = Home::new(tenant.folder.path());
    home.told(&["login", "--server", tenant.node.server(), "--key", &tenant.key]);
    let nowhere = home.refused(&["receipts", "anchor"]);
    assert!(nowhere.contains("has chosen no chain") && nowhere.contains("CHAIN_NOT_FOUND"), "{nowhere}");

    tenant::anchor_on(&tenant.node, PROJECT, CHAIN).await;
    home.agent("counter", "fn on_message(msg) { reply(chat(msg.text).text); }");
    home.told(&["agents", "deploy", "counter"]);
    home.told(&["agents", "run", "counter", "hello"]);
    let anchored = home.json(&["receipts", "anchor", "--chain", CHAIN]);
    assert_eq!((&anchored[0]["state"], &anchored[0]["tree_size"]), (&"confirmed".into(), &"1".into()), "{anchored:?}");
    assert!(home.told(&["receipts", "anchor"]).contains("confirmed"), "asking again is the same");
    let receipt = home.json(&["receipts", "list"])[0]["id"].as_str().unwrap().to_owned();
    let proof: Value = serde_json::from_str(&home.told(&["receipts", "prove", &receipt])).unwrap();
    assert_eq!(proof["anchors"][0]["chain"], CHAIN);
}
