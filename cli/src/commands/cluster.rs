//! `steward cluster`: the certificates and shared secrets of a cluster's nodes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use steward_cluster::link::{ClusterAuthority, LinkIdentity};
use steward_types::{Clock as _, NodeId, SystemClock, SystemEntropy};

use crate::args::ClusterCommand;
use crate::credentials::write_private;
use crate::node::secrets;
use crate::output::{Output, Tone};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs one of `cluster`.
///
/// # Errors
/// When a file is there already, or cannot be read or written.
pub fn run(command: ClusterCommand, output: Output) -> anyhow::Result<()> {
    match command {
        ClusterCommand::Init { authority } => init(&authority, output),
        ClusterCommand::Issue { authority, node, days } => issue(&authority, &node, days, output),
        ClusterCommand::Rotate { authority } => rotate(&authority, output),
    }
}

fn init(authority: &Path, output: Output) -> anyhow::Result<()> {
    ClusterAuthority::create(SystemClock::new().now())?.save_new(authority)?;
    // Every node signs the same receipt logs and knows the same operator.
    secrets::log_key(authority, &SystemEntropy)?;
    secrets::root_key(authority, &SystemEntropy)?;
    let place = authority.display();
    if output.is_json() {
        output.line(serde_json::json!({ "authority": authority }).to_string());
        return Ok(());
    }
    output.line(output.paint(Tone::Good, format!("the cluster's authority is in {place}")));
    output.line(format!("whoever has {place}/ca.key decides who is a node; keep it off the nodes"));
    output.line(format!("next: steward cluster issue {place} NODE_FOLDER, once for each node"));
    Ok(())
}

fn issue(folder: &Path, node: &Path, days: u32, output: Output) -> anyhow::Result<()> {
    ensure!(days > 0, "--days is 0: the certificate would never be valid");
    let authority = ClusterAuthority::load(folder)?;
    // A node keeps its id when it gets a new certificate.
    let id = match LinkIdentity::load(node) {
        Ok(identity) => *identity.node(),
        Err(_) => NodeId::generate(&SystemEntropy),
    };
    let certificate = authority.issue(&id, DAY * days, SystemClock::new().now())?;
    let trusted = std::fs::read_to_string(folder.join("ca.pem")).context("the authority's certificates")?;
    certificate.save(node, &[&trusted])?;
    for name in [secrets::LOG_KEY_FILE, crate::commands::up::ROOT_KEY_FILE] {
        let secret = std::fs::read(folder.join(name)).with_context(|| format!("{name} of the authority"))?;
        write_private(&node.join(name), &secret)?;
    }
    if output.is_json() {
        output.line(serde_json::json!({ "node": id, "folder": node, "days": days }).to_string());
    } else {
        output.line(format!(
            "{} in {}, good for {days} days",
            output.paint(Tone::Good, id.to_string()),
            node.display()
        ));
    }
    Ok(())
}

/// A new key for the authority. Its certificate stands first; the old one stays trusted behind it until it is removed.
fn rotate(folder: &Path, output: Output) -> anyhow::Result<()> {
    let old = std::fs::read_to_string(folder.join("ca.pem")).context("the authority's certificates")?;
    let key = folder.join("ca.key");
    ensure!(key.exists(), "{} is not there: `steward cluster init` makes an authority", key.display());
    let new = ClusterAuthority::create(SystemClock::new().now())?;
    let both = steward_cluster::link::authority::bundle(&[new.certificate_pem(), &old]);
    write_private(&key, new.key_pem().as_bytes())?;
    write_private(&folder.join("ca.pem"), both.as_bytes())?;
    let place = folder.display();
    if output.is_json() {
        output.line(serde_json::json!({ "authority": folder, "rotated": true }).to_string());
        return Ok(());
    }
    output.line(output.paint(Tone::Good, "the authority has a new key; the old certificate is still trusted"));
    output.line(format!("1. copy {place}/ca.pem to every node's folder; they read it within seconds"));
    output.line(format!("2. steward cluster issue {place} NODE_FOLDER, once for each node"));
    output.line("3. remove the last certificate of every ca.pem");
    Ok(())
}
