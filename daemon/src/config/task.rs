//! `[[task]]`: tasks that are data. A file `tasks.d/NAME.toml` holds the keys of the one that is called NAME.

use std::collections::BTreeSet;

use serde_json::{Map, Number, json};

use super::section::Section;
use super::source::Source;
use super::tree::Value;
use super::value;
use crate::job::{
    CHOICES_MAX, Constraint, ModelName, REPEAT_PENALTY_MAX, REPEAT_PENALTY_MIN, STOP_BYTES_MAX, STOPS_MAX,
    TEMPERATURE_MAX, TaskName,
};
use crate::task::{BUILT_IN, DEFINITIONS_MAX, Defaults, Definition, Form, LongField, Parts, check_schema};

/// Names that the interface gives tasks which are no data.
const RESERVED: [&str; 9] =
    ["answer", "chat", "classify", "embed", "extract", "fetch", "generate", "pipeline", "rerank"];

/// Longest template in bytes.
const TEMPLATE_MAX: usize = 64 * 1024;

/// Longest schema, choice or expression of an answer in bytes: the largest that `limits.schema` may be.
const FORM_MAX: usize = 256 * 1024;
/// Longest name of a field in bytes.
const NAME_MAX: usize = 64;

/// Longest description in bytes.
const DESCRIPTION_MAX: usize = 200;

/// The files of the built-in definitions, as if an operator had written them before all others.
pub(super) fn built_in() -> impl Iterator<Item = Source> {
    let source = |(name, text): (&str, &str)| Source {
        path: format!("(built in)/tasks.d/{name}.toml").into(),
        text: text.to_owned(),
    };
    BUILT_IN.into_iter().map(source)
}

/// Reads every definition.
pub(super) fn read_all(root: &mut Section<'_, '_, '_>, names: &mut BTreeSet<TaskName>) -> Vec<Definition> {
    let mut count = 0;
    let definitions = root.tables("task", |section| {
        count += 1;
        if count > DEFINITIONS_MAX {
            section.problem("name", format!("is definition {count} of at most {DEFINITIONS_MAX}"));
        }
        read(section, names)
    });
    definitions.into_iter().flatten().collect()
}

/// The names of those that are there in only one of the two, or are not the same.
pub(super) fn changed<'a>(old: &'a [Definition], new: &'a [Definition]) -> BTreeSet<&'a TaskName> {
    let differs = |task: &&Definition| !(old.contains(task) && new.contains(task));
    old.iter().chain(new).filter(differs).map(Definition::name).collect()
}

fn read(section: &mut Section<'_, '_, '_>, names: &mut BTreeSet<TaskName>) -> Option<Definition> {
    let name = read_name(section, names);
    let description = read_description(section);
    let system = section.optional("system", template);
    let prompt = section.required("prompt", template);
    let input = read_input(section);
    let long = if section.is_set("long") { Some(section.table("long", read_long)?) } else { None };
    let defaults = Defaults {
        model: section
            .optional("model", |value| ModelName::new(value::text(value)?).map_err(|error| error.to_string())),
        max_tokens: section.optional("max_tokens", |value| value::number(value, &(1..=1_048_576))),
        temperature: section.optional("temperature", |value| value::decimal(value, &(0.0..=TEMPERATURE_MAX))),
        repeat_penalty: section
            .optional("repeat_penalty", |value| value::decimal(value, &(REPEAT_PENALTY_MIN..=REPEAT_PENALTY_MAX))),
        stop: section.list("stop", STOPS_MAX, |value| value::some_text(value, STOP_BYTES_MAX)),
        form: section.table("output", read_form),
    };
    let parts = Parts { name: name?, description, system, prompt: prompt?, input: input?, defaults, long };
    match Definition::new(parts) {
        Ok(definition) => Some(definition),
        Err(error) => {
            section.blame_key(error.key(), error.to_string());
            None
        }
    }
}

/// `[task.output]`: at most one of its keys.
fn read_form(section: &mut Section<'_, '_, '_>) -> Form {
    const KEYS: [&str; 4] = ["schema", "choices", "regex", "requested"];
    let given: Vec<&str> = KEYS.into_iter().filter(|key| section.is_set(key)).collect();
    if let [_, second, ..] = given.as_slice() {
        section.problem(second, format!("is one too many: only one of {} may be set", KEYS.join(", ")));
    }
    let schema = section.optional("schema", |value| {
        let schema = match value {
            // Deeper than a table may nest here.
            Value::Text(text) => serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?,
            value => json_of(value)?,
        };
        let text = schema.to_string();
        match schema {
            serde_json::Value::Object(_) if text.len() > FORM_MAX => Err(too_long(text.len())),
            serde_json::Value::Object(_) => check_schema(&schema).map(|()| Constraint::Schema(text)),
            _ => Err("must be a table, or JSON of an object as text".to_owned()),
        }
    });
    let mut seen = BTreeSet::new();
    let choices = section.list("choices", CHOICES_MAX, |value| match value::some_text(value, FORM_MAX)? {
        text if text.trim().is_empty() => Err("is blank".to_owned()),
        text if !seen.insert(text.clone()) => Err("is there twice".to_owned()),
        text => Ok(text),
    });
    let bytes: usize = choices.iter().map(String::len).sum();
    if bytes > FORM_MAX {
        section.problem("choices", format!("has {bytes} bytes of texts; allowed are {FORM_MAX}"));
    }
    let regex = section.optional("regex", |value| {
        let text = value::some_text(value, FORM_MAX)?;
        // What it is to be a grammar of is known only where it is built. What is no expression can be told here.
        match regex::Regex::new(&text) {
            Err(regex::Error::Syntax(error)) => Err(format!("is no regular expression: {error}")),
            _ => Ok(Constraint::Regex(text)),
        }
    });
    let choices = (!choices.is_empty()).then_some(Constraint::Choices(choices));
    let requested = section.flag("requested", false);
    let text = if requested { Form::Requested } else { Form::Text };
    schema.or(choices).or(regex).map_or(text, Form::Fixed)
}

fn too_long(bytes: usize) -> String {
    format!("has {bytes} bytes of JSON; allowed are 1 to {FORM_MAX}")
}

/// The name of a task or pipeline, which no other has.
pub(super) fn read_name(section: &mut Section<'_, '_, '_>, names: &mut BTreeSet<TaskName>) -> Option<TaskName> {
    section.required("name", |value| {
        let name = TaskName::new(value::text(value)?).map_err(|error| error.to_string())?;
        match RESERVED.contains(&name.as_str()) {
            true => Err("is a task of the interface; choose another name".to_owned()),
            false if !names.insert(name.clone()) => Err("is the name of another task, too".to_owned()),
            false => Ok(name),
        }
    })
}

/// What a task or pipeline does.
pub(super) fn read_description(section: &mut Section<'_, '_, '_>) -> String {
    let line = |value: &Value| value::line(value, DESCRIPTION_MAX).map(str::to_owned);
    section.optional("description", line).unwrap_or_default()
}

/// The schema of a request's fields.
pub(super) fn read_input(section: &mut Section<'_, '_, '_>) -> Option<serde_json::Value> {
    if section.is_set("input") { section.optional("input", json_of) } else { Some(text_alone()) }
}

/// The field whose text may be longer than the context.
fn read_long(section: &mut Section<'_, '_, '_>) -> Option<LongField> {
    let field = section.required("field", |value| value::some_text(value, NAME_MAX));
    let join = section.optional("join", |value| Ok(value::text(value)?.to_owned()));
    Some(LongField { field: field?, join: join.unwrap_or_else(|| "\n\n".to_owned()) })
}

fn template(value: &Value) -> Result<String, String> {
    let text = value::text(value)?;
    if text.trim().is_empty() || text.len() > TEMPLATE_MAX {
        return Err(format!("has {} bytes; allowed are 1 to {TEMPLATE_MAX}, not all of them blank", text.len()));
    }
    Ok(text.to_owned())
}

/// The schema of a definition that names none: one text.
fn text_alone() -> serde_json::Value {
    json!({
        "type": "object", "required": ["input"], "properties": { "input": { "type": "string", "pattern": r"\S" } },
    })
}

/// TOML as JSON.
pub(super) fn json_of(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::Text(text) => json!(text),
        Value::Integer(Some(number), _) => json!(number),
        Value::Flag(flag) => json!(flag),
        Value::Array(items) => items.iter().map(|item| json_of(&item.value)).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Table(table) => {
            let entries = table.iter().map(|entry| Ok((entry.key.clone(), json_of(&entry.item.value)?)));
            entries.collect::<Result<Map<_, _>, String>>()?.into()
        }
        Value::Integer(None, text) | Value::Other(text) => {
            let number = text.replace('_', "").parse().ok().and_then(Number::from_f64);
            number.map(serde_json::Value::Number).ok_or_else(|| {
                format!("contains {text}, which JSON has no word for, or nests deeper than is allowed here")
            })?
        }
    })
}
