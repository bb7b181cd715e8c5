//! Server and key as `steward login` remembers them, readable by their owner only.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What is remembered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The node's address.
    pub server: String,
    /// The API key.
    pub key: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The file that holds them: `$XDG_CONFIG_HOME/steward/credentials.toml`, else below `~/.config`.
///
/// # Errors
/// When neither variable is set.
pub fn file() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    let folder = folder.context("neither XDG_CONFIG_HOME nor HOME is set: give --server and --key")?;
    Ok(folder.join("steward").join("credentials.toml"))
}

/// Reads them; `None` when nobody has logged in.
///
/// # Errors
/// When the file cannot be read or is malformed.
pub fn load(file: &Path) -> anyhow::Result<Option<Credentials>> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let credentials = toml::from_str(&text);
            credentials.map(Some).with_context(|| format!("{} is malformed: log in again", file.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}

/// Writes them, readable by their owner only.
///
/// # Errors
/// When the file cannot be written.
pub fn save(file: &Path, credentials: &Credentials) -> anyhow::Result<()> {
    let text = toml::to_string(credentials)?;
    write_private(file, text.as_bytes())
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_private(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let fresh = file.with_extension("fresh");
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let mut writer = opened.with_context(|| format!("{} cannot be written", fresh.display()))?;
    writer.write_all(bytes)?;
    writer.sync_all()?;
    std::fs::rename(&fresh, file).with_context(|| format!("{} cannot be written", file.display()))
}
