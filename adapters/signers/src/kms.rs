//! AWS KMS, and what speaks its protocol: `GetPublicKey` and `Sign` of an asymmetric key.
//!
//! <https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html>

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use steward_adapters::signer::SignerError;
use steward_types::Clock;
use url::{Position, Url};
use zeroize::Zeroizing;

use crate::answer::{ask, client, from_base64, malformed, refused, secret_header, to_base64, unavailable};
use crate::aws::{CredentialsSource, Scope, SignableRequest, amz_date, authorization};
use crate::public_key::Scheme;
use crate::remote::KeyService;

const BODY_TYPE: &str = "application/x-amz-json-1.1";
/// Errors that KMS documents as passing.
const PASSING: [&str; 6] = [
    "ThrottlingException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "KMSInternalException",
];

/// Which key, and where.
#[derive(Debug, Clone)]
pub struct KmsConfig {
    /// The region that requests are signed for, such as `eu-central-1`.
    pub region: String,
    /// The key: its id, its ARN, or `alias/…`.
    pub key: String,
    /// Where the service is, when it is not AWS's own in the region.
    pub endpoint: Option<Url>,
    /// Who asks.
    pub credentials: CredentialsSource,
}

/// A key in KMS.
#[derive(Debug)]
pub struct Kms {
    config: KmsConfig,
    endpoint: Url,
    name: String,
    client: Client,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct PublicKeyAnswer {
    #[serde(rename = "PublicKey")]
    public_key: String,
}

#[derive(Deserialize)]
struct SignAnswer {
    #[serde(rename = "Signature")]
    signature: String,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

impl Kms {
    /// A key of the service. Nothing is asked yet.
    ///
    /// # Errors
    /// [`SignerError::Service`] when the region makes no address or TLS cannot be set up.
    pub fn new(config: KmsConfig, clock: Arc<dyn Clock>) -> Result<Self, SignerError> {
        let own = || {
            let address = format!("https://kms.{}.amazonaws.com/", config.region);
            let wrong = |_| SignerError::Service { reason: format!("{:?} is no region", config.region) };
            Url::parse(&address).map_err(wrong)
        };
        let endpoint = config.endpoint.clone().map_or_else(own, Ok)?;
        let name = format!("KMS at {}", host(&endpoint));
        Ok(Self { config, endpoint, name, client: client(None)?, clock })
    }

    async fn call<T: DeserializeOwned>(&self, operation: &str, body: &Value) -> Result<T, SignerError> {
        let credentials = self.config.credentials.get()?;
        let (body, date, host) = (body.to_string(), amz_date(self.clock.now()), host(&self.endpoint));
        let target = format!("TrentService.{operation}");
        let token = credentials.session_token.as_ref().map(|token| Zeroizing::new(token.expose().to_owned()));
        let mut headers = vec![("content-type", BODY_TYPE), ("host", host.as_str()), ("x-amz-date", date.as_str())];
        headers.extend(token.as_ref().map(|token| ("x-amz-security-token", token.as_str())));
        headers.push(("x-amz-target", target.as_str()));
        let signable =
            SignableRequest { method: "POST", path: self.endpoint.path(), headers: &headers, body: body.as_bytes() };
        let scope = Scope { region: &self.config.region, service: "kms" };
        let proof = Zeroizing::new(authorization(&signable, scope, &date, &credentials));
        let mut request = self
            .client
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, BODY_TYPE)
            .header(HOST, host.as_str())
            .header("x-amz-date", date.as_str())
            .header("x-amz-target", target.as_str())
            .header(AUTHORIZATION, secret_header(&proof)?);
        if let Some(token) = &token {
            request = request.header("x-amz-security-token", secret_header(token)?);
        }
        let answer = ask(&self.name, request.body(body)).await?;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|_| malformed(&self.name));
        }
        let error = serde_json::from_slice(&answer.body);
        let ErrorAnswer { kind, message } =
            error.unwrap_or_else(|_| ErrorAnswer { kind: String::new(), message: String::new() });
        // Some services write a namespace before it.
        let kind = kind.rsplit('#').next().unwrap_or_default();
        let reason = format!("{operation}: HTTP {}: {kind}: {message}", answer.status.as_u16());
        let passes = answer.status.is_server_error() || answer.status.as_u16() == 429 || PASSING.contains(&kind);
        Err(if passes { unavailable(&self.name, reason) } else { refused(&self.name, reason) })
    }
}

/// Host, and port where it is not the usual one: as the header `host` has it.
fn host(endpoint: &Url) -> String {
    endpoint[Position::BeforeHost..Position::AfterPort].to_owned()
}

#[async_trait]
impl KeyService for Kms {
    fn name(&self) -> &str {
        &self.name
    }

    async fn public_key(&self) -> Result<Vec<u8>, SignerError> {
        let answer: PublicKeyAnswer = self.call("GetPublicKey", &json!({ "KeyId": self.config.key })).await?;
        from_base64(&self.name, &answer.public_key)
    }

    async fn sign(&self, scheme: Scheme, input: &[u8]) -> Result<Vec<u8>, SignerError> {
        let (message_type, algorithm) = match scheme {
            Scheme::Secp256k1 => ("DIGEST", "ECDSA_SHA_256"),
            Scheme::Ed25519 => ("RAW", "ED25519_SHA_512"),
        };
        let request = json!({
            "KeyId": self.config.key,
            "Message": to_base64(input),
            "MessageType": message_type,
            "SigningAlgorithm": algorithm,
        });
        let answer: SignAnswer = self.call("Sign", &request).await?;
        from_base64(&self.name, &answer.signature)
    }
}
