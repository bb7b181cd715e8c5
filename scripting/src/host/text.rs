//! Replacing within texts, with the size of the outcome checked first: the standard library's own `replace` would
//! allocate a terabyte in one operation when a long text replaces each letter of another.

use rhai::{EvalAltResult, FuncRegistration, ImmutableString, Module, NativeCallContext};
use steward_types::limits::SCRIPT_STRING_BYTES_MAX;

type Done = Result<(), Box<EvalAltResult>>;

/// Registers `replace` over the standard one.
pub(super) fn register(module: &mut Module) {
    FuncRegistration::new("replace").in_global_namespace().set_into_module(
        module,
        |context: NativeCallContext<'_>, text: &mut ImmutableString, find: &str, with: &str| -> Done {
            replace(&context, text, find, with)
        },
    );
    FuncRegistration::new("replace").in_global_namespace().set_into_module(
        module,
        |context: NativeCallContext<'_>, text: &mut ImmutableString, find: char, with: &str| -> Done {
            replace(&context, text, find.encode_utf8(&mut [0; 4]), with)
        },
    );
}

fn replace(context: &NativeCallContext<'_>, text: &mut ImmutableString, find: &str, with: &str) -> Done {
    let found = text.matches(find).count();
    let removed = found.saturating_mul(find.len());
    let bytes = found.saturating_mul(with.len()).saturating_add(text.len()).saturating_sub(removed);
    if bytes > SCRIPT_STRING_BYTES_MAX {
        return Err(EvalAltResult::ErrorDataTooLarge("Length of string".to_owned(), context.call_position()).into());
    }
    if found > 0 {
        *text = text.replace(find, with).into();
    }
    Ok(())
}
