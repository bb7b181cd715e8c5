//! `http`: an effect outside. Recorded before it is sent, and after a crash sent again only when that is declared to
//! be harmless: its key goes along. Otherwise the script is told that the outcome is unknown.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use steward_adapters::{HttpOutcome, HttpRequest, HttpResponse};
use steward_scripting::StepCall;
use steward_scripting::call::HttpOptions;
use steward_types::limits::{HTTP_REQUEST_BYTES_MAX, HTTP_TIME_MAX};
use steward_types::{ErrorCode, Micros};

use super::Begun;
use crate::budget::Usage;
use crate::session::journal::StepState;
use crate::session::record::StepOutcome;
use crate::session::turn::{Durability, Spent, StepResult, Turn};

/// `http`.
pub(super) async fn http(
    turn: &Turn,
    call: &StepCall,
    method: String,
    url: String,
    options: HttpOptions,
    begun: Begun,
) -> StepResult {
    let price = match turn.prices.function("http").map(|price| price.cost(Usage::default())) {
        Ok(Ok(price)) => price,
        Ok(Err(error)) | Err(error) => return Ok(turn.refuse(call, ErrorCode::PriceMissing, error.to_string())),
    };
    let spent = |price| Some(Spent { price, usage: Usage::default(), model: None });
    let may_repeat = may_repeat(turn, &method, &options);
    let durability = if may_repeat { Durability::Next } else { Durability::Now };
    if begun == Begun::New {
        // Only now: what an earlier release began goes on, with the time cut.
        if let Some(millis) = options.timeout_ms.filter(|millis| Duration::from_millis(*millis) > HTTP_TIME_MAX) {
            let most = HTTP_TIME_MAX.as_millis();
            let message = format!("the timeout is {millis} ms; a call of `http` may take {most} ms");
            return Ok(turn.refuse(call, ErrorCode::StepInvalid, message));
        }
        let state = StepState::Started { emitted_bytes: 0 };
        if let Err(StepOutcome::Error { code, message, .. }) = turn.begin(call, Some(price), state, Vec::new()).await? {
            return Ok(turn.refuse(call, code, message));
        }
    } else if !may_repeat {
        let message = "the request was begun before a crash; whether it had its effect is not known";
        let unknown = StepOutcome::error(ErrorCode::EffectUnknown, message);
        return turn.finish(call, unknown, spent(price), Durability::Now, Vec::new()).await;
    }
    let request = match request(turn, call, method, url, options) {
        Ok(request) => request,
        Err(refused) => return turn.finish(call, refused, spent(Micros::ZERO), Durability::Now, Vec::new()).await,
    };
    let (outcome, price) = match turn.at_work.outside(turn.environment.http.send(request)).await {
        HttpOutcome::Answered(response) => (StepOutcome::Value(to_script(response)), price),
        HttpOutcome::NotSent(failure) => (StepOutcome::error(failure.code, failure.message), Micros::ZERO),
        HttpOutcome::Unknown(failure) => {
            let data = json!({ "sent": "unknown" });
            (StepOutcome::Error { code: failure.code, message: failure.message, data }, price)
        }
    };
    turn.finish(call, outcome, spent(price), durability, Vec::new()).await
}

/// Whether the request may be sent again when its outcome is not known.
fn may_repeat(turn: &Turn, method: &str, options: &HttpOptions) -> bool {
    let safe = matches!(method, "GET" | "HEAD") || turn.agent.manifest.http.idempotent;
    options.idempotent.unwrap_or(safe)
}

fn request(
    turn: &Turn,
    call: &StepCall,
    method: String,
    url: String,
    options: HttpOptions,
) -> Result<HttpRequest, StepOutcome> {
    let rules = &turn.agent.manifest.http;
    let mut headers = options.headers;
    let body = match (options.body, options.json) {
        (Some(body), _) => Bytes::from(body),
        (None, Some(json)) => {
            if !headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
                headers.insert("content-type".to_owned(), "application/json".to_owned());
            }
            Bytes::from(json.to_string())
        }
        (None, None) => Bytes::new(),
    };
    if body.len() > HTTP_REQUEST_BYTES_MAX {
        let message = format!("a request's body may have {HTTP_REQUEST_BYTES_MAX} bytes");
        return Err(StepOutcome::error(ErrorCode::StepInvalid, message));
    }
    let timeout = options.timeout_ms.or(rules.timeout_ms).map_or(HTTP_TIME_MAX, Duration::from_millis);
    Ok(HttpRequest {
        method,
        url,
        headers,
        body,
        timeout: timeout.min(HTTP_TIME_MAX),
        idempotency_key: idempotency_key(turn, call),
        allow: rules.allow.clone(),
        allow_private: rules.allow_private,
    })
}

/// The same for every attempt of the same step, and for no other step.
fn idempotency_key(turn: &Turn, call: &StepCall) -> String {
    format!("{}.{}.{}", turn.place.session, turn.place.turn, call.path)
}

fn to_script(response: HttpResponse) -> Value {
    let body = String::from_utf8_lossy(&response.body);
    let parsed: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    json!({ "status": response.status, "headers": response.headers, "body": body, "json": parsed })
}
