//! Between a script's values and JSON. Nothing is guessed: what has no place in JSON is refused by name.

use rhai::{Dynamic, FLOAT, INT, ImmutableString};
use serde_json::{Map, Number, Value};

/// Nesting of a value that goes to or comes from a host.
pub(crate) const VALUE_DEPTH_MAX: usize = 64;

/// A script's value as JSON.
///
/// # Errors
/// What is in it that has no place in JSON, and where: a closure, a blob, a number that is not finite.
pub(crate) fn to_json(value: &Dynamic) -> Result<Value, String> {
    to_json_within(value, VALUE_DEPTH_MAX)
}

fn to_json_within(value: &Dynamic, depth_left: usize) -> Result<Value, String> {
    if depth_left == 0 {
        return Err(format!("it is nested deeper than {VALUE_DEPTH_MAX} levels"));
    }
    if value.is_shared() {
        return to_json_within(&value.flatten_clone(), depth_left);
    }
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Ok(Value::from(text.as_str()));
    }
    if let Ok(number) = value.as_int() {
        return Ok(Value::from(number));
    }
    if let Ok(number) = value.as_float() {
        return Number::from_f64(number).map(Value::Number).ok_or_else(|| format!("{number} is not a finite number"));
    }
    if let Ok(flag) = value.as_bool() {
        return Ok(Value::from(flag));
    }
    if let Ok(character) = value.as_char() {
        return Ok(Value::from(character.to_string()));
    }
    if let Some(items) = value.read_lock::<rhai::Array>() {
        let items = items
            .iter()
            .enumerate()
            .map(|(index, item)| to_json_within(item, depth_left - 1).map_err(|reason| format!("[{index}]: {reason}")));
        return items.collect::<Result<Vec<_>, _>>().map(Value::Array);
    }
    if let Some(entries) = value.read_lock::<rhai::Map>() {
        let entries = entries.iter().map(|(key, item)| {
            let item = to_json_within(item, depth_left - 1).map_err(|reason| format!(".{key}: {reason}"))?;
            Ok((key.to_string(), item))
        });
        return entries.collect::<Result<Map<_, _>, String>>().map(Value::Object);
    }
    let kind = if value.is::<rhai::FnPtr>() { "closure" } else { value.type_name() };
    Err(format!("a {kind} cannot be passed on: use text, numbers, true or false, arrays and maps"))
}

/// JSON as a script's value. A whole number beyond 64 bits with sign becomes a float, as everywhere in JSON.
///
/// # Errors
/// When it is nested too deep.
pub(crate) fn from_json(value: &Value) -> Result<Dynamic, String> {
    from_json_within(value, VALUE_DEPTH_MAX)
}

fn from_json_within(value: &Value, depth_left: usize) -> Result<Dynamic, String> {
    if depth_left == 0 {
        return Err(format!("it is nested deeper than {VALUE_DEPTH_MAX} levels"));
    }
    Ok(match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => Dynamic::from_bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Dynamic::from_int(whole as INT),
            None => Dynamic::from_float(number.as_f64().unwrap_or(FLOAT::NAN)),
        },
        Value::String(text) => Dynamic::from(ImmutableString::from(text.as_str())),
        Value::Array(items) => {
            let items = items.iter().map(|item| from_json_within(item, depth_left - 1));
            Dynamic::from_array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, item)| {
                let item = from_json_within(item, depth_left - 1)?;
                Ok::<_, String>((key.as_str().into(), item))
            });
            Dynamic::from_map(entries.collect::<Result<rhai::Map, _>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_survives_the_way_into_a_script_and_back(value in any_json()) {
            prop_assert_eq!(to_json(&from_json(&value).unwrap()).unwrap(), value);
        }
    }

    #[test]
    fn what_has_no_place_in_json_is_refused_with_its_place() {
        let check = |value: Dynamic, part: &str| {
            let reason = to_json(&value).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        };
        check(Dynamic::from_float(f64::NAN), "not a finite number");
        let mut map = rhai::Map::new();
        map.insert("f".into(), Dynamic::from(rhai::FnPtr::new("f").unwrap()));
        check(Dynamic::from_array(vec![Dynamic::from_map(map)]), "[0]: .f: a closure cannot be passed on");
        let deep = (0..VALUE_DEPTH_MAX).fold(Dynamic::UNIT, |inner, _| Dynamic::from_array(vec![inner]));
        check(deep, "nested deeper");
    }
}
