//! Canonical JSON, so that the same arguments have the same hash on every machine and in every version.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256 over the function's name, a zero byte and the canonical JSON of the arguments: keys sorted by their bytes,
/// no white space, numbers and strings as `serde_json` writes them.
pub fn canonical_hash(function: &str, arguments: &Value) -> [u8; 32] {
    canonical_hash_and_size(function, arguments).0
}

/// The hash, and how many bytes the arguments take as canonical JSON.
pub(crate) fn canonical_hash_and_size(function: &str, arguments: &Value) -> ([u8; 32], usize) {
    let mut text = Vec::with_capacity(256);
    text.extend_from_slice(function.as_bytes());
    text.push(0);
    write_canonical(&mut text, arguments);
    (Sha256::digest(&text).into(), text.len() - function.len() - 1)
}

fn write_canonical(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_canonical(out, item);
            }
            out.push(b']');
        }
        Value::Object(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_unstable_by(|left, right| left.0.as_bytes().cmp(right.0.as_bytes()));
            out.push(b'{');
            for (index, (key, item)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_scalar(out, key);
                out.push(b':');
                write_canonical(out, item);
            }
            out.push(b'}');
        }
        scalar => write_scalar(out, scalar),
    }
}

fn write_scalar(out: &mut Vec<u8>, scalar: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(out, scalar).expect("a string or number is written to memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_change_the_hash() {
        let one = json!({"b": [1, {"y": 1.5, "x": null}], "a": "é\n"});
        let other = json!({"a": "é\n", "b": [1, {"x": null, "y": 1.5}]});
        assert_eq!(canonical_hash("f", &one), canonical_hash("f", &other));
        assert_ne!(canonical_hash("f", &one), canonical_hash("g", &one));
        let mut text = Vec::new();
        write_canonical(&mut text, &one);
        assert_eq!(String::from_utf8(text).unwrap(), r#"{"a":"é\n","b":[1,{"x":null,"y":1.5}]}"#);
    }
}
