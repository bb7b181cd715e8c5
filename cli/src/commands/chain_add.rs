//! `steward chains add`: checks a chain's endpoints, and writes the chain behind what is in a configuration file.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use steward_types::limits::CHAIN_CALL_TIME_MAX;
use steward_types::{Clock as _, SystemClock};

use crate::args::AddChain;
use crate::config::{ChainConfig, NodeConfig};
use crate::node::chains;
use crate::output::{Output, Tone};

/// Runs `chains add`.
///
/// # Errors
/// When the file would be no configuration any more, an endpoint does not answer or is on another chain, the key cannot
/// be used, or the file cannot be written. The file is as it was then.
pub(super) async fn run(chain: &AddChain, output: Output) -> anyhow::Result<()> {
    let file = &chain.config;
    let old = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
    };
    NodeConfig::parse(&old).with_context(|| format!("{} is no configuration", file.display()))?;
    let new = with_chain(&old, chain);
    let mut config = NodeConfig::parse(&new).context("with the chain it would be no configuration any more")?;
    let added = config.chains.pop().context("the chain was not read back")?;
    let is_there = config.chains.iter().any(|other| other.id == added.id);
    ensure!(!is_there, "{} has the chain {} already: change it there", file.display(), added.id);
    let (account, heads) = check(&added).await?;
    append(file, &old, &new)?;
    if output.is_json() {
        let said = serde_json::json!({ "chain": added.id, "account": account, "config": file.display().to_string() });
        output.line(said.to_string());
        return Ok(());
    }
    for (number, block) in heads.iter().enumerate() {
        output.line(format!("endpoint {}: on the chain, at block {block}", number + 1));
    }
    output.facts(&[
        ("chain", added.id.clone()),
        ("account", account),
        ("key in", added.signer_kind().to_string()),
        ("written to", file.display().to_string()),
    ]);
    output.line(output.paint(Tone::Good, "The node takes it up at its next start."));
    Ok(())
}

/// The configuration with the chain behind all that is there: nothing else is touched.
fn with_chain(old: &str, chain: &AddChain) -> String {
    let mut new = old.to_owned();
    if !new.is_empty() && !new.ends_with("\n\n") {
        new.push_str(if new.ends_with('\n') { "\n" } else { "\n\n" });
    }
    new.push_str("[[chains]]\n");
    let mut field = |name: &str, value: toml::Value| {
        let _ = writeln!(new, "{name} = {value}");
    };
    let text = |text: &str| toml::Value::String(text.to_owned());
    let path = |path: &Path| toml::Value::String(path.display().to_string());
    let endpoints = chain.endpoint.iter().map(|endpoint| text(endpoint)).collect::<Vec<_>>();
    field("id", text(&chain.chain));
    match endpoints.as_slice() {
        [one] => field("endpoint", one.clone()),
        _ => field("endpoints", toml::Value::Array(endpoints)),
    }
    if let Some(quorum) = chain.quorum {
        field("quorum", toml::Value::Integer(i64::try_from(quorum).unwrap_or(i64::MAX)));
    }
    if let Some(name) = &chain.key_env {
        field("key_env", text(name));
    }
    if let Some(keystore) = &chain.keystore {
        field("keystore", path(keystore));
    }
    if let Some(password) = &chain.keystore_password_file {
        field("keystore_password_file", path(password));
    }
    let cosmos = [
        ("prefix", &chain.prefix),
        ("denom", &chain.denom),
        ("gas_price", &chain.gas_price),
        ("gas_price_max", &chain.gas_price_max),
    ];
    let cosmos = cosmos.into_iter().filter_map(|(name, value)| Some((name.to_owned(), text(value.as_ref()?))));
    let cosmos: toml::Table = cosmos.collect();
    if !cosmos.is_empty() {
        field("cosmos", toml::Value::Table(cosmos));
    }
    new
}

/// Opens the chain as a node would, and asks each endpoint by itself for its newest block. Gives the account, and the
/// blocks.
async fn check(config: &ChainConfig) -> anyhow::Result<(String, Vec<u64>)> {
    let clock = SystemClock::new();
    let (mut account, mut heads) = (String::new(), Vec::new());
    for (number, endpoint) in config.all_endpoints().into_iter().enumerate() {
        let (endpoint, none) = (Some(endpoint.to_owned()), Vec::new());
        let alone = ChainConfig { endpoint, endpoints: none, quorum: 1, ..config.clone() };
        let opened = chains::open(&alone).await.with_context(|| format!("chain {}", config.id))?;
        account = opened.chain.account().to_owned();
        // The first block is asked for first: that checks on which chain the endpoint is.
        let asked = async {
            opened.chain.genesis().await?;
            opened.chain.head().await
        };
        let head = tokio::select! {
            head = asked => head.map_err(|failure| anyhow::anyhow!("{}", failure.in_full())),
            () = clock.sleep(2 * CHAIN_CALL_TIME_MAX) => Err(anyhow::anyhow!("it does not answer")),
        };
        heads.push(head.with_context(|| format!("endpoint {}; nothing was written", number + 1))?.block);
    }
    Ok((account, heads))
}

/// Replaces the file by one that is whole, unless it has changed meanwhile. Who may read it stays.
fn append(file: &Path, old: &str, new: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let failed = || format!("{} cannot be written", file.display());
    // A link stays one, to the file that is replaced.
    let file = &std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut fresh = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    fresh.write_all(new.as_bytes()).with_context(failed)?;
    fresh.as_file().sync_all().with_context(failed)?;
    let Ok(metadata) = std::fs::metadata(file) else {
        fresh.persist_noclobber(file).with_context(failed)?;
        return Ok(());
    };
    let now = std::fs::read_to_string(file).with_context(failed)?;
    ensure!(now == old, "{} was changed meanwhile; nothing was written", file.display());
    fchown(fresh.as_file(), Some(metadata.uid()), Some(metadata.gid())).with_context(failed)?;
    fresh.as_file().set_permissions(metadata.permissions()).with_context(failed)?;
    fresh.persist(file).with_context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Chains, Command};

    fn parsed(arguments: &str) -> AddChain {
        let words = ["steward", "chains", "add"].into_iter().chain(arguments.split(' '));
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Chains { command: Some(Chains::Add(chain)) } => *chain,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_chain_is_written_behind_what_is_there_and_reads_back() {
        let old = "# mine\ndata = 'd' # kept\n\n[[chains]]\nid = 'eip155:1'\nendpoint = 'http://a'\nkey_env = 'K'";
        let evm = "eip155:2 -c f --endpoint http://b/key --endpoint http://c --quorum 2 --keystore k.json \
                   --keystore-password-file p";
        let new = with_chain(old, &parsed(evm));
        assert!(new.starts_with(old), "{new}");
        let config = NodeConfig::parse(&new).unwrap();
        let chain = &config.chains[1];
        assert_eq!((chain.id.as_str(), chain.quorum), ("eip155:2", 2));
        assert_eq!(chain.all_endpoints(), ["http://b/key", "http://c"]);
        let cosmos = "cosmos:x --config f --endpoint http://b --key-env K --prefix cosmos --denom uatom --gas-price \
                      0.025 --gas-price-max 1";
        let config = NodeConfig::parse(&with_chain("", &parsed(cosmos))).unwrap();
        assert_eq!(config.chains[0].cosmos.as_ref().unwrap().denom, "uatom");
    }

    #[tokio::test]
    async fn nothing_is_written_where_an_endpoint_does_not_answer_or_the_chain_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        let old = "[[chains]]\nid = 'eip155:1'\nendpoint = 'http://a'\nkey_env = 'K'\n";
        std::fs::write(&file, old).unwrap();
        let key = folder.path().join("key.json");
        let check = async |id: &str, expected: &str| {
            let chain = AddChain {
                config: file.clone(),
                keystore: Some(key.clone()),
                keystore_password_file: Some(folder.path().join("password")),
                ..parsed(&format!("{id} -c f --endpoint http://127.0.0.1:1 --key-env K"))
            };
            let chain = AddChain { key_env: None, ..chain };
            let error = format!("{:#}", run(&chain, Output::new(true)).await.unwrap_err());
            assert!(error.contains(expected), "{error}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), old);
        };
        check("eip155:1", "has the chain eip155:1 already").await;
        check("nonsense", "chain nonsense").await;
        check("eip155:2", "password").await;
    }
}
