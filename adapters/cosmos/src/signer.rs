//! A signer whose key lies in this process: injected for development, or from an encrypted keystore file.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use cosmrs::crypto::PublicKey;
use k256::ecdsa::SigningKey;
use steward_adapters::signer::{SecretKey, Signer, SignerError};
use zeroize::Zeroizing;

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
        Self::from_bytes(secret.expose(), prefix)
    }

    /// A signer from a keystore file (Web3 Secret Storage, version 3, as geth and cast write it). Deriving the key
    /// takes about a second of CPU on purpose: call it on a blocking thread.
    ///
    /// # Errors
    /// [`SignerError::Keystore`] when the file cannot be read or the password is wrong; [`SignerError::Key`].
    pub fn open_keystore(path: &Path, password: &str, prefix: &str) -> Result<Self, SignerError> {
        let secret = eth_keystore::decrypt_key(path, password)
            .map_err(|error| SignerError::Keystore { path: path.display().to_string(), reason: error.to_string() })?;
        Self::from_bytes(&Zeroizing::new(secret), prefix)
    }

    fn from_bytes(secret: &[u8], prefix: &str) -> Result<Self, SignerError> {
        let wrong = |reason| SignerError::Key { reason };
        let key = SigningKey::from_slice(secret).map_err(|_| wrong("its bytes are no key of secp256k1"))?;
        let account = PublicKey::from(key.verifying_key()).account_id(prefix);
        let account = account.map_err(|_| wrong("the prefix of its address has other than lower-case letters"))?;
        Ok(Self { key, address: account.to_string() })
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
        let opened = LocalSigner::open_keystore(&path, "testpassword", "wasm").unwrap();
        assert_eq!(opened.address(), LocalSigner::new(&SECRET.parse().unwrap(), "wasm").unwrap().address());
        let error = LocalSigner::open_keystore(&path, "wrong", "wasm").unwrap_err();
        assert!(matches!(error, SignerError::Keystore { .. }), "{error}");
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
