//! The HTTP client: one request, its redirects one by one, each checked as if it were the first.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Client, Response, redirect};
use steward_adapters::{AllowList, HttpFailure, HttpOutcome, HttpRequest, HttpResponse, HttpTool};
use steward_types::limits::{
    HTTP_CONNECT_TIME_MAX, HTTP_REDIRECTS_MAX, HTTP_REQUEST_BYTES_MAX, HTTP_RESPONSE_BYTES_MAX, HTTP_TIME_MAX,
};
use steward_types::{Clock, ErrorCode};
use url::{Host, Url};

use crate::headers;
use crate::resolver::{Everything, Lookup, PrivateAddress, PublicOnly, SystemLookup, check_address};

/// Sends allow-listed requests. Cheap to share; connections are kept and used again.
pub struct HttpClient {
    public: Client,
    everything: Client,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// Where a request stands: the next hop, and whether one was answered before.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    number: usize,
}

impl HttpClient {
    /// A client that asks the machine's resolver.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        Self::with_lookup(clock, Arc::new(SystemLookup))
    }

    /// A client that asks `lookup` for addresses.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with_lookup(clock: Arc<dyn Clock>, lookup: Arc<dyn Lookup>) -> Result<Self, reqwest::Error> {
        let build = || {
            Client::builder()
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never())
                .connect_timeout(HTTP_CONNECT_TIME_MAX)
                .user_agent(concat!("steward/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
        };
        Ok(Self {
            public: build().dns_resolver(PublicOnly(Arc::clone(&lookup))).build()?,
            everything: build().dns_resolver(Everything(lookup)).build()?,
            clock,
        })
    }

    async fn follow(&self, request: HttpRequest) -> HttpOutcome {
        let (allow, mut hop) = match first_hop(&request) {
            Ok(checked) => checked,
            Err(failure) => return HttpOutcome::NotSent(failure),
        };
        loop {
            if let Err(failure) = check_hop(&hop, &allow, request.allow_private) {
                return not_followed(&hop, failure);
            }
            let client = if request.allow_private { &self.everything } else { &self.public };
            let sent = client.request(hop.method.clone(), hop.url.clone()).headers(hop.headers.clone());
            let response = match sent.body(hop.body.clone()).send().await {
                Ok(response) => response,
                Err(error) => return failed(&hop, &error),
            };
            hop = match next_hop(hop, &response) {
                Next::Hop(next) => next,
                Next::Answer(hop) => return answer(&hop, response).await,
                Next::Malformed(hop, failure) => return not_followed(&hop, failure),
            };
        }
    }
}

#[async_trait]
impl HttpTool for HttpClient {
    async fn send(&self, request: HttpRequest) -> HttpOutcome {
        let timeout = request.timeout.min(HTTP_TIME_MAX);
        let method = request.method.clone();
        tokio::select! {
            outcome = self.follow(request) => outcome,
            () = self.clock.sleep(timeout) => {
                let code = code_of_unknown(&method);
                HttpOutcome::Unknown(HttpFailure::new(code, format!("no whole answer within {} ms", timeout.as_millis())))
            }
        }
    }
}

fn first_hop(request: &HttpRequest) -> Result<(AllowList, Hop), HttpFailure> {
    let invalid = |message: String| HttpFailure::new(ErrorCode::StepInvalid, message);
    let allow = AllowList::parse(&request.allow).map_err(|reason| {
        HttpFailure::new(ErrorCode::ToolForbidden, format!("http.allow of the manifest: {reason}"))
    })?;
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    let url = Url::parse(&request.url).map_err(|error| invalid(format!("{:?} is no URL: {error}", request.url)))?;
    if request.body.len() > HTTP_REQUEST_BYTES_MAX {
        let bytes = request.body.len();
        return Err(invalid(format!("the body has {bytes} bytes; {HTTP_REQUEST_BYTES_MAX} are allowed")));
    }
    let headers = headers::of_request(request).map_err(invalid)?;
    Ok((allow, Hop { method, url, headers, body: request.body.clone(), number: 0 }))
}

fn check_hop(hop: &Hop, allow: &AllowList, allow_private: bool) -> Result<(), HttpFailure> {
    let forbidden = |message: String| Err(HttpFailure::new(ErrorCode::ToolForbidden, message));
    let url = shown(&hop.url);
    if !matches!(hop.url.scheme(), "http" | "https") {
        return forbidden(format!("{url}: only http and https may be called"));
    }
    if !hop.url.username().is_empty() || hop.url.password().is_some() {
        return forbidden(format!("{url}: a URL must not carry a user name or password; use a header"));
    }
    if !allow.permits(&hop.url) {
        return forbidden(format!("{url} is not in http.allow of the agent's manifest"));
    }
    // The resolver is not asked for an address that the URL names itself.
    let address = match hop.url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        _ => return Ok(()),
    };
    match check_address(address) {
        Err(private) if !allow_private => forbidden(private.to_string()),
        _ => Ok(()),
    }
}

enum Next {
    Hop(Hop),
    Answer(Hop),
    Malformed(Hop, HttpFailure),
}

/// Where the answer sends the request, by RFC 9110, section 15.4.
fn next_hop(hop: Hop, response: &Response) -> Next {
    let status = response.status();
    let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect(status)) else {
        return Next::Answer(hop);
    };
    let url = location.to_str().ok().and_then(|location| hop.url.join(location).ok());
    let failure = |message: String| HttpFailure::new(ErrorCode::ToolFailed, message);
    let Some(url) = url else {
        let message = format!("{} redirects to a malformed URL", shown(&hop.url));
        return Next::Malformed(hop, failure(message));
    };
    if hop.number == HTTP_REDIRECTS_MAX {
        let message = format!("there were more than {HTTP_REDIRECTS_MAX} redirects");
        return Next::Malformed(hop, failure(message));
    }
    let Hop { mut method, mut headers, mut body, number, url: before } = hop;
    let becomes_get = status == StatusCode::SEE_OTHER && method != Method::HEAD
        || method == Method::POST && matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND);
    if becomes_get {
        method = Method::GET;
        body = Bytes::new();
        headers.remove(CONTENT_TYPE);
        headers.remove(CONTENT_LENGTH);
    }
    if before.origin() != url.origin() {
        headers::strip_secrets(&mut headers);
    }
    Next::Hop(Hop { method, url, headers, body, number: number + 1 })
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

async fn answer(hop: &Hop, response: Response) -> HttpOutcome {
    let status = response.status().as_u16();
    let headers = headers::of_answer(response.headers());
    let mut body = BytesMut::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => return unknown(hop, format!("the answer broke off: {}", chain(&error))),
        };
        if body.len() + chunk.len() > HTTP_RESPONSE_BYTES_MAX {
            let message = format!("the answer, with status {status}, is longer than {HTTP_RESPONSE_BYTES_MAX} bytes");
            return HttpOutcome::Unknown(HttpFailure::new(ErrorCode::ToolFailed, message));
        }
        body.extend_from_slice(&chunk);
    }
    HttpOutcome::Answered(HttpResponse { status, headers, body: body.freeze() })
}

/// Only a request whose connection was never made had no effect for certain.
fn failed(hop: &Hop, error: &reqwest::Error) -> HttpOutcome {
    if let Some(private) = cause::<PrivateAddress>(error) {
        return not_followed(hop, HttpFailure::new(ErrorCode::ToolForbidden, private.to_string()));
    }
    let message = format!("{}: {}", shown(&hop.url), chain(error));
    match error.is_connect() || error.is_builder() {
        true => not_followed(hop, HttpFailure::new(ErrorCode::ToolFailed, message)),
        false => unknown(hop, message),
    }
}

/// This hop was not sent. When one before it was, the request as a whole may have had an effect.
fn not_followed(hop: &Hop, failure: HttpFailure) -> HttpOutcome {
    match hop.number {
        0 => HttpOutcome::NotSent(failure),
        _ => HttpOutcome::Unknown(failure),
    }
}

fn unknown(hop: &Hop, message: String) -> HttpOutcome {
    HttpOutcome::Unknown(HttpFailure::new(code_of_unknown(hop.method.as_str()), message))
}

/// GET and HEAD have no effect (RFC 9110, section 9.2.1), so for them it is a failure like any other.
fn code_of_unknown(method: &str) -> ErrorCode {
    match method {
        "GET" | "HEAD" => ErrorCode::ToolFailed,
        _ => ErrorCode::EffectUnknown,
    }
}

fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// An error with its causes, without the URL: it may carry a secret in its query.
fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    match texts.is_empty() {
        true => "the request failed".to_owned(),
        false => texts.join(": "),
    }
}

/// A URL without what may be secret in it.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
