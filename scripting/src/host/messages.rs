//! Building a conversation: pure functions, no steps.

use rhai::{Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module};

use crate::call::{ChatMessage, ChatRole};
use crate::value::to_json;

type Answer = Result<Dynamic, Box<EvalAltResult>>;

/// Registers `system`, `user`, `assistant` and `context`.
pub(super) fn register(module: &mut Module) {
    for (name, role) in [("system", "system"), ("user", "user"), ("assistant", "assistant")] {
        FuncRegistration::new(name)
            .in_global_namespace()
            .set_into_module(module, move |content: Dynamic| -> Answer { Ok(message(role, &line(&content)?)) });
    }
    FuncRegistration::new("context").in_global_namespace().set_into_module(module, context);
}

/// What was recalled, as one system message; nothing when nothing was.
fn context(matches: Dynamic) -> Answer {
    let Ok(items) = matches.into_array() else {
        return Err("context: give it the matches of recall(…), or an array of texts".into());
    };
    if items.is_empty() {
        return Ok(Dynamic::UNIT);
    }
    let mut text = "What is known:".to_owned();
    for item in &items {
        let fact = item.read_lock::<Map>().and_then(|entry| entry.get("text").cloned());
        text.push_str("\n- ");
        text.push_str(&line(fact.as_ref().unwrap_or(item))?);
    }
    Ok(message("system", &text))
}

fn message(role: &'static str, content: &str) -> Dynamic {
    let mut map = Map::new();
    map.insert("role".into(), role.into());
    map.insert("content".into(), content.into());
    map.into()
}

fn line(value: &Dynamic) -> Result<String, Box<EvalAltResult>> {
    match value.read_lock::<ImmutableString>() {
        Some(text) => Ok(text.to_string()),
        None => Ok(to_json(value)?.to_string()),
    }
}

/// The messages of a `chat`: text is one message of the user; an array may hold messages, texts, arrays and nothing.
pub(super) fn conversation(value: &Dynamic) -> Result<Vec<ChatMessage>, String> {
    let mut messages = Vec::new();
    collect(value, &mut messages, 4)?;
    if messages.is_empty() {
        return Err("there are no messages".to_owned());
    }
    Ok(messages)
}

fn collect(value: &Dynamic, messages: &mut Vec<ChatMessage>, depth_left: usize) -> Result<(), String> {
    if value.is_shared() {
        return collect(&value.flatten_clone(), messages, depth_left);
    }
    if value.is_unit() {
        return Ok(());
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        messages.push(ChatMessage { role: ChatRole::User, content: text.to_string() });
        return Ok(());
    }
    if let Some(items) = value.read_lock::<rhai::Array>().filter(|_| depth_left > 0) {
        return items.iter().try_for_each(|item| collect(item, messages, depth_left - 1));
    }
    let message = serde_json::from_value(to_json(value)?);
    messages.push(message.map_err(|error| {
        format!("a message is text or comes from system(…), user(…), assistant(…) or context(…): {error}")
    })?);
    Ok(())
}
