//! `steward receipts`: list, prove, anchor, and verify offline or on chain.

mod evidence;
mod verify;

use anyhow::Context as _;
use steward_api::proto::v1;
use steward_types::Micros;

pub use self::verify::verify;
use super::{Session, checkpoint};
use crate::args::Receipts;
use crate::output::Output;

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
        Receipts::Prove { id, chain, for_contract, out } => {
            let text = if for_contract {
                evidence::of(session, &id, chain.as_deref().unwrap_or_default()).await?
            } else {
                prove(session, &id, chain.as_deref()).await?.proof_json
            };
            let Some(file) = out else {
                output.line(text.trim_end());
                return Ok(());
            };
            std::fs::write(&file, &text).with_context(|| format!("{} cannot be written", file.display()))?;
            if !output.is_json() {
                let use_of =
                    if for_contract { "a contract takes it" } else { "anyone can check it: steward receipts verify" };
                output.line(format!("written to {}; {use_of}", file.display()));
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
        Receipts::Verify { file, trust, rpc } => verify(&file, trust.as_deref(), &rpc, output).await,
    }
}

/// Asks for the proof of one receipt, on one chain or on any.
///
/// # Errors
/// What the node refused.
pub async fn prove(session: &Session, id: &str, chain: Option<&str>) -> anyhow::Result<v1::ProveReceiptResponse> {
    let request = v1::ProveReceiptRequest {
        id: id.to_owned(),
        tree_size: 0,
        project: session.project.clone(),
        chain: chain.unwrap_or_default().to_owned(),
        newest: false,
    };
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
