//! Values with templates in them, as the steps of pipelines have them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::value::Value as Seen;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

use super::template::{Bounded, described};
use crate::job::{ErrorCode, JobError};

/// Instructions that one template may take, and 64 bytes of what it makes for each: a request brings its own templates, many of
/// which are filled in while everybody waits.
const FUEL: u64 = 200_000;

/// Calls within calls: templates have no use for more, and each takes stack.
const DEPTH_MAX: usize = 16;

/// Longest template in bytes.
const TEMPLATE_MAX: usize = 16 * 1024;

/// Knows no template by name, so that none includes another or itself.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH_MAX);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
});

/// A JSON value whose texts are templates.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// Nothing in it is filled in.
    Fixed(Value),
    /// What an expression gives, whatever that is.
    Expression(Expression),
    /// A text with gaps.
    Text(String),
    Array(Vec<Form>),
    Object(Vec<(String, Form)>),
}

/// An expression that has been checked.
#[derive(Debug, Clone)]
pub(super) struct Expression(String);

/// The variables that a template looks at, such as `input` or `steps.first.output`.
pub(super) type Names = BTreeSet<String>;

impl Form {
    /// Checks the templates of a value and adds what they look at.
    pub(super) fn new(value: &Value, names: &mut Names) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::of_text(text, names)?,
            Value::Array(items) => {
                Self::Array(items.iter().map(|item| Self::new(item, names)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => {
                let entry = |(key, value): (&String, &Value)| Ok((key.clone(), Self::new(value, names)?));
                Self::Object(map.iter().map(entry).collect::<Result<_, String>>()?)
            }
            other => Self::Fixed(other.clone()),
        })
    }

    fn of_text(text: &str, names: &mut Names) -> Result<Self, String> {
        if !["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
            return Ok(Self::Fixed(Value::String(text.to_owned())));
        }
        check_length(text)?;
        let alone = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        if let Some(Ok(expression)) = alone.map(|inner| Expression::new(inner, names)) {
            return Ok(Self::Expression(expression));
        }
        let template = ENVIRONMENT.template_from_str(text).map_err(|error| described(&error))?;
        names.extend(template.undeclared_variables(true));
        Ok(Self::Text(text.to_owned()))
    }

    /// The value for what is known. Its texts take no more than the room that is left.
    pub(super) fn fill(&self, known: &Seen, room: &mut Room) -> Result<Value, JobError> {
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::Expression(expression) => expression.value(known, room)?,
            Self::Text(template) => Value::String(render(template, known, room)?),
            Self::Array(items) => {
                Value::Array(items.iter().map(|item| item.fill(known, room)).collect::<Result<_, _>>()?)
            }
            Self::Object(entries) => {
                let entry = |(key, form): &(String, Form)| Ok((key.clone(), form.fill(known, room)?));
                Value::Object(entries.iter().map(entry).collect::<Result<Map<_, _>, JobError>>()?)
            }
        })
    }
}

impl Expression {
    /// Checks an expression and adds what it looks at.
    pub(super) fn new(source: &str, names: &mut Names) -> Result<Self, String> {
        check_length(source)?;
        let expression = ENVIRONMENT.compile_expression(source).map_err(|error| described(&error))?;
        names.extend(expression.undeclared_variables(true));
        Ok(Self(source.to_owned()))
    }

    fn seen(&self, known: &Seen) -> Result<Seen, JobError> {
        let expression = ENVIRONMENT.compile_expression(&self.0);
        expression.and_then(|expression| expression.eval(known.clone())).map_err(|error| failed(&error))
    }

    /// Whether it is true.
    pub(super) fn holds(&self, known: &Seen) -> Result<bool, JobError> {
        self.seen(known).map(|value| value.is_true())
    }

    /// What it gives, as JSON.
    pub(super) fn value(&self, known: &Seen, room: &mut Room) -> Result<Value, JobError> {
        let seen = self.seen(known)?;
        if seen.is_undefined() {
            return Err(invalid("a template gives nothing: what it names is not there"));
        }
        // First as text, which shows its size: what is in it twice is there once only before.
        let mut text = room.writer();
        serde_json::to_writer(&mut text, &seen).map_err(|error| {
            if error.is_io() { room.exceeded() } else { invalid("a template gives what is no JSON") }
        })?;
        room.take(text.bytes.len());
        serde_json::from_slice(&text.bytes).map_err(|_| invalid("a template gives what is no JSON"))
    }
}

/// How much may still be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    most: usize,
    left: usize,
}

impl Room {
    /// For so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { most, left: most }
    }

    fn writer(&self) -> Bounded {
        Bounded { bytes: Vec::new(), most: self.left }
    }

    fn take(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    fn exceeded(&self) -> JobError {
        let text = format!("its templates make more than {} bytes (limits.request)", self.most);
        JobError::new(ErrorCode::TooLarge, text)
    }
}

fn render(template: &str, known: &Seen, room: &mut Room) -> Result<String, JobError> {
    let mut text = room.writer();
    let template = ENVIRONMENT.template_from_str(template).map_err(|error| failed(&error))?;
    match template.render_captured_to(known, &mut text) {
        Ok(_) => {
            room.take(text.bytes.len());
            Ok(String::from_utf8_lossy(&text.bytes).into_owned())
        }
        Err(error) if error.kind() == ErrorKind::WriteFailure => Err(room.exceeded()),
        Err(error) => Err(failed(&error)),
    }
}

/// Whether a variable is one that every template has.
pub(super) fn is_global(name: &str) -> bool {
    ENVIRONMENT.globals().any(|(global, _)| global == name)
}

fn check_length(text: &str) -> Result<(), String> {
    let length = text.len();
    if length <= TEMPLATE_MAX {
        Ok(())
    } else {
        Err(format!("a text has {length} bytes; allowed are 0 to {TEMPLATE_MAX}"))
    }
}

fn failed(error: &minijinja::Error) -> JobError {
    invalid(format!("a template fails: {}", described(error)))
}

fn invalid(text: impl Into<String>) -> JobError {
    JobError::new(ErrorCode::InvalidRequest, text)
}
