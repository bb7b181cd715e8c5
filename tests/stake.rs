//! Tokens behind an agent, from end to end on a real chain: deposited once, whatever is killed; slashed by several owners
//! over a receipt that a stranger can check; the rest released when the notice is over, and no sooner.

use std::process::Command;

use serde_json::{Value, json};
use steward::process::until;
use steward_api::proto::v1;

use crate::parts;
use crate::tenant::{PROJECT, Tenant};
use crate::trade::{CHAIN, Evidence, NOTICE, TOKENS, TREASURY, Trade, WALLET, client_of, json_of, run, tell};

/// What the provider has in the beginning, what of it is staked, and what of that is taken.
const OWNED: u64 = 500;
const STAKED: u64 = 400;
const SLASHED: u64 = 150;
/// The first topics of `Deposited(uint256,address,uint128)` and `Slashed(uint256,address,uint128,bytes32)`.
const DEPOSITED: &str = "0x8310926cb3581620aa1376ae01923afb103c4b723dfb000fa81ef958ed13832d";
const SLASHED_TOPIC: &str = "0xed735fbac518c95c0baf1170826c86a9ac59a8cf8d01be1b25927dce1fc93b85";

/// What the Stake contract has said with this event.
async fn events(trade: &Trade, topic: &str) -> Vec<Value> {
    let filter = json!([{ "address": trade.contracts["stake"], "topics": [topic], "fromBlock": "0x0" }]);
    trade.ask("eth_getLogs", filter).await.as_array().unwrap().clone()
}

/// Deposits while no block comes. The node is killed when the deposit waits, and the chain forgets it: what the node sends
/// when it is back is the very same transaction.
async fn deposit_through_a_kill(trade: &mut Trade, agent: &Value) {
    let account = trade.provider_account();
    let before = trade.transactions_of(&account).await;
    trade.set_automatic(false).await;
    let session = trade.provider.open("stake").await;
    let data_json = json!({ "deposit": { "agent": agent, "amount": STAKED.to_string() } }).to_string();
    let message = Some(v1::Message { text: String::new(), data_json });
    let send = v1::SendRequest { session: session.clone(), message, idempotency_key: "deposit".to_owned() };
    trade.provider.client.sessions().send(send).await.unwrap();
    // The first is the token's approval.
    trade.until_waiting().await;
    trade.mine().await;
    trade.until_waiting().await;
    let deposit = trade.waiting().await;
    assert_eq!((deposit.len(), trade.transactions_of(&account).await), (1, before + 1));
    trade.provider.node.kill().await.unwrap();
    trade.ask("anvil_dropAllTransactions", json!([])).await;
    assert!(trade.waiting().await.is_empty());
    trade.provider.node.start_again().await.unwrap();
    trade.provider.client = client_of(&trade.provider);
    trade.until_waiting().await;
    assert_eq!(trade.waiting().await, deposit, "the bytes that were signed before the kill");
    trade.mine().await;
    trade.set_automatic(true).await;
    let ended = until("the deposit's end", async || {
        let request = v1::GetSessionRequest { session: session.clone() };
        let shown = trade.provider.client.sessions().get(request).await.ok()?.into_inner();
        (shown.state() == v1::SessionState::Idle).then_some(shown)
    });
    assert_eq!(ended.await.unwrap().failure, None);
    assert_eq!(trade.transactions_of(&account).await, before + 2, "an approval and a deposit");
    assert_eq!(events(trade, DEPOSITED).await.len(), 1);
    assert_eq!(trade.tokens_of(&trade.contracts["stake"]).await, STAKED);
}

/// An owner's confirmation by the agent, once a person of this side has agreed, or has not.
async fn confirm(side: &Tenant, slash: &Value, evidence: &Evidence, approved: bool) -> Value {
    let message = json!({ "slash": slash, "evidence": evidence });
    let (end, ()) = tokio::join!(tell(side, "stake", message), async {
        let asked = until("a question", async || {
            let request = v1::ListApprovalsRequest { state: v1::ApprovalState::Open.into(), ..Default::default() };
            side.client.approvals().list(request).await.ok()?.into_inner().approvals.pop()
        });
        let asked = asked.await.unwrap();
        assert!(asked.question.contains(evidence["leaf_hash"].as_str().unwrap()), "{}", asked.question);
        let decide = v1::DecideApprovalRequest { id: asked.id, approved, ..Default::default() };
        side.client.approvals().decide(decide).await.unwrap();
    });
    end
}

/// The other owner confirms the very call that the client's agent confirmed, from a wallet.
async fn confirm_from_the_wallet(trade: &Trade, confirmed: &Value) {
    let by_agent = trade.ask("eth_getTransactionByHash", json!([confirmed["transaction"]])).await;
    let receipt = trade.transact(json!({ "from": WALLET, "to": by_agent["to"], "data": by_agent["input"] })).await;
    assert_eq!(receipt["status"], "0x1", "{receipt}");
}

/// What the owners do by these words, through the client's agent.
async fn execute(trade: &Trade, slash: &Value, evidence: &Evidence) -> Value {
    tell(&trade.client, "stake", json!({ "execute": slash, "evidence": evidence })).await
}

/// Takes tokens by two owners' word.
async fn slash(trade: &Trade, slash: &Value, evidence: &Evidence) -> Value {
    let confirmed = confirm(&trade.client, slash, evidence, true).await;
    assert_eq!(confirmed["succeeded"], true, "{confirmed}");
    confirm_from_the_wallet(trade, &confirmed).await;
    execute(trade, slash, evidence).await
}

/// What comes of a call of the stake by a script of the provider's, under this manifest.
async fn call_by(trade: &Trade, agent: &str, manifest: &str, method: &str, arguments: &Value) -> Value {
    let stake = &trade.contracts["stake"];
    let script = format!(
        "fn on_message(msg) {{
            let evm = chain({CHAIN:?});
            try {{ return evm.wait(evm.call({stake:?}, {method:?}, {arguments})); }} catch (problem) {{ return problem; }}
        }}"
    );
    trade.provider.run_once(agent, &script, manifest).await
}

/// The hash of a receipt's leaf as a stranger finds it: from the proof's file, the log's key, and the chain.
async fn hash_for_a_stranger(trade: &Trade, receipt: &str) -> String {
    let file = trade.provider.folder.path().join("proof.json");
    let file = file.to_str().unwrap();
    trade.provider.told(&["receipts", "prove", receipt, "--chain", CHAIN, "--out", file]);
    let checkpoint = trade.provider.client.receipts().checkpoint(v1::CheckpointRequest::default()).await.unwrap();
    let trust = checkpoint.into_inner().verifier_key;
    let mut steward = Command::new(parts::steward());
    steward.args(["--json", "receipts", "verify", file, "--trust", &trust, "--rpc", &trade.rpc()]);
    let ended = steward.output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(ended.status.success(), "{said}");
    let said = json_of(&said);
    assert_eq!((&said["valid"], &said["on_chain"]), (&json!(true), &json!([CHAIN])), "{said}");
    format!("0x{}", said["leaf_hash"].as_str().unwrap())
}

/// An agent of the provider's with tokens behind it, and a receipt of its work.
async fn staked() -> (Trade, Value, String, Evidence) {
    let mut trade = Trade::start().await;
    trade.anchor_by_hand(PROJECT).await;
    trade.give_tokens(&trade.provider_account(), OWNED).await;
    let receipt = trade.work("sum up the report").await;
    trade.anchor();
    let evidence = trade.evidence(&receipt);
    let register = json!({ "register": "https://agents.example.org/worker.json", "evidence": evidence });
    let agent = tell(&trade.provider, "identity", register).await["agent"].clone();
    deposit_through_a_kill(&mut trade, &agent).await;
    (trade, agent, receipt, evidence)
}

fn assert_refused(end: &Value, expected: &str) {
    assert_eq!((&end["succeeded"], &end["transaction"]), (&json!(false), &Value::Null), "{end}");
    // Addresses have capitals in one place and none in another.
    let reason = end["reason"].as_str().unwrap().to_lowercase();
    assert!(reason.contains(&expected.to_lowercase()), "{expected}: {end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_is_deposited_once_slashed_over_a_receipt_and_released_after_its_notice() {
    let (trade, agent, receipt, evidence) = staked().await;
    let (client, provider, stake) = (trade.client_account(), trade.provider_account(), &trade.contracts["stake"]);
    let leave = json!({ "leave": { "agent": agent, "amount": STAKED.to_string() } });
    let left = tell(&trade.provider, "stake", leave).await;
    let bond = &left["bond"];
    assert_eq!((&bond["staked"], &bond["leaving"]), (&json!("0"), &json!(STAKED.to_string())), "{left}");
    let too_soon = format!("NoticeNotOver(agentId: {agent}, leavesAt: {})", bond["leaves_at"].as_str().unwrap());

    let taken = json!({ "agent": agent, "amount": SLASHED.to_string(), "to": client, "salt": 1 });
    let hash = &evidence["leaf_hash"];
    let (allowed, method) =
        (format!("[chains.{CHAIN:?}]\ncall = [\"{stake}:*\"]\n"), "slash(uint256,uint128,address,bytes32)");
    let arguments = json!([agent, SLASHED, provider, hash]);
    let release = || json!({ "release": agent });
    let (released, by_another, by_hand, as_owner, alone) = tokio::join!(
        tell(&trade.provider, "stake", release()),
        tell(&trade.client, "stake", release()),
        call_by(&trade, "thief", &allowed, method, &arguments),
        confirm(&trade.provider, &taken, &evidence, true),
        async {
            let refused = confirm(&trade.client, &taken, &evidence, false).await;
            assert_eq!((&refused["succeeded"], &refused["transaction"]), (&json!(false), &Value::Null), "{refused}");
            let confirmed = confirm(&trade.client, &taken, &evidence, true).await;
            let alone = execute(&trade, &taken, &evidence).await;
            confirm_from_the_wallet(&trade, &confirmed).await;
            alone
        },
    );
    assert_refused(&released, &too_soon);
    assert_refused(&by_another, &format!("NotAgentOwner(caller: {client}, agentId: {agent})"));
    assert_refused(&by_hand, &format!("OwnableUnauthorizedAccount(account: {provider})"));
    assert_refused(&as_owner, &format!("NotAllowed(caller: {provider})"));
    assert_refused(&alone, "confirmations: 1, threshold: 2)");
    assert_eq!(events(&trade, SLASHED_TOPIC).await, Vec::<Value>::new());

    let executed = execute(&trade, &taken, &evidence).await;
    assert_eq!(executed["succeeded"], true, "{executed}");
    assert_eq!(executed["bond"]["leaving"], (STAKED - SLASHED).to_string());
    assert_eq!(trade.tokens_of(&client).await, TOKENS + SLASHED);
    let [event]: [Value; 1] = events(&trade, SLASHED_TOPIC).await.try_into().unwrap();
    assert_eq!(event["transactionHash"], executed["transaction"]);
    assert_eq!(event["topics"][3], hash_for_a_stranger(&trade, &receipt).await, "the receipt that it was about");

    trade.ask("evm_increaseTime", json!([NOTICE])).await;
    trade.mine().await;
    let released = tell(&trade.provider, "stake", release()).await;
    assert_eq!(released["succeeded"], true, "{released}");
    assert_eq!(trade.tokens_of(&provider).await, OWNED - SLASHED);
    let late = json!({ "agent": agent, "amount": "1", "to": client, "salt": 2 });
    let (late, again) = tokio::join!(slash(&trade, &late, &evidence), tell(&trade.provider, "stake", release()));
    assert_refused(&late, &format!("StakeTooSmall(agentId: {agent}, available: 0, amount: 1)"));
    assert_refused(&again, &format!("NoticeNotOver(agentId: {agent}, leavesAt: 0)"));
    assert_eq!((trade.tokens_of(stake).await, trade.tokens_of(&client).await), (0, TOKENS + SLASHED));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stakes_agent_does_what_its_manifest_allows_and_no_more() {
    let trade = Trade::start().await;
    trade.give_tokens(&trade.provider_account(), OWNED).await;
    let manifest = trade.example("stake", "manifest.toml");
    let (_, rules) = manifest.split_once("\n\n").unwrap();
    let forbidden = call_by(&trade, "prober", rules, "pause()", &json!([])).await;
    assert_eq!(forbidden["code"], "CHAIN_FORBIDDEN", "{forbidden}");
    for (amount, refused) in
        [(251, Some("CHAIN_LIMIT_REACHED")), (250, None), (250, None), (1, Some("CHAIN_LIMIT_REACHED"))]
    {
        let ran = run(&trade.provider, "stake", &json!({ "send_home": amount.to_string() })).await;
        assert_eq!(ran.failure.map(|failure| failure.reason).as_deref(), refused, "{amount}");
    }
    assert_eq!(trade.tokens_of(TREASURY).await, OWNED);
    // There is no such agent, and the registry says so.
    let deposit = json!({ "deposit": { "agent": 7, "amount": "1" } });
    let nobody = tell(&trade.provider, "stake", deposit).await;
    assert_refused(&nobody, "ERC721NonexistentToken(tokenId: 7)");
}
