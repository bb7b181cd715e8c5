//! Any text as an agent's script: checked with positions in it, or taken; never a panic, hang or endless memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steward_scripting::{Bundle, Program};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A module follows the first form feed.
    let bundle = match text.split_once('\u{c}') {
        Some((script, module)) => Bundle::new(script).with_module("pricing", module),
        None => Bundle::new(text),
    };
    match Program::check(&bundle) {
        Ok(program) => assert_eq!(program.hash(), bundle.hash()),
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "a refusal says why");
            for diagnostic in diagnostics {
                let source = if diagnostic.file == "pricing.rhai" { &bundle.modules["pricing"] } else { &bundle.script };
                // To Rhai a lone carriage return ends a line too.
                let lines = source.split(['\n', '\r']).count();
                assert!(diagnostic.line as usize <= lines, "{diagnostic:?} lies behind the end");
                assert!(!diagnostic.message.is_empty());
            }
        }
    }
});
