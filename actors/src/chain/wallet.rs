//! The account that sends on a chain, for operators. The chain is asked beside the entity, which goes on meanwhile.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use steward_adapters::chain::{Chain, ChainError, Consistency};
use steward_adapters::signer::SignerKind;

use super::entity::ChainActor;
use super::messages::ChainResponse;
use crate::host::{Context, Reply};

/// An account and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletView {
    /// The chain's CAIP-2 identifier.
    pub chain: String,
    /// Its address.
    pub account: String,
    /// Where its key lies.
    pub signer: Option<SignerKind>,
    /// The smallest unit of the chain's coin.
    pub coin: String,
    /// How much of it the account has as of the newest block, and of the newest final one; nothing when the chain did not
    /// say.
    pub balances: Option<(String, String)>,
    /// Its next sequence numbers, likewise; nothing too where the chain counts none.
    pub sequences: Option<(u64, u64)>,
    /// Why the chain did not say; empty when it did.
    pub failure: String,
}

impl ChainActor {
    /// Asks the chain, for as long as somebody waits for it.
    pub(super) fn wallet(&self, mut reply: Reply<ChainResponse>, context: &Context<Self>) {
        let chain = Arc::clone(&self.settings.chain);
        let mut wallet = WalletView {
            chain: self.id.as_str().to_owned(),
            account: chain.account().to_owned(),
            signer: self.settings.signer,
            coin: self.settings.coin.clone(),
            balances: None,
            sequences: None,
            failure: String::new(),
        };
        context.run(async move {
            let asked = tokio::select! {
                asked = ask(&*chain) => asked,
                () = reply.abandoned() => return,
            };
            match asked {
                Ok(Holdings { balances, sequences }) => {
                    (wallet.balances, wallet.sequences) = (Some(balances), sequences);
                }
                Err(failure) => wallet.failure = failure.in_full(),
            }
            reply.send(ChainResponse::Wallet(Box::new(wallet)));
        });
    }
}

struct Holdings {
    balances: (String, String),
    sequences: Option<(u64, u64)>,
}

async fn ask(chain: &dyn Chain) -> Result<Holdings, ChainError> {
    let balance = |at| chain.balance(chain.account(), None, at);
    let (latest, settled, next, next_settled) = futures::try_join!(
        balance(Consistency::Latest),
        balance(Consistency::Final),
        chain.sequence(Consistency::Latest),
        chain.sequence(Consistency::Final),
    )?;
    Ok(Holdings { balances: (latest.to_string(), settled.to_string()), sequences: next.zip(next_settled) })
}
