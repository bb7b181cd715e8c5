//! Signed notes with Ed25519 keys, as C2SP's `signed-note` (v1.0.0) defines them, and the keys that sign and verify.
//!
//! The secret key is never printed and never leaves [`NoteSigner`]; it is wiped when the signer is dropped.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The signature type "Ed25519" of C2SP's `signed-note`.
const ED25519: u8 = 0x01;
/// What a signature line starts with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";
/// Longest note that is read.
const NOTE_BYTES_MAX: usize = 64 << 10;
/// Most signature lines of a note that is read.
const SIGNATURES_MAX: usize = 100;

/// A public key and the name it goes by, written `name+id+key` as in C2SP's `signed-note`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

/// A secret key and the name it goes by.
pub struct NoteSigner {
    name: String,
    key: SigningKey,
}

/// What can be wrong with a key or a signed note.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NoteError {
    /// The name of a key is empty or holds what it may not hold.
    #[error("{name:?} cannot name a key: a name is not empty and has neither spaces nor '+'")]
    Name {
        /// The name.
        name: String,
    },
    /// The text is not a verifier key.
    #[error("this is not a verifier key: {reason}")]
    Key {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is not a signed note.
    #[error("this is not a signed note: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody who is trusted signed the note.
    #[error("the note is not signed by {name}")]
    NotSigned {
        /// The name of the trusted key.
        name: String,
    },
    /// The signature that claims to be the trusted key's is not.
    #[error("the signature of {name} does not fit the note")]
    SignatureMismatch {
        /// The name of the trusted key.
        name: String,
    },
}

impl VerifierKey {
    /// The key's name. For a log it is the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id: SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key), the first four bytes.
    pub fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// The 32 bytes of the public key.
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Returns the text of a note that this key signed. Signatures of other keys are passed over.
    ///
    /// # Errors
    /// [`NoteError`] that says what is wrong.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split(note)?;
        let mut signed = false;
        for line in signatures {
            let (name, id, signature) = read_signature(line)?;
            if name != self.name || id != self.id() {
                continue;
            }
            let mismatch = || NoteError::SignatureMismatch { name: self.name.clone() };
            let signature = Signature::from_slice(&signature).map_err(|_| mismatch())?;
            self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| mismatch())?;
            signed = true;
        }
        if signed { Ok(text) } else { Err(NoteError::NotSigned { name: self.name.clone() }) }
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let wrong = |reason| NoteError::Key { reason };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("it reads name+id+key"));
        };
        check_name(name)?;
        let data = STANDARD.decode(data).map_err(|_| wrong("its last part is not base64"))?;
        let Some((&ED25519, public)) = data.split_first() else {
            return Err(wrong("it is of another type than Ed25519"));
        };
        let public: &[u8; 32] = public.try_into().map_err(|_| wrong("an Ed25519 key has 32 bytes"))?;
        let key = VerifyingKey::from_bytes(public).map_err(|_| wrong("its bytes are no point of the curve"))?;
        let key = Self { name: name.to_owned(), key };
        if hex::encode(key.id()) == id { Ok(key) } else { Err(wrong("its id does not fit its name and bytes")) }
    }
}

impl TryFrom<String> for VerifierKey {
    type Error = NoteError;

    fn try_from(text: String) -> Result<Self, NoteError> {
        text.parse()
    }
}

impl From<VerifierKey> for String {
    fn from(key: VerifierKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        f.pad(&format!("{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(data)))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl NoteSigner {
    /// A signer from the 32 secret bytes of its key (RFC 8032's private key).
    ///
    /// # Errors
    /// [`NoteError::Name`] when the name cannot name a key.
    pub fn new(name: &str, secret: &[u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), key: SigningKey::from_bytes(secret) })
    }

    /// The key that verifies what this one signs.
    pub fn verifier_key(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// The signed note with this text. The same text gives the same note.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] when the text does not end in a newline or holds other control characters.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        check_text(text)?;
        let signature = self.key.sign(text.as_bytes());
        let line = [self.verifier_key().id().as_slice(), &signature.to_bytes()].concat();
        Ok(format!("{text}\n{SIGNATURE_PREFIX}{} {}\n", self.name, STANDARD.encode(line)))
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSigner").field("name", &self.name).finish_non_exhaustive()
    }
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let good = !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+');
    if good { Ok(()) } else { Err(NoteError::Name { name: name.chars().take(100).collect() }) }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed { reason: "its text does not end in a newline" });
    }
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed { reason: "its text has control characters" });
    }
    Ok(())
}

/// The text of a note, with its newline, and the signature lines.
fn split(note: &str) -> Result<(&str, Vec<&str>), NoteError> {
    let malformed = |reason| NoteError::Malformed { reason };
    if note.len() > NOTE_BYTES_MAX {
        return Err(malformed("it is longer than 64 KiB"));
    }
    let blank = note.rfind("\n\n").ok_or_else(|| malformed("no blank line stands before the signatures"))?;
    let (text, signatures) = (&note[..=blank], &note[blank + 2..]);
    check_text(text)?;
    let signatures = signatures.strip_suffix('\n').ok_or_else(|| malformed("its last line has no newline"))?;
    let lines: Vec<&str> = signatures.split('\n').collect();
    if lines.len() > SIGNATURES_MAX { Err(malformed("it has more than 100 signatures")) } else { Ok((text, lines)) }
}

/// The name, key id and signature of a line.
fn read_signature(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), NoteError> {
    let malformed = NoteError::Malformed { reason: "a signature line does not read '\u{2014} name base64'" };
    let read = || {
        let (name, data) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        check_name(name).ok()?;
        let mut id = STANDARD.decode(data).ok()?;
        if id.len() < 5 {
            return None;
        }
        let signature = id.split_off(4);
        Some((name, id.try_into().ok()?, signature))
    };
    read().ok_or(malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer() -> NoteSigner {
        NoteSigner::new("example.org/log", &[7; 32]).unwrap()
    }

    #[test]
    fn the_note_of_the_go_checksum_database_verifies() {
        // The example of golang.org/x/mod/sumdb/note, made by another implementation.
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let note = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let key: VerifierKey = key.parse().unwrap();
        assert!(key.open(note).unwrap().ends_with("what your problem is.\n"));
        let other = note.replace("don't", "do");
        assert_eq!(key.open(&other), Err(NoteError::SignatureMismatch { name: "PeterNeumann".to_owned() }));
    }

    #[test]
    fn a_note_opens_with_its_key_only() {
        let note = signer().sign("one\n\ntwo\n").unwrap();
        assert_eq!(signer().verifier_key().open(&note), Ok("one\n\ntwo\n"));
        let stranger = NoteSigner::new("example.org/log", &[8; 32]).unwrap().verifier_key();
        assert_eq!(stranger.open(&note), Err(NoteError::NotSigned { name: "example.org/log".to_owned() }));
    }

    #[test]
    fn a_note_that_others_signed_too_opens() {
        let witness = NoteSigner::new("witness", &[9; 32]).unwrap();
        let (note, theirs) = (signer().sign("x\n").unwrap(), witness.sign("x\n").unwrap());
        let both = format!("{note}{}", theirs.strip_prefix("x\n\n").unwrap());
        assert_eq!(signer().verifier_key().open(&both), Ok("x\n"));
        assert_eq!(witness.verifier_key().open(&both), Ok("x\n"));
    }

    #[test]
    fn a_verifier_key_survives_printing_and_a_changed_one_is_refused() {
        let key = signer().verifier_key();
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        let renamed = key.to_string().replace("example", "exampel");
        assert!(matches!(renamed.parse::<VerifierKey>(), Err(NoteError::Key { .. })));
        for bad in ["", "a", "a+b", "a+b+c", "a b+00000000+AQ==", "+00000000+AQ=="] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_signer_does_not_print_its_secret() {
        assert_eq!(format!("{:?}", signer()), r#"NoteSigner { name: "example.org/log", .. }"#);
    }

    proptest! {
        #[test]
        fn a_changed_note_never_opens(at: prop::sample::Index, to: char) {
            let note = signer().sign("origin\n12\nhash\n").unwrap();
            let mut chars: Vec<char> = note.chars().collect();
            let at = at.index(chars.len());
            prop_assume!(chars[at] != to);
            chars[at] = to;
            let changed: String = chars.into_iter().collect();
            prop_assert!(signer().verifier_key().open(&changed).is_err());
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            prop_assert!(signer().verifier_key().open(&text).is_err());
            let _ = text.parse::<VerifierKey>();
        }
    }
}
