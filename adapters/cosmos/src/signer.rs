//! A signer whose key lies in this process, and the address that a public key makes.

use std::fmt;

use async_trait::async_trait;
use cosmrs::crypto::PublicKey;
use k256::ecdsa::{SigningKey, VerifyingKey};
use steward_adapters::signer::{SecretKey, Signer, SignerError};

/// Signs with a secp256k1 key in memory, which is wiped when the signer is dropped.
pub struct LocalSigner {
    key: SigningKey,
    address: String,
}

impl LocalSigner {
    /// A signer from its secret key. The prefix is what the chain's addresses begin with, such as `cosmos`.
    ///
    /// # Errors
    /// [`SignerError::Key`] when the bytes are no key of the curve, or the prefix is none.
    pub fn new(secret: &SecretKey, prefix: &str) -> Result<Self, SignerError> {
        let key = SigningKey::from_slice(secret.expose());
        let key = key.map_err(|_| SignerError::Key { reason: "its bytes are no key of secp256k1" })?;
        let address = address(key.verifying_key(), prefix)?;
        Ok(Self { key, address })
    }
}

/// The address of the account that signatures of this public key stand for: a point of secp256k1 in SEC 1.
///
/// # Errors
/// [`SignerError::Scheme`] when it is no such point; [`SignerError::Key`] when the prefix is none.
pub fn address_of(public_key: &[u8], prefix: &str) -> Result<String, SignerError> {
    let key = VerifyingKey::from_sec1_bytes(public_key);
    address(&key.map_err(|_| SignerError::Scheme { wanted: "secp256k1" })?, prefix)
}

fn address(key: &VerifyingKey, prefix: &str) -> Result<String, SignerError> {
    let account = PublicKey::from(key).account_id(prefix);
    let wrong = |_| SignerError::Key { reason: "the prefix of its address has other than lower-case letters" };
    Ok(account.map_err(wrong)?.to_string())
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
        let signed = self.key.sign_prehash_recoverable(digest);
        let (signature, recovery) = signed.map_err(|error| SignerError::Service { reason: error.to_string() })?;
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = recovery.to_byte();
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    #[test]
    fn a_public_key_makes_the_address_of_its_secret_key() {
        let signer = LocalSigner::new(&SECRET.parse().unwrap(), "wasm").unwrap();
        let public = signer.key.verifying_key().to_encoded_point(true);
        assert_eq!(address_of(public.as_bytes(), "wasm").unwrap(), signer.address());
        assert!(matches!(address_of(&[1; 32], "wasm"), Err(SignerError::Scheme { .. })));
    }

    #[test]
    fn a_signer_prints_its_address_and_not_its_key() {
        let signer = LocalSigner::new(&SECRET.parse().unwrap(), "cosmos").unwrap();
        let printed = format!("{signer:?}");
        assert!(printed.contains("cosmos1") && !printed.contains(&SECRET[..8]), "{printed}");
    }

    #[test]
    fn zero_is_no_key_and_capitals_are_no_prefix() {
        assert!(LocalSigner::new(&SecretKey::from_bytes([0; 32]), "wasm").is_err());
        assert!(LocalSigner::new(&SecretKey::from_bytes([1; 32]), "WASM").is_err());
    }
}
