//! A script's arguments as those of a host call, or what is wrong with them in a script author's words.

use rhai::{Dynamic, ImmutableString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use steward_types::limits::{RECALL_MATCHES_MAX, SESSION_WAIT_TIME_MAX};

use crate::call::{HostCall, HttpOptions, LogLevel};
use crate::value::to_json;

/// A text argument.
pub(super) fn text(name: &str, value: &Dynamic) -> Result<String, String> {
    match value.read_lock::<ImmutableString>() {
        Some(text) => Ok(text.to_string()),
        None => Err(format!("{name} must be text, but it is {}", kind(value))),
    }
}

/// Any value.
pub(super) fn json(name: &str, value: &Dynamic) -> Result<Value, String> {
    to_json(value).map_err(|reason| format!("{name}: {reason}"))
}

/// How many matches to recall.
pub(super) fn whole(name: &str, value: &Dynamic) -> Result<u32, String> {
    let number = value.as_int().ok().and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|&number| number >= 1 && number as usize <= RECALL_MATCHES_MAX);
    number.ok_or_else(|| format!("{name} must be a whole number from 1 to {RECALL_MATCHES_MAX}"))
}

/// What a log line says: text as it is, anything else as JSON.
pub(super) fn line(value: &Dynamic) -> Result<String, String> {
    match value.read_lock::<ImmutableString>() {
        Some(text) => Ok(text.to_string()),
        None => to_json(value).map(|value| value.to_string()),
    }
}

/// A log level by its name.
pub(super) fn level(value: &Dynamic) -> Result<LogLevel, String> {
    let name = text("level", value)?;
    serde_json::from_value(Value::from(name.as_str()))
        .map_err(|_| format!("{name:?} is no level: use \"debug\", \"info\", \"warn\" or \"error\""))
}

/// A time in milliseconds: a whole number, or text such as `"90s"`, `"5m"`, `"2h"` or `"3d"`.
pub(super) fn duration(value: &Dynamic) -> Result<u64, String> {
    let help = || "a time is milliseconds or text such as \"500ms\", \"90s\", \"5m\", \"2h\" or \"3d\"".to_owned();
    let millis = match value.as_int() {
        Ok(millis) => u64::try_from(millis).map_err(|_| help())?,
        Err(_) => read_duration(&text("time", value).map_err(|_| help())?).ok_or_else(help)?,
    };
    let allowed = SESSION_WAIT_TIME_MAX.as_millis();
    if u128::from(millis) > allowed {
        return Err(format!("{millis} ms is longer than the {allowed} ms that a session may wait"));
    }
    Ok(millis)
}

fn read_duration(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Options from a map. `timeout` may be a time as in `sleep`.
pub(super) fn options<T: DeserializeOwned + Serialize>(value: &Dynamic) -> Result<T, String> {
    let mut fields = match json("options", value)? {
        Value::Object(fields) => fields,
        _ => return Err(format!("the options must be a map such as #{{…}}, but they are {}", kind(value))),
    };
    if fields.shift_remove("timeout").is_some() {
        let map = value.read_lock::<rhai::Map>().map(|map| map.get("timeout").cloned());
        let timeout = map.flatten().unwrap_or(Dynamic::UNIT);
        fields.insert("timeout_ms".to_owned(), Value::from(duration(&timeout)?));
    }
    super::from_map(Value::Object(fields))
}

/// An HTTP call with its method checked.
pub(super) fn http(method: String, url: String, options: HttpOptions) -> Result<HostCall, String> {
    const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let method = method.to_ascii_uppercase();
    if !METHODS.contains(&method.as_str()) {
        return Err(format!("{method:?} is no method: use one of {}", METHODS.join(", ")));
    }
    if options.body.is_some() && options.json.is_some() {
        return Err("give body or json, not both".to_owned());
    }
    Ok(HostCall::Http { method, url, options })
}

/// A POST of text as it is, and of anything else as JSON.
pub(super) fn http_post(url: String, body: Value, mut options: HttpOptions) -> Result<HostCall, String> {
    match body {
        Value::String(text) => options.body = Some(text),
        value => options.json = Some(value),
    }
    http("POST".to_owned(), url, options)
}

pub(super) fn kind(value: &Dynamic) -> &'static str {
    match value.type_name() {
        "()" => "nothing",
        "i64" | "f64" => "a number",
        "bool" => "true or false",
        name if name.contains("Vec<") || name.contains("array") => "an array",
        name if name.contains("Map<") || name == "map" => "a map",
        name if name.contains("FnPtr") || name == "Fn" => "a closure",
        name if name.ends_with("String") || name == "string" => "text",
        _ => "something else",
    }
}
