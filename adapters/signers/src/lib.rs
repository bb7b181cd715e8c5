//! Where signing keys lie other than in the environment: encrypted keystore files, and services that sign.
//!
//! A service's signature is checked against the account before anybody sees it. No secret is printed, logged or put into
//! an error, and each is wiped when it is dropped.

mod answer;
pub mod aws;
pub mod keystore;
pub mod kms;
mod public_key;
pub mod remote;
pub mod secret;
pub mod vault;

pub use aws::{AwsCredentials, CredentialsSource};
pub use kms::{Kms, KmsConfig};
pub use public_key::Scheme;
pub use remote::{AddressOf, KeyService, RemoteSigner};
pub use secret::{SecretSource, SecretText};
pub use vault::{Vault, VaultConfig};
