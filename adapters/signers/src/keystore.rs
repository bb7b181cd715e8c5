//! Encrypted keystore files: Web3 Secret Storage, version 3, as geth and cast write and read them.
//!
//! One is never overwritten, and only its owner may read it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use serde_json::json;
use sha3::{Digest as _, Keccak256};
use steward_adapters::signer::SignerError;
use steward_types::Entropy;
use steward_types::limits::KEYSTORE_SCRYPT_LOG_N;
use zeroize::Zeroizing;

use crate::secret::SecretText;

/// What scrypt's memory and time are multiples of.
const SCRYPT_R: u32 = 8;
/// How many lanes scrypt has.
const SCRYPT_P: u32 = 1;

/// The key in a keystore file. Deriving the file's own key takes about a second of CPU on purpose.
///
/// # Errors
/// [`SignerError::Keystore`] when the file cannot be read or the password is wrong.
pub fn open(file: &Path, password: &SecretText) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    let opened = eth_keystore::decrypt_key(file, password.expose());
    opened.map(Zeroizing::new).map_err(|error| failed(file, &error.to_string()))
}

/// Writes a key into a new keystore file. `address` is what the file says of the account, where the format has room for
/// it: 40 hexadecimal digits.
///
/// # Errors
/// [`SignerError::Keystore`] when the file exists or cannot be written.
pub fn create(
    file: &Path,
    key: &[u8],
    password: &SecretText,
    address: Option<&str>,
    entropy: &dyn Entropy,
) -> Result<(), SignerError> {
    let text = seal(key, password, address, entropy)?;
    // Claimed first, so that two writers cannot both believe that it did not exist.
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut writer = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => failed(file, "it exists already, and a key is never overwritten"),
        _ => failed(file, &error.to_string()),
    })?;
    let written = writer.write_all(text.as_bytes()).and_then(|()| writer.sync_all());
    let written = written.and_then(|()| {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The file's name must last as well as what is in it.
        std::fs::File::open(folder)?.sync_all()
    });
    written.map_err(|error| {
        // Half a keystore would keep the next try from writing a whole one.
        let _ = std::fs::remove_file(file);
        failed(file, &error.to_string())
    })
}

fn failed(file: &Path, reason: &str) -> SignerError {
    SignerError::Keystore { path: file.display().to_string(), reason: reason.to_owned() }
}

fn seal(
    key: &[u8],
    password: &SecretText,
    address: Option<&str>,
    entropy: &dyn Entropy,
) -> Result<String, SignerError> {
    let (mut salt, mut iv) = ([0; 32], [0; 16]);
    entropy.fill(&mut salt);
    entropy.fill(&mut iv);
    let mut derived = Zeroizing::new([0; 32]);
    let params = scrypt::Params::new(KEYSTORE_SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P).expect("the constants are in range");
    scrypt::scrypt(password.expose().as_bytes(), &salt, &params, &mut derived[..]).expect("32 bytes can be derived");
    let mut sealed = key.to_vec();
    let mut cipher = Ctr128BE::<Aes128>::new_from_slices(&derived[..16], &iv)
        .map_err(|_| SignerError::Key { reason: "it cannot be encrypted" })?;
    cipher.apply_keystream(&mut sealed);
    let mac = Keccak256::new().chain_update(&derived[16..]).chain_update(&sealed).finalize();
    let id = uuid::Builder::from_random_bytes(entropy.bytes_16()).into_uuid();
    let mut keystore = json!({
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": hex::encode(iv) },
            "ciphertext": hex::encode(&sealed),
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32,
                "n": 1_u64 << KEYSTORE_SCRYPT_LOG_N,
                "p": SCRYPT_P,
                "r": SCRYPT_R,
                "salt": hex::encode(salt),
            },
            "mac": hex::encode(mac),
        },
        "id": id.to_string(),
        "version": 3,
    });
    if let Some(address) = address {
        keystore["address"] = address.into();
    }
    Ok(format!("{keystore}\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use steward_types::SystemEntropy;

    use super::*;

    /// The PBKDF2 example of the Web3 Secret Storage Definition; its password is `testpassword`.
    const EXAMPLE: &str = r#"{"crypto":{"cipher":"aes-128-ctr",
        "cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
        "kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256",
        "salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    const EXAMPLE_KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    fn password(text: &str) -> SecretText {
        SecretText::new(text.to_owned())
    }

    #[test]
    fn the_definitions_example_opens_with_its_password_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.json");
        std::fs::write(&file, EXAMPLE).unwrap();
        assert_eq!(hex::encode(&*open(&file, &password("testpassword")).unwrap()), EXAMPLE_KEY);
        let error = open(&file, &password("wrong")).unwrap_err();
        assert!(matches!(error, SignerError::Keystore { .. }), "{error}");
    }

    #[test]
    fn what_is_written_opens_again_is_its_owners_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.json");
        create(&file, &[7; 32], &password("correct"), Some("ab"), &SystemEntropy).unwrap();
        assert_eq!(open(&file, &password("correct")).unwrap()[..], [7; 32]);
        assert!(open(&file, &password("wrong")).is_err());
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&hex::encode([7; 32])) && text.contains(r#""address":"ab""#), "{text}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let error = create(&file, &[8; 32], &password("correct"), None, &SystemEntropy).unwrap_err();
        assert!(error.to_string().contains("never overwritten"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}
