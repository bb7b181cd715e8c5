//! A signer whose ed25519 key lies in this process: injected for development, or from an encrypted keystore file.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};
use steward_adapters::signer::{SecretKey, Signer, SignerError};
use zeroize::{Zeroize as _, Zeroizing};

/// Signs with an ed25519 key in memory, which is wiped when the signer is dropped.
pub struct LocalSigner {
    key: SigningKey,
    address: String,
}

impl LocalSigner {
    /// A signer from its secret key, the seed of RFC 8032.
    pub fn new(secret: &SecretKey) -> Self {
        let key = SigningKey::from_bytes(secret.expose());
        let address = bs58::encode(key.verifying_key().as_bytes()).into_string();
        Self { key, address }
    }

    /// A signer from a key as tools write it: 64 hexadecimal digits, base58 as wallets export it, or the array of
    /// numbers that `solana-keygen` writes. The last two usually hold the public key too, which must fit.
    ///
    /// # Errors
    /// [`SignerError::Key`] when it is none of these.
    pub fn from_text(text: &str) -> Result<Self, SignerError> {
        let text = text.trim();
        if let Ok(secret) = text.parse::<SecretKey>() {
            return Ok(Self::new(&secret));
        }
        let bytes = Zeroizing::new(if text.starts_with('[') {
            serde_json::from_str::<Vec<u8>>(text).unwrap_or_default()
        } else {
            bs58::decode(text).into_vec().unwrap_or_default()
        });
        Self::from_bytes(&bytes)
    }

    /// A signer from a keystore file (Web3 Secret Storage, version 3) with the seed, or the seed and the public key, in
    /// it. Deriving the key takes about a second of CPU on purpose: call it on a blocking thread.
    ///
    /// # Errors
    /// [`SignerError::Keystore`] when the file cannot be read or the password is wrong; [`SignerError::Key`] when what
    /// is in it is no key.
    pub fn open_keystore(path: &Path, password: &str) -> Result<Self, SignerError> {
        let bytes = eth_keystore::decrypt_key(path, password)
            .map_err(|error| SignerError::Keystore { path: path.display().to_string(), reason: error.to_string() })?;
        Self::from_bytes(&Zeroizing::new(bytes))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, SignerError> {
        let (seed, public) = bytes.split_at_checked(32).unwrap_or_default();
        let Ok(mut seed) = <[u8; 32]>::try_from(seed) else {
            let reason = "it is written as 64 hexadecimal digits, in base58, or as solana-keygen's array";
            return Err(SignerError::Key { reason });
        };
        let signer = Self::new(&SecretKey::from_bytes(seed));
        seed.zeroize();
        if public.is_empty() || public == signer.key.verifying_key().as_bytes() {
            return Ok(signer);
        }
        Err(SignerError::Key { reason: "its public half does not belong to its secret half" })
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

    async fn sign_message(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.key.sign(message).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second test of RFC 8032, section 7.1.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn pair() -> Vec<u8> {
        hex::decode(format!("{SEED}{PUBLIC}")).unwrap()
    }

    #[tokio::test]
    async fn it_signs_as_rfc_8032_says() {
        let signer = LocalSigner::from_text(SEED).unwrap();
        assert_eq!(signer.address(), bs58::encode(hex::decode(PUBLIC).unwrap()).into_string());
        assert_eq!(hex::encode(signer.sign_message(&[0x72]).await.unwrap()), SIGNATURE);
        let refused = signer.sign_digest(&[0; 32]).await.unwrap_err();
        assert!(matches!(refused, SignerError::Scheme { wanted: "secp256k1" }), "{refused}");
    }

    #[test]
    fn a_key_is_read_as_tools_write_it() {
        let address = LocalSigner::from_text(SEED).unwrap().address;
        let seed = &pair()[..32];
        for text in [
            format!("0x{SEED}\n"),
            bs58::encode(pair()).into_string(),
            bs58::encode(seed).into_string(),
            serde_json::to_string(&pair()).unwrap(),
            serde_json::to_string(seed).unwrap(),
        ] {
            assert_eq!(LocalSigner::from_text(&text).unwrap().address, address, "{text}");
        }
        let mut wrong = pair();
        wrong[40] ^= 1;
        for text in ["", "[1,2]", "[300]", "no key", &serde_json::to_string(&wrong).unwrap(), &SEED[2..]] {
            let error = LocalSigner::from_text(text).unwrap_err();
            assert!(matches!(error, SignerError::Key { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn a_keystore_opens_with_its_password_only() {
        let folder = tempfile::tempdir().unwrap();
        // The key derivation of the format is slow on purpose; this one is the example that its definition gives.
        let keystore = r#"{"crypto":{"cipher":"aes-128-ctr",
            "cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
            "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
            "kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256",
            "salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
            "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
            "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
        let path = folder.path().join("key.json");
        std::fs::write(&path, keystore).unwrap();
        let secret = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
        let opened = LocalSigner::open_keystore(&path, "testpassword").unwrap();
        assert_eq!(opened.address, LocalSigner::from_text(secret).unwrap().address);
        let error = LocalSigner::open_keystore(&path, "wrong").unwrap_err();
        assert!(matches!(error, SignerError::Keystore { .. }), "{error}");
    }

    #[test]
    fn neither_a_signer_nor_an_error_prints_a_key() {
        let signer = LocalSigner::from_text(SEED).unwrap();
        assert!(!format!("{signer:?}").contains(&SEED[..8]));
        let error = LocalSigner::from_text(&SEED[2..]).unwrap_err();
        assert!(!format!("{error:?} {error}").contains(&SEED[4..12]));
    }
}
