//! What is shown in a terminal is in good part the word of others: of a chain's endpoint, of a script, of a message. None of
//! it steers the terminal.

use serde_json::{Value, json};
use steward::process::{NodeProcess, until};
use steward_adapters_evm::Anvil;
use steward_types::Micros;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::tenant::{self, Tenant};

/// Clears the screen, goes to its corner, and turns the direction of what follows.
const RUDE: &str = "\u{1b}[2J\u{1b}[Hall is well\u{202e}";
/// The same as it is shown.
const SHOWN: &str = r"\u001b[2J\u001b[Hall is well\u202e";

/// An endpoint that answers whatever it is asked with an error in these words.
async fn rude_endpoint() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream));
        }
    });
    (url, server)
}

async fn answer(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
        let text = String::from_utf8_lossy(&bytes);
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        let Ok(call) = serde_json::from_str::<Value>(body) else { continue };
        let error = json!({ "code": -32000, "message": format!("{RUDE} with its chain") });
        let body = json!({ "jsonrpc": "2.0", "id": call["id"], "error": error }).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        bytes.clear();
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

fn check(said: &str) {
    assert!(said.contains(SHOWN), "{said:?}");
    let steering = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}';
    assert!(!said.contains(steering), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_endpoints_and_scripts_say_does_not_steer_the_terminal() {
    let (endpoint, _server) = rude_endpoint().await;
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    setup.config += &format!("[[chains]]\nid = \"eip155:1\"\nendpoint = {endpoint:?}\nkey_env = \"EVM_KEY\"\n");
    let key = Anvil::development_key().expose().map(|byte| format!("{byte:02x}")).concat();
    setup.environment.push(("EVM_KEY".to_owned(), key));
    let node = NodeProcess::start(setup).await.unwrap();
    let (client, key) = tenant::create_project(&node, tenant::PROJECT, Micros::new(1_000_000)).await;
    let root = std::fs::read_to_string(node.root_key_file()).unwrap().trim().to_owned();
    let mut tenant = Tenant { node, client, key, folder };
    tenant.deploy("rude", "fn on_message(msg) { reply(msg.text + \"\\n\\tand a line\"); }", "").await;
    let session = tenant.open("rude").await;
    tenant.run(&session, RUDE).await;
    let followed = tenant.told(&["sessions", "follow", &session, "--no-wait"]);
    check(&followed);
    assert!(followed.contains("\tand a line"), "{followed:?}");
    // A log has a line an event, and cuts it.
    check(&tenant.told(&["logs", &session]));
    check(&tenant.told(&["shell", "-c", &format!("sessions follow {session} --no-wait")]));
    let json = tenant.told(&["--json", "sessions", "follow", &session, "--no-wait"]);
    check(&json);
    assert!(json.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{json}");
    tenant.key = root;
    let shown = until("the endpoint's words", async || {
        let said = tenant.told(&["wallets"]);
        said.contains("all is well").then_some(said)
    });
    check(&shown.await.unwrap());
}
