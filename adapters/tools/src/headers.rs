//! Headers of a request, checked, and the ones of an answer that a script sees.

use std::collections::BTreeMap;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use steward_adapters::HttpRequest;

/// What the connection decides itself.
const FORBIDDEN: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "proxy-authorization",
    "proxy-connection",
];
/// Most bytes of headers that a script gets to see.
const ANSWER_HEADERS_BYTES_MAX: usize = 8 << 10;

/// The headers of a request with its idempotency key.
pub(crate) fn of_request(request: &HttpRequest) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let lower = name.to_ascii_lowercase();
        if FORBIDDEN.contains(&lower.as_str()) {
            return Err(format!("the header {name:?} is not the script's to set"));
        }
        let name = HeaderName::try_from(&lower).map_err(|_| format!("{name:?} is no name of a header"))?;
        let value = HeaderValue::try_from(value).map_err(|_| format!("the value of the header {name} is malformed"))?;
        headers.insert(name, value);
    }
    if !headers.contains_key("idempotency-key") {
        let key = HeaderValue::try_from(&request.idempotency_key).map_err(|_| "the idempotency key is malformed")?;
        headers.insert("idempotency-key", key);
    }
    Ok(headers)
}

/// Takes away what only the first server may see.
pub(crate) fn strip_secrets(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
    let secrets: Vec<HeaderName> = headers.keys().filter(|name| looks_secret(name.as_str())).cloned().collect();
    for name in secrets {
        headers.remove(name);
    }
}

fn looks_secret(name: &str) -> bool {
    ["token", "secret", "api-key", "apikey", "auth"].iter().any(|part| name.contains(part))
}

/// The headers of an answer: text ones only, and no more than a script has use for.
pub(crate) fn of_answer(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let Ok(text) = value.to_str() else { continue };
        bytes += name.as_str().len() + text.len();
        if bytes > ANSWER_HEADERS_BYTES_MAX {
            break;
        }
        kept.entry(name.as_str().to_owned())
            .and_modify(|before: &mut String| {
                before.push_str(", ");
                before.push_str(text);
            })
            .or_insert_with(|| text.to_owned());
    }
    kept
}
