//! `steward wallets`: the accounts that send, and keystore files for them.

use anyhow::bail;
use steward_api::proto::v1;

use super::chains::{account_id, tell_trouble};
use super::{Session, keystore};
use crate::args::Wallets;
use crate::output::Output;

/// Runs one of `wallets` that ask a node.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Option<Wallets>, session: &Session) -> anyhow::Result<()> {
    match command.unwrap_or(Wallets::List) {
        Wallets::List => list(session).await,
        Wallets::Show { chain } => show(session, &chain).await,
        Wallets::New(_) | Wallets::Import { .. } => {
            bail!("this is not for the shell: it writes a key into a file of this machine, so run it outside")
        }
    }
}

/// Runs one of `wallets` that ask no node.
///
/// # Errors
/// When the key cannot be read, or the file not be written.
pub fn write(command: Wallets, output: Output) -> anyhow::Result<()> {
    match command {
        Wallets::New(wallet) => keystore::new(&wallet, output),
        Wallets::Import { key_file, wallet } => keystore::import(key_file.as_deref(), &wallet, output),
        Wallets::List | Wallets::Show { .. } => bail!("this asks a node"),
    }
}

/// Whether it asks no node.
pub const fn is_local(command: &Wallets) -> bool {
    matches!(command, Wallets::New(_) | Wallets::Import { .. })
}

async fn wallets(session: &Session) -> anyhow::Result<Vec<v1::Wallet>> {
    Ok(session.client.chains().wallets(v1::WalletsRequest {}).await?.into_inner().wallets)
}

async fn list(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let wallets = wallets(session).await?;
    if output.is_json() {
        return wallets.iter().try_for_each(|wallet| output.message("Wallet", wallet));
    }
    let row = |wallet: &v1::Wallet| {
        vec![
            wallet.chain.clone(),
            wallet.account.clone(),
            wallet.signer.clone(),
            amount(&wallet.balance, &wallet.coin),
            number(wallet.latest_sequence),
            number(wallet.final_sequence),
        ]
    };
    let heading = ["chain", "account", "key in", "balance", "next sequence", "final"];
    output.table(&heading, wallets.iter().map(row).collect(), "this node has no chain, and so no account");
    wallets.iter().for_each(|wallet| tell_trouble(output, &wallet.chain, None, &wallet.failure));
    Ok(())
}

async fn show(session: &Session, chain: &str) -> anyhow::Result<()> {
    let output = session.output;
    let Some(wallet) = wallets(session).await?.into_iter().find(|wallet| wallet.chain == chain) else {
        bail!("this node has no chain {chain}: `steward wallets` lists its accounts");
    };
    if output.is_json() {
        return output.message("Wallet", &wallet);
    }
    output.facts(&[
        ("chain", wallet.chain.clone()),
        ("account", wallet.account.clone()),
        ("account id", account_id(&wallet.chain, &wallet.account)),
        ("key in", wallet.signer.clone()),
        ("balance", amount(&wallet.balance, &wallet.coin)),
        ("final balance", amount(&wallet.final_balance, &wallet.coin)),
        ("next sequence", number(wallet.latest_sequence)),
        ("final sequence", number(wallet.final_sequence)),
    ]);
    tell_trouble(output, &wallet.chain, None, &wallet.failure);
    Ok(())
}

fn amount(units: &str, coin: &str) -> String {
    if units.is_empty() { "-".to_owned() } else { format!("{units} {coin}").trim_end().to_owned() }
}

fn number(sequence: Option<u64>) -> String {
    sequence.map_or_else(|| "-".to_owned(), |sequence| sequence.to_string())
}
