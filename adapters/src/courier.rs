//! Carries out an outbox's effects on a chain and says what happened. Decides nothing.

use crate::chain::{Action, Amount, Chain, ChainError, Consistency, SignedTransaction, TransactionStatus};
use crate::fee::{Fee, FeePolicy};
use crate::outbox::{Effect, Event, LookedAfter, Sequences, Standing, most_taken};

/// How an effect went.
#[derive(Debug)]
pub struct Carried {
    /// What to tell the outbox; nothing when nothing was learnt.
    pub event: Option<Event>,
    /// What went wrong, for the breaker and the log.
    pub failure: Option<ChainError>,
}

/// Carries out one effect. Its state must have been stored before. Dropping the future is safe: the outbox does not
/// count on having been told.
pub async fn carry_out(chain: &dyn Chain, policy: &FeePolicy, effect: Effect) -> Carried {
    match effect {
        Effect::Reconcile { settled } => learnt(standing(chain, settled).await.map(Event::Reconciled)),
        Effect::Sign { intent, action, sequence, replaces, reserved } => {
            let fee = match fee(chain, policy, replaces).await {
                Ok(fee) => fee,
                Err(failure) => return unsigned(intent, failure, false),
            };
            match chain.sign(&action, sequence, fee).await {
                Ok(transaction) => checked(chain, intent, &action, transaction, reserved).await,
                Err(failure) => {
                    let is_own = matches!(failure, ChainError::Rejected { .. });
                    unsigned(intent, failure, is_own)
                }
            }
        }
        Effect::Broadcast { intent, transaction } => {
            let sent = chain.broadcast(&transaction.bytes).await;
            let hash = transaction.hash;
            match sent {
                Ok(broadcast) => learnt(Ok(Event::Broadcast { intent, hash, result: Ok(broadcast) })),
                // The bytes may have arrived though the answer did not: the outbox asks before it does anything else.
                Err(failure) => {
                    let event = Some(Event::Broadcast { intent, hash, result: Err(failure.in_full()) });
                    Carried { event, failure: Some(failure) }
                }
            }
        }
        Effect::Query { intent, transactions } => {
            learnt(match statuses(chain, transactions).await {
                Ok(statuses) => Ok(Event::Observed { intent, statuses }),
                // No endpoint fails: none goes back so far, or has come so far. Nobody else need wait for it.
                Err(failure @ ChainError::Behind { .. }) => Ok(Event::Unseen { intent, reason: failure.in_full() }),
                Err(failure) => Err(failure),
            })
        }
    }
}

/// What became of transactions of which one can land. Where one did, the others need not be understood.
async fn statuses(
    chain: &dyn Chain,
    transactions: Vec<SignedTransaction>,
) -> Result<Vec<(String, TransactionStatus)>, ChainError> {
    let (mut statuses, mut failure) = (Vec::with_capacity(transactions.len()), None);
    for transaction in transactions {
        match chain.status(&transaction).await {
            Ok(landed @ TransactionStatus::Included(_)) => return Ok(vec![(transaction.hash, landed)]),
            Ok(status) => statuses.push((transaction.hash, status)),
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(statuses), Err)
}

/// What was signed, if the account can pay for it besides what is on its way: otherwise it is forgotten, for one that could
/// not be paid for would hold up every transaction after it.
async fn checked(
    chain: &dyn Chain,
    intent: u64,
    action: &Action,
    transaction: SignedTransaction,
    reserved: Amount,
) -> Carried {
    let needed = most_taken(action, &transaction).saturating_add(reserved);
    match chain.check_funds(needed).await {
        Ok(()) => learnt(Ok(Event::Signed { intent, transaction })),
        // By itself it can be paid for, or it would not have been signed: it waits until the others have landed.
        Err(ChainError::Rejected { reason }) => {
            let reason = format!("it waits for the account's other transactions: {reason}");
            Carried { event: Some(Event::SignFailed { intent, reason, is_own: true }), failure: None }
        }
        Err(failure) => unsigned(intent, failure, false),
    }
}

fn unsigned(intent: u64, failure: ChainError, is_own: bool) -> Carried {
    let event = Some(Event::SignFailed { intent, reason: failure.in_full(), is_own });
    Carried { event, failure: Some(failure) }
}

async fn standing(chain: &dyn Chain, settled: Option<LookedAfter>) -> Result<Standing, ChainError> {
    let genesis = chain.genesis().await?;
    let sequences = match chain.sequence(Consistency::Final).await? {
        Some(finalized) => {
            let latest = chain.sequence(Consistency::Latest).await?;
            Some(Sequences { latest: latest.unwrap_or(finalized), finalized })
        }
        None => None,
    };
    let settled = match settled.filter(|settled| settled.genesis == genesis) {
        Some(settled) => Some(looked_after(chain, &settled.transaction).await?),
        None => None,
    };
    Ok(Standing { sequences, genesis, account: chain.account().to_owned(), settled })
}

/// What became of a transaction that was final. One that the chain does not know is handed to it again: the same bytes land
/// once at most. How it takes them is seen the next time.
async fn looked_after(chain: &dyn Chain, transaction: &SignedTransaction) -> Result<TransactionStatus, ChainError> {
    let status = chain.status(transaction).await?;
    if status == TransactionStatus::Unknown {
        chain.broadcast(&transaction.bytes).await?;
    }
    Ok(status)
}

async fn fee(chain: &dyn Chain, policy: &FeePolicy, replaces: Option<Fee>) -> Result<Fee, ChainError> {
    Ok(policy.choose(chain.market_fee().await?, replaces)?)
}

fn learnt(result: Result<Event, ChainError>) -> Carried {
    match result {
        Ok(event) => Carried { event: Some(event), failure: None },
        Err(failure) => Carried { event: None, failure: Some(failure) },
    }
}
