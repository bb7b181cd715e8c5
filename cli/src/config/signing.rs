//! What a configuration says of the key of a chain's account: in the environment, in a keystore file, in Vault or in KMS.

use std::path::PathBuf;

use anyhow::ensure;
use serde::Deserialize;
use steward_adapters::signer::SignerKind;
use url::Url;

use super::ChainConfig;

/// A key in HashiCorp Vault's transit engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    /// Where Vault is, such as `https://vault.example:8200`.
    pub address: Url,
    /// The key's name.
    pub key: String,
    /// Where the transit engine is mounted.
    #[serde(default = "mount_default")]
    pub mount: String,
    /// The key's version; without it the newest, as of the node's start.
    #[serde(default)]
    pub version: Option<u32>,
    /// The namespace, where Vault has such.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The environment variable with the token.
    #[serde(default)]
    pub token_env: Option<String>,
    /// The file with the token instead, read at each use, so that an agent may renew it.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates in PEM that Vault's own is trusted by, besides the system's.
    #[serde(default)]
    pub certificate_authority: Option<PathBuf>,
    /// The account that the key makes. With it the node starts while Vault is away.
    #[serde(default)]
    pub account: Option<String>,
}

/// A key in AWS KMS, or in a service that speaks its protocol.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsSettings {
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// The key: its id, its ARN, or `alias/…`.
    pub key: String,
    /// Where the service is, when it is not AWS's own in the region.
    #[serde(default)]
    pub endpoint: Option<Url>,
    /// A shared credentials file, of which the profile `default` counts, read at each use. Without it the environment's
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
    /// The account that the key makes. With it the node starts while the service is away.
    #[serde(default)]
    pub account: Option<String>,
}

fn mount_default() -> String {
    "transit".to_owned()
}

impl ChainConfig {
    /// Where the key of the chain's account lies.
    pub fn signer_kind(&self) -> SignerKind {
        match self {
            Self { vault: Some(_), .. } => SignerKind::Vault,
            Self { kms: Some(_), .. } => SignerKind::Kms,
            Self { keystore: Some(_), .. } => SignerKind::Keystore,
            _ => SignerKind::Environment,
        }
    }

    pub(super) fn check_key(&self) -> anyhow::Result<()> {
        let id = &self.id;
        let given =
            [self.key_env.is_some(), self.keystore.is_some(), self.vault.is_some(), self.kms.is_some()].into_iter();
        let count = given.filter(|given| *given).count();
        ensure!(count == 1, "chain {id}: give one of key_env, keystore, vault and kms");
        let passwords =
            usize::from(self.keystore_password_env.is_some()) + usize::from(self.keystore_password_file.is_some());
        ensure!(
            passwords == usize::from(self.keystore.is_some()),
            "chain {id}: keystore goes with one of keystore_password_env and keystore_password_file"
        );
        if let Some(vault) = &self.vault {
            ensure!(is_web(&vault.address), "chain {id}: vault.address begins with https:// or http://");
            let tokens = usize::from(vault.token_env.is_some()) + usize::from(vault.token_file.is_some());
            ensure!(tokens == 1, "chain {id}: vault goes with one of token_env and token_file");
        }
        if let Some(endpoint) = self.kms.as_ref().and_then(|kms| kms.endpoint.as_ref()) {
            ensure!(is_web(endpoint), "chain {id}: kms.endpoint begins with https:// or http://");
        }
        Ok(())
    }
}

fn is_web(address: &Url) -> bool {
    matches!(address.scheme(), "http" | "https") && address.has_host()
}

#[cfg(test)]
mod tests {
    use super::super::NodeConfig;
    use super::*;

    fn chain(fields: &str) -> anyhow::Result<ChainConfig> {
        let text = format!("[[chains]]\nid = 'eip155:1'\nendpoint = 'http://a'\n{fields}");
        Ok(NodeConfig::parse(&text)?.chains.remove(0))
    }

    #[test]
    fn a_key_is_in_one_place_and_what_opens_it_too() {
        let good = [
            ("key_env = 'K'", SignerKind::Environment),
            ("keystore = 'k'\nkeystore_password_env = 'P'", SignerKind::Keystore),
            ("keystore = 'k'\nkeystore_password_file = 'p'", SignerKind::Keystore),
            ("vault = { address = 'https://v:8200', key = 'k', token_file = 't' }", SignerKind::Vault),
            ("kms = { region = 'eu-central-1', key = 'alias/k' }", SignerKind::Kms),
        ];
        for (fields, kind) in good {
            assert_eq!(chain(fields).unwrap().signer_kind(), kind, "{fields}");
        }
        for (fields, expected) in [
            ("", "give one of"),
            ("key_env = 'K'\nkms = { region = 'r', key = 'k' }", "give one of"),
            ("keystore = 'k'", "keystore goes with one of"),
            ("keystore = 'k'\nkeystore_password_env = 'P'\nkeystore_password_file = 'p'", "keystore goes with one of"),
            ("key_env = 'K'\nkeystore_password_env = 'P'", "keystore goes with one of"),
            ("vault = { address = 'https://v', key = 'k' }", "vault goes with one of"),
            ("vault = { address = 'ftp://v', key = 'k', token_env = 'T' }", "vault.address"),
            ("kms = { region = 'r', key = 'k', endpoint = 'file:///k' }", "kms.endpoint"),
            ("kms = { region = 'r', key = 'k', secret = 's' }", "secret"),
        ] {
            let error = format!("{:#}", chain(fields).unwrap_err());
            assert!(error.contains(expected), "{fields}: {error}");
        }
    }
}
