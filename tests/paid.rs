//! Agents that pay on real chains through endpoints that break in every way, on nodes that are killed at random moments in
//! the middle: each payment is made once, as the chain itself says, and the budget is exact.

use std::time::Duration;

use steward_adapters::chain::{Amount, Chain as _, Consistency};
use steward_api::proto::v1;

use crate::real_chain::RealChain;
use crate::solana;
use crate::stand::Stand;
use crate::tenant::PROJECT;

/// Payments that an agent makes in one turn: as many as a project has in an outbox at once.
const BATCH: u64 = 8;
/// The smallest payment; each other is one unit more. On Solana a smaller one could not make an account.
const AMOUNT_MIN: u64 = 1_000_000;
/// A node is killed within so long of being asked for a batch.
const KILL_TIME_MAX: Duration = Duration::from_millis(2_500);

/// How often each node is killed in the middle of its payments: short by default, as often as `STEWARD_PAYMENT_KILLS` says.
fn kills() -> u64 {
    std::env::var("STEWARD_PAYMENT_KILLS").map_or(2, |kills| kills.parse().unwrap())
}

/// What the operator allows.
const OPERATOR: &str = r#"
[chains.spending]
fee_max = "1000000000000000"
fee_price = { micros = 1, per = "1000000000000" }
"#;

/// Who may be paid, and how much.
fn rules(head: &str, stranger: &str) -> String {
    format!(
        "[{head}]\npay = [{stranger:?}]\ncoin = {{ max_per_transaction = \"1000000000\", max_per_day = \"100000000000000\" }}\n"
    )
}

/// One batch: a turn of a session of its own.
struct Batch {
    session: String,
    first: u64,
}

impl Batch {
    async fn open(stand: &Stand, first: u64) -> Self {
        Self { session: stand.tenant.open("payer").await, first }
    }

    /// Asks for its payments, or again how they went: with one key it is one turn.
    fn request(&self) -> v1::RunRequest {
        let message = Some(v1::Message { text: String::new(), data_json: format!("{{\"first\":{}}}", self.first) });
        v1::RunRequest { session: self.session.clone(), message, idempotency_key: "pay".to_owned() }
    }
}

/// Pays batches through kills; every payment that the agent was told of is then on the chain, once, and nothing else is.
async fn pay_through_kills(chain: &RealChain) {
    let stranger = &chain.stranger;
    let payments =
        order_through_kills(chain, &|head| rules(head, stranger), &format!("coins.send({stranger:?}, next)")).await;
    let expected: Vec<u64> = (AMOUNT_MIN..AMOUNT_MIN + payments).collect();
    assert_eq!(chain.payments_to(stranger).await, expected);
}

/// Orders batches, each order by this expression of `next`, and kills the node in the middle of each batch; how many orders
/// there were, all of which the agent was told to have succeeded.
#[expect(clippy::print_stdout, reason = "a long run says what it went through")]
async fn order_through_kills(chain: &RealChain, rules: &dyn Fn(&str) -> String, order: &str) -> u64 {
    let id = &chain.id;
    let operator = format!("{OPERATOR}{}", rules(&format!("chains.spending.projects.{PROJECT}")));
    let mut stand = Stand::start(chain, &operator).await;
    let script = format!(
        "fn on_message(msg) {{
            let coins = chain({id:?}); let first = msg.first;
            let ids = []; for next in first..first + {BATCH} {{ ids.push({order}); }}
            let ends = ids.map(|id| coins.wait(id));
            ends.filter(|end| end.succeeded).len()
        }}"
    );
    stand.tenant.deploy("payer", &script, &rules(&format!("chains.{id:?}"))).await;
    stand.break_calls();
    let (mut batches, mut killed) = (Vec::new(), 0);
    while killed < kills() {
        let batch = Batch::open(&stand, AMOUNT_MIN + batches.len() as u64 * BATCH).await;
        let mut sessions = stand.tenant.client.sessions();
        let request = batch.request();
        batches.push(batch);
        // A kill counts when the batch had not ended.
        killed += u64::from(stand.kill_within(KILL_TIME_MAX, sessions.run(request)).await);
    }
    for batch in &batches {
        let ran =
            stand.until(async |tenant| Some(tenant.client.sessions().run(batch.request()).await.ok()?.into_inner()));
        let ran = ran.await;
        assert_eq!((ran.failure, ran.result_json.as_str()), (None, BATCH.to_string().as_str()), "from {}", batch.first);
    }
    let payments = batches.len() as u64 * BATCH;
    stand.tenant.books_at_rest(payments).await;
    let broken = stand.broken();
    assert!(broken > 0);
    println!("{id}: {payments} orders, each once, through {killed} kills in their middle and {broken} broken calls");
    payments
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_pays_on_an_evm_chain_pays_once() {
    pay_through_kills(&RealChain::evm().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_pays_on_a_cosmos_chain_pays_once() {
    let Some(chain) = RealChain::cosmos().await else { return };
    pay_through_kills(&chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_pays_on_solana_pays_once() {
    pay_through_kills(&RealChain::solana().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_mints_credits_mints_once() {
    let chain = RealChain::solana().await;
    let (mint, stranger) = (solana::token(&chain).await, chain.stranger.clone());
    let rules = |head: &str| {
        format!(
            "[{head}]\ncall = [\"{mint}:mint(address,uint64)\"]\n[{head}.assets]\n\
             {mint:?} = {{ max_per_transaction = \"1000000000\", max_per_day = \"100000000000000\" }}\n"
        )
    };
    let order = format!("coins.call({mint:?}, \"mint(address,uint64)\", [{stranger:?}, next])");
    let mints = order_through_kills(&chain, &rules, &order).await;
    let minted = solana::driver(&chain).balance(&stranger, Some(&mint), Consistency::Final).await.unwrap();
    let expected: u64 = (AMOUNT_MIN..AMOUNT_MIN + mints).sum();
    assert_eq!(minted, Amount::from(expected), "{mints} mintings");
}
