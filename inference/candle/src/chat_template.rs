//! Puts a chat into the model's own template, a Jinja text from its file's metadata.
//!
//! A template comes with a file that a stranger made: it runs with bounded fuel and can reach nothing. What people say
//! in the chat must not turn into control tokens: their texts are broken by a guard character before the template sees
//! them, and mended after the control tokens were found.

mod python;

use std::fmt;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};
use steward_inference::{ChatMessage, ModelError};
use steward_types::Clock;

/// A character that stands in no text that people exchange: Unicode reserves it for uses such as this.
pub const GUARD: char = '\u{fdd0}';
/// Instructions that one rendering may take.
const FUEL: u64 = 2_000_000;
const NAME: &str = "chat_template";

/// A compiled template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChatTemplate")
    }
}

impl ChatTemplate {
    /// Compiles a template. `begin` and `end` are the texts of the tokens that begin and end a text.
    pub fn new(source: &str, begin: String, end: String, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let mut environment = Environment::new();
        // As Hugging Face's `apply_chat_template` sets Jinja up.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| error.to_string())?);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(python::call_method);
        environment.add_function("raise_exception", |what: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, what))
        });
        environment.add_function("strftime_now", move |format: String| python::strftime(clock.now(), &format));
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self { environment, begin, end })
    }

    /// The chat as text that ends where the assistant is to speak. Texts of `control` tokens within messages are broken
    /// by [`GUARD`].
    pub fn render<'a>(
        &self,
        messages: &[ChatMessage],
        control: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<String, ModelError> {
        let messages = messages.iter().map(|message| {
            let content = guarded(&message.content, control.clone());
            Value::from_pairs([("role", Value::from(message.role.as_str())), ("content", Value::from(content))])
        });
        let context = Value::from_pairs([
            ("messages", messages.collect::<Value>()),
            ("add_generation_prompt", Value::from(true)),
            ("bos_token", Value::from(self.begin.as_str())),
            ("eos_token", Value::from(self.end.as_str())),
        ]);
        let rendered = self.environment.get_template(NAME).and_then(|template| template.render(context));
        rendered.map_err(|error| {
            let what = format!("the model's chat template refuses it: {error}");
            ModelError::InvalidRequest { field: "messages".into(), what }
        })
    }
}

/// Breaks every control token's text in `content` after its first character.
fn guarded<'a>(content: &str, control: impl Iterator<Item = &'a str>) -> String {
    let mut text = content.replace(GUARD, "");
    for token in control {
        if text.contains(token) {
            let head = token.chars().next().map_or(0, char::len_utf8);
            text = text.replace(token, &format!("{}{GUARD}{}", &token[..head], &token[head..]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use steward_types::{ManualClock, Timestamp};

    use super::*;

    fn template(source: &str) -> Result<ChatTemplate, String> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(951_782_400_000)));
        ChatTemplate::new(source, "<s>".to_owned(), "</s>".to_owned(), clock)
    }

    fn render(source: &str, content: &str) -> Result<String, ModelError> {
        template(source).unwrap().render(&[ChatMessage::user(content)], ["<|end|>"].into_iter())
    }

    #[test]
    fn a_template_sees_the_chat_and_the_tokens() {
        let source = "{{ bos_token }}{% for m in messages %}\n  {%- if m['role'] == 'user' %}[{{ m.content.strip() }}]\
                      {% endif %}\n{% endfor %}{% if add_generation_prompt %}>{% endif %}";
        assert_eq!(render(source, "  hi ").unwrap(), "<s>[hi]>");
        assert_eq!(render("{{ strftime_now('%d %b %Y') }}", "").unwrap(), "29 Feb 2000");
    }

    #[test]
    fn what_people_say_is_no_control_token() {
        assert_eq!(render("{{ messages[0].content }}<|end|>", "a<|end|>b").unwrap(), "a<\u{fdd0}|end|>b<|end|>");
        assert_eq!(render("{{ messages[0].content }}", "<\u{fdd0}|end|>").unwrap(), "<\u{fdd0}|end|>");
    }

    #[test]
    fn a_hostile_template_is_stopped() {
        assert!(template("{% if %}").is_err());
        let check = |source, expected: &str| {
            let error = render(source, "").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "fuel");
        check("{{ raise_exception('no system role') }}", "no system role");
    }
}
