//! The seeds of the fuzz target `tuple_record` are what this crate writes today: `STEWARD_UPDATE=1` writes them anew.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../tests/fuzz/targets/everything.rs"]
mod everything;

use std::path::Path;

use everything::{Choice, Everything};
use steward_storage::{key, record};

fn everything(choice: Choice, absent: Option<Box<Everything>>) -> Everything {
    Everything {
        text: "Ada".to_owned(),
        number: -7,
        amount: u64::MAX,
        bytes: vec![0, 255],
        absent,
        choice,
        value: serde_json::json!({ "a": [1, 2.5, null, true], "b": { "c": "d" } }),
    }
}

/// What the target reads: the key's length, the key, the record.
fn seed(key: &[u8], record: &Everything) -> Vec<u8> {
    let length = u8::try_from(key.len()).unwrap();
    [&[length], key, &record::encode(record).unwrap()].concat()
}

#[test]
fn seeds_are_what_is_written_today() {
    let inner = Box::new(everything(Choice::Unit, None));
    let seeds = [
        ("plain", seed(&key::pack(&("session", 7u64, -3i64)), &everything(Choice::Tuple(3, "x".to_owned()), None))),
        (
            "nested",
            seed(&key::pack(&(("a", (1.5f64, true)), b"\0\xff".as_slice())), &everything(Choice::Unit, Some(inner))),
        ),
        ("fields", seed(&key::pack(&("event", u64::MAX)), &everything(Choice::Fields { path: vec![1, 2, 3] }, None))),
    ];
    let folder = Path::new("../tests/fuzz/seeds/tuple_record");
    for (name, bytes) in seeds {
        let file = folder.join(name);
        if std::env::var_os("STEWARD_UPDATE").is_some() {
            std::fs::write(&file, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{}: STEWARD_UPDATE=1 writes it", file.display());
    }
}
