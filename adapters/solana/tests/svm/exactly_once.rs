//! Payments and anchors through three endpoints that drop, delay, throttle, garble, lag, lie and swallow, by an outbox
//! that is killed between any two steps, on a cluster where transactions expire: each is made exactly once.

use std::sync::Arc;
use std::time::Duration;

use solana_client::nonblocking::rpc_client::RpcClient;
use solana_client::rpc_client::GetConfirmedSignaturesForAddress2Config;
use solana_commitment_config::CommitmentConfig;
use solana_pubkey::Pubkey;
use steward_adapters::chain::{Action, Chain, ChainId, InclusionClaim};
use steward_adapters::outbox::OutboxPolicy;
use steward_adapters::pool::Pool;
use steward_adapters_solana::{SolanaChain, SolanaConfig};
use steward_chaos_chains::{Dialect, Proxy, Sender, Trial, Work, intents, memo_anchor, memo_point, quick, recover};
use url::Url;

use crate::cluster::{self, Cluster, POLICY, balance, key, sender, start_with};
use crate::credits::{burning, made, minting};
use crate::sending::{LAMPORTS, wallet};

/// How many payments are made, and how many anchors, when nobody asks for more.
const FEW: u64 = 12;
/// How many in a thousand calls are broken.
const PERMILLE: u64 = 100;
/// Eight times as fast as a real cluster: many transactions are under way at once, as each is final only after 31 slots.
const TRIAL_SLOT: Duration = Duration::from_millis(50);
const IN_FLIGHT: usize = 48;
/// What there is to burn: enough for ten thousand burnings, each of one more than the one before.
const CREDITS: u64 = 1_000_000_000;
/// As on a real cluster.
const REAL_SLOT: Duration = Duration::from_millis(400);

fn payment(number: u64) -> Action {
    cluster::payment(&wallet(number), LAMPORTS, None)
}

async fn pooled(cluster: &Cluster) -> (Pool, Vec<Proxy>) {
    let id: &ChainId = cluster.ours.id();
    let driver = |endpoint: &Url| {
        let config = SolanaConfig { chain: id.clone(), endpoint: endpoint.clone(), units_max: 400_000 };
        Arc::new(SolanaChain::new(config, Arc::new(key(1))).unwrap()) as Arc<dyn Chain>
    };
    steward_chaos_chains::pooled(Dialect::Solana, cluster.devnet.url(), (3, quick(2)), driver).await
}

/// This work through everything that fails, once it is done.
async fn tried<'a>(pool: &'a Pool, proxies: &'a [Proxy], work: Work<'a>) -> Trial<'a> {
    let policy = OutboxPolicy { in_flight_max: IN_FLIGHT, ..POLICY };
    let sender = Sender::new(pool, policy).with_step_time(TRIAL_SLOT);
    let mut trial = Trial::new(sender, proxies, work, intents(FEW), PERMILLE);
    while !trial.is_done() {
        trial.round().await;
    }
    trial
}

#[tokio::test]
async fn payments_and_anchors_are_made_exactly_once_whatever_fails() {
    let cluster = start_with(TRIAL_SLOT).await;
    let before = landed(&cluster).await;
    let (pool, proxies) = pooled(&cluster).await;
    let work = Work { payment: &payment, anchor: &memo_anchor };
    let trial = tried(&pool, &proxies, work).await;
    println!("{trial}");
    let made = trial.submitted();
    for number in 0..made {
        let paid = balance(&cluster.ours, &wallet(number), None).await;
        assert_eq!(paid, u128::from(LAMPORTS), "payment {number}");
        let point = memo_point(number);
        let claim = InclusionClaim { log_id: point.log_id, leaf_hash: [0; 32], index: 0, path: Vec::new() };
        let read = cluster.ours.verify_anchored(&trial.anchor(number).hash, &point, &claim).await;
        assert!(read.is_ok(), "anchor {number}: {read:?}");
    }
    assert_eq!(landed(&cluster).await - before, 2 * made, "one transaction an intent");
}

/// Mintings in the place of payments, and burnings in that of anchors.
#[tokio::test]
async fn credits_are_minted_and_burned_exactly_once_whatever_fails() {
    let cluster = start_with(TRIAL_SLOT).await;
    let ours = &cluster.ours;
    let mint = &made(ours, CREDITS).await;
    let before = landed(&cluster).await;
    let (pool, proxies) = pooled(&cluster).await;
    let (mints, burns) =
        (|number| minting(ours, mint, &wallet(number), number + 1), |number| burning(ours, mint, number + 1));
    let work = Work { payment: &mints, anchor: &burns };
    let trial = tried(&pool, &proxies, work).await;
    println!("{trial}");
    let number = trial.submitted();
    for number in 0..number {
        let minted = balance(ours, &wallet(number), Some(mint)).await;
        assert_eq!(minted, u128::from(number + 1), "minting {number}");
    }
    let left = balance(ours, ours.account(), Some(mint)).await;
    assert_eq!(left, u128::from(CREDITS - number * (number + 1) / 2), "each burning once");
    assert_eq!(landed(&cluster).await - before, 2 * number, "one transaction an intent");
}

/// How many transactions of the account landed, as the chain itself lists them.
async fn landed(cluster: &Cluster) -> u64 {
    let client = RpcClient::new_with_commitment(cluster.devnet.url().to_string(), CommitmentConfig::confirmed());
    let account: Pubkey = cluster.ours.account().parse().unwrap();
    let (mut landed, mut before) = (0, None);
    loop {
        let config = GetConfirmedSignaturesForAddress2Config {
            before,
            commitment: Some(CommitmentConfig::confirmed()),
            ..GetConfirmedSignaturesForAddress2Config::default()
        };
        let page = client.get_signatures_for_address_with_config(&account, config).await.unwrap();
        let Some(oldest) = page.last() else { return landed };
        before = Some(oldest.signature.parse().unwrap());
        landed += page.iter().filter(|transaction| transaction.err.is_none()).count() as u64;
    }
}

/// Slots are shorter here than what an outbox waits between two questions, and do not wait for a busy machine: how many
/// it takes is said, and bounded only where blocks are slower.
#[tokio::test]
async fn what_waited_while_no_endpoint_answered_lands_when_they_are_back() {
    let cluster = start_with(REAL_SLOT).await;
    let (pool, proxies) = pooled(&cluster).await;
    let mut sender = sender(&pool);
    let step = async |sender: &mut Sender<'_>| sender.step().await;
    let recovery = recover(&mut sender, (&pool, &proxies), &cluster.ours, vec![payment(0), memo_anchor(0)], step).await;
    println!("{recovery}");
    sender.settle().await;
    assert_eq!(balance(&cluster.ours, &wallet(0), None).await, u128::from(LAMPORTS));
}
