//! A signer whose key lies in a service. Each call has a deadline, and each signature is checked against the account.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use steward_adapters::signer::{Signer, SignerError};
use steward_types::Clock;
use steward_types::limits::SIGNER_CALL_TIME_MAX;
use tokio::sync::OnceCell;

use crate::public_key::{PublicKey, Scheme, misfit, recoverable, verified};

/// A key in a service, which never leaves it.
#[async_trait]
pub trait KeyService: Send + Sync + fmt::Debug + 'static {
    /// What the service is called in errors: its kind and host, no secret.
    fn name(&self) -> &str;

    /// The key's public half, as the DER of a `SubjectPublicKeyInfo` or as the 32 bytes of an Ed25519 key.
    ///
    /// # Errors
    /// [`SignerError::Unavailable`] when asking again may help.
    async fn public_key(&self) -> Result<Vec<u8>, SignerError>;

    /// Signs a digest (ECDSA in DER), or a whole message (Ed25519, 64 bytes).
    ///
    /// # Errors
    /// [`SignerError::Unavailable`] when asking again may help.
    async fn sign(&self, scheme: Scheme, input: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// The account that signatures of a public key stand for: of a compressed point, or of 32 bytes.
pub type AddressOf = Box<dyn Fn(&[u8]) -> Result<String, SignerError> + Send + Sync>;

/// Signs with a key in a service.
pub struct RemoteSigner {
    service: Box<dyn KeyService>,
    account: String,
    address_of: AddressOf,
    clock: Arc<dyn Clock>,
    /// Asked for once; it is the account's, or it is not kept.
    public_key: OnceCell<PublicKey>,
}

impl fmt::Debug for RemoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSigner").field("account", &self.account).field("service", &self.service).finish()
    }
}

impl RemoteSigner {
    /// A signer for an account that is known. The service is asked for nothing until there is something to sign.
    pub fn new(service: Box<dyn KeyService>, account: String, address_of: AddressOf, clock: Arc<dyn Clock>) -> Self {
        Self { service, account, address_of, clock, public_key: OnceCell::new() }
    }

    /// A signer for the account that the service's key makes.
    ///
    /// # Errors
    /// [`SignerError::Unavailable`] when the service does not answer in time; [`SignerError::Scheme`] when its key is for
    /// another sort of chain.
    pub async fn connect(
        service: Box<dyn KeyService>,
        address_of: AddressOf,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SignerError> {
        let mut signer = Self::new(service, String::new(), address_of, clock);
        let key = signer.ask_public_key().await?;
        signer.account = (signer.address_of)(&key.to_bytes())?;
        signer.public_key = OnceCell::new_with(Some(key));
        Ok(signer)
    }

    /// The service's key now, if it is the account's.
    async fn key_of_account(&self) -> Result<PublicKey, SignerError> {
        let key = self.ask_public_key().await?;
        let account = (self.address_of)(&key.to_bytes())?;
        if account == self.account { Ok(key) } else { Err(self.forged(&format!("its key is that of {account}"))) }
    }

    async fn public_key(&self, wanted: Scheme) -> Result<PublicKey, SignerError> {
        let key = *self.public_key.get_or_try_init(|| self.key_of_account()).await?;
        if key.scheme() == wanted { Ok(key) } else { Err(misfit(wanted)) }
    }

    async fn ask_public_key(&self) -> Result<PublicKey, SignerError> {
        let info = self.in_time(self.service.public_key()).await?;
        let key = PublicKey::from_info(&info).or_else(|| PublicKey::from_ed25519(&info));
        let reason = "its key is on neither of the curves that chains use, secp256k1 and Ed25519".to_owned();
        key.ok_or_else(|| SignerError::Refused { service: self.service.name().to_owned(), reason })
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, SignerError>>) -> Result<T, SignerError> {
        tokio::select! {
            answer = call => answer,
            () = self.clock.sleep(SIGNER_CALL_TIME_MAX) => Err(SignerError::Unavailable {
                service: self.service.name().to_owned(),
                reason: format!("it did not answer within {} ms", SIGNER_CALL_TIME_MAX.as_millis()),
            }),
        }
    }

    fn forged(&self, reason: &str) -> SignerError {
        SignerError::Forged {
            service: self.service.name().to_owned(),
            account: self.account.clone(),
            reason: reason.to_owned(),
        }
    }
}

#[async_trait]
impl Signer for RemoteSigner {
    fn address(&self) -> &str {
        &self.account
    }

    async fn check(&self) -> Result<(), SignerError> {
        self.key_of_account().await.map(drop)
    }

    async fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 65], SignerError> {
        let PublicKey::Secp256k1(key) = self.public_key(Scheme::Secp256k1).await? else {
            return Err(misfit(Scheme::Secp256k1));
        };
        let signature = self.in_time(self.service.sign(Scheme::Secp256k1, digest)).await?;
        recoverable(&signature, digest, &key).ok_or_else(|| self.forged("its signature is not the account's"))
    }

    async fn sign_message(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        let PublicKey::Ed25519(key) = self.public_key(Scheme::Ed25519).await? else {
            return Err(misfit(Scheme::Ed25519));
        };
        let signature = self.in_time(self.service.sign(Scheme::Ed25519, message)).await?;
        verified(&signature, message, &key).ok_or_else(|| self.forged("its signature is not the account's"))
    }
}
