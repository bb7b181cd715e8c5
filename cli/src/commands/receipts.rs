//! `steward receipts`: list, prove, anchor, and verify offline or on chain.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use steward_adapters::chain::{AnchorPoint, ChainId, InclusionClaim};
use steward_adapters::signer::SecretKey;
use steward_adapters_cosmos::verify_anchored;
use steward_adapters_evm::{EvmChain, EvmConfig, LocalSigner};
use steward_adapters_solana::{SolanaChain, SolanaConfig};
use steward_api::proto::v1;
use steward_receipts::{Anchor, Proof, Verified, VerifierKey};
use steward_types::{Entropy as _, Micros, SystemEntropy};
use url::Url;

use super::{Session, checkpoint};
use crate::args::Receipts;
use crate::output::{Output, Tone};

/// Runs one of `receipts`, but for `verify`, which needs no node.
///
/// # Errors
/// What the node refused.
pub async fn run(command: Receipts, session: &Session) -> anyhow::Result<()> {
    let (output, mut receipts) = (session.output, session.client.receipts());
    match command {
        Receipts::List { session: id, most } => {
            let request = v1::ListReceiptsRequest {
                project: session.project.clone(),
                session: id.unwrap_or_default(),
                page_size: most,
                page_token: String::new(),
            };
            let listed = receipts.list(request).await?.into_inner();
            if output.is_json() {
                return listed.receipts.iter().try_for_each(|receipt| output.message("Receipt", receipt));
            }
            table(output, &listed.receipts);
            Ok(())
        }
        Receipts::Prove { id, out } => {
            let proof = prove(session, &id).await?;
            match out {
                Some(file) => {
                    std::fs::write(&file, &proof.proof_json)
                        .with_context(|| format!("{} cannot be written", file.display()))?;
                    if !output.is_json() {
                        output.line(format!(
                            "written to {}; anyone can check it: steward receipts verify",
                            file.display()
                        ));
                    }
                }
                None => output.line(proof.proof_json.trim_end()),
            }
            Ok(())
        }
        Receipts::Anchor { chain } => {
            let request = v1::AnchorRequest { project: session.project.clone(), chain: chain.unwrap_or_default() };
            let anchored = receipts.anchor(request).await?.into_inner();
            if output.is_json() {
                return anchored.anchors.iter().try_for_each(|anchor| output.message("Anchor", anchor));
            }
            anchors(output, &anchored.anchors);
            Ok(())
        }
        Receipts::Checkpoint(arguments) => checkpoint::run(arguments, session).await,
        Receipts::Verify { file, trust, rpc } => verify(&file, trust.as_deref(), rpc.as_deref(), output).await,
    }
}

/// Asks for the proof of one receipt.
///
/// # Errors
/// What the node refused.
pub async fn prove(session: &Session, id: &str) -> anyhow::Result<v1::ProveReceiptResponse> {
    let request = v1::ProveReceiptRequest { id: id.to_owned(), tree_size: 0, project: session.project.clone() };
    Ok(session.client.receipts().prove(request).await?.into_inner())
}

/// Prints receipts as a table.
pub fn table(output: Output, receipts: &[v1::Receipt]) {
    let rows = receipts.iter().map(|receipt| {
        let place = if receipt.logged { receipt.leaf_index.to_string() } else { "pending".to_owned() };
        let tokens = format!("{} + {}", receipt.input_tokens, receipt.output_tokens);
        let step = format!("turn {} step {}", receipt.turn, receipt.step);
        let price = Micros::new(receipt.price_micros).to_string();
        vec![place, receipt.function.clone(), step, tokens, price, receipt.id.clone()]
    });
    output.table(&["leaf", "function", "step", "tokens", "price", "receipt"], rows.collect(), "no receipt yet");
}

/// Prints anchors as a table.
pub fn anchors(output: Output, anchors: &[v1::Anchor]) {
    let rows = anchors.iter().map(|anchor| {
        let block = if anchor.block == 0 { "-".to_owned() } else { anchor.block.to_string() };
        vec![
            anchor.chain.clone(),
            anchor.tree_size.to_string(),
            anchor.state.clone(),
            block,
            anchor.transaction.clone(),
        ]
    });
    output.table(&["chain", "tree size", "state", "block", "transaction"], rows.collect(), "nothing to anchor");
}

/// Verifies a proof file: offline against the trusted key, and on chain where an endpoint is given.
///
/// # Errors
/// Says what does not verify.
pub async fn verify(file: &Path, trust: Option<&str>, rpc: Option<&str>, output: Output) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let proof = Proof::from_json(&text)?;
    let trust =
        trust.context("name the log's key: --trust KEY, as `steward receipts checkpoint` or its operator tells")?;
    let key: VerifierKey = trust.parse().context("--trust is no verifier key")?;
    let verified = proof.verify(&key)?;
    let mut facts = vec![
        ("receipt", proof.leaf.hold.to_string()),
        ("price", proof.leaf.price.to_string()),
        ("leaf", format!("{} of {}", proof.index, proof.tree_size)),
        ("leaf hash", verified.leaf_hash.to_string()),
        ("offline", "the receipt is in the log that this key signed".to_owned()),
    ];
    if let Some(rpc) = rpc {
        ensure!(!proof.anchors.is_empty(), "the proof names no anchor: anchor the log and prove again");
        for anchor in &proof.anchors {
            verify_on_chain(rpc, &proof, &verified, anchor).await.with_context(|| format!("on {}", anchor.chain))?;
            let witness = match anchor.contract.as_str() {
                "" => "its memo".to_owned(),
                contract => format!("contract {contract}"),
            };
            facts.push(("on chain", format!("{} block {}: {witness} agrees", anchor.chain, anchor.block)));
        }
    }
    if output.is_json() {
        let on_chain: Vec<&str> = proof.anchors.iter().filter(|_| rpc.is_some()).map(|a| a.chain.as_str()).collect();
        let json =
            serde_json::json!({ "valid": true, "leaf_hash": verified.leaf_hash.to_string(), "on_chain": on_chain });
        output.line(json.to_string());
    } else {
        output.facts(&facts);
        output.line(output.paint(Tone::Good, "valid"));
    }
    Ok(())
}

/// Asks the anchor's chain whether its transaction anchored this tree, and whether the receipt is in it.
async fn verify_on_chain(rpc: &str, proof: &Proof, verified: &Verified, anchor: &Anchor) -> anyhow::Result<()> {
    let log_id = *verified.checkpoint.log_id().as_bytes();
    let root = *verified.checkpoint.root.as_bytes();
    let point = AnchorPoint { log_id, tree_size: proof.tree_size, root };
    let claim = InclusionClaim {
        log_id,
        leaf_hash: *verified.leaf_hash.as_bytes(),
        index: proof.index,
        path: proof.path.iter().map(|hash| *hash.as_bytes()).collect(),
    };
    let chain: ChainId = anchor.chain.parse()?;
    let endpoint: Url = rpc.parse().with_context(|| format!("--rpc {rpc} is no address"))?;
    // Nothing is signed; an account of no worth stands where the port wants one.
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    let key = SecretKey::from_bytes(bytes);
    let included = match chain.namespace() {
        "eip155" => {
            let config = EvmConfig { chain, endpoint, confirmations: 1, gas_max: 0 };
            let chain = EvmChain::new(config, Arc::new(LocalSigner::new(&key)?))?;
            chain.verify_anchored(&anchor.contract, &anchor.transaction, &point, &claim).await?
        }
        "solana" => {
            let config = SolanaConfig { chain, endpoint, units_max: 0 };
            let chain = SolanaChain::new(config, Arc::new(steward_adapters_solana::LocalSigner::new(&key)))?;
            chain.verify_anchored(&anchor.transaction, &point, &claim).await?
        }
        "cosmos" => verify_anchored(chain, endpoint, &anchor.transaction, &point, &claim).await?,
        other => bail!("this command cannot ask chains of {other}"),
    };
    ensure!(included, "the chain says that the receipt is not in the log");
    Ok(())
}
