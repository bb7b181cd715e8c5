//! A log's signed statement of its size and root: C2SP's `tlog-checkpoint` (v1.0.0) in a signed note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::note::{NoteError, NoteSigner, VerifierKey};
use crate::{Frontier, Hash};

/// The size and root of a log. The log's origin is the name of the key that signs for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, unique in the world: by custom a host name and a path without a scheme.
    pub origin: String,
    /// How many leaves the log has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a note is not a checkpoint that can be trusted.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CheckpointError {
    /// The note is not one, or not signed by the trusted key.
    #[error("the checkpoint cannot be trusted")]
    Note(#[from] NoteError),
    /// The signed text is not a checkpoint.
    #[error("the note is not a checkpoint: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The key signed for another log.
    #[error("the checkpoint is for the log {found:?} and not for {expected:?}")]
    Origin {
        /// The origin in the checkpoint.
        found: String,
        /// The origin that the key's name stands for.
        expected: String,
    },
}

impl Checkpoint {
    /// The signed note for a log's present state, under the signer's name.
    ///
    /// # Errors
    /// [`NoteError`] when the signer's name cannot stand in a note.
    pub fn sign(frontier: &Frontier, signer: &NoteSigner) -> Result<String, NoteError> {
        let origin = signer.verifier_key().name().to_owned();
        signer.sign(&Self { origin, size: frontier.size(), root: frontier.root() }.text())
    }

    /// The text that is signed: origin, size and root, a line each.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// Reads a note that `key` signed for the log of its name. Extension lines are passed over.
    ///
    /// # Errors
    /// [`CheckpointError`] that says what is wrong.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let checkpoint = Self::read(key.open(note)?)?;
        if checkpoint.origin == key.name() {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Origin { found: checkpoint.origin, expected: key.name().to_owned() })
        }
    }

    /// What stands for this log on a chain: the SHA-256 of its origin.
    pub fn log_id(&self) -> Hash {
        log_id(&self.origin)
    }

    /// The bytes that anchor this state on any chain: log id, size (big-endian) and root, as FORMAT.md says.
    pub fn anchor_bytes(&self) -> [u8; 72] {
        let mut bytes = [0; 72];
        bytes[..32].copy_from_slice(self.log_id().as_bytes());
        bytes[32..40].copy_from_slice(&self.size.to_be_bytes());
        bytes[40..].copy_from_slice(self.root.as_bytes());
        bytes
    }

    fn read(text: &str) -> Result<Self, CheckpointError> {
        let malformed = |reason| CheckpointError::Malformed { reason };
        let mut lines = text.split('\n');
        let mut line = |reason| lines.next().filter(|line| !line.is_empty()).ok_or_else(|| malformed(reason));
        let origin = line("it has no origin")?.to_owned();
        let digits = line("it has no size")?;
        let root = line("it has no root")?;
        let size: u64 = digits.parse().map_err(|_| malformed("its size is not a number"))?;
        if size.to_string() != digits {
            return Err(malformed("its size is not written in plain decimal digits"));
        }
        let root = STANDARD.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        let root = Hash::from_bytes(root.ok_or_else(|| malformed("its root is not 32 bytes of base64"))?);
        Ok(Self { origin, size, root })
    }
}

/// What stands for the log of this origin on a chain: the SHA-256 of the origin.
pub fn log_id(origin: &str) -> Hash {
    Hash::of(origin.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_opens_with_the_logs_key() {
        let signer = NoteSigner::new("example.org/log", &[7; 32]).unwrap();
        let mut frontier = Frontier::new();
        frontier.append(Hash::of_leaf(b"x"), |_, _| ());
        let note = Checkpoint::sign(&frontier, &signer).unwrap();
        let read = Checkpoint::open(&note, &signer.verifier_key()).unwrap();
        assert_eq!((read.size, read.root, read.origin.as_str()), (1, frontier.root(), "example.org/log"));
    }

    #[test]
    fn a_text_that_is_no_checkpoint_is_refused_though_it_is_signed() {
        let signer = NoteSigner::new("log", &[7; 32]).unwrap();
        let root = STANDARD.encode([0; 32]);
        let check = |text: &str, reason: &str| {
            let error = Checkpoint::open(&signer.sign(text).unwrap(), &signer.verifier_key()).unwrap_err();
            assert!(error.to_string().contains(reason), "{text:?}: {error}");
        };
        check("log\n", "no size");
        check("log\n1\n", "no root");
        check(&format!("log\n01\n{root}\n"), "plain decimal");
        check(&format!("log\n+1\n{root}\n"), "plain decimal");
        check(&format!("log\n-1\n{root}\n"), "not a number");
        check("log\n1\nAAAA\n", "32 bytes");
        check(&format!("other\n1\n{root}\n"), "for the log \"other\"");
        let extended = signer.sign(&format!("log\n1\n{root}\nextension\n")).unwrap();
        assert_eq!(Checkpoint::open(&extended, &signer.verifier_key()).unwrap().size, 1);
    }
}
