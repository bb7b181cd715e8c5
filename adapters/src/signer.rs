//! The `Signer` port and the secret bytes that signers are made from.
//!
//! A secret is never printed, logged or serialized, and is wiped when it is dropped.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Signs for one account. Where the key lies is the signer's business: here, in a file, in a vault. A signer signs in
/// the one way that its key is for, and refuses the other.
#[async_trait]
pub trait Signer: Send + Sync + fmt::Debug + 'static {
    /// The address that its signatures stand for, as the chain writes it.
    fn address(&self) -> &str;

    /// Whether its key can be reached and is the account's. One that lies here is both.
    ///
    /// # Errors
    /// What would keep it from signing.
    async fn check(&self) -> Result<(), SignerError> {
        Ok(())
    }

    /// Signs a 32-byte digest: r, s and the recovery bit, 65 bytes in all (secp256k1).
    async fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 65], SignerError> {
        let _ = digest;
        Err(SignerError::Scheme { wanted: "secp256k1" })
    }

    /// Signs a whole message (ed25519, RFC 8032).
    async fn sign_message(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        let _ = message;
        Err(SignerError::Scheme { wanted: "ed25519" })
    }
}

/// Where a signer's key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignerKind {
    /// In a variable of the node's environment: for development.
    Environment,
    /// In an encrypted file.
    Keystore,
    /// In a HashiCorp Vault, whose transit engine signs.
    Vault,
    /// In AWS KMS, or a service that speaks its protocol.
    Kms,
}

impl fmt::Display for SignerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "environment",
            Self::Keystore => "keystore",
            Self::Vault => "vault",
            Self::Kms => "kms",
        })
    }
}

/// Why there is no signature.
#[derive(Debug, Error)]
pub enum SignerError {
    /// The key is not one. Says nothing of the key itself.
    #[error("this is not a secret key: {reason}")]
    Key {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The key is for other signatures than the chain wants.
    #[error("the chain wants signatures of {wanted}, and the key is for others")]
    Scheme {
        /// What the chain wants.
        wanted: &'static str,
    },
    /// The keystore file cannot be read, or its password is wrong.
    #[error("the keystore {path} cannot be opened: {reason}")]
    Keystore {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The file with a password, a token or credentials cannot be used. Says nothing of what is in it.
    #[error("the file {path} cannot be used: {reason}")]
    Secret {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The signing service does not answer, or not now. Asking again may help.
    #[error("{service} does not sign now: {reason}")]
    Unavailable {
        /// Which service, and where.
        service: String,
        /// What happened.
        reason: String,
    },
    /// The signing service will not sign with this key for who asks.
    #[error("{service} refuses: {reason}")]
    Refused {
        /// Which service, and where.
        service: String,
        /// What it said.
        reason: String,
    },
    /// What the signing service gave is not the account's. It was used for nothing.
    #[error("{service} does not sign for {account}: {reason}")]
    Forged {
        /// Which service, and where.
        service: String,
        /// The account that it should sign for.
        account: String,
        /// What does not fit.
        reason: String,
    },
    /// The signing service failed.
    #[error("the signing service failed: {reason}")]
    Service {
        /// What it said.
        reason: String,
    },
}

impl SignerError {
    /// Whether asking again may help.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// A 32-byte secret key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for the code that signs.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for SecretKey {
    type Error = SignerError;

    /// Reads 32 bytes.
    fn try_from(bytes: &[u8]) -> Result<Self, SignerError> {
        let mut key = Self([0; 32]);
        if bytes.len() != key.0.len() {
            return Err(SignerError::Key { reason: "it has other than 32 bytes" });
        }
        key.0.copy_from_slice(bytes);
        Ok(key)
    }
}

impl FromStr for SecretKey {
    type Err = SignerError;

    /// Reads 64 hexadecimal digits, with or without `0x` before them.
    fn from_str(text: &str) -> Result<Self, SignerError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut key = Self([0; 32]);
        match hex::decode_to_slice(digits, &mut key.0) {
            Ok(()) => Ok(key),
            Err(_) => Err(SignerError::Key { reason: "it is written as 64 hexadecimal digits" }),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed_and_a_wrong_one_is_not_repeated() {
        let digits = "ab".repeat(32);
        let key: SecretKey = format!("0x{digits}").parse().unwrap();
        assert_eq!(key.expose(), &[0xab; 32]);
        assert!(!format!("{key:?}").contains("ab"));
        let error = digits[1..].parse::<SecretKey>().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("abab"));
    }
}
