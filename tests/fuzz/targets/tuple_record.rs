//! Any bytes as a key and as a record: what is taken packs back to the same, all else is refused.
#![no_main]

mod everything;

use everything::Everything;
use foundationdb_tuple::Element;
use libfuzzer_sys::fuzz_target;
use steward_storage::{key, record};

fuzz_target!(|bytes: &[u8]| {
    let Some((&length, rest)) = bytes.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(length).min(rest.len()));
    if let Ok(elements) = key::unpack::<Vec<Element>>(key) {
        let packed = key::pack(&elements);
        // A number may be written longer than need be; once packed it is the shortest, and stays.
        let again: Vec<Element> = key::unpack(&packed).expect("what was packed can be unpacked");
        assert_eq!(key::pack(&again), packed);
    }
    if let Ok(read) = record::decode::<Everything>(key, value) {
        let encoded = record::encode(&read).expect("what was read can be written");
        let again: Everything = record::decode(key, &encoded).expect("what was written can be read");
        assert_eq!(record::encode(&again).expect("and written again"), encoded);
    }
});
