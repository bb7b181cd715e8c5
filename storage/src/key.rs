//! Keys: FoundationDB tuples, so that every backend orders and groups rows alike.

use bytes::Bytes;
pub use foundationdb_tuple::{Element, Subspace, TuplePack, TupleUnpack};

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
    foundationdb_tuple::unpack(key).map_err(|error| corrupt(key, &error))
}

/// Reads the part of a key that lies below `subspace`.
///
/// # Errors
/// [`StoreError::Corrupt`] when the key lies elsewhere or is no such tuple.
pub fn unpack_below<'de, T: TupleUnpack<'de>>(subspace: &Subspace, key: &'de [u8]) -> Result<T, StoreError> {
    subspace.unpack(key).map_err(|error| corrupt(key, &error))
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
