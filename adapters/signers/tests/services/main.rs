//! Keys in services: KMS and Vault as their documentation says they answer, with real keys, over real HTTP.
//!
//! With `STEWARD_TEST_KMS` or `STEWARD_TEST_VAULT` set, the same is asked of a server of yours (moto, LocalStack, Vault,
//! OpenBao): see the tests at the end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod double;

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::Verifier as _;
use steward_adapters::signer::{Signer, SignerError};
use steward_adapters_signers::{
    AddressOf, AwsCredentials, CredentialsSource, KeyService, Kms, KmsConfig, RemoteSigner, SecretSource, SecretText,
    Vault, VaultConfig,
};
use steward_types::limits::SIGNER_CALL_TIME_MAX;
use steward_types::{Clock, ManualClock, SystemClock};

use self::double::{ACCESS_KEY, Double, Mood, REGION, SECRET, SESSION, TOKEN};

const DIGEST: [u8; 32] = [42; 32];

fn address() -> AddressOf {
    Box::new(|key| Ok(hex::encode(key)))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn kms_with(double: &Double, key: &str, secret: &str, clock: &Arc<dyn Clock>) -> Box<dyn KeyService> {
    let credentials = AwsCredentials {
        access_key: ACCESS_KEY.to_owned(),
        secret: SecretText::new(secret.to_owned()),
        session_token: Some(SecretText::new(SESSION.to_owned())),
    };
    let config = KmsConfig {
        region: REGION.to_owned(),
        key: key.to_owned(),
        endpoint: Some(double.url()),
        credentials: CredentialsSource::Fixed(credentials),
    };
    Box::new(Kms::new(config, Arc::clone(clock)).unwrap())
}

fn kms(double: &Double, key: &str) -> Box<dyn KeyService> {
    kms_with(double, key, SECRET, &clock())
}

fn vault_with(double: &Double, key: &str, token: SecretSource, version: Option<u32>) -> Box<dyn KeyService> {
    let config = VaultConfig {
        address: double.url(),
        mount: "transit/team".to_owned(),
        key: key.to_owned(),
        version,
        namespace: Some("tests".to_owned()),
        token,
        certificate_authority: None,
    };
    Box::new(Vault::new(config).unwrap())
}

fn token() -> SecretSource {
    SecretSource::Fixed(SecretText::new(TOKEN.to_owned()))
}

fn vault(double: &Double, key: &str) -> Box<dyn KeyService> {
    vault_with(double, key, token(), None)
}

async fn connected(service: Box<dyn KeyService>) -> RemoteSigner {
    RemoteSigner::connect(service, address(), clock()).await.unwrap()
}

/// Whether it is a signature that a chain takes: of this key, with the lower s and the right recovery bit.
fn assert_recovers(signature: &[u8; 65], account: &str) {
    use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
    let of = Signature::from_slice(&signature[..64]).unwrap();
    assert!(of.normalize_s().is_none(), "its s is the higher one");
    let id = RecoveryId::from_byte(signature[64]).unwrap();
    let key = VerifyingKey::recover_from_prehash(&DIGEST, &of, id).unwrap();
    assert_eq!(hex::encode(key.to_encoded_point(true).as_bytes()), account);
}

fn assert_verifies(signature: &[u8; 64], message: &[u8], account: &str) {
    let key: [u8; 32] = hex::decode(account).unwrap().try_into().unwrap();
    let key = ed25519_dalek::VerifyingKey::from_bytes(&key).unwrap();
    key.verify(message, &ed25519_dalek::Signature::from_bytes(signature)).unwrap();
}

#[tokio::test]
async fn digests_are_signed_for_evm_and_cosmos_chains() {
    let double = Double::start().await;
    for service in [kms(&double, "alias/coin"), vault(&double, "coin")] {
        let signer = connected(service).await;
        // The double answers with either s, in turn.
        for _ in 0..4 {
            assert_recovers(&signer.sign_digest(&DIGEST).await.unwrap(), signer.address());
        }
        let error = signer.sign_message(b"message").await.unwrap_err();
        assert!(matches!(error, SignerError::Scheme { wanted: "ed25519" }), "{error}");
    }
}

#[tokio::test]
async fn messages_are_signed_for_solana() {
    let double = Double::start().await;
    let message = [7; 1_232];
    for service in [kms(&double, "alias/sol"), vault(&double, "sol")] {
        let signer = connected(service).await;
        assert_verifies(&signer.sign_message(&message).await.unwrap(), &message, signer.address());
        let error = signer.sign_digest(&DIGEST).await.unwrap_err();
        assert!(matches!(error, SignerError::Scheme { wanted: "secp256k1" }), "{error}");
    }
}

#[tokio::test]
async fn what_passes_is_told_from_what_does_not() {
    let double = Double::start().await;
    for service in [kms(&double, "alias/coin"), vault(&double, "coin")] {
        let signer = connected(service).await;
        for (mood, passes) in [
            (Mood::Throttling, true),
            (Mood::Failing, true),
            (Mood::Rubbish, true),
            (Mood::Flooding, true),
            (Mood::Denying, false),
            (Mood::Forging, false),
        ] {
            double.is_in(mood);
            let error = signer.sign_digest(&DIGEST).await.unwrap_err();
            assert_eq!(error.is_passing(), passes, "{mood:?}: {error}");
            assert_eq!(matches!(error, SignerError::Forged { .. }), mood == Mood::Forging, "{error}");
            let said = format!("{error} {error:?} {signer:?}");
            for secret in [SECRET, SESSION, TOKEN] {
                assert!(!said.contains(secret), "{said}");
            }
            assert_eq!(double.answered(mood), 1, "the fault was met");
            double.is_in(Mood::Well);
            assert_recovers(&signer.sign_digest(&DIGEST).await.unwrap(), signer.address());
            double.forget();
        }
    }
}

#[tokio::test]
async fn a_service_that_hangs_is_given_up_in_time() {
    let double = Double::start().await;
    let manual = Arc::new(ManualClock::new(SystemClock::new().now()));
    let clock: Arc<dyn Clock> = Arc::clone(&manual) as _;
    let service = kms_with(&double, "alias/coin", SECRET, &clock);
    let signer = RemoteSigner::connect(service, address(), clock).await.unwrap();
    double.is_in(Mood::Hanging);
    let advance = async {
        double.met(Mood::Hanging).await;
        manual.advance(SIGNER_CALL_TIME_MAX + Duration::from_millis(1));
    };
    let (error, ()) = tokio::join!(signer.sign_digest(&DIGEST), advance);
    assert!(error.unwrap_err().is_passing());
}

#[tokio::test]
async fn an_account_that_is_given_lets_a_node_start_without_the_service_and_is_checked() {
    let double = Double::start().await;
    let account = connected(kms(&double, "alias/coin")).await.address().to_owned();
    for service in [kms(&double, "alias/coin"), vault(&double, "coin")] {
        double.is_in(Mood::Failing);
        let signer = RemoteSigner::new(service, account.clone(), address(), clock());
        assert!(signer.sign_digest(&DIGEST).await.unwrap_err().is_passing());
        double.is_in(Mood::Well);
        assert_recovers(&signer.sign_digest(&DIGEST).await.unwrap(), &account);
    }
    let signer = RemoteSigner::new(kms(&double, "alias/coin"), "another".to_owned(), address(), clock());
    let error = signer.sign_digest(&DIGEST).await.unwrap_err();
    assert!(matches!(error, SignerError::Forged { .. }) && error.to_string().contains(&account), "{error}");
}

#[tokio::test]
async fn requests_are_signed_by_the_right_secret_or_refused() {
    let double = Double::start().await;
    let service = kms_with(&double, "alias/coin", "another secret", &clock());
    let error = RemoteSigner::connect(service, address(), clock()).await.unwrap_err();
    assert!(matches!(error, SignerError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("InvalidSignatureException"), "{error}");
    let service = vault_with(&double, "coin", SecretSource::Fixed(SecretText::new("other".to_owned())), None);
    let error = RemoteSigner::connect(service, address(), clock()).await.unwrap_err();
    assert!(matches!(error, SignerError::Refused { .. }) && error.to_string().contains("403"), "{error}");
    let error = RemoteSigner::connect(vault(&double, "nobody"), address(), clock()).await.unwrap_err();
    assert!(matches!(error, SignerError::Refused { .. }) && error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn a_key_that_vault_rotates_stays_the_accounts_and_a_token_is_renewed() {
    let double = Double::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let signer = connected(vault_with(&double, "coin", SecretSource::File(file.clone()), None)).await;
    double.rotate();
    assert_recovers(&signer.sign_digest(&DIGEST).await.unwrap(), signer.address());
    let next = connected(vault(&double, "coin")).await;
    assert_ne!(next.address(), signer.address(), "the newest version is another account");
    let first = connected(vault_with(&double, "coin", token(), Some(1))).await;
    assert_eq!(first.address(), signer.address());

    std::fs::write(&file, "stale").unwrap();
    assert!(matches!(signer.sign_digest(&DIGEST).await, Err(SignerError::Refused { .. })));
    std::fs::write(&file, TOKEN).unwrap();
    assert_recovers(&signer.sign_digest(&DIGEST).await.unwrap(), signer.address());
}

/// `STEWARD_TEST_KMS=http://127.0.0.1:5000 STEWARD_TEST_KMS_KEY=ID`, with AWS's variables: a key on secp256k1.
#[tokio::test]
async fn a_kms_of_yours_signs() {
    let Ok(endpoint) = std::env::var("STEWARD_TEST_KMS") else { return };
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let credentials = AwsCredentials {
        access_key: variable("AWS_ACCESS_KEY_ID"),
        secret: SecretText::new(variable("AWS_SECRET_ACCESS_KEY")),
        session_token: std::env::var("AWS_SESSION_TOKEN").ok().map(SecretText::new),
    };
    let config = KmsConfig {
        region: std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned()),
        key: variable("STEWARD_TEST_KMS_KEY"),
        endpoint: Some(endpoint.parse().unwrap()),
        credentials: CredentialsSource::Fixed(credentials),
    };
    let signer = connected(Box::new(Kms::new(config, clock()).unwrap())).await;
    for _ in 0..8 {
        assert_recovers(&signer.sign_digest(&DIGEST).await.unwrap(), signer.address());
    }
}

/// `STEWARD_TEST_VAULT=http://127.0.0.1:8200 STEWARD_TEST_VAULT_KEY=NAME VAULT_TOKEN=…`: a key of type ed25519.
#[tokio::test]
async fn a_vault_of_yours_signs() {
    let Ok(address_of_vault) = std::env::var("STEWARD_TEST_VAULT") else { return };
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let config = VaultConfig {
        address: address_of_vault.parse().unwrap(),
        mount: "transit".to_owned(),
        key: variable("STEWARD_TEST_VAULT_KEY"),
        version: None,
        namespace: None,
        token: SecretSource::Fixed(SecretText::new(variable("VAULT_TOKEN"))),
        certificate_authority: None,
    };
    let signer = connected(Box::new(Vault::new(config).unwrap())).await;
    let message = [7; 1_232];
    assert_verifies(&signer.sign_message(&message).await.unwrap(), &message, signer.address());
}
