//! docs/quickstart.md, followed line by line with the real binary, the real models, and nothing that the page leaves out.

use std::path::Path;

use steward::process::until;

use crate::demo::keep_models;
use crate::docs::{Block, blocks, read};
use crate::home::Home;
use crate::parts;

/// What the page prints where a reader has an address and a key of their own.
const ADDRESS: &str = "http://127.0.0.1:7700";
const KEY: &str = "stw_…";

/// A reader with a terminal.
struct Reader {
    home: Home,
    server: String,
    key: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_works_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    std::os::unix::fs::symlink(examples, home.0.join("examples")).unwrap();
    keep_models(&home.0.join("models"));
    let blocks: Vec<Block> = blocks(&read("docs/quickstart.md")).into_iter().filter(|b| b.language == "sh").collect();
    let (first, rest) = blocks.split_first().unwrap();

    let mut reader = Reader { home, server: String::new(), key: String::new() };
    // The page's own port may be taken here.
    let mut node = tokio::process::Command::from(reader.shell(&format!("exec {} --listen 127.0.0.1:0", first.text)));
    let mut node = node.kill_on_drop(true).spawn().unwrap();
    let ready = reader.home.0.join("data/ready.json");
    let server = until("the node", async || {
        let ready: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&ready).ok()?).ok()?;
        Some(ready["server"].as_str()?.to_owned())
    });
    reader.server = server.await.unwrap();

    let mut told = Vec::new();
    for block in rest {
        // A block with a file in it is one piece; of others each line is.
        let lines: Vec<&str> = match block.text.contains("<<'") {
            true => vec![&block.text],
            false => block.text.lines().collect(),
        };
        told.extend(lines.into_iter().map(|line| (line.to_owned(), reader.types(line))));
    }
    let after = |begin: &str| told.iter().rfind(|(line, _)| line.starts_with(begin)).unwrap().1.clone();
    assert!(
        after("steward models list").contains("smollm2-135m") && after("steward models list").contains("minilm-l6")
    );
    assert!(after("mkdir hello").contains("◀ agent"), "the agent has replied: {}", after("mkdir hello"));
    assert!(after("steward budgets statement").contains("chat"), "{}", after("steward budgets statement"));
    assert!(after("steward receipts list").contains("chat") && after("steward sessions list").contains("hello"));
    node.kill().await.unwrap();
}

impl Reader {
    fn shell(&self, script: &str) -> std::process::Command {
        let steward = parts::steward();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = self.home.command("bash");
        shell.args(["-e", "-u", "-o", "pipefail", "-c", script]);
        shell.env("PATH", format!("{}:{path}", steward.parent().unwrap().display()));
        shell.env("STEWARD_MODEL_CACHE", self.home.0.join("models"));
        shell
    }

    /// Types what the page says and gives what comes of it. A key that is shown is kept for the line that wants it.
    fn types(&mut self, written: &str) -> String {
        let script = written.replace(ADDRESS, &self.server).replace(KEY, &self.key);
        let ended = self.shell(&script).output().unwrap();
        let told = String::from_utf8(ended.stdout).unwrap();
        assert!(ended.status.success(), "{written}\n{told}{}", String::from_utf8_lossy(&ended.stderr));
        if let Some(key) = told.split_whitespace().find(|word| word.starts_with("stw_")) {
            self.key = key.to_owned();
        }
        told
    }
}
