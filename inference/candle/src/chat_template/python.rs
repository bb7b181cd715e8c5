//! The few methods of Python's own types that chat templates call, as they were written for Python's Jinja.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use steward_types::Timestamp;

/// Longest text that a method makes.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// Answers a method call that Jinja itself does not know.
pub fn call_method(_: &mut State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => text_method(value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => map_method(value, method, args),
        _ => Err(unknown(method)),
    }
}

fn unknown(method: &str) -> Error {
    Error::new(ErrorKind::UnknownMethod, format!("the method {method} is not known"))
}

fn text_method(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let characters = || -> Result<Option<Vec<char>>, Error> {
        let (set,): (Option<&str>,) = from_args(args)?;
        Ok(set.map(|set| set.chars().collect()))
    };
    let matches = |set: &Option<Vec<char>>, c: char| set.as_ref().map_or(c.is_whitespace(), |set| set.contains(&c));
    Ok(match method {
        "strip" => characters().map(|set| Value::from(text.trim_matches(|c| matches(&set, c))))?,
        "lstrip" => characters().map(|set| Value::from(text.trim_start_matches(|c| matches(&set, c))))?,
        "rstrip" => characters().map(|set| Value::from(text.trim_end_matches(|c| matches(&set, c))))?,
        "upper" => Value::from(text.to_uppercase()),
        "lower" => Value::from(text.to_lowercase()),
        "startswith" => Value::from(text.starts_with(from_args::<(&str,)>(args)?.0)),
        "endswith" => Value::from(text.ends_with(from_args::<(&str,)>(args)?.0)),
        "split" => match from_args::<(Option<&str>,)>(args)?.0 {
            None => text.split_whitespace().map(Value::from).collect(),
            Some(separator) => text.split(separator).map(Value::from).collect(),
        },
        "replace" => {
            let (from, to): (&str, &str) = from_args(args)?;
            let growth = text.matches(from).count().saturating_mul(to.len());
            if growth > TEXT_BYTES_MAX {
                return Err(Error::new(ErrorKind::InvalidOperation, "the text gets too long"));
            }
            Value::from(text.replace(from, to))
        }
        _ => return Err(unknown(method)),
    })
}

fn map_method(map: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = map.get_item(key)?;
            Ok(if found.is_undefined() { default.unwrap_or_else(|| Value::from(())) } else { found })
        }
        "keys" => Ok(map.try_iter()?.collect()),
        "items" => map
            .try_iter()?
            .map(|key| map.get_item(&key).map(|value| [key, value].into_iter().collect::<Value>()))
            .collect::<Result<Value, _>>(),
        _ => Err(unknown(method)),
    }
}

/// The parts of `strftime` that templates use to tell the model the date, in UTC.
pub fn strftime(now: Timestamp, format: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    // RFC 3339, as in 2000-02-29T00:00:00.000Z.
    let text = now.to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = MONTHS.get(part(5, 7).parse::<usize>().unwrap_or(1).wrapping_sub(1)).copied().unwrap_or_default();
    let mut output = String::new();
    let mut characters = format.chars();
    while let Some(c) = characters.next() {
        let written = match (c, if c == '%' { characters.next() } else { None }) {
            ('%', Some('Y')) => part(0, 4),
            ('%', Some('y')) => part(2, 4),
            ('%', Some('m')) => part(5, 7),
            ('%', Some('d')) => part(8, 10),
            ('%', Some('H')) => part(11, 13),
            ('%', Some('M')) => part(14, 16),
            ('%', Some('S')) => part(17, 19),
            ('%', Some('B')) => month,
            ('%', Some('b')) => &month[..month.len().min(3)],
            ('%', Some('%')) => "%",
            ('%', Some(_) | None) => "",
            (other, _) => {
                output.push(other);
                continue;
            }
        };
        output.push_str(written);
    }
    output
}
