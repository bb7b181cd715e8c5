//! Carries out an outbox's effects on a chain and says what happened. Decides nothing.

use crate::chain::{Chain, ChainError, Consistency};
use crate::fee::{Fee, FeePolicy};
use crate::outbox::{Effect, Event, Sequences, Standing};

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
        Effect::Reconcile => learnt(standing(chain).await.map(Event::Reconciled)),
        Effect::Sign { intent, action, sequence, replaces } => {
            let signed = async {
                let fee = fee(chain, policy, replaces).await?;
                chain.sign(&action, sequence, fee).await
            };
            match signed.await {
                Ok(transaction) => learnt(Ok(Event::Signed { intent, transaction })),
                Err(failure) => {
                    let event = Some(Event::SignFailed { intent, reason: failure.in_full() });
                    Carried { event, failure: Some(failure) }
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
            let mut statuses = Vec::with_capacity(transactions.len());
            for transaction in transactions {
                match chain.status(&transaction).await {
                    Ok(status) => statuses.push((transaction.hash, status)),
                    Err(failure) => return learnt(Err(failure)),
                }
            }
            learnt(Ok(Event::Observed { intent, statuses }))
        }
    }
}

async fn standing(chain: &dyn Chain) -> Result<Standing, ChainError> {
    let genesis = chain.genesis().await?;
    let sequences = match chain.sequence(Consistency::Final).await? {
        Some(finalized) => {
            let latest = chain.sequence(Consistency::Latest).await?;
            Some(Sequences { latest: latest.unwrap_or(finalized), finalized })
        }
        None => None,
    };
    Ok(Standing { sequences, genesis, account: chain.account().to_owned() })
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
