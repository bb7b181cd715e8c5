//! Keys and chains as an operator handles them: a keystore that is made, a chain that is added, a node that sends with it,
//! and a log in which no secret stands, whatever it is told to show.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use steward::process::{NodeProcess, until};
use steward_adapters_evm::{Anvil, Mining};
use steward_api::proto::v1;
use steward_types::Micros;

use crate::parts;
use crate::tenant::{self, Tenant};

const CHAIN: &str = "eip155:31337";
const PASSWORD: &str = "hush-hush-password";
/// What stands in a provider's address.
const PROVIDERS_KEY: &str = "hush-providers-key";

/// A folder with an operator's files.
struct Desk(PathBuf);

impl Desk {
    fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Output {
        let mut steward = Command::new(parts::steward());
        steward
            .args(arguments.iter().map(AsRef::as_ref))
            .current_dir(&self.0)
            .env("HOME", &self.0)
            .env("XDG_CONFIG_HOME", self.0.join("config"));
        for inherited in ["STEWARD_SERVER", "STEWARD_KEY", "STEWARD_PROJECT", "STEWARD_CA"] {
            steward.env_remove(inherited);
        }
        steward.output().unwrap()
    }

    fn told<S: AsRef<str> + std::fmt::Debug>(&self, arguments: &[S]) -> String {
        let ended = self.run(arguments);
        let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(ended.status.success(), "{arguments:?}: {said}");
        said
    }

    fn refused<S: AsRef<str> + std::fmt::Debug>(&self, arguments: &[S]) -> String {
        let ended = self.run(arguments);
        let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(!ended.status.success(), "{arguments:?}: {said}");
        said
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.0.join(name).display().to_string()
    }
}

/// The JSON values that a command prints.
fn values(said: &str) -> Vec<Value> {
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn of_node(node: &NodeProcess, desk: &Desk, command: &[&str]) -> Vec<Value> {
    let key = std::fs::read_to_string(node.root_key_file()).unwrap();
    let node = ["--server", node.server(), "--key", key.trim(), "--json"];
    values(&desk.told(&[&node[..], command].concat()))
}

#[test]
fn keystores_are_made_for_each_sort_of_chain_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk(folder.path().to_owned());
    let password = desk.write("password", &format!("{PASSWORD}\n"));
    for (family, beginning) in [("evm", "0x"), ("cosmos", "wasm1"), ("solana", "")] {
        let file = format!("{family}.json");
        let new =
            ["wallets", "new", &file, "--for", family, "--prefix", "wasm", "--password-file", &password, "--json"];
        let made = &values(&desk.told(&new))[0];
        assert!(made["account"].as_str().unwrap().starts_with(beginning), "{made}");
        let mode = std::fs::metadata(desk.0.join(&file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(desk.0.join(&file)).unwrap();
        assert!(desk.refused(&new).contains("never overwritten"));
        assert_eq!(std::fs::read_to_string(desk.0.join(&file)).unwrap(), text);
    }
    // A key that exists, as three sorts of tools write it.
    let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    let key = desk.write("key", &format!("0x{seed}\n"));
    let import = |file: &str, family: &str| {
        let import = ["wallets", "import", file, "--for", family, "--key-file", &key, "--password-file", &password];
        desk.told(&import)
    };
    let said = import("imported-evm.json", "evm");
    assert!(said.contains("0x") && !said.contains(seed), "{said}");
    // The account of RFC 8032's second example.
    assert!(import("imported-sol.json", "solana").contains("586Z7H2vpX9qNhN2T4e9Utugie3ogjbxzGaMtM3E6HR5"));
    let short = desk.write("short", "1234567");
    let refused = desk.refused(&["wallets", "new", "x.json", "--password-file", &short]);
    assert!(refused.contains("8 are the fewest") && !desk.0.join("x.json").exists(), "{refused}");
    let refused = desk.refused(&["wallets", "new", "x.json"]);
    assert!(refused.contains("give --password-file"), "{refused}");
}

/// The account that anvil gives coins to, in a keystore.
fn keystore(desk: &Desk) -> (String, String, String) {
    let secret = Anvil::development_key().expose().map(|byte| format!("{byte:02x}")).concat();
    let (key, password) = (desk.write("key", &secret), desk.write("password", PASSWORD));
    let import = ["wallets", "import", "anchorer.json", "--key-file", &key, "--password-file", &password, "--json"];
    desk.told(&import);
    (secret, desk.0.join("anchorer.json").display().to_string(), password)
}

async fn node_of(folder: &Path, config: &Path) -> NodeProcess {
    let mut setup = tenant::setup(&folder.join("node"));
    setup.config += &std::fs::read_to_string(config).unwrap();
    // As loud as it gets, but for the store's own, which would be most of it.
    setup.environment.push(("STEWARD_LOG".to_owned(), "trace,fjall=info,lsm_tree=info".to_owned()));
    NodeProcess::start(setup).await.unwrap()
}

/// A shell on a node adds a chain as the command line does: to a file of its own machine, which the node does not see.
fn add_in_the_shell(tenant: &Tenant, desk: &Desk, endpoint: &str, keystore: &str, password: &str) {
    let root_key = std::fs::read_to_string(tenant.node.root_key_file()).unwrap();
    let shell = ["--server", tenant.node.server(), "--key", root_key.trim(), "--json", "shell", "-c"];
    let file = desk.write("other.toml", "");
    let add = format!(
        "chains add {CHAIN} --config {file:?} --endpoint {endpoint:?} --keystore {keystore:?} \
         --keystore-password-file {password:?}"
    );
    let add = add.as_str();
    let added = &values(&desk.told(&[&shell[..], &[add]].concat()))[0];
    assert_eq!((&added["chain"], &added["config"]), (&CHAIN.into(), &file.as_str().into()));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains(CHAIN) && written.contains(keystore), "{written}");
    let again = desk.refused(&[&shell[..], &[add]].concat());
    assert!(again.contains("has the chain eip155:31337 already") && !again.contains(PROVIDERS_KEY), "{again}");
    let listed = values(&desk.told(&[&shell[..], &["chains"]].concat()));
    assert_eq!((listed.len(), &listed[0]["account"]), (1, &added["account"]), "the node's own, as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_added_sends_from_its_keystore_and_no_log_shows_a_secret() {
    let anvil = Anvil::start(&parts::anvil(), Mining::EverySeconds(1)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk(folder.path().to_owned());
    let (secret, keystore, password) = keystore(&desk);
    let endpoint = format!("{}?key={PROVIDERS_KEY}", anvil.url());
    let before = "# of an operator\n";
    let config = desk.write("chains.toml", before);
    let add = |chain: &'static str| {
        ["chains", "add", chain, "--config", &config, "--endpoint", &endpoint, "--keystore", &keystore]
            .into_iter()
            .chain(["--keystore-password-file", &password])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };

    // Another chain's id is found out by asking the endpoint, and nothing is written.
    let refused = desk.refused(&add("eip155:1"));
    assert!(refused.contains(CHAIN) && !refused.contains(PROVIDERS_KEY), "{refused}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), before);
    let said = desk.told(&add(CHAIN));
    assert!(said.contains("next start") && !said.contains(PROVIDERS_KEY), "{said}");
    assert!(std::fs::read_to_string(&config).unwrap().starts_with(before));

    let node = node_of(folder.path(), Path::new(&config)).await;
    let chains = of_node(&node, &desk, &["chains", "list"]);
    assert_eq!((&chains[0]["chain"], &chains[0]["signer"]), (&CHAIN.into(), &"keystore".into()));
    let wallet = &of_node(&node, &desk, &["wallets"])[0];
    assert_eq!((&wallet["coin"], &wallet["failure"]), (&"wei".into(), &"".into()), "{wallet}");
    assert_eq!(wallet["balance"], "10000000000000000000000", "{wallet}");
    assert_eq!((&wallet["account"], &wallet["latest_sequence"]), (&chains[0]["account"], &"0".into()));
    let outbox = &of_node(&node, &desk, &["outbox"])[0];
    assert_eq!((&outbox["chain"], &outbox["total"]), (&CHAIN.into(), &"0".into()));

    let (client, key) = tenant::create_project(&node, tenant::PROJECT, Micros::new(1_000_000)).await;
    tenant::anchor_on(&node, tenant::PROJECT, CHAIN).await;
    let tenant = Tenant { node, client, key, folder };
    tenant.deploy("counter", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    let session = tenant.open("counter").await;
    tenant.run(&session, "hello").await;
    tenant.books_at_rest(1).await;
    let request = v1::AnchorRequest { project: String::new(), chain: CHAIN.to_owned() };
    let mut receipts = tenant.client.receipts();
    let anchored = receipts.anchor(request);
    let listed = until("the intent in the outbox", async || {
        let outbox = of_node(&tenant.node, &desk, &["outbox", CHAIN]).remove(0);
        outbox["intents"].as_array().unwrap().iter().find(|intent| intent["state"] != "recorded").cloned()
    });
    let (anchored, intent) = tokio::join!(anchored, listed);
    anchored.unwrap();
    let intent = intent.unwrap();
    assert!(intent["transaction"].as_str().unwrap().starts_with("0x"), "{intent}");
    assert!(
        desk.refused(&["--server", tenant.node.server(), "--key", &tenant.key, "outbox"]).contains("PERMISSION_DENIED")
    );

    add_in_the_shell(&tenant, &desk, &endpoint, &keystore, &password);
    // What providers' keys and ours are must stand nowhere, at the loudest log.
    let log = std::fs::read_to_string(tenant.folder.path().join("node/node.log")).unwrap();
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "the log is as loud as it was told to be");
    for secret in [secret.as_str(), PASSWORD, PROVIDERS_KEY] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "a secret is in the log: {line:?}");
    }
}
