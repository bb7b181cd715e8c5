//! Functions on texts in place of the standard library's, whose own cannot be stopped from within: `replace` would
//! allocate a terabyte when a long text replaces each letter of another, and `pad` with an empty text never returns.

use rhai::{EvalAltResult, FuncRegistration, ImmutableString, Module, NativeCallContext};
use steward_types::limits::SCRIPT_STRING_BYTES_MAX;

type Done = Result<(), Box<EvalAltResult>>;

/// Names that scripts know as ordinary methods, though they are registered here.
pub(crate) const REPLACED: &[&str] = &["replace", "pad"];

/// Registers `replace` and `pad` over the standard ones.
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
    FuncRegistration::new("pad").in_global_namespace().set_into_module(
        module,
        |context: NativeCallContext<'_>, text: &mut ImmutableString, length: i64, padding: &str| -> Done {
            pad(&context, text, length, padding)
        },
    );
}

/// Lengthens a text to a number of characters. Nothing happens when it is as long, as in the standard library.
fn pad(context: &NativeCallContext<'_>, text: &mut ImmutableString, length: i64, padding: &str) -> Done {
    let present = text.chars().count();
    let wanted = usize::try_from(length).unwrap_or(0);
    if wanted <= present {
        return Ok(());
    }
    if padding.is_empty() {
        return Err(EvalAltResult::ErrorRuntime("pad: the padding is empty".into(), context.call_position()).into());
    }
    // A character takes a byte at least, so this bounds the work as well.
    if wanted > SCRIPT_STRING_BYTES_MAX {
        return Err(EvalAltResult::ErrorDataTooLarge("Length of string".to_owned(), context.call_position()).into());
    }
    let padded: String = text.chars().chain(padding.chars().cycle().take(wanted - present)).collect();
    *text = padded.into();
    Ok(())
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
