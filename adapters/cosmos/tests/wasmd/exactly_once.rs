//! Payments and anchors through three endpoints that drop, delay, throttle, garble, lag, lie and swallow, by an outbox
//! that is killed between any two steps, in front of a node that is killed too: each is made exactly once.

use std::sync::Arc;

use steward_adapters::chain::{Action, Amount, Chain, Consistency, InclusionClaim};
use steward_adapters::pool::Pool;
use steward_adapters_cosmos::{CosmosChain, CosmosConfig, Pace, Wasmd, verify_anchored};
use steward_chaos_chains::{Dialect, Proxy, Sender, Trial, Work, intents, memo_anchor, memo_point, quick, recover};
use url::Url;

use crate::{SOMEBODY, chain, chain_of, sender, wasmd};

const PAYMENT: Amount = Amount::new(1_000);
/// How many payments are made, and how many anchors, when nobody asks for more.
const FEW: u64 = 15;
/// How many in a thousand calls are broken.
const PERMILLE: u64 = 100;
/// The node is killed in this round, and once in so many later ones.
const FIRST_KILL: u64 = 20;
const ROUNDS_A_NODE: u64 = 400;
/// How long it stays dead, in rounds.
const ROUNDS_DEAD: u64 = 5;
/// What waits when the endpoints come back.
const WAITING: u64 = 6;
const RECOVERY_BLOCKS_MAX: u64 = 3;

fn payment(_: u64) -> Action {
    Action::Transfer { to: SOMEBODY.to_owned(), amount: PAYMENT, asset: None }
}

async fn pooled(wasmd: &Wasmd) -> (Pool, Vec<Proxy>) {
    let driver = |endpoint: &Url| {
        let config = CosmosConfig { endpoint: endpoint.clone(), ..wasmd.config() };
        Arc::new(chain_of(&Wasmd::development_key(), config)) as Arc<dyn Chain>
    };
    steward_chaos_chains::pooled(Dialect::Cosmos, wasmd.url(), (3, quick(2)), driver).await
}

#[tokio::test]
async fn payments_and_anchors_are_made_exactly_once_whatever_fails_and_soon_after_it_is_over() {
    let Some(mut wasmd) = wasmd(Pace::Quick).await else { return };
    let direct = chain(&wasmd);
    let (pool, proxies) = pooled(&wasmd).await;
    let work = Work { payment: &payment, anchor: &memo_anchor };
    let mut trial = Trial::new(sender(&pool), &proxies, work, intents(FEW), PERMILLE);
    let mut nodes_killed = 0;
    while !trial.is_done() || nodes_killed == 0 {
        if trial.rounds() % ROUNDS_A_NODE == FIRST_KILL {
            wasmd.kill().await.unwrap();
            for _ in 0..ROUNDS_DEAD {
                trial.round().await;
            }
            wasmd.start_again(Pace::Quick).await.unwrap();
            nodes_killed += 1;
        }
        trial.round().await;
    }
    let made = trial.submitted();
    println!("{trial}; the node was killed {nodes_killed} times");
    let hashes: Vec<String> = (0..made).map(|number| trial.anchor(number).hash.clone()).collect();
    check(&direct, &wasmd, &hashes, trial.fills() as u64).await;

    // At a pace that leaves an outbox the time between two blocks that it has on a real chain.
    wasmd.kill().await.unwrap();
    wasmd.start_again(Pace::Steady).await.unwrap();
    let mut sender = trial.into_sender();
    let actions = (made..made + WAITING / 2).flat_map(|number| [payment(number), memo_anchor(number)]).collect();
    let step = async |sender: &mut Sender<'_>| sender.step().await;
    let recovery = recover(&mut sender, (&pool, &proxies), &direct, actions, step).await;
    println!("{recovery}");
    assert!(recovery.blocks <= RECOVERY_BLOCKS_MAX, "{recovery}");
}

/// Asks the chain itself: the recipient has each payment, each anchor's transaction made it, and nothing else was sent.
async fn check(direct: &CosmosChain, wasmd: &Wasmd, anchors: &[String], fills: u64) {
    let made = anchors.len() as u64;
    let paid = direct.balance(SOMEBODY, None, Consistency::Final).await.unwrap();
    assert_eq!(paid.units(), PAYMENT.units() * u128::from(made));
    let config = wasmd.config();
    for (number, hash) in (0..).zip(anchors) {
        let point = memo_point(number);
        let claim = InclusionClaim { log_id: point.log_id, leaf_hash: [0; 32], index: 0, path: Vec::new() };
        let read = verify_anchored(config.chain.clone(), config.endpoint.clone(), hash, &point, &claim).await;
        assert!(read.is_ok(), "anchor {number}: {read:?}");
    }
    let account = direct.account();
    let query = format!("transfer.sender='{account}' AND transfer.recipient='{account}'");
    let to_itself = direct.node().search(&query, 1).await.unwrap().total;
    assert!((made..=made + fills).contains(&to_itself), "{to_itself} anchors for {made}");
    let sent = direct.sequence(Consistency::Final).await.unwrap();
    assert_eq!(sent, Some(made + to_itself), "one transaction an intent, and no number is missing");
}
