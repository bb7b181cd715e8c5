//! Secret texts, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};

use steward_adapters::signer::SignerError;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A password or token.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// From its text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Its text, for the code that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first line of a file.
    ///
    /// # Errors
    /// [`SignerError::Secret`] when the file cannot be read or its first line is empty.
    pub fn read(file: &Path) -> Result<Self, SignerError> {
        let wrong = |reason: String| SignerError::Secret { path: file.display().to_string(), reason };
        let whole = std::fs::read_to_string(file).map(Self).map_err(|error| wrong(error.to_string()))?;
        let line = whole.0.lines().next().unwrap_or_default().to_owned();
        if line.is_empty() { Err(wrong("its first line is empty".to_owned())) } else { Ok(Self(line)) }
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// It is this one.
    Fixed(SecretText),
    /// The first line of this file as it is at each use, so that an agent beside the node may renew it.
    File(PathBuf),
}

impl SecretSource {
    /// The secret as it is now. Reads a file of a few bytes, without leaving the thread.
    ///
    /// # Errors
    /// [`SignerError::Secret`].
    pub fn get(&self) -> Result<SecretText, SignerError> {
        match self {
            Self::Fixed(secret) => Ok(secret.clone()),
            Self::File(file) => SecretText::read(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_and_nothing_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let source = SecretSource::File(file.clone());
        assert!(matches!(source.get(), Err(SignerError::Secret { .. })));
        for token in ["first", "second"] {
            std::fs::write(&file, format!("{token}\nmore\n")).unwrap();
            assert_eq!(source.get().unwrap().expose(), token);
        }
        std::fs::write(&file, "\nsecret").unwrap();
        let error = source.get().unwrap_err();
        assert!(error.to_string().contains("first line is empty") && !error.to_string().contains("secret"), "{error}");
        assert_eq!(format!("{:?}", SecretText::new("secret".to_owned())), "SecretText(..)");
    }
}
