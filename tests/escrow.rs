//! Our contracts used by two real nodes: a provider is paid once against a receipt of its node, whatever is killed, and
//! what no receipt proves is refused with the contract's own words; feedback carries a receipt.

use serde_json::{Value, json};
use steward::process::until;
use steward_api::proto::v1;

use crate::tenant::{self, PROJECT};
use crate::trade::{CHAIN, Evidence, TOKENS, Trade, client_of, deploy, json_of, tell};

/// What the work is paid.
const PRICE: u64 = 300;
const TEXT: &str = "sum up the report";

/// The client orders what made this receipt, from this provider; the order's number.
async fn order(trade: &Trade, sample: &Evidence, provider: &str) -> u64 {
    let order = json!({
        "provider": provider, "amount": PRICE.to_string(), "days": 7, "log": sample["log"],
        "account": sample["account"], "log_id": sample["log_id"], "prompt_hash": sample["prompt_hash"],
    });
    let end = tell(&trade.client, "escrow", json!({ "order": order })).await;
    assert_eq!(end["succeeded"], true, "{end}");
    end["number"].as_u64().unwrap_or_else(|| panic!("{end}"))
}

/// Why the provider is not paid.
async fn refusal(trade: &Trade, number: u64, evidence: &Evidence) -> String {
    let end = tell(&trade.provider, "escrow", json!({ "claim": number, "evidence": evidence })).await;
    assert_eq!((&end["succeeded"], &end["transaction"]), (&json!(false), &Value::Null), "{end}");
    end["reason"].as_str().unwrap().to_owned()
}

/// A receipt with a digit of its price changed.
fn altered(evidence: &Evidence) -> Evidence {
    let leaf = evidence["leaf"].as_str().unwrap();
    let at = leaf.len() - 2 * 8 - 1;
    let other = if &leaf[at..=at] == "9" { "8" } else { "9" };
    let mut altered = evidence.clone();
    altered["leaf"] = format!("{}{other}{}", &leaf[..at], &leaf[at + 1..]).into();
    altered
}

/// The evidence that a receipt is in the newest tree, which no chain has yet, from what `prove` says for people.
fn unanchored(trade: &Trade, receipt: &str) -> Evidence {
    let proof = json_of(&trade.provider.told(&["receipts", "prove", receipt]));
    let prefixed = |hash: &Value| format!("0x{}", hash.as_str().unwrap());
    let path: Vec<String> = proof["path"].as_array().unwrap().iter().map(prefixed).collect();
    json!({ "leaf": prefixed(&proof["leaf_bytes"]), "index": proof["index"], "path": path })
}

/// The same work, done for another project of the provider's node and anchored by the same account.
async fn work_of_a_rival(trade: &Trade) -> Evidence {
    let (rival, key) = trade.provider.second_project("rival", steward_types::Micros::new(1_000_000)).await;
    trade.anchor_by_hand("rival").await;
    tenant::deploy(&rival, "worker", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    let open = v1::OpenSessionRequest { agent: "worker".to_owned(), ..Default::default() };
    let session = rival.sessions().open(open).await.unwrap().into_inner().id;
    // The second receipt of the rival's log is as new, by its place, as the provider's.
    for _ in 0..2 {
        tenant::run(&rival, &session, TEXT).await;
    }
    let told = |words: &[&str]| {
        let (good, said) = ask(trade, &key, words);
        assert!(good, "{words:?}: {said}");
        said
    };
    told(&["receipts", "anchor", "--chain", CHAIN]);
    let listed = told(&["--json", "receipts", "list"]);
    let receipt = json_of(listed.lines().last().unwrap())["id"].as_str().unwrap().to_owned();
    json_of(&told(&["receipts", "prove", &receipt, "--chain", CHAIN, "--for-contract"]))
}

/// Claims while no block comes, and kills the provider's node when its transaction waits; then lets blocks come.
async fn claim_through_a_kill(trade: &mut Trade, number: u64, evidence: &Evidence) {
    trade.set_automatic(false).await;
    let session = trade.provider.open("escrow").await;
    let data_json = json!({ "claim": number, "evidence": evidence }).to_string();
    let message = Some(v1::Message { text: String::new(), data_json });
    let send = v1::SendRequest { session: session.clone(), message, idempotency_key: "claim".to_owned() };
    trade.provider.client.sessions().send(send).await.unwrap();
    trade.until_waiting().await;
    trade.provider.node.kill().await.unwrap();
    trade.mine().await;
    trade.set_automatic(true).await;
    trade.provider.node.start_again().await.unwrap();
    trade.provider.client = client_of(&trade.provider);
    let ended = until("the claim's end", async || {
        let request = v1::GetSessionRequest { session: session.clone() };
        let shown = trade.provider.client.sessions().get(request).await.ok()?.into_inner();
        (shown.state() == v1::SessionState::Idle).then_some(shown)
    });
    assert_eq!(ended.await.unwrap().failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_paid_once_against_a_receipt_of_its_node_and_nothing_else_pays() {
    let mut trade = Trade::start().await;
    let (client, provider) = (trade.client_account(), trade.provider_account());
    trade.anchor_by_hand(PROJECT).await;
    // A sample tells the client what the work is called; it is older than every order.
    let sample = trade.work(TEXT).await;
    let pending = ["receipts", "prove", &sample, "--chain", CHAIN, "--for-contract"];
    assert!(refused(&trade, &pending).contains("RECEIPT_PENDING"));
    trade.anchor();
    let sample = trade.evidence(&sample);
    assert_eq!(sample["account"].as_str().unwrap().to_lowercase(), provider.to_lowercase());
    let paid = order(&trade, &sample, &provider).await;
    let open = order(&trade, &sample, &provider).await;
    let of_another = order(&trade, &sample, &client).await;
    assert_eq!([paid, open, of_another], [1, 2, 3]);
    assert_eq!(trade.tokens_of(&client).await, TOKENS - 3 * PRICE);

    let done = trade.work(TEXT).await;
    trade.anchor();
    let evidence = trade.evidence(&done);
    claim_through_a_kill(&mut trade, paid, &evidence).await;
    assert_eq!(trade.tokens_of(&provider).await, PRICE);

    let (other_work, newest) = (trade.work("something else").await, trade.work(TEXT).await);
    let rival = work_of_a_rival(&trade).await;
    let (not_anchored, of_other_work) = (unanchored(&trade, &newest), unanchored(&trade, &other_work));
    let at_another_price = altered(&evidence);
    let refusals = tokio::join!(
        refusal(&trade, paid, &evidence),
        refusal(&trade, open, &evidence),
        refusal(&trade, of_another, &evidence),
        refusal(&trade, open, &sample),
        refusal(&trade, open, &rival),
        refusal(&trade, open, &not_anchored),
        refusal(&trade, open, &at_another_price),
        refusal(&trade, open, &of_other_work),
    );
    let (again, used, not_for_us, too_old, of_rival, pending, other_price, other) = refusals;
    for (said, expected) in [
        (again, "NotOpen(id: 1)"),
        (used, "AlreadyClaimed(leafHash: 0x"),
        (not_for_us, "NotAllowed(caller: 0x"),
        (too_old, "ReceiptTooOld(index: "),
        (of_rival, "NotAnchored(leafHash: 0x"),
        (pending, "NotAnchored(leafHash: 0x"),
        (other_price, "NotAnchored(leafHash: 0x"),
        (other, "OtherWork(promptHash: 0x"),
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(trade.tokens_of(&provider).await, PRICE);

    // Under the newest root: the log has grown since the earliest over this receipt, which contracts have forgotten.
    trade.anchor();
    trade.work("more").await;
    trade.anchor();
    let proof = json_of(&trade.provider.told(&["receipts", "prove", &newest, "--chain", CHAIN]));
    let evidence = trade.evidence(&newest);
    assert!(evidence["tree_size"].as_u64() > proof["tree_size"].as_u64(), "{evidence}");
    let end = tell(&trade.provider, "escrow", json!({ "claim": open, "evidence": evidence })).await;
    assert_eq!(end["succeeded"], true, "{end}");
    assert_eq!(trade.tokens_of(&provider).await, 2 * PRICE);
    assert_eq!(trade.tokens_of(&trade.contracts["escrow"]).await, PRICE, "what nobody proved is held still");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_registered_with_its_log_and_a_client_says_something_with_a_receipt() {
    let trade = Trade::start().await;
    trade.anchor_by_hand(PROJECT).await;
    let receipt = trade.work(TEXT).await;
    trade.anchor();
    let evidence = trade.evidence(&receipt);
    let register = json!({ "register": "https://agents.example.org/worker.json", "evidence": evidence });
    let registered = tell(&trade.provider, "identity", register).await;
    assert_eq!((&registered["succeeded"], &registered["agent"]), (&json!(true), &json!(1)), "{registered}");
    let feedback = json!({ "agent": 1, "value": 95, "tag": "quality" });
    let praise = json!({ "feedback": feedback, "evidence": evidence });
    let said = tell(&trade.client, "identity", praise.clone()).await;
    assert_eq!(said["succeeded"], true, "{said}");
    let (reputation, client) = (&trade.contracts["reputation"], trade.client_account());
    let asks = format!(
        "let evm = chain({CHAIN:?}); [evm.read({reputation:?}, \"receiptOf(uint256,address,uint64)(bytes32)\", [1, \
         {client:?}, 1]), evm.read({reputation:?}, \"getSummary(uint256,address[],string,string)(uint64,int128,uint8)\", \
         [1, [{client:?}], \"quality\", \"\"])]"
    );
    let manifest = format!("[chains.{CHAIN:?}]\n");
    let read = trade.client.run_once("reader", &format!("fn on_message(msg) {{ {asks} }}"), &manifest).await;
    assert_eq!(read, json!([evidence["leaf_hash"], ["1", "95", 0]]));
    let (twice, own) =
        tokio::join!(tell(&trade.client, "identity", praise.clone()), tell(&trade.provider, "identity", praise),);
    for (end, expected) in [(twice, "ReceiptUsed(leafHash: 0x"), (own, "OwnFeedback(caller: 0x")] {
        assert!(end["reason"].as_str().unwrap().contains(expected), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_deployed_once_and_what_it_is_not_made_with_is_refused() {
    let trade = Trade::start().await;
    let (client, node) = (trade.client_account(), &trade.client.node);
    let before = trade.transactions_of(&client).await;
    let escrow = ["escrow", &format!("token={}", trade.token), &format!("owner={client}")];
    let (good, said) = deploy(node, &escrow);
    assert!(good, "{said}");
    assert_eq!(json_of(&said)["contract"]["address"], trade.contracts["escrow"].as_str());
    assert_eq!(trade.transactions_of(&client).await, before, "it was there already");
    for (words, expected) in [
        (&["vault"][..], "there are escrow, identity, multi-owner, reputation, stake"),
        (&["escrow"], "escrow takes token (address), owner (address)"),
        (&["multi-owner", "threshold=3", &format!("owners={client}")], "ThresholdOutOfRange(threshold: 3, owners: 1)"),
    ] {
        let (good, said) = deploy(node, words);
        assert!(!good && said.contains(expected), "{said}");
    }
    let owners = format!("owners={client},{}", trade.provider_account());
    let (good, said) = deploy(node, &["multi-owner", "threshold=2", &owners]);
    assert!(good, "{said}");
    assert!(refused(&trade, &["contracts"]).contains("PERMISSION_DENIED"), "it is the operator's");
}

/// What the provider's project is told that asks for something it cannot have.
fn refused(trade: &Trade, words: &[&str]) -> String {
    let (good, said) = ask(trade, &trade.provider.key, words);
    assert!(!good, "{words:?}: {said}");
    said
}

/// What the provider's node says to a command with this key, and whether it worked.
fn ask(trade: &Trade, key: &str, words: &[&str]) -> (bool, String) {
    let mut steward = std::process::Command::new(crate::parts::steward());
    let ended = steward.args(["--server", trade.provider.node.server(), "--key", key]).args(words).output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (ended.status.success(), said)
}
