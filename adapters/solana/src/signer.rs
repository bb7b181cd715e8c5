//! A signer whose ed25519 key lies in this process, and the address that a public key makes.

use std::fmt;

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use steward_adapters::signer::{SecretKey, Signer, SignerError};
use zeroize::Zeroizing;

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

    /// A signer from a key as tools write it: see [`read_secret`].
    ///
    /// # Errors
    /// [`SignerError::Key`] when it is none of these.
    pub fn from_text(text: &str) -> Result<Self, SignerError> {
        read_secret(text).map(|secret| Self::new(&secret))
    }
}

/// Reads a key as tools write it: 64 hexadecimal digits, base58 as wallets export it, or the array of numbers that
/// `solana-keygen` writes. The last two usually hold the public key too, which must fit.
///
/// # Errors
/// [`SignerError::Key`] when it is none of these.
pub fn read_secret(text: &str) -> Result<SecretKey, SignerError> {
    let text = text.trim();
    if let Ok(secret) = text.parse::<SecretKey>() {
        return Ok(secret);
    }
    let bytes = Zeroizing::new(if text.starts_with('[') {
        serde_json::from_str::<Vec<u8>>(text).unwrap_or_default()
    } else {
        bs58::decode(text).into_vec().unwrap_or_default()
    });
    secret_of(&bytes)
}

/// The key in the bytes of a seed, or of a seed and its public key, which must fit.
///
/// # Errors
/// [`SignerError::Key`] when they are something else.
pub fn secret_of(bytes: &[u8]) -> Result<SecretKey, SignerError> {
    let (seed, public) = bytes.split_at_checked(32).unwrap_or_default();
    let reason = "it is written as 64 hexadecimal digits, in base58, or as solana-keygen's array";
    let secret = SecretKey::try_from(seed).map_err(|_| SignerError::Key { reason })?;
    let own = SigningKey::from_bytes(secret.expose()).verifying_key();
    if public.is_empty() || public == own.as_bytes() {
        return Ok(secret);
    }
    Err(SignerError::Key { reason: "its public half does not belong to its secret half" })
}

/// The address of the account that signatures of this public key stand for.
///
/// # Errors
/// [`SignerError::Scheme`] when it is no key of Ed25519.
pub fn address_of(public_key: &[u8]) -> Result<String, SignerError> {
    let key = public_key.try_into().ok().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
    let key = key.ok_or(SignerError::Scheme { wanted: "ed25519" })?;
    Ok(bs58::encode(key.as_bytes()).into_string())
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
    fn a_public_key_makes_the_address_of_its_secret_key() {
        let signer = LocalSigner::from_text(SEED).unwrap();
        assert_eq!(address_of(&hex::decode(PUBLIC).unwrap()).unwrap(), signer.address());
        assert!(matches!(address_of(&[1; 33]), Err(SignerError::Scheme { .. })));
    }

    #[test]
    fn neither_a_signer_nor_an_error_prints_a_key() {
        let signer = LocalSigner::from_text(SEED).unwrap();
        assert!(!format!("{signer:?}").contains(&SEED[..8]));
        let error = LocalSigner::from_text(&SEED[2..]).unwrap_err();
        assert!(!format!("{error:?} {error}").contains(&SEED[4..12]));
    }
}
