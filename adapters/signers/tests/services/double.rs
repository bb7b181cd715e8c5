//! A server that answers as KMS and Vault document it, over keys of its own, and fails when told to.
//!
//! KMS's requests must be signed; the signature is computed anew from what arrived.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use k256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use steward_adapters_signers::aws::{Scope, SignableRequest, authorization};
use steward_adapters_signers::{AwsCredentials, SecretText};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use url::Url;

pub const ACCESS_KEY: &str = "AKIDTESTS";
pub const SECRET: &str = "hush-secret-access-key";
pub const SESSION: &str = "hush-session-token";
pub const TOKEN: &str = "hush-vault-token";
pub const REGION: &str = "eu-central-1";

const COIN_PREFIX: &str = "3056301006072a8648ce3d020106052b8104000a034200";
const SOL_PREFIX: &str = "302a300506032b6570032100";

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    /// As it should.
    Well,
    /// That there are too many requests.
    Throttling,
    /// With an error of its own.
    Failing,
    /// With what nobody can read.
    Rubbish,
    /// With more than anybody should read.
    Flooding,
    /// That it is not permitted.
    Denying,
    /// With signatures of another key.
    Forging,
    /// Never.
    Hanging,
}

struct Inner {
    mood: Mutex<Mood>,
    answered: Mutex<BTreeMap<Mood, u32>>,
    met: Notify,
    versions: Mutex<u8>,
    signed: Mutex<u32>,
}

/// The running server. Dropping it ends it.
pub struct Double {
    inner: Arc<Inner>,
    url: Url,
    serving: JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Double {
    pub async fn start() -> Self {
        let inner = Arc::new(Inner {
            mood: Mutex::new(Mood::Well),
            answered: Mutex::default(),
            met: Notify::new(),
            versions: Mutex::new(1),
            signed: Mutex::default(),
        });
        let router = Router::new()
            .route("/", post(kms))
            .route("/v1/transit/team/keys/{key}", get(vault_key))
            .route("/v1/transit/team/sign/{key}", post(vault_sign))
            .with_state(Arc::clone(&inner));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        #[expect(clippy::disallowed_methods, reason = "owned by the double, which ends it when it is dropped")]
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { inner, url, serving }
    }

    pub fn url(&self) -> Url {
        self.url.clone()
    }

    pub fn is_in(&self, mood: Mood) {
        *self.inner.mood.lock().unwrap() = mood;
    }

    /// How many requests it has answered in a mood.
    pub fn answered(&self, mood: Mood) -> u32 {
        self.inner.answered.lock().unwrap().get(&mood).copied().unwrap_or_default()
    }

    pub fn forget(&self) {
        self.inner.answered.lock().unwrap().clear();
    }

    /// Returns once it has met a request in this mood.
    pub async fn met(&self, mood: Mood) {
        loop {
            let met = self.inner.met.notified();
            if self.answered(mood) > 0 {
                return;
            }
            met.await;
        }
    }

    /// Gives each key of Vault's a new version.
    pub fn rotate(&self) {
        *self.inner.versions.lock().unwrap() += 1;
    }
}

impl Inner {
    /// Notes a request; says how to answer it where it is not to be answered well.
    async fn note(&self) -> Option<Response> {
        let mood = *self.mood.lock().unwrap();
        *self.answered.lock().unwrap().entry(mood).or_default() += 1;
        self.met.notify_one();
        match mood {
            Mood::Well | Mood::Forging => None,
            Mood::Throttling => {
                let body = json!({ "__type": "ThrottlingException", "message": "slower", "errors": ["slower"] });
                Some((StatusCode::TOO_MANY_REQUESTS, body.to_string()).into_response())
            }
            Mood::Failing => Some((StatusCode::SERVICE_UNAVAILABLE, "down").into_response()),
            Mood::Rubbish => Some((StatusCode::OK, "<html>").into_response()),
            Mood::Flooding => Some((StatusCode::OK, vec![b' '; 1 << 20]).into_response()),
            Mood::Denying => {
                let body =
                    json!({ "__type": "AccessDeniedException", "message": "no", "errors": ["permission denied"] });
                Some((StatusCode::FORBIDDEN, body.to_string()).into_response())
            }
            Mood::Hanging => std::future::pending().await,
        }
    }

    fn coin(version: u8) -> SigningKey {
        SigningKey::from_slice(&[version; 32]).unwrap()
    }

    fn sol(version: u8) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&[version; 32])
    }

    /// The version that signs: another one for a forger.
    fn signing(&self, version: u8) -> u8 {
        if *self.mood.lock().unwrap() == Mood::Forging { version + 100 } else { version }
    }

    /// DER, with the lower and the higher s in turn.
    fn sign_coin(&self, version: u8, digest: &[u8]) -> Vec<u8> {
        let (low, _) = Self::coin(self.signing(version)).sign_prehash_recoverable(digest).unwrap();
        let mut signed = self.signed.lock().unwrap();
        *signed += 1;
        let signature =
            if signed.is_multiple_of(2) { low } else { Signature::from_scalars(low.r(), -low.s()).unwrap() };
        signature.to_der().as_bytes().to_vec()
    }

    fn sign_sol(&self, version: u8, message: &[u8]) -> Vec<u8> {
        Self::sol(self.signing(version)).sign(message).to_bytes().to_vec()
    }
}

fn coin_info(version: u8) -> Vec<u8> {
    let point = Inner::coin(version).verifying_key().to_encoded_point(false);
    [hex::decode(COIN_PREFIX).unwrap(), point.as_bytes().to_vec()].concat()
}

fn kms_error(kind: &str) -> Response {
    (StatusCode::BAD_REQUEST, json!({ "__type": kind, "message": "as documented" }).to_string()).into_response()
}

fn is_signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = header("authorization");
    let names = given.split("SignedHeaders=").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
    let needed = ["host", "x-amz-date", "x-amz-security-token", "x-amz-target"];
    let signed: Vec<(&str, &str)> = names.split(';').map(|name| (name, header(name))).collect();
    let credentials = AwsCredentials {
        access_key: ACCESS_KEY.to_owned(),
        secret: SecretText::new(SECRET.to_owned()),
        session_token: None,
    };
    let request = SignableRequest { method: "POST", path: "/", headers: &signed, body };
    let scope = Scope { region: REGION, service: "kms" };
    let expected = authorization(&request, scope, header("x-amz-date"), &credentials);
    needed.iter().all(|name| names.split(';').any(|signed| signed == *name))
        && header("x-amz-security-token") == SESSION
        && given == expected
}

async fn kms(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(answer) = inner.note().await {
        return answer;
    }
    if !is_signed(&headers, &body) {
        return kms_error("InvalidSignatureException");
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    let (key, message) = (text("KeyId"), STANDARD.decode(text("Message")).unwrap());
    let said = (text("MessageType"), text("SigningAlgorithm"));
    let said = (said.0.as_str(), said.1.as_str());
    let answer = match (headers["x-amz-target"].to_str().unwrap(), key.as_str()) {
        ("TrentService.GetPublicKey", "alias/coin") => json!({ "PublicKey": STANDARD.encode(coin_info(1)) }),
        ("TrentService.GetPublicKey", "alias/sol") => {
            let key = Inner::sol(1).verifying_key();
            let info = [hex::decode(SOL_PREFIX).unwrap(), key.as_bytes().to_vec()].concat();
            json!({ "PublicKey": STANDARD.encode(info) })
        }
        ("TrentService.Sign", "alias/coin") if said == ("DIGEST", "ECDSA_SHA_256") && message.len() == 32 => {
            json!({ "Signature": STANDARD.encode(inner.sign_coin(1, &message)) })
        }
        ("TrentService.Sign", "alias/sol") if said == ("RAW", "ED25519_SHA_512") && message.len() <= 4096 => {
            json!({ "Signature": STANDARD.encode(inner.sign_sol(1, &message)) })
        }
        _ => return kms_error("ValidationException"),
    };
    (StatusCode::OK, answer.to_string()).into_response()
}

fn vault_error(status: StatusCode, reason: &str) -> Response {
    (status, json!({ "errors": [reason] }).to_string()).into_response()
}

fn is_permitted(headers: &HeaderMap) -> bool {
    let is = |name: &str, expected: &str| headers.get(name).is_some_and(|value| value == expected);
    is("x-vault-token", TOKEN) && is("x-vault-namespace", "tests")
}

async fn vault_key(State(inner): State<Arc<Inner>>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    if let Some(answer) = inner.note().await {
        return answer;
    }
    if !is_permitted(&headers) {
        return vault_error(StatusCode::FORBIDDEN, "permission denied");
    }
    let newest = *inner.versions.lock().unwrap();
    let public = |version: u8| match key.as_str() {
        "coin" => {
            let lines = STANDARD.encode(coin_info(version));
            Some(format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &lines[..64], &lines[64..]))
        }
        "sol" => Some(STANDARD.encode(Inner::sol(version).verifying_key().as_bytes())),
        _ => None,
    };
    let versions = (1..=newest).map(|version| Some((version.to_string(), json!({ "public_key": public(version)? }))));
    let Some(keys) = versions.collect::<Option<serde_json::Map<_, _>>>() else {
        return vault_error(StatusCode::NOT_FOUND, "");
    };
    (StatusCode::OK, json!({ "data": { "latest_version": newest, "keys": keys } }).to_string()).into_response()
}

async fn vault_sign(
    State(inner): State<Arc<Inner>>,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(answer) = inner.note().await {
        return answer;
    }
    if !is_permitted(&headers) {
        return vault_error(StatusCode::FORBIDDEN, "permission denied");
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    let input = STANDARD.decode(request["input"].as_str().unwrap()).unwrap();
    let version = u8::try_from(request["key_version"].as_u64().unwrap()).unwrap();
    let prehashed = request["prehashed"] == true && request["hash_algorithm"] == "sha2-256";
    let signature = match key.as_str() {
        "coin" if prehashed && request["marshaling_algorithm"] == "asn1" => inner.sign_coin(version, &input),
        "sol" if request.get("prehashed").is_none() => inner.sign_sol(version, &input),
        _ => return vault_error(StatusCode::BAD_REQUEST, "unsupported"),
    };
    let signature = format!("vault:v{version}:{}", STANDARD.encode(signature));
    (StatusCode::OK, json!({ "data": { "signature": signature } }).to_string()).into_response()
}
