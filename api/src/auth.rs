//! The gate that every request passes: key, bound for the key, deadline.

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use steward_actors::service::{Caller, Failure, Steward};
use steward_types::ErrorCode;

use crate::admission::Admission;
use crate::call::{CallTime, parse_timeout};
use crate::config::ApiConfig;
use crate::http::openai_error;
use crate::metric;
use crate::status::status;

/// What the gate needs.
#[derive(Clone)]
pub(crate) struct Gate {
    steward: Steward,
    config: ApiConfig,
    in_flight: Admission<String>,
}

impl Gate {
    pub(crate) fn new(steward: Steward, config: ApiConfig) -> Self {
        let in_flight = Admission::new(config.key_requests_max);
        Self { steward, config, in_flight }
    }
}

/// The gate of gRPC: refusals are statuses in the response's headers, as gRPC wants them.
pub(crate) async fn grpc(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let method = metric::grpc_method(request.uri().path()).to_owned();
    let response = gate.pass(request, next).await.unwrap_or_else(|failure| status(&failure).into_http::<Body>());
    metric::request(&method, &response);
    response
}

/// The gate of the OpenAI-compatible routes: refusals are in OpenAI's shape.
pub(crate) async fn http(State(gate): State<Gate>, path: MatchedPath, request: Request, next: Next) -> Response {
    let response = gate.pass(request, next).await.unwrap_or_else(|failure| openai_error(&failure).into_response());
    metric::request(path.as_str(), &response);
    response
}

impl Gate {
    async fn pass(&self, mut request: Request, next: Next) -> Result<Response, Failure> {
        let caller = self.authenticate(request.headers()).await?;
        let permit = self.in_flight.take(&caller.key);
        let permit = permit.ok_or_else(|| {
            let most = self.config.key_requests_max;
            Failure::new(ErrorCode::RateLimited, format!("{most} requests of this key are in flight already"))
        })?;
        let named = request.headers().get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
        let deadline = self.steward.host().deadline(named.unwrap_or(self.config.request_time_default));
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(CallTime { deadline, named: named.is_some() });
        let clock = self.steward.clock().as_ref();
        let response = tokio::select! {
            response = next.run(request) => response,
            () = clock.sleep(deadline.remaining(clock)) => {
                return Err(Failure::new(ErrorCode::DeadlineExceeded, "the call's deadline has passed"));
            }
        };
        // The place is taken until the last byte is sent, or the client goes away.
        Ok(response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _held = &permit;
                frame
            }))
        }))
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        let refused = || Failure::new(ErrorCode::Unauthenticated, "send an API key as `authorization: Bearer stw_…`");
        let value = headers.get(header::AUTHORIZATION).ok_or_else(refused)?;
        let value = value.to_str().map_err(|_| refused())?;
        let (scheme, key) = value.split_once(' ').ok_or_else(refused)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused());
        }
        self.steward.authenticate(key.trim()).await
    }
}
