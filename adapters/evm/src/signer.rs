//! A signer whose key lies in this process, and the address that a public key makes.

use std::fmt;

use alloy::primitives::{Address, B256};
use alloy::signers::SignerSync;
use alloy::signers::k256::ecdsa::VerifyingKey;
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use steward_adapters::signer::{SecretKey, Signer, SignerError};

/// Signs with a secp256k1 key in memory, which is wiped when the signer is dropped.
pub struct LocalSigner {
    key: PrivateKeySigner,
    address: String,
}

impl LocalSigner {
    /// A signer from its secret key.
    ///
    /// # Errors
    /// [`SignerError::Key`] when the bytes are no key of the curve.
    pub fn new(secret: &SecretKey) -> Result<Self, SignerError> {
        let key = PrivateKeySigner::from_bytes(&B256::from(*secret.expose()))
            .map_err(|_| SignerError::Key { reason: "its bytes are no key of secp256k1" })?;
        Ok(Self::from_key(key))
    }

    fn from_key(key: PrivateKeySigner) -> Self {
        let address = key.address().to_string();
        Self { key, address }
    }
}

/// The address of the account that signatures of this public key stand for: a point of secp256k1 in SEC 1.
///
/// # Errors
/// [`SignerError::Scheme`] when it is no such point.
pub fn address_of(public_key: &[u8]) -> Result<String, SignerError> {
    let key = VerifyingKey::from_sec1_bytes(public_key);
    let key = key.map_err(|_| SignerError::Scheme { wanted: "secp256k1" })?;
    Ok(Address::from_public_key(&key).to_string())
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner").field("address", &self.address).finish_non_exhaustive()
    }
}

#[async_trait]
impl Signer for LocalSigner {
    fn address(&self) -> &str {
        &self.address
    }

    async fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 65], SignerError> {
        let signature = self
            .key
            .sign_hash_sync(&B256::from(*digest))
            .map_err(|error| SignerError::Service { reason: error.to_string() })?;
        Ok(signature.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    #[test]
    fn a_public_key_makes_the_address_of_its_secret_key() {
        let secret: SecretKey = SECRET.parse().unwrap();
        let signer = LocalSigner::new(&secret).unwrap();
        let public = signer.key.credential().verifying_key().to_encoded_point(true);
        assert_eq!(address_of(public.as_bytes()).unwrap(), signer.address());
        assert!(matches!(address_of(&[1; 32]), Err(SignerError::Scheme { .. })));
    }

    #[test]
    fn a_signer_does_not_print_its_key() {
        let signer = LocalSigner::new(&SECRET.parse().unwrap()).unwrap();
        let printed = format!("{signer:?}");
        assert!(printed.contains(signer.address()) && !printed.contains(&SECRET[..8]), "{printed}");
    }

    #[test]
    fn zero_is_no_key() {
        assert!(LocalSigner::new(&SecretKey::from_bytes([0; 32])).is_err());
    }
}
