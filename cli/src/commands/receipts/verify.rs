//! `steward receipts verify`: a proof file checked offline, and on the chains that it names. Needs no node, and believes
//! nobody but the log's key that is trusted, and each chain about its own transaction.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use steward_adapters::chain::{AnchorPoint, ChainError, ChainId, InclusionClaim};
use steward_adapters::signer::SecretKey;
use steward_adapters_cosmos::{identify as identify_cosmos, verify_anchored};
use steward_adapters_evm::{EvmChain, EvmConfig, LocalSigner};
use steward_adapters_solana::{SolanaChain, SolanaConfig};
use steward_receipts::{Anchor, Proof, Verified, VerifierKey};
use steward_types::{Entropy as _, SystemEntropy};
use url::Url;

use crate::output::{Output, Tone};

/// Verifies a proof file: offline against the trusted key, and on each chain for which an endpoint is given, as `CHAIN=URL`
/// or as the address alone. Every one of these is asked, also when one has said no.
///
/// # Errors
/// Says what does not verify, and on which chains.
pub async fn verify(file: &Path, trust: Option<&str>, rpc: &[String], output: Output) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let proof = Proof::from_json(&text)?;
    let trust =
        trust.context("name the log's key: --trust KEY, as `steward receipts checkpoint` or its operator tells")?;
    let key: VerifierKey = trust.parse().context("--trust is no verifier key")?;
    let verified = proof.verify(&key)?;
    let endpoints = endpoints(rpc, &proof.anchors).await?;
    let (asked, not_asked): (Vec<&Anchor>, Vec<&Anchor>) =
        proof.anchors.iter().partition(|anchor| endpoints.contains_key(&anchor.chain));
    let mut refused = Vec::new();
    for anchor in &asked {
        if let Err(error) = verify_on_chain(&endpoints[&anchor.chain], &proof, &verified, anchor).await {
            refused.push(format!("on {}: {error:#}", anchor.chain));
        }
    }
    ensure!(refused.is_empty(), "{} of the {} chains asked: {}", refused.len(), asked.len(), refused.join("; "));
    tell(output, &proof, &verified, &asked, &not_asked);
    Ok(())
}

/// Prints what was shown, by whom, and whose word is still missing.
fn tell(output: Output, proof: &Proof, verified: &Verified, asked: &[&Anchor], not_asked: &[&Anchor]) {
    if output.is_json() {
        let chains = |anchors: &[&Anchor]| anchors.iter().map(|anchor| anchor.chain.clone()).collect::<Vec<_>>();
        let (on_chain, not_asked) = (chains(asked), chains(not_asked));
        let leaf_hash = verified.leaf_hash.to_string();
        let json = serde_json::json!({
            "valid": true, "leaf_hash": leaf_hash, "on_chain": on_chain, "not_asked": not_asked
        });
        output.line(json.to_string());
        return;
    }
    let mut facts = vec![
        ("receipt", proof.leaf.hold.to_string()),
        ("price", proof.leaf.price.to_string()),
        ("leaf", format!("{} of {}", proof.index, proof.tree_size)),
        ("leaf hash", verified.leaf_hash.to_string()),
        ("offline", "the receipt is in the log that this key signed".to_owned()),
    ];
    for anchor in asked {
        let witness = match anchor.contract.as_str() {
            "" => "its memo".to_owned(),
            contract => format!("contract {contract}"),
        };
        facts.push(("on chain", format!("{} block {}: {witness} agrees", anchor.chain, anchor.block)));
    }
    for anchor in not_asked {
        facts.push((
            "not asked",
            format!("{}: only the proof says so; --rpc {}=URL asks it", anchor.chain, anchor.chain),
        ));
    }
    output.facts(&facts);
    output.line(output.paint(Tone::Good, "valid"));
}

/// The endpoint of each chain that is to be asked, by the chain.
async fn endpoints(rpc: &[String], anchors: &[Anchor]) -> anyhow::Result<BTreeMap<String, Url>> {
    ensure!(rpc.is_empty() || !anchors.is_empty(), "the proof names no anchor: anchor the log and prove again");
    let mut endpoints = BTreeMap::new();
    for given in rpc {
        let named = given.split_once('=').and_then(|(chain, url)| Some((chain.parse::<ChainId>().ok()?, url)));
        let (chain, endpoint) = match named {
            Some((chain, url)) => (chain, address(url)?),
            None => {
                let endpoint = address(given)?;
                (identify(&endpoint, anchors).await?, endpoint)
            }
        };
        let is_named = anchors.iter().any(|anchor| anchor.chain == chain.as_str());
        ensure!(is_named, "the proof names no anchor on {chain}, only {}", names(anchors));
        let taken = endpoints.insert(chain.to_string(), endpoint);
        ensure!(taken.is_none(), "--rpc gives two endpoints of {chain}: give one");
    }
    Ok(endpoints)
}

fn names(anchors: &[Anchor]) -> String {
    anchors.iter().map(|anchor| anchor.chain.as_str()).collect::<Vec<_>>().join(", ")
}

/// Which chain an endpoint is on, asked in the ways of the chains that the proof names.
async fn identify(endpoint: &Url, anchors: &[Anchor]) -> anyhow::Result<ChainId> {
    let speaks = |namespace: &str| anchors.iter().any(|anchor| anchor.chain.split(':').next() == Some(namespace));
    let mut failures = Vec::new();
    for namespace in ["eip155", "cosmos", "solana"].into_iter().filter(|namespace| speaks(namespace)) {
        let found = match namespace {
            "eip155" => EvmChain::identify(endpoint).await,
            "cosmos" => identify_cosmos(endpoint.clone()).await,
            _ => SolanaChain::identify(endpoint).await,
        };
        match found {
            Ok(chain) => return Ok(chain),
            Err(error) => failures.push(format!("as {namespace}: {}", error.in_full())),
        }
    }
    let host = endpoint.host_str().unwrap_or_default();
    bail!("the endpoint at {host} answers for none of the chains that the proof names ({})", failures.join("; "))
}

/// Names the flag and not the address, which may hold a provider's key.
fn address(text: &str) -> anyhow::Result<Url> {
    let read = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    read.context("--rpc is no address: write CHAIN=https://HOST/PATH, or the address alone")
}

/// Asks the anchor's chain whether its transaction anchored this tree, and whether the receipt is in it.
async fn verify_on_chain(endpoint: &Url, proof: &Proof, verified: &Verified, anchor: &Anchor) -> anyhow::Result<()> {
    let log_id = *verified.checkpoint.log_id().as_bytes();
    let root = *verified.checkpoint.root.as_bytes();
    let point = AnchorPoint { log_id, tree_size: proof.tree_size, root };
    let claim = InclusionClaim {
        log_id,
        leaf_hash: *verified.leaf_hash.as_bytes(),
        index: proof.index,
        path: proof.path.iter().map(|hash| *hash.as_bytes()).collect(),
    };
    let included = ask(endpoint.clone(), anchor, &point, &claim).await?;
    ensure!(included, "the chain says that the receipt is not in the log");
    Ok(())
}

async fn ask(endpoint: Url, anchor: &Anchor, point: &AnchorPoint, claim: &InclusionClaim) -> anyhow::Result<bool> {
    let chain: ChainId = anchor.chain.parse()?;
    // Nothing is signed; an account of no worth stands where the port wants one.
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    let key = SecretKey::from_bytes(bytes);
    let answer: Result<bool, ChainError> = match chain.namespace() {
        "eip155" => {
            let config = EvmConfig { chain, endpoint, confirmations: 1, gas_max: 0 };
            let chain = EvmChain::new(config, Arc::new(LocalSigner::new(&key)?))?;
            chain.verify_anchored(&anchor.contract, &anchor.transaction, point, claim).await
        }
        "solana" => {
            let config = SolanaConfig { chain, endpoint, units_max: 0 };
            let chain = SolanaChain::new(config, Arc::new(steward_adapters_solana::LocalSigner::new(&key)))?;
            chain.verify_anchored(&anchor.transaction, point, claim).await
        }
        "cosmos" => verify_anchored(chain, endpoint, &anchor.transaction, point, claim).await,
        other => bail!("this command cannot ask chains of {other}"),
    };
    Ok(answer?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(chain: &str) -> Anchor {
        Anchor { chain: chain.to_owned(), contract: String::new(), transaction: String::new(), block: 1 }
    }

    #[tokio::test]
    async fn endpoints_are_given_by_their_chains_and_no_refusal_shows_a_key() {
        let anchors = [anchor("eip155:1"), anchor("cosmos:wasm-1")];
        let given = |rpc: &[&str]| rpc.iter().map(|&rpc| rpc.to_owned()).collect::<Vec<_>>();
        let both = given(&["eip155:1=https://a.example/?key=secret", "cosmos:wasm-1=http://b:1"]);
        let read = endpoints(&both, &anchors).await.unwrap();
        assert_eq!(read["eip155:1"].as_str(), "https://a.example/?key=secret");
        assert_eq!(read["cosmos:wasm-1"].as_str(), "http://b:1/");
        for (wrong, expected) in [
            (given(&["eip155:1=http://a", "eip155:1=http://b"]), "two endpoints of eip155:1"),
            (given(&["eip155:2=http://a"]), "no anchor on eip155:2, only eip155:1, cosmos:wasm-1"),
            (given(&["eip155:1=ftp://a/secret"]), "--rpc is no address"),
            (given(&["eip155:1=secret"]), "--rpc is no address"),
            (given(&["http://127.0.0.1:1/secret"]), "answers for none of the chains"),
        ] {
            let error = format!("{:#}", endpoints(&wrong, &anchors).await.unwrap_err());
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
        let error = endpoints(&given(&["http://a"]), &[]).await.unwrap_err();
        assert!(error.to_string().contains("names no anchor"), "{error}");
    }
}
