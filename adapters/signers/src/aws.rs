//! Credentials of AWS, and the signature that they put on a request: Signature Version 4, for one POST to the root.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::path::PathBuf;

use aws_lc_rs::hmac;
use sha2::{Digest as _, Sha256};
use steward_adapters::signer::SignerError;
use steward_types::Timestamp;
use zeroize::Zeroizing;

use crate::secret::SecretText;

/// Who asks.
#[derive(Debug, Clone)]
pub struct AwsCredentials {
    /// The access key's id, which is no secret.
    pub access_key: String,
    /// The access key's secret.
    pub secret: SecretText,
    /// The token of a session, with credentials that end.
    pub session_token: Option<SecretText>,
}

/// Where credentials come from.
#[derive(Debug, Clone)]
pub enum CredentialsSource {
    /// They are these.
    Fixed(AwsCredentials),
    /// The profile `default` of a shared credentials file as it is at each use, so that it may be renewed.
    File(PathBuf),
}

impl CredentialsSource {
    /// The credentials as they are now.
    ///
    /// # Errors
    /// [`SignerError::Secret`] when the file cannot be read or lacks one of the two.
    pub fn get(&self) -> Result<AwsCredentials, SignerError> {
        let file = match self {
            Self::Fixed(credentials) => return Ok(credentials.clone()),
            Self::File(file) => file,
        };
        let wrong = |reason: String| SignerError::Secret { path: file.display().to_string(), reason };
        let text = Zeroizing::new(std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?);
        let value = |name: &str| of_default_profile(&text, name).map(|value| SecretText::new(value.to_owned()));
        let missing = |name: &str| wrong(format!("its profile [default] has no {name}"));
        Ok(AwsCredentials {
            access_key: value("aws_access_key_id").ok_or_else(|| missing("aws_access_key_id"))?.expose().to_owned(),
            secret: value("aws_secret_access_key").ok_or_else(|| missing("aws_secret_access_key"))?,
            session_token: value("aws_session_token"),
        })
    }
}

fn of_default_profile<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().map(str::trim).skip_while(|line| *line != "[default]").skip(1);
    let mut settings = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    settings.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

/// A request that is to be signed. Its query is empty.
#[derive(Debug, Clone)]
pub struct SignableRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, as it is sent.
    pub path: &'a str,
    /// The headers that are signed, by name in lower case and in that order; `host` and `x-amz-date` among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// What is sent.
    pub body: &'a [u8],
}

/// Where a signature counts.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The region, such as `eu-central-1`.
    pub region: &'a str,
    /// The service, such as `kms`.
    pub service: &'a str,
}

/// A time as `x-amz-date` has it, such as `20150830T123600Z`.
pub fn amz_date(time: Timestamp) -> String {
    let text = time.to_string();
    let whole_seconds = text.split('.').next().unwrap_or_default();
    let digits: String = whole_seconds.chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
    format!("{digits}Z")
}

/// The value of the header `authorization`. `date` is that of `x-amz-date`.
pub fn authorization(
    request: &SignableRequest<'_>,
    scope: Scope<'_>,
    date: &str,
    credentials: &AwsCredentials,
) -> String {
    let day = date.split('T').next().unwrap_or_default();
    let credential_scope = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let signed_headers = request.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let canonical = canonical_request(request, &signed_headers);
    let hash = hex::encode(Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{credential_scope}\n{hash}");
    let key = signing_key(&credentials.secret, day, scope);
    let signature = hex::encode(hmac_sha256(&key[..], to_sign.as_bytes()));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{credential_scope}, SignedHeaders={signed_headers}, Signature={signature}",
        credentials.access_key
    )
}

fn canonical_request(request: &SignableRequest<'_>, signed_headers: &str) -> String {
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let payload = hex::encode(Sha256::digest(request.body));
    format!("{}\n{}\n\n{headers}\n{signed_headers}\n{payload}", request.method, request.path)
}

fn signing_key(secret: &SecretText, day: &str, scope: Scope<'_>) -> Zeroizing<[u8; 32]> {
    let first = Zeroizing::new(format!("AWS4{}", secret.expose()));
    let mut key = hmac_sha256(first.as_bytes(), day.as_bytes());
    for part in [scope.region, scope.service, "aws4_request"] {
        key = hmac_sha256(&key[..], part.as_bytes());
    }
    key
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> Zeroizing<[u8; 32]> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of AWS's test suite for Signature Version 4 (aws-sig-v4-test-suite).
    const DATE: &str = "20150830T123600Z";
    const SCOPE: Scope<'_> = Scope { region: "us-east-1", service: "service" };

    fn credentials() -> AwsCredentials {
        AwsCredentials {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret: SecretText::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: None,
        }
    }

    fn check(method: &str, headers: &[(&str, &str)], body: &str, expected: &str) {
        let request = SignableRequest { method, path: "/", headers, body: body.as_bytes() };
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let whole = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, \
             Signature={expected}"
        );
        assert_eq!(authorization(&request, SCOPE, DATE, &credentials()), whole);
    }

    #[test]
    fn requests_are_signed_as_in_the_test_suite_of_aws() {
        let (host, date) = (("host", "example.amazonaws.com"), ("x-amz-date", DATE));
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        check("GET", &[host, date], "", vanilla);
        let post = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        check("POST", &[host, date], "", post);
        let form = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        check("POST", &[("content-type", "application/x-www-form-urlencoded"), host, date], "Param1=value1", form);
    }

    #[test]
    fn a_signing_key_is_derived_as_in_the_example_of_aws() {
        let secret = SecretText::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
        let key = signing_key(&secret, "20150830", Scope { region: "us-east-1", service: "iam" });
        assert_eq!(hex::encode(*key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn a_date_is_written_as_aws_reads_it() {
        assert_eq!(amz_date(Timestamp::from_millis(1_440_938_160_999)), DATE);
    }

    #[test]
    fn credentials_are_read_from_the_default_profile_and_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        let source = CredentialsSource::File(file.clone());
        let text = "# mine\n[other]\naws_access_key_id=no\n[default]\naws_access_key_id = A\n\
                    aws_secret_access_key = hush\n\n[last]\naws_session_token = no\n";
        std::fs::write(&file, text).unwrap();
        let read = source.get().unwrap();
        assert_eq!((read.access_key.as_str(), read.secret.expose()), ("A", "hush"));
        assert!(read.session_token.is_none() && !format!("{read:?}").contains("hush"));
        std::fs::write(&file, "[default]\naws_access_key_id = A\n").unwrap();
        let error = source.get().unwrap_err().to_string();
        assert!(error.contains("aws_secret_access_key"), "{error}");
    }
}
