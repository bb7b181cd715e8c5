//! Outboxes and the accounts that send, on the wire.

use steward_actors::chain::{ChainStatus, Deployment, IntentView, OutboxView, WalletView};
use steward_actors::service::Failure;

use super::{chains, time};
use crate::proto::v1;

pub(crate) fn chain(name: String, status: Result<ChainStatus, Failure>) -> v1::Chain {
    let status = match status {
        Ok(status) => status,
        Err(failure) => return v1::Chain { chain: name, failure: failure.to_string(), ..Default::default() },
    };
    v1::Chain {
        chain: name,
        breaker: chains::breaker_word(&status).to_owned(),
        account: status.account,
        signer: status.signer.map(|signer| signer.to_string()).unwrap_or_default(),
        contract: status.contract,
        block: status.endpoints.iter().filter_map(|endpoint| endpoint.block).max(),
        endpoints: status.endpoints.into_iter().map(|endpoint| endpoint.name).collect(),
        quorum: u32::try_from(status.quorum).unwrap_or(u32::MAX),
        intents: status.intents,
        stall: status.stall.map(v1::Stall::from),
        failure: String::new(),
    }
}

pub(crate) fn outbox(chain: String, outbox: Result<OutboxView, Failure>) -> v1::Outbox {
    match outbox {
        Ok(outbox) => v1::Outbox {
            chain,
            intents: outbox.intents.into_iter().map(intent).collect(),
            total: outbox.total,
            latest_sequence: outbox.latest_sequence,
            final_sequence: outbox.final_sequence,
            stall: outbox.stall.map(v1::Stall::from),
            failure: String::new(),
        },
        Err(failure) => v1::Outbox { chain, failure: failure.to_string(), ..Default::default() },
    }
}

fn intent(intent: IntentView) -> v1::Intent {
    v1::Intent {
        number: intent.number,
        key: intent.key,
        action: intent.action,
        state: intent.state.to_string(),
        sequence: intent.sequence,
        transaction: intent.transaction,
        block: intent.block,
        price: intent.price,
        recorded_at: time(intent.recorded),
        tries: intent.tries,
        displaced: intent.displaced,
        expired: intent.expired,
        last_error: intent.last_error,
    }
}

pub(crate) fn contract(chain: String, deployment: Deployment) -> v1::Contract {
    let Deployment { contract, arguments, asked, deployed } = deployment;
    let fee = deployed.as_ref().and_then(|deployed| deployed.fee).map(|fee| fee.to_string()).unwrap_or_default();
    let (address, transaction, block) =
        deployed.map(|deployed| (deployed.address, deployed.transaction, deployed.block)).unwrap_or_default();
    let arguments = arguments.into_iter().collect();
    v1::Contract { chain, contract, arguments, address, transaction, block, fee, asked_at: time(asked) }
}

pub(crate) fn wallet(chain: String, wallet: Result<WalletView, Failure>) -> v1::Wallet {
    match wallet {
        Ok(wallet) => {
            let (balance, final_balance) = wallet.balances.unwrap_or_default();
            let (latest_sequence, final_sequence) = wallet.sequences.unzip();
            v1::Wallet {
                chain,
                account: wallet.account,
                signer: wallet.signer.map(|signer| signer.to_string()).unwrap_or_default(),
                coin: wallet.coin,
                balance,
                final_balance,
                latest_sequence,
                final_sequence,
                failure: wallet.failure,
            }
        }
        Err(failure) => v1::Wallet { chain, failure: failure.to_string(), ..Default::default() },
    }
}
