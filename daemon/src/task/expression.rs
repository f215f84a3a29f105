//! Values with templates in them, as the steps of pipelines have them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::value::Value as Seen;
use minijinja::{Captured, Environment, ErrorKind, UndefinedBehavior};
use regex::Regex;
use serde_json::{Map, Value};

use super::template::{Bounded, described};
use crate::job::{ErrorCode, JobError};

/// Instructions that one template may take, and 64 bytes of what it makes for each. That also bounds how deep the values are
/// that it makes.
const FUEL: u64 = 20_000;

/// What all templates of a job may take together: a request brings its own, and they are filled in while everybody waits. Far
/// from a second on small boards, and a hundred times what the steps of large pipelines take.
pub(super) const FUEL_OF_JOB: u64 = 4_000_000;

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
    // A namespace can hold itself: nothing that walks through it would end.
    environment.remove_global("namespace");
    environment
});

/// The variable that has what an expression gives.
const VALUE: &str = "_value";

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

/// An expression that has been checked, as a template that keeps what it gives: of templates it is known what they take.
#[derive(Debug, Clone)]
pub(super) struct Expression(String);

/// Outputs of steps of which a part is taken, as in `steps.found.output[:3]`: minijinja 3.1 does not name what is before a slice
/// (`tracker_visit_expr` in compiler/meta.rs).
fn sliced(template: &str) -> impl Iterator<Item = String> {
    static SLICED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(steps\.\w+)(?:\.\w+|\[[^\[\]:]*\])*\[[^\[\]]*:").expect("a constant"));
    SLICED.captures_iter(template).map(|found| found[1].to_owned())
}

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
        // These signs are about the blanks around it, not about what is in it.
        let alone = alone.filter(|inner| !inner.starts_with(['-', '+']) && !inner.ends_with(['-', '+']));
        if let Some(Ok(expression)) = alone.map(|inner| Expression::new(inner, names)) {
            return Ok(Self::Expression(expression));
        }
        let template = ENVIRONMENT.template_from_str(text).map_err(|error| described(&error))?;
        names.extend(template.undeclared_variables(true));
        names.extend(sliced(text));
        Ok(Self::Text(text.to_owned()))
    }

    /// The value for what is known. Its texts take no more than the room that is left.
    pub(super) fn fill(&self, known: &Seen, room: &mut Room) -> Result<Value, JobError> {
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::Expression(expression) => expression.value(known, room)?,
            Self::Text(template) => {
                let (_, text) = render(template, known, room)?;
                room.take(text.len());
                Value::String(String::from_utf8_lossy(&text).into_owned())
            }
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
        names.extend(sliced(source));
        Ok(Self(format!("{{% set {VALUE} = {source} %}}")))
    }

    fn seen(&self, known: &Seen, room: &mut Room) -> Result<Seen, JobError> {
        let (captured, _) = render(&self.0, known, room)?;
        Ok(captured.state().lookup(VALUE).unwrap_or_default())
    }

    /// Whether it is true.
    pub(super) fn holds(&self, known: &Seen, room: &mut Room) -> Result<bool, JobError> {
        self.seen(known, room).map(|value| value.is_true())
    }

    /// What it gives, as JSON.
    pub(super) fn value(&self, known: &Seen, room: &mut Room) -> Result<Value, JobError> {
        let seen = self.seen(known, room)?;
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

/// How much may still be made, and taken for it.
#[derive(Debug)]
pub(super) struct Room<'a> {
    most: usize,
    left: usize,
    fuel: &'a mut u64,
}

impl<'a> Room<'a> {
    /// For so many bytes, and for this fuel that others may share.
    pub(super) fn new(most: usize, fuel: &'a mut u64) -> Self {
        Self { most, left: most, fuel }
    }

    fn writer(&self) -> Bounded {
        Bounded { bytes: Vec::new(), most: self.left }
    }

    fn take(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    fn burn(&mut self, fuel: u64) {
        *self.fuel = self.fuel.saturating_sub(fuel);
    }

    fn exceeded(&self) -> JobError {
        let text = format!("its templates make more than {} bytes (limits.request)", self.most);
        JobError::new(ErrorCode::TooLarge, text)
    }
}

/// What a template makes, and what it knows at its end.
fn render<'a>(template: &'a str, known: &Seen, room: &mut Room) -> Result<(Captured<'a>, Vec<u8>), JobError> {
    if *room.fuel == 0 {
        return Err(invalid(format!("all templates together take more than {FUEL_OF_JOB} instructions")));
    }
    // To read it takes about an instruction for each byte.
    room.burn(template.len() as u64);
    let template = ENVIRONMENT.template_from_str(template).map_err(|error| failed(&error))?;
    let mut text = room.writer();
    match template.render_captured_to(known.clone(), &mut text) {
        Ok(captured) => {
            room.burn(captured.state().fuel_levels().map_or(FUEL, |(taken, _)| taken));
            Ok((captured, text.bytes))
        }
        Err(error) => {
            // Nobody knows how much it has taken.
            room.burn(FUEL);
            Err(if error.kind() == ErrorKind::WriteFailure { room.exceeded() } else { failed(&error) })
        }
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
