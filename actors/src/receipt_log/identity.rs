//! Who signs the logs of this cluster.

use std::fmt;

use steward_receipts::note::{NoteError, NoteSigner, VerifierKey};
use steward_types::ProjectId;
use zeroize::Zeroizing;

/// The key that signs every project's log, each under the project's own origin.
pub struct LogIdentity {
    origin: String,
    secret: Zeroizing<[u8; 32]>,
}

impl LogIdentity {
    /// A key from its 32 secret bytes (RFC 8032's private key). `origin` names the cluster, by custom a host name; a
    /// project's log is called `origin/project`.
    ///
    /// # Errors
    /// [`NoteError::Name`] when the origin cannot name a key.
    pub fn new(origin: String, secret: [u8; 32]) -> Result<Self, NoteError> {
        NoteSigner::new(&origin, &secret)?;
        Ok(Self { origin, secret: Zeroizing::new(secret) })
    }

    /// The name of a project's log.
    pub fn log_origin(&self, project: &ProjectId) -> String {
        format!("{}/{project}", self.origin)
    }

    /// What signs a project's log.
    ///
    /// # Panics
    /// Never: the origin was checked, and a project's name is always fit to follow it.
    pub fn signer(&self, project: &ProjectId) -> NoteSigner {
        NoteSigner::new(&self.log_origin(project), &self.secret).expect("the origin was checked, a project is a slug")
    }

    /// What verifies a project's log.
    pub fn verifier_key(&self, project: &ProjectId) -> VerifierKey {
        self.signer(project).verifier_key()
    }
}

impl fmt::Debug for LogIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogIdentity").field("origin", &self.origin).finish_non_exhaustive()
    }
}
