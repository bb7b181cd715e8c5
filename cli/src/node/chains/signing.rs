//! The signers of chains: from the environment, a keystore file, Vault or KMS, as the configuration says.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use steward_adapters::chain::{ChainId, local_address};
use steward_adapters::signer::{SecretKey, Signer, SignerError};
use steward_adapters_signers::{
    AwsCredentials, CredentialsSource, KeyService, Kms, KmsConfig, RemoteSigner, SecretSource, SecretText, Vault,
    VaultConfig, keystore,
};
use steward_types::{Clock, SystemClock};
use {steward_adapters_cosmos as cosmos, steward_adapters_evm as evm, steward_adapters_solana as solana};

use crate::config::{ChainConfig, KmsSettings, VaultSettings};

/// A sort of chain, as far as its keys and accounts go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Family {
    /// `eip155:…`
    Evm,
    /// `cosmos:…`
    Cosmos {
        /// What its addresses begin with.
        prefix: String,
    },
    /// `solana:…`
    Solana,
}

impl Family {
    /// A key as tools write it.
    pub(crate) fn read_secret(&self, text: &str) -> Result<SecretKey, SignerError> {
        match self {
            Self::Evm | Self::Cosmos { .. } => text.trim().parse(),
            Self::Solana => solana::read_secret(text),
        }
    }

    /// The key in what a keystore file held.
    fn secret_of(&self, bytes: &[u8]) -> Result<SecretKey, SignerError> {
        match self {
            Self::Evm | Self::Cosmos { .. } => bytes.try_into(),
            Self::Solana => solana::secret_of(bytes),
        }
    }

    /// A signer whose key lies in this process.
    pub(crate) fn local(&self, secret: &SecretKey) -> Result<Arc<dyn Signer>, SignerError> {
        Ok(match self {
            Self::Evm => Arc::new(evm::LocalSigner::new(secret)?),
            Self::Cosmos { prefix } => Arc::new(cosmos::LocalSigner::new(secret, prefix)?),
            Self::Solana => Arc::new(solana::LocalSigner::new(secret)),
        })
    }

    fn address_of(&self, public_key: &[u8]) -> Result<String, SignerError> {
        match self {
            Self::Evm => evm::address_of(public_key),
            Self::Cosmos { prefix } => cosmos::address_of(public_key, prefix),
            Self::Solana => solana::address_of(public_key),
        }
    }
}

/// The signer of the key that the configuration names. A service is asked for its key's account, unless that is given.
pub(super) async fn signer(config: &ChainConfig, family: Family) -> anyhow::Result<Arc<dyn Signer>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    match config {
        ChainConfig { key_env: Some(name), .. } => {
            let key = variable(name)?;
            let signer = family.read_secret(key.expose()).and_then(|secret| family.local(&secret));
            signer.with_context(|| format!("the key in {name}"))
        }
        ChainConfig { keystore: Some(file), .. } => {
            let password = password(config)?;
            let signer = keystore::open(file, &password).and_then(|bytes| family.local(&family.secret_of(&bytes)?));
            signer.with_context(|| format!("the keystore {}", file.display()))
        }
        ChainConfig { vault: Some(settings), .. } => {
            let service = Vault::new(vault(settings)?).context("vault")?;
            remote(Box::new(service), given_account(config, settings.account.as_deref())?, family, clock).await
        }
        ChainConfig { kms: Some(settings), .. } => {
            let service = Kms::new(kms(settings)?, Arc::clone(&clock)).context("kms")?;
            remote(Box::new(service), given_account(config, settings.account.as_deref())?, family, clock).await
        }
        _ => bail!("give one of key_env, keystore, vault and kms"),
    }
}

/// The account that the configuration gives for a service's key: alone, or with the chain that it is of.
fn given_account(config: &ChainConfig, account: Option<&str>) -> anyhow::Result<Option<String>> {
    let Some(account) = account else { return Ok(None) };
    let chain: ChainId = config.id.parse()?;
    Ok(Some(local_address(&chain, account).map_err(super::refused).context("account")?.to_owned()))
}

async fn remote(
    service: Box<dyn KeyService>,
    account: Option<String>,
    family: Family,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Arc<dyn Signer>> {
    let address_of = Box::new(move |key: &[u8]| family.address_of(key));
    if let Some(account) = account {
        return Ok(Arc::new(RemoteSigner::new(service, account, address_of, clock)));
    }
    let connected = RemoteSigner::connect(service, address_of, clock).await;
    let signer =
        connected.context("whose account it is was not learnt; give `account` too, and the node starts without it")?;
    Ok(Arc::new(signer))
}

fn password(config: &ChainConfig) -> anyhow::Result<SecretText> {
    match (&config.keystore_password_env, &config.keystore_password_file) {
        (Some(name), None) => variable(name),
        (None, Some(file)) => Ok(SecretText::read(file)?),
        _ => bail!("keystore goes with one of keystore_password_env and keystore_password_file"),
    }
}

fn vault(settings: &VaultSettings) -> anyhow::Result<VaultConfig> {
    let token = match (&settings.token_env, &settings.token_file) {
        (Some(name), None) => SecretSource::Fixed(variable(name)?),
        (None, Some(file)) => SecretSource::File(file.clone()),
        _ => bail!("vault goes with one of token_env and token_file"),
    };
    Ok(VaultConfig {
        address: settings.address.clone(),
        mount: settings.mount.clone(),
        key: settings.key.clone(),
        version: settings.version,
        namespace: settings.namespace.clone(),
        token,
        certificate_authority: settings.certificate_authority.clone(),
    })
}

fn kms(settings: &KmsSettings) -> anyhow::Result<KmsConfig> {
    let credentials = match &settings.credentials_file {
        Some(file) => CredentialsSource::File(file.clone()),
        None => CredentialsSource::Fixed(AwsCredentials {
            access_key: variable("AWS_ACCESS_KEY_ID")?.expose().to_owned(),
            secret: variable("AWS_SECRET_ACCESS_KEY")?,
            session_token: variable("AWS_SESSION_TOKEN").ok(),
        }),
    };
    let (region, key) = (settings.region.clone(), settings.key.clone());
    Ok(KmsConfig { region, key, endpoint: settings.endpoint.clone(), credentials })
}

fn variable(name: &str) -> anyhow::Result<SecretText> {
    let text = std::env::var(name).with_context(|| format!("the environment has no {name}"))?;
    Ok(SecretText::new(text))
}
