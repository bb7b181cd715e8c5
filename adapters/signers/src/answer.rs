//! One HTTP request to a signing service: within bounds, to no other address, and with failures told apart.

use std::path::Path;

use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use steward_adapters::signer::SignerError;
use steward_types::limits::{SIGNER_ANSWER_BYTES_MAX, SIGNER_CALL_TIME_MAX};
use zeroize::Zeroizing;

/// What a service answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// A client that follows no redirect and asks no proxy: the credentials are for one address.
pub(crate) fn client(certificate_authority: Option<&Path>) -> Result<Client, SignerError> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .timeout(SIGNER_CALL_TIME_MAX)
        .user_agent(concat!("steward/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    if let Some(file) = certificate_authority {
        let wrong = |reason: String| SignerError::Secret { path: file.display().to_string(), reason };
        let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| SignerError::Service { reason: format!("TLS cannot be set up: {error}") })
}

/// Sends a request and reads the answer.
pub(crate) async fn ask(service: &str, request: RequestBuilder) -> Result<Answer, SignerError> {
    let failed = |error: reqwest::Error| unavailable(service, in_full(&error.without_url()));
    let mut response = request.send().await.map_err(failed)?;
    let (status, mut body) = (response.status(), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > SIGNER_ANSWER_BYTES_MAX {
            return Err(unavailable(service, format!("its answer has more than {SIGNER_ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

/// Reads base64 of an answer.
pub(crate) fn from_base64(service: &str, text: &str) -> Result<Vec<u8>, SignerError> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| malformed(service))
}

/// Writes base64 for a request.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A header that holds a secret and is never printed.
pub(crate) fn secret_header(text: &Zeroizing<String>) -> Result<reqwest::header::HeaderValue, SignerError> {
    let header = reqwest::header::HeaderValue::from_str(text);
    let mut header =
        header.map_err(|_| SignerError::Key { reason: "a token has characters that no header may have" })?;
    header.set_sensitive(true);
    Ok(header)
}

pub(crate) fn unavailable(service: &str, reason: impl Into<String>) -> SignerError {
    SignerError::Unavailable { service: service.to_owned(), reason: reason.into() }
}

pub(crate) fn refused(service: &str, reason: impl Into<String>) -> SignerError {
    SignerError::Refused { service: service.to_owned(), reason: reason.into() }
}

/// An answer that cannot be read may come from something in between: asking again may help.
pub(crate) fn malformed(service: &str) -> SignerError {
    unavailable(service, "its answer is not what its interface says")
}

fn in_full(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
