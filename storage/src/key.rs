//! Keys: FoundationDB tuples, so that every backend orders and groups rows alike.

use bytes::Bytes;
pub use foundationdb_tuple::{Element, Subspace, TuplePack, TupleUnpack};
use steward_types::limits::KEY_DEPTH_MAX;

use crate::StoreError;

/// Packs a tuple into a key that sorts as the tuple does.
pub fn pack<T: TuplePack>(tuple: &T) -> Vec<u8> {
    foundationdb_tuple::pack(tuple)
}

/// Reads a key back into its tuple.
///
/// # Errors
/// [`StoreError::Corrupt`] when the key is no such tuple.
pub fn unpack<'de, T: TupleUnpack<'de>>(key: &'de [u8]) -> Result<T, StoreError> {
    check_depth(key)?;
    foundationdb_tuple::unpack(key).map_err(|error| corrupt(key, &error))
}

/// Reads the part of a key that lies below `subspace`.
///
/// # Errors
/// [`StoreError::Corrupt`] when the key lies elsewhere or is no such tuple.
pub fn unpack_below<'de, T: TupleUnpack<'de>>(subspace: &Subspace, key: &'de [u8]) -> Result<T, StoreError> {
    check_depth(key.strip_prefix(subspace.bytes()).unwrap_or_default())?;
    subspace.unpack(key).map_err(|error| corrupt(key, &error))
}

/// The decoder calls itself for each level of nested tuples, so that foreign bytes could exhaust the stack.
fn check_depth(key: &[u8]) -> Result<(), StoreError> {
    let too_deep = || StoreError::Corrupt(format!("a key nests tuples deeper than {KEY_DEPTH_MAX} levels"));
    let may_nest = key.iter().filter(|&&byte| byte == NESTED).count() > KEY_DEPTH_MAX;
    if may_nest && depth(key) > KEY_DEPTH_MAX { Err(too_deep()) } else { Ok(()) }
}

const NESTED: u8 = 0x05;

/// The deepest nesting of tuples in `key`, up to where it is no tuple. The codes are those of FoundationDB's
/// `design/tuple.md`.
fn depth(mut key: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    while let Some((&code, rest)) = key.split_first() {
        let length = match code {
            NESTED => {
                depth += 1;
                deepest = deepest.max(depth);
                0
            }
            0x00 if depth > 0 && rest.first() == Some(&0xff) => 1,
            0x00 => {
                depth = depth.saturating_sub(1);
                0
            }
            0x01 | 0x02 => text_length(rest),
            0x0b => rest.first().map_or(0, |&length| 1 + usize::from(!length)),
            0x1d => rest.first().map_or(0, |&length| 1 + usize::from(length)),
            0x0c..=0x1c => usize::from(code.abs_diff(0x14)),
            0x20 => 4,
            0x21 => 8,
            0x26 | 0x27 => 0,
            0x30 => 16,
            0x32 | 0x33 => 12,
            _ => return deepest,
        };
        key = rest.get(length..).unwrap_or_default();
    }
    deepest
}

/// Bytes up to and with the zero that ends a string; a zero before `0xff` is part of it.
fn text_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text[at..].iter().position(|&byte| byte == 0) {
        at += found + 1;
        if text.get(at) != Some(&0xff) {
            return at;
        }
        at += 1;
    }
    text.len()
}

fn corrupt(key: &[u8], error: &foundationdb_tuple::PackError) -> StoreError {
    StoreError::Corrupt(format!("key {}: {error}", key.escape_ascii()))
}

/// The first key after `key`.
pub fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// The range of all keys that start with `prefix`: from itself to the first key after all of them.
/// An empty prefix gives the whole of the key space that a user may write, up to `0xff`.
pub fn prefix_range(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut end = prefix.to_vec();
    while end.last() == Some(&0xff) {
        end.pop();
    }
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0xff),
    }
    (prefix.to_vec(), end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_range_ends_after_the_last_key_of_the_prefix() {
        let check = |prefix: &[u8], end: &[u8]| assert_eq!(prefix_range(prefix).1, end);
        check(b"a", b"b");
        check(b"a\xff", b"b");
        check(b"", b"\xff");
    }

    #[test]
    fn a_deeply_nested_key_is_refused_and_does_not_exhaust_the_stack() {
        let deep = [[2, 5, 0xc0].repeat(40), vec![5; 10_000]].concat();
        for bytes in [vec![5; 10_000], [5, 0, 0xff].repeat(3_000), deep] {
            let refused = unpack::<Vec<Element<'_>>>(&bytes);
            assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
        }
        let bytes_that_look_nested = pack(&(Element::Bytes(vec![5; 1_000].into()), "\0\u{5}", -5i64, 5.5f64));
        assert!(unpack::<Vec<Element<'_>>>(&bytes_that_look_nested).is_ok());
        let nested = (0..KEY_DEPTH_MAX).fold(Element::Int(7), |inner, _| Element::Tuple(vec![inner, Element::Nil]));
        assert_eq!(depth(&pack(&vec![nested.clone()])), KEY_DEPTH_MAX);
        assert_eq!(unpack::<Vec<Element<'_>>>(&pack(&vec![nested.clone()])).unwrap(), [nested]);
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_tuples(a in any::<(u64, i64, String)>(), b in any::<(u64, i64, String)>()) {
            prop_assert_eq!(pack(&a).cmp(&pack(&b)), a.cmp(&b));
            prop_assert_eq!(unpack::<(u64, i64, String)>(&pack(&a)).unwrap(), a);
        }

        #[test]
        fn arbitrary_bytes_never_panic_as_a_key(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = unpack::<Vec<Element<'_>>>(&bytes);
            let _ = unpack::<(String, u64, Vec<u8>)>(&bytes);
            let _ = unpack_below::<(i64, String)>(&Subspace::from_bytes(bytes.get(..1).unwrap_or_default()), &bytes);
        }
    }
}
