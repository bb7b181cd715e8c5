//! Any bytes as a receipt leaf, a proof or a signed note: what is taken encodes back to itself, all else is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steward_receipts::{Leaf, Proof, VerifierKey};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(leaf) = Leaf::decode(bytes) {
        assert_eq!(leaf.encode(), bytes, "one leaf has one encoding");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(proof) = Proof::from_json(text) {
        let again = Proof::from_json(&proof.to_json()).expect("what was written can be read");
        assert_eq!(again.to_json(), proof.to_json());
    }
    if let Some((key, note)) = text.split_once('\n')
        && let Ok(key) = key.parse::<VerifierKey>()
        && let Ok(body) = key.open(note)
    {
        assert!(note.starts_with(body), "what is signed is in the note");
    }
});
