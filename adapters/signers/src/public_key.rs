//! Public keys and signatures as services write them (X.509 `SubjectPublicKeyInfo`, DER), and whether they fit.

use ed25519_dalek::VerifyingKey as EdwardsKey;
use k256::ecdsa::signature::hazmat::PrehashVerifier as _;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use steward_adapters::signer::SignerError;

/// The signatures that a key makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// ECDSA over secp256k1, of a digest: EVM and Cosmos chains.
    Secp256k1,
    /// Ed25519, of a whole message (RFC 8032): Solana.
    Ed25519,
}

impl Scheme {
    /// What it is called where a chain wants it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secp256k1 => "secp256k1",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// What `SubjectPublicKeyInfo` says before an uncompressed point of secp256k1: SEQUENCE { SEQUENCE { id-ecPublicKey,
/// secp256k1 }, BIT STRING } (RFC 5480, SEC 2).
const SECP256K1_PREFIX: [u8; 23] = [
    0x30, 0x56, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x0a, 0x03, 0x42, 0x00,
];
/// The same before an Ed25519 key (RFC 8410).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key that verifies signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublicKey {
    Secp256k1(VerifyingKey),
    Ed25519(EdwardsKey),
}

impl PublicKey {
    /// Reads the DER of a `SubjectPublicKeyInfo`; nothing for other curves.
    pub(crate) fn from_info(info: &[u8]) -> Option<Self> {
        if let Some(point) = info.strip_prefix(&SECP256K1_PREFIX) {
            return VerifyingKey::from_sec1_bytes(point).ok().map(Self::Secp256k1);
        }
        info.strip_prefix(&ED25519_PREFIX).and_then(Self::from_ed25519)
    }

    /// Reads the 32 bytes of an Ed25519 key.
    pub(crate) fn from_ed25519(bytes: &[u8]) -> Option<Self> {
        EdwardsKey::from_bytes(bytes.try_into().ok()?).ok().map(Self::Ed25519)
    }

    pub(crate) const fn scheme(&self) -> Scheme {
        match self {
            Self::Secp256k1(_) => Scheme::Secp256k1,
            Self::Ed25519(_) => Scheme::Ed25519,
        }
    }

    /// Its bytes as drivers make addresses from them: a compressed point (SEC 1), or 32 bytes.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Secp256k1(key) => key.to_encoded_point(true).as_bytes().to_vec(),
            Self::Ed25519(key) => key.to_bytes().to_vec(),
        }
    }
}

/// A signature in DER as chains want it: r and the lower of the two equivalent s (EIP-2, BIP 62), and which of the keys
/// that it could be of is the right one. Nothing when it is no signature of this digest by this key.
pub(crate) fn recoverable(der: &[u8], digest: &[u8; 32], key: &VerifyingKey) -> Option<[u8; 65]> {
    let signature = Signature::from_der(der).ok()?;
    let signature = signature.normalize_s().unwrap_or(signature);
    key.verify_prehash(digest, &signature).ok()?;
    let is_right =
        |id: &RecoveryId| VerifyingKey::recover_from_prehash(digest, &signature, *id).is_ok_and(|of| of == *key);
    let id = (0..=RecoveryId::MAX).filter_map(RecoveryId::from_byte).find(is_right)?;
    // Where r was reduced, which nobody will ever see, chains have no way to say so.
    if id.is_x_reduced() {
        return None;
    }
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    bytes[64] = id.to_byte();
    Some(bytes)
}

/// An Ed25519 signature, when it is one of this message by this key.
pub(crate) fn verified(signature: &[u8], message: &[u8], key: &EdwardsKey) -> Option<[u8; 64]> {
    let bytes: [u8; 64] = signature.try_into().ok()?;
    let is_right = key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&bytes)).is_ok();
    is_right.then_some(bytes)
}

/// Says that a key is for other signatures than were asked for.
pub(crate) const fn misfit(wanted: Scheme) -> SignerError {
    SignerError::Scheme { wanted: wanted.name() }
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::*;

    #[test]
    fn a_signature_is_normalised_and_its_key_found_or_it_is_refused() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let other = SigningKey::from_slice(&[8; 32]).unwrap();
        for number in 0..32_u8 {
            let digest = [number; 32];
            let (low, id) = key.sign_prehash_recoverable(&digest).unwrap();
            let high = Signature::from_scalars(low.r(), -low.s()).unwrap();
            for signature in [low, high] {
                let found = recoverable(signature.to_der().as_bytes(), &digest, key.verifying_key()).unwrap();
                assert_eq!((&found[..64], found[64]), (low.to_bytes().as_slice(), id.to_byte()));
                assert!(recoverable(signature.to_der().as_bytes(), &digest, other.verifying_key()).is_none());
                assert!(recoverable(signature.to_der().as_bytes(), &[99; 32], key.verifying_key()).is_none());
            }
        }
        assert!(recoverable(&[0x30, 0], &[0; 32], key.verifying_key()).is_none());
    }

    #[test]
    fn public_keys_are_read_and_other_curves_are_not() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let point = key.verifying_key().to_encoded_point(false);
        let info = [&SECP256K1_PREFIX[..], point.as_bytes()].concat();
        assert_eq!(PublicKey::from_info(&info), Some(PublicKey::Secp256k1(*key.verifying_key())));
        let edwards = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let info = [&ED25519_PREFIX[..], edwards.as_bytes()].concat();
        assert_eq!(PublicKey::from_info(&info), Some(PublicKey::Ed25519(edwards)));
        assert_eq!(PublicKey::from_info(&info[1..]), None);
    }
}
