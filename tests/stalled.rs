//! An outbox that stalls on a real chain: why is told in its parts to programs, and in words to people.

use std::process::Command;

use serde_json::{Value, json};
use steward::process::{NodeProcess, until};
use steward_adapters_evm::{Anvil, Mining};

use crate::parts;
use crate::trade::{CHAIN, ask, deploy, json_of, setup};

/// What the operator is told.
fn told(node: &NodeProcess, words: &[&str]) -> String {
    let key = std::fs::read_to_string(node.root_key_file()).unwrap();
    let mut steward = Command::new(parts::steward());
    let ended = steward.args(["--server", node.server(), "--key", key.trim()]).args(words).output().unwrap();
    [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
}

/// Why the outbox stalls, once that is said, or not any more.
async fn until_stalled(node: &NodeProcess, is_stalled: bool) -> Value {
    let stall = until("the outbox", async || {
        let stall = json_of(&told(node, &["--json", "outbox", CHAIN]))["stall"].take();
        (stall.is_object() == is_stalled).then_some(stall)
    });
    stall.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn why_an_outbox_stalls_is_told_in_parts_to_programs_and_in_words_to_people() {
    let anvil = Anvil::start(&parts::anvil(), Mining::Automatic).await.unwrap();
    let (_folder, setup) = setup(&anvil, &Anvil::development_key());
    let mut node = NodeProcess::start(setup).await.unwrap();
    let (good, said) = deploy(&node, &["identity"]);
    assert!(good, "{said}");
    let contract = json_of(&said)["contract"].take();
    until_stalled(&node, false).await;

    // What was final is undone while the node is away, and the pool forgets it.
    node.kill().await.unwrap();
    ask(&anvil, "evm_setAutomine", json!([false])).await;
    ask(&anvil, "anvil_reorg", json!([1, []])).await;
    ask(&anvil, "anvil_dropAllTransactions", json!([])).await;
    let receipt = ask(&anvil, "eth_getTransactionReceipt", json!([contract["transaction"]])).await;
    assert_eq!(receipt, Value::Null, "the reorganisation took it out");
    node.start_again().await.unwrap();
    let stall = until_stalled(&node, true).await;
    let undone = &stall["undone"];
    assert_eq!((&undone["transaction"], &undone["block"]), (&contract["transaction"], &contract["block"]), "{stall}");
    assert!(undone["since"].as_str().unwrap().starts_with("UNDONE_SINCE_"), "{stall}");
    for words in [&["chains"][..], &["chains", "show", CHAIN], &["outbox"], &["breakers"]] {
        let shown = told(&node, words);
        assert!(shown.contains("stalled: a reorganisation undid what was final"), "{words:?}: {shown}");
    }
    assert!(told(&node, &["doctor"]).contains("look at the transaction with an explorer"));

    // The same bytes were sent again: a block has them, and the outbox goes on.
    ask(&anvil, "evm_setAutomine", json!([true])).await;
    ask(&anvil, "evm_mine", json!([])).await;
    until_stalled(&node, false).await;
    let receipt = ask(&anvil, "eth_getTransactionReceipt", json!([contract["transaction"]])).await;
    assert_eq!(receipt["status"], "0x1", "{receipt}");
}
