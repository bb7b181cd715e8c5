//! HashiCorp Vault's transit engine, and OpenBao's, which is the same: a key that signs and is never shown.
//!
//! <https://developer.hashicorp.com/vault/api-docs/secret/transit>. No release of either that we know of has keys on
//! secp256k1; where a mount has them, they are used as the engine's other ECDSA keys are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use steward_adapters::signer::SignerError;
use tokio::sync::OnceCell;
use url::{Position, Url};
use zeroize::Zeroizing;

use crate::answer::{ask, client, from_base64, malformed, refused, secret_header, to_base64, unavailable};
use crate::public_key::Scheme;
use crate::remote::KeyService;
use crate::secret::SecretSource;

const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// Which key, and where.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// Where Vault is.
    pub address: Url,
    /// Where its transit engine is mounted, usually `transit`.
    pub mount: String,
    /// The key's name.
    pub key: String,
    /// The key's version; without it the newest, as of the first call. Another version is another account.
    pub version: Option<u32>,
    /// The namespace, where Vault has such.
    pub namespace: Option<String>,
    /// Who asks.
    pub token: SecretSource,
    /// Certificates in PEM that Vault's own is trusted by, besides the system's.
    pub certificate_authority: Option<PathBuf>,
}

/// A key in Vault.
#[derive(Debug)]
pub struct Vault {
    config: VaultConfig,
    name: String,
    client: Client,
    /// Rotating the key in Vault must not change the account beneath a running node.
    version: OnceCell<u32>,
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct KeyAnswer {
    latest_version: u32,
    #[serde(default)]
    keys: BTreeMap<u32, VersionAnswer>,
}

#[derive(Deserialize)]
struct VersionAnswer {
    #[serde(default)]
    public_key: String,
}

#[derive(Deserialize)]
struct SignAnswer {
    signature: String,
}

#[derive(Deserialize, Default)]
struct ErrorAnswer {
    #[serde(default)]
    errors: Vec<String>,
}

impl Vault {
    /// A key of Vault's. Nothing is asked yet.
    ///
    /// # Errors
    /// [`SignerError::Service`] when TLS cannot be set up; [`SignerError::Secret`] when the certificates cannot be read.
    pub fn new(config: VaultConfig) -> Result<Self, SignerError> {
        let name = format!("Vault at {}", &config.address[Position::BeforeHost..Position::AfterPort]);
        let client = client(config.certificate_authority.as_deref())?;
        let version = OnceCell::new_with(config.version);
        Ok(Self { config, name, client, version })
    }

    fn address(&self, operation: &str) -> Result<Url, SignerError> {
        let mut address = self.config.address.clone();
        let wrong = || SignerError::Service { reason: "the address of Vault can have no path".to_owned() };
        let mount = self.config.mount.split('/').filter(|part| !part.is_empty());
        let mut path = address.path_segments_mut().map_err(|()| wrong())?;
        path.pop_if_empty().push("v1").extend(mount).extend([operation, &self.config.key]);
        drop(path);
        Ok(address)
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, SignerError> {
        let token = Zeroizing::new(self.config.token.get()?.expose().to_owned());
        let mut request = request.header("x-vault-token", secret_header(&token)?).header("x-vault-request", "true");
        if let Some(namespace) = &self.config.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let answer = ask(&self.name, request).await?;
        if answer.status.is_success() {
            let envelope: Result<Envelope<T>, _> = serde_json::from_slice(&answer.body);
            return envelope.map(|envelope| envelope.data).map_err(|_| malformed(&self.name));
        }
        let said: ErrorAnswer = serde_json::from_slice(&answer.body).unwrap_or_default();
        let reason = format!("HTTP {}: {}", answer.status.as_u16(), said.errors.join("; "));
        // 412: a standby that has not caught up; 429: a quota, or a standby; 5xx: sealed, or an error of its own.
        let passes = answer.status.is_server_error() || matches!(answer.status.as_u16(), 412 | 429);
        Err(if passes { unavailable(&self.name, reason) } else { refused(&self.name, reason) })
    }

    async fn key(&self) -> Result<KeyAnswer, SignerError> {
        self.call(self.client.get(self.address("keys")?)).await
    }

    async fn version(&self) -> Result<u32, SignerError> {
        self.version.get_or_try_init(|| async { Ok(self.key().await?.latest_version) }).await.copied()
    }
}

#[async_trait]
impl KeyService for Vault {
    fn name(&self) -> &str {
        &self.name
    }

    async fn public_key(&self) -> Result<Vec<u8>, SignerError> {
        let key = self.key().await?;
        let version = *self.version.get_or_init(|| async { key.latest_version }).await;
        let public = key.keys.get(&version).map(|version| version.public_key.as_str()).unwrap_or_default();
        if public.is_empty() {
            let reason = format!("the key {} has no version {version} with a public half", self.config.key);
            return Err(refused(&self.name, reason));
        }
        // Ed25519 keys are base64 of their 32 bytes, ECDSA keys are PEM.
        let inner = public.trim().strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END));
        let text: String = inner.unwrap_or(public).split_whitespace().collect();
        from_base64(&self.name, &text)
    }

    async fn sign(&self, scheme: Scheme, input: &[u8]) -> Result<Vec<u8>, SignerError> {
        let version = self.version().await?;
        let input = to_base64(input);
        let request = match scheme {
            Scheme::Ed25519 => json!({ "input": input, "key_version": version }),
            Scheme::Secp256k1 => json!({
                "input": input,
                "key_version": version,
                "prehashed": true,
                "hash_algorithm": "sha2-256",
                "marshaling_algorithm": "asn1",
            }),
        };
        let call = self.client.post(self.address("sign")?).json(&request);
        let answer: SignAnswer = self.call(call).await?;
        let signature = answer.signature.strip_prefix(&format!("vault:v{version}:"));
        from_base64(&self.name, signature.ok_or_else(|| malformed(&self.name))?)
    }
}
