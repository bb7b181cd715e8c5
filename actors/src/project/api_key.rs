//! The text of an API key: `stw_<key id>_<secret>`. The secret has 256 random bits, so that a plain SHA-256 of it is
//! as hard to turn back as a slow hash would be of a password.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use steward_types::Entropy;
use subtle::ConstantTimeEq;
use thiserror::Error;

const PREFIX: &str = "stw_";
const KEY_ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

/// A whole API key, its secret included. `Debug` hides the secret; [`ApiKeyText::reveal`] is the only way to read it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyText {
    id: String,
    secret: String,
}

/// The text is no API key. It is not repeated here, because it may be a mistyped secret.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not an API key: it reads stw_, 16 hexadecimal digits, _, and 64 hexadecimal digits")]
pub struct ApiKeyTextError;

impl ApiKeyText {
    /// A new key with a random id.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut id = [0; KEY_ID_DIGITS / 2];
        entropy.fill(&mut id);
        Self::with_id(hex::encode(id), entropy)
    }

    /// A new key whose id follows from `request`, so that a repeated request meets the key that it made before.
    pub fn for_request(request: &[&str], entropy: &dyn Entropy) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"steward api key of a request\0");
        for part in request {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        Self::with_id(hex::encode(&digest[..KEY_ID_DIGITS / 2]), entropy)
    }

    fn with_id(id: String, entropy: &dyn Entropy) -> Self {
        let mut secret = [0; SECRET_DIGITS / 2];
        entropy.fill(&mut secret);
        Self { id, secret: hex::encode(secret) }
    }

    /// The id, which is no secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is kept of the secret.
    pub fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }

    /// Whether the secret is the one of this hash. Takes the same time wherever they differ.
    pub fn matches(&self, secret_hash: &[u8; 32]) -> bool {
        self.secret_hash().ct_eq(secret_hash).into()
    }

    /// The whole key, to be shown to its owner once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

impl FromStr for ApiKeyText {
    type Err = ApiKeyTextError;
    fn from_str(text: &str) -> Result<Self, ApiKeyTextError> {
        let is_hex = |part: &str, digits: usize| {
            part.len() == digits && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
        match parts {
            Some((id, secret)) if is_hex(id, KEY_ID_DIGITS) && is_hex(secret, SECRET_DIGITS) => {
                Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
            }
            _ => Err(ApiKeyTextError),
        }
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyText").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steward_types::SeededEntropy;

    #[test]
    fn a_key_reads_back_matches_its_own_hash_only_and_hides_its_secret() {
        let entropy = SeededEntropy::new(1);
        let (key, other) = (ApiKeyText::generate(&entropy), ApiKeyText::generate(&entropy));
        assert_eq!(key.reveal().parse(), Ok(key.clone()));
        assert!(key.matches(&key.secret_hash()) && !key.matches(&other.secret_hash()));
        assert!(!format!("{key:?}").contains(&key.secret));
        let shouted = key.reveal().to_uppercase();
        for bad in ["", "stw_", "stw_1_2", &shouted, &format!("{} ", key.reveal()), &key.reveal()[4..]] {
            assert_eq!(bad.parse::<ApiKeyText>(), Err(ApiKeyTextError), "{bad}");
        }
    }

    #[test]
    fn a_repeated_request_gets_the_same_id_and_another_secret() {
        let entropy = SeededEntropy::new(1);
        let make = |request: &[&str]| ApiKeyText::for_request(request, &entropy);
        assert_eq!(make(&["acme", "a"]).id(), make(&["acme", "a"]).id());
        assert_ne!(make(&["acme", "a"]).reveal(), make(&["acme", "a"]).reveal());
        assert_ne!(make(&["acme", "a"]).id(), make(&["acm", "ea"]).id());
    }
}
