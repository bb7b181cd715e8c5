//! The node's secrets: files in its data folder that only their owner may read.

use std::path::Path;

use anyhow::{Context as _, ensure};
use steward_actors::project::ApiKeyText;
use steward_api::TlsFiles;
use steward_types::Entropy;

use crate::commands::up::ROOT_KEY_FILE;
use crate::config::TlsConfig;
use crate::credentials::write_private;

/// The file with the receipt logs' signing key, 32 bytes in hexadecimal.
pub(crate) const LOG_KEY_FILE: &str = "log.key";

/// The operator's key: as kept, or made and kept before anyone can use it.
pub(crate) fn root_key(data: &Path, entropy: &dyn Entropy) -> anyhow::Result<String> {
    kept(&data.join(ROOT_KEY_FILE), || ApiKeyText::generate(entropy).reveal())
}

/// The receipt logs' signing key: as kept, or made and kept.
pub(crate) fn log_key(data: &Path, entropy: &dyn Entropy) -> anyhow::Result<[u8; 32]> {
    let file = data.join(LOG_KEY_FILE);
    let text = kept(&file, || {
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        hex::encode(secret)
    })?;
    let mut secret = [0; 32];
    let decoded = hex::decode_to_slice(text, &mut secret);
    decoded.with_context(|| format!("{} is not 32 bytes in hexadecimal", file.display()))?;
    Ok(secret)
}

fn kept(file: &Path, make: impl FnOnce() -> String) -> anyhow::Result<String> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let text = text.trim().to_owned();
            ensure!(!text.is_empty(), "{} is empty: restore it from a backup", file.display());
            Ok(text)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make();
            write_private(file, format!("{text}\n").as_bytes())?;
            Ok(text)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}

/// Where certificate and key are; that they can be read is checked here, so that a node does not start without.
pub(super) fn tls(config: &TlsConfig) -> anyhow::Result<TlsFiles> {
    for file in [&config.certificate, &config.key] {
        std::fs::File::open(file).with_context(|| format!("tls: {} cannot be read", file.display()))?;
    }
    Ok(TlsFiles { certificate: config.certificate.clone(), key: config.key.clone() })
}
