//! `steward cluster`: the certificates and shared secrets of a cluster's nodes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use steward_cluster::link::{ClusterAuthority, LinkIdentity};
use steward_types::{Clock as _, NodeId, SystemClock, SystemEntropy};

use crate::args::ClusterCommand;
use crate::credentials::write_private;
use crate::node::secrets;
use crate::output::{Output, Tone};

const CA_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";
const CERTIFICATE_END: &str = "-----END CERTIFICATE-----";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs one of `cluster`.
///
/// # Errors
/// When a file is there already, or cannot be read or written.
pub fn run(command: ClusterCommand, output: Output) -> anyhow::Result<()> {
    match command {
        ClusterCommand::Init { authority } => init(&authority, output),
        ClusterCommand::Issue { authority, node, days } => issue(&authority, &node, days, output),
        ClusterCommand::Rotate { authority, finish: true } => finish_rotation(&authority, output),
        ClusterCommand::Rotate { authority, finish: false } => rotate(&authority, output),
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
    let trusted = certificates(&folder.join(CA_FILE))?;
    let authority = ClusterAuthority::load(folder)?;
    // A node keeps its id when it gets a new certificate.
    let id = match LinkIdentity::load(node) {
        Ok(identity) => *identity.node(),
        Err(_) => NodeId::generate(&SystemEntropy),
    };
    let certificate = authority.issue(&id, DAY * days, SystemClock::new().now())?;
    certificate.save(node, &[&trusted])?;
    for name in [secrets::LOG_KEY_FILE, crate::commands::up::ROOT_KEY_FILE] {
        let file = folder.join(name);
        let secret = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
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

/// A new key for the authority. Its certificate stands first; the old one stays trusted behind it until
/// [`finish`](finish_rotation).
///
/// The two files change one after the other, so both are written beside them first: one that was cut off is gone on
/// with by the next, and until then the authority issues with the old key, which is trusted all along.
fn rotate(folder: &Path, output: Output) -> anyhow::Result<()> {
    let (key, trusted) = (folder.join(KEY_FILE), folder.join(CA_FILE));
    let old = certificates(&trusted)?;
    ensure!(key.exists(), "{} is not there: `steward cluster init` makes an authority", key.display());
    if !next(&key).exists() {
        let new = ClusterAuthority::create(SystemClock::new().now())?;
        let both = steward_cluster::link::authority::bundle(&[new.certificate_pem(), &old]);
        write_private(&next(&trusted), both.as_bytes())?;
        sync(folder)?;
        // From here on the rotation will be: what is there is whole.
        write_private(&next(&key), new.key_pem().as_bytes())?;
        sync(folder)?;
    }
    if next(&trusted).exists() {
        replace(&trusted)?;
        sync(folder)?;
    }
    replace(&key)?;
    sync(folder)?;
    let place = folder.display();
    if output.is_json() {
        output.line(serde_json::json!({ "authority": folder, "rotated": true }).to_string());
        return Ok(());
    }
    output.line(output.paint(Tone::Good, "the authority has a new key; the old certificate is still trusted"));
    output.line(format!("1. copy {place}/{CA_FILE} to every node's folder; they read it within seconds"));
    output.line(format!("2. steward cluster issue {place} NODE_FOLDER, once for each node"));
    output.line(format!("3. steward cluster rotate {place} --finish, and copy {CA_FILE} to every node's folder again"));
    Ok(())
}

/// Leaves the newest authority's certificate alone.
fn finish_rotation(folder: &Path, output: Output) -> anyhow::Result<()> {
    let (key, trusted) = (folder.join(KEY_FILE), folder.join(CA_FILE));
    ensure!(
        !next(&key).exists(),
        "a rotation was cut off: `steward cluster rotate {}` goes on with it",
        folder.display()
    );
    let all = certificates(&trusted)?;
    let end = all.find(CERTIFICATE_END).with_context(|| format!("{} holds no certificate", trusted.display()))?;
    let newest = format!("{}\n", &all[..end + CERTIFICATE_END.len()]);
    let dropped = all.matches(CERTIFICATE_END).count() - 1;
    write_private(&trusted, newest.as_bytes())?;
    if output.is_json() {
        output.line(serde_json::json!({ "authority": folder, "dropped": dropped }).to_string());
        return Ok(());
    }
    output.line(format!("{dropped} old certificates are dropped; copy {} to every node's folder", trusted.display()));
    Ok(())
}

/// The certificates of an authority.
fn certificates(file: &Path) -> anyhow::Result<String> {
    let read = std::fs::read_to_string(file);
    read.with_context(|| format!("{} cannot be read: `steward cluster init` makes an authority", file.display()))
}

/// What takes a file's place.
fn next(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

fn replace(file: &Path) -> anyhow::Result<()> {
    std::fs::rename(next(file), file).with_context(|| format!("{} cannot be replaced", file.display()))
}

/// Makes what was renamed in a folder last, so that it comes before what is done after.
fn sync(folder: &Path) -> anyhow::Result<()> {
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("{} cannot be written", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An authority, and the same in the middle of a rotation: with which of the two files written beside the old.
    fn cut_off(folder: &Path, beside: &[&str], replaced: &[&str]) -> (String, ClusterAuthority) {
        let old = ClusterAuthority::create(SystemClock::new().now()).unwrap();
        old.save_new(folder).unwrap();
        let new = ClusterAuthority::create(SystemClock::new().now()).unwrap();
        let both = steward_cluster::link::authority::bundle(&[new.certificate_pem(), old.certificate_pem()]);
        let content = |name: &str| if name == CA_FILE { both.clone() } else { new.key_pem() };
        for name in beside {
            std::fs::write(next(&folder.join(name)), content(name)).unwrap();
        }
        for name in replaced {
            std::fs::write(folder.join(name), content(name)).unwrap();
        }
        (old.certificate_pem().to_owned(), new)
    }

    #[test]
    fn a_rotation_that_was_cut_off_anywhere_is_gone_on_with() {
        let check = |beside: &[&str], replaced: &[&str], goes_on: bool| {
            let folder = tempfile::tempdir().unwrap();
            let (old, new) = cut_off(folder.path(), beside, replaced);
            rotate(folder.path(), Output::new(true)).unwrap();
            let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(read(KEY_FILE) == new.key_pem(), goes_on, "{beside:?} {replaced:?}");
            assert_eq!(read(CA_FILE).starts_with(new.certificate_pem().trim()), goes_on, "{beside:?} {replaced:?}");
            assert_eq!(read(CA_FILE).matches(CERTIFICATE_END).count(), 2, "the new and the old");
            assert!(read(CA_FILE).contains(old.trim()));
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside them");
            finish_rotation(folder.path(), Output::new(true)).unwrap();
            assert_eq!(read(CA_FILE).matches(CERTIFICATE_END).count(), 1);
            assert!(!read(CA_FILE).contains(old.trim()));
        };
        check(&[], &[], false);
        check(&[CA_FILE], &[], false);
        check(&[CA_FILE, KEY_FILE], &[], true);
        check(&[KEY_FILE], &[CA_FILE], true);
    }

    #[test]
    fn a_folder_without_an_authority_is_named_with_what_makes_one() {
        let (folder, out) = (tempfile::tempdir().unwrap(), Output::new(true));
        let (none, node) = (folder.path().join("none"), folder.path().join("node"));
        for refused in [rotate(&none, out), finish_rotation(&none, out), issue(&none, &node, 1, out)] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("none/ca.pem") && refused.contains("steward cluster init"), "{refused}");
        }
        assert!(!none.exists() && !node.exists(), "nothing was made");
    }

    #[test]
    fn an_unfinished_rotation_drops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        cut_off(folder.path(), &[KEY_FILE], &[CA_FILE]);
        let refused = finish_rotation(folder.path(), Output::new(true)).unwrap_err().to_string();
        assert!(refused.contains("goes on with it"), "{refused}");
    }
}
