//! A signer whose key lies in this process: injected for development, or from an encrypted keystore file.

use std::fmt;
use std::path::Path;

use alloy::primitives::B256;
use alloy::signers::SignerSync;
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

    /// A signer from a keystore file (Web3 Secret Storage, version 3, as geth and cast write it). Deriving the key
    /// takes about a second of CPU on purpose: call it on a blocking thread.
    ///
    /// # Errors
    /// [`SignerError::Keystore`] when the file cannot be read or the password is wrong.
    pub fn open_keystore(path: &Path, password: &str) -> Result<Self, SignerError> {
        let key = PrivateKeySigner::decrypt_keystore(path, password)
            .map_err(|error| SignerError::Keystore { path: path.display().to_string(), reason: error.to_string() })?;
        Ok(Self::from_key(key))
    }

    fn from_key(key: PrivateKeySigner) -> Self {
        let address = key.address().to_string();
        Self { key, address }
    }
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

    /// The PBKDF2 example of the Web3 Secret Storage Definition; its password is `testpassword`.
    const KEYSTORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr",
        "cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
        "kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256",
        "salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    const SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    #[test]
    fn a_keystore_opens_with_its_password_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        std::fs::write(&path, KEYSTORE).unwrap();
        let opened = LocalSigner::open_keystore(&path, "testpassword").unwrap();
        assert_eq!(opened.address(), LocalSigner::new(&SECRET.parse().unwrap()).unwrap().address());
        let error = LocalSigner::open_keystore(&path, "wrong").unwrap_err();
        assert!(matches!(error, SignerError::Keystore { .. }), "{error}");
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
