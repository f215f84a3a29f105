//! The chat template of the model file, rendered as Hugging Face's tokenizers do.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};
use thiserror::Error as ThisError;

use crate::job::{Message, Role};

/// Instructions that one rendering may take: a template is the model author's program.
const FUEL: u64 = 5_000_000;

/// What a template calls that writes the date.
const NOW: &str = "strftime_now";

/// Why a template cannot be used.
#[derive(Debug, ThisError)]
#[error("the chat template fails: {0}")]
pub struct TemplateError(String);

/// A chat template that has been compiled and tried out.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    dated: bool,
}

impl ChatTemplate {
    /// Compiles a template and renders a sample conversation with it.
    pub fn new(source: &str, bos: String, eos: String) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| describe(&e))?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function(NOW, strftime_now);
        environment.add_filter("tojson", to_json);
        environment.add_template_owned("chat", without_generation_marks(source)).map_err(|e| describe(&e))?;
        let template = Self { environment, bos, eos, dated: source.contains(NOW) };
        template.render(&[Message { role: Role::User, content: "Hello".into() }])?;
        Ok(template)
    }

    /// Whether it may write the date, so that prompts begin otherwise on another day.
    pub fn is_dated(&self) -> bool {
        self.dated
    }

    /// The prompt for a conversation, up to where the assistant's answer begins.
    pub fn render(&self, messages: &[Message]) -> Result<String, TemplateError> {
        let template = self.environment.get_template("chat").map_err(|e| describe(&e))?;
        let messages = messages.iter().map(|m| Value::from_pairs([("role", m.role.as_str()), ("content", &m.content)]));
        let values = Value::from_pairs([
            ("messages", messages.collect::<Value>()),
            ("add_generation_prompt", Value::from(true)),
            ("bos_token", Value::from(self.bos.as_str())),
            ("eos_token", Value::from(self.eos.as_str())),
        ]);
        template.render(values).map_err(|e| describe(&e))
    }
}

/// The kind and the template's own words; minijinja's full report would quote the messages.
fn describe(error: &Error) -> TemplateError {
    TemplateError(error.to_string())
}

/// `{% generation %}` marks what training is about and means nothing here; minijinja does not know it.
fn without_generation_marks(source: &str) -> String {
    let mut rest = source;
    let mut out = String::with_capacity(source.len());
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let tag = &rest[start..start + length + 2];
        let word = tag.trim_matches(|c: char| "{%-+}".contains(c) || c.is_whitespace());
        out.push_str(&rest[..start]);
        if word != "generation" && word != "endgeneration" {
            out.push_str(tag);
        }
        rest = &rest[start + length + 2..];
    }
    out.push_str(rest);
    out
}

fn raise_exception(message: &str) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    let now = jiff::Zoned::now();
    jiff::fmt::strtime::format(format, &now).map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))
}

/// As Python's `json.dumps`; minijinja's own filter escapes HTML.
#[expect(clippy::needless_pass_by_value, reason = "minijinja's filters take their options by value")]
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // `ensure_ascii` and separators occur in templates; the texts that models were trained on are plain UTF-8.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let text = match indent {
        None => serde_json::to_string(value).map(|compact| spaced(&compact)),
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let mut bytes = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
            serde::Serialize::serialize(value, &mut serializer).map(|()| String::from_utf8_lossy(&bytes).into_owned())
        }
    };
    text.map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))
}

/// Python puts a blank after `,` and `:`.
fn spaced(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let (mut quoted, mut escaped) = (false, false);
    for c in compact.chars() {
        out.push(c);
        if quoted {
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else if c == '"' {
            quoted = true;
        } else if c == ',' || c == ':' {
            out.push(' ');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' \
        + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn template(source: &str) -> Result<ChatTemplate, TemplateError> {
        ChatTemplate::new(source, "<s>".into(), "</s>".into())
    }

    fn user(content: &str) -> Vec<Message> {
        vec![Message { role: Role::User, content: content.into() }]
    }

    #[test]
    fn chatml_renders_as_in_the_reference() {
        let prompt = template(CHATML).unwrap().render(&user("Hi")).unwrap();
        assert_eq!(prompt, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    }

    #[test]
    fn python_methods_and_special_tokens_work() {
        let source = "{{ bos_token }}{% for m in messages %}{{ m.content.strip().upper() }}{% endfor %}{{ eos_token }}";
        assert_eq!(template(source).unwrap().render(&user(" x ")).unwrap(), "<s>X</s>");
    }

    #[test]
    fn json_is_written_as_python_does() {
        let source = "{{ {'a': [1, 2], 'b': '<, :>\"'} | tojson }}";
        assert_eq!(template(source).unwrap().render(&user("")).unwrap(), r#"{"a": [1, 2], "b": "<, :>\""}"#);
    }

    #[test]
    fn generation_marks_are_ignored() {
        let source = "{%- generation -%}{{ messages[0].content }}{% endgeneration %}";
        assert_eq!(template(source).unwrap().render(&user("x")).unwrap(), "x");
    }

    #[test]
    fn a_template_that_refuses_loops_or_is_broken_is_an_error() {
        for source in [
            "{{ raise_exception('no') }}",
            "{% for a in range(100000) %}{% for b in range(100000) %}{{ b }}{% endfor %}{% endfor %}",
            "{% if %}",
        ] {
            assert!(template(source).is_err(), "{source}");
        }
    }

    #[test]
    fn the_date_is_there() {
        let template_of_year = template("{{ strftime_now('%Y') }}").unwrap();
        let year = template_of_year.render(&user("")).unwrap();
        assert!(year.parse::<u32>().unwrap() > 2000);
        assert!(template_of_year.is_dated() && !template(CHATML).unwrap().is_dated());
    }
}
