//! The schema of each task's request.

use serde_json::{Map, Value, json};

use super::super::address::{ECHO_BYTES_MAX, ECHO_FIELDS_MAX};
use super::super::defined::{common_fields, fields_of};
use super::super::kind::{KNOWN, TaskKind};
use super::fields::property;
use crate::job::NAME_PATTERN;
use crate::task::{Definition, Form};

/// Fields of which at most one may be given.
const FORMS: [&str; 3] = ["schema", "choices", "regex"];

/// JSON Schemas of the requests of every task of the interface and of these tasks, and of a cancel, by the names of their files.
pub fn request_schemas(definitions: &[Definition]) -> Vec<(String, Value)> {
    let kinds = TaskKind::ALL.into_iter().map(|kind| (kind.name(), of_kind(kind)));
    let defined = definitions.iter().map(|definition| (definition.name().as_str(), of_definition(definition)));
    let tasks = kinds.chain(defined).chain([("fetch", fetch())]);
    let mut schemas: Vec<(String, Value)> = tasks.map(|(name, schema)| (format!("request-{name}"), schema)).collect();
    schemas.push(("cancel".to_owned(), cancel()));
    schemas
}

/// The tasks of the interface, and of these, that a text alone is enough for.
pub fn text_tasks(definitions: &[Definition]) -> Vec<String> {
    let kinds = TaskKind::ALL.into_iter().filter(|kind| takes_text(*kind)).map(|kind| kind.name().to_owned());
    let defined = definitions.iter().filter(|definition| is_for_text(definition));
    kinds.chain(defined.map(|definition| definition.name().as_str().to_owned())).collect()
}

fn takes_text(kind: TaskKind) -> bool {
    kind.on("text".to_owned()).is_ok()
}

fn is_for_text(definition: &Definition) -> bool {
    let asks_for_form = definition.parts().defaults.form == Form::Requested;
    !asks_for_form && definition.task(fields_of("text".to_owned()), usize::MAX).is_ok()
}

/// What a payload is, for a task that a text alone is enough for or not.
fn about_text(takes_text: bool) -> &'static str {
    if takes_text {
        "A payload whose first non-blank character is not `{` is the text alone; JSON that is no object is refused."
    } else {
        "A JSON object always: a text alone is not enough."
    }
}

/// What every request may carry for its client alone.
fn echoed_fields() -> Value {
    let text =
        format!("Ignored and echoed: at most {ECHO_FIELDS_MAX} fields, of {ECHO_BYTES_MAX} bytes of JSON together.");
    json!({ "^x_": { "description": text } })
}

/// A message with these fields and no others, and the rules that they follow together.
pub fn sent_object(description: &str, properties: &Map<String, Value>, rules: &[Value]) -> Value {
    let mut schema = json!({
        "description": description, "type": "object", "properties": properties, "patternProperties": echoed_fields(),
        "additionalProperties": false,
    });
    if !rules.is_empty() {
        schema["allOf"] = rules.into();
    }
    schema
}

/// Every field that a request of a task may have.
fn fields(kind: TaskKind) -> impl Iterator<Item = &'static str> {
    KNOWN.into_iter().chain(kind.own().into_iter().flatten().copied())
}

fn of_kind(kind: TaskKind) -> Value {
    // `generate` knows the field only to say where it belongs.
    let has = |name: &&str| !(kind == TaskKind::Generate && *name == "messages");
    let fields = fields(kind).filter(has);
    let properties = fields.filter_map(|name| Some((name.to_owned(), property(name, Some(kind))?))).collect();
    let mut rules = vec![bare_text()];
    match kind {
        TaskKind::Chat => rules.push(one_of(&["messages", "input", "prompt", "inputs"])),
        TaskKind::Generate | TaskKind::Embed | TaskKind::Classify | TaskKind::Extract => {
            rules.push(one_of(&["input", "prompt", "inputs"]));
        }
        TaskKind::Answer => {
            rules.extend([one_of(&["question", "input", "prompt"]), json!({ "required": ["context"] })]);
        }
        TaskKind::Rerank => rules.extend([one_of(&["input", "prompt"]), json!({ "required": ["documents"] })]),
        TaskKind::Pipeline => rules.extend([not_both("input", "prompt"), json!({ "required": ["steps"] })]),
    }
    match kind {
        TaskKind::Generate => rules.extend(generating()),
        TaskKind::Chat => rules.extend(generating().into_iter().chain(session())),
        TaskKind::Classify => rules.push(not_both("inputs", "labels")),
        _ => {}
    }
    let text = format!("A request of the task `{}`. {}", kind.name(), about_text(takes_text(kind)));
    sent_object(&text, &properties, &rules)
}

/// The task's own schema holds for its own fields. With `inputs`, each of these is checked, and has an error of its own.
fn of_definition(definition: &Definition) -> Value {
    let parts = definition.parts();
    let form = &parts.defaults.form;
    let common = common_fields(form).filter_map(|name| Some((name.to_owned(), property(name, None)?)));
    let own = definition.fields().iter().map(|name| (name.clone(), Value::Bool(true)));
    let mut rules = vec![bare_text()];
    rules.extend(generating());
    rules.push(json!({ "if": { "required": ["inputs"] }, "else": parts.input }));
    if *form == Form::Requested {
        rules.push(json!({ "anyOf": FORMS.map(|name| json!({ "required": [name] })) }));
    }
    let about = about_text(is_for_text(definition));
    let text = format!("A request of the task `{}`. {} {about}", parts.name, parts.description);
    sent_object(&text, &own.chain(common).collect(), &rules)
}

fn fetch() -> Value {
    let job = json!({ "description": "Only this job.", "type": ["string", "null"], "pattern": NAME_PATTERN });
    let properties = addressed_fields().chain([("job".to_owned(), job)]).collect();
    sent_object("Publish answers again that the client has missed: of one job, or all.", &properties, &[])
}

fn cancel() -> Value {
    let id = json!({ "description": "The client's own job.", "type": "string", "pattern": NAME_PATTERN });
    json!({
        "description": "Cancel a job of one's own.", "type": "object", "properties": { "id": id },
        "patternProperties": { "^x_": { "description": "Ignored." } }, "required": ["id"], "additionalProperties": false,
    })
}

/// The fields of requests that are no job's: only where the answer goes.
pub fn addressed_fields() -> impl Iterator<Item = (String, Value)> {
    let id = json!({
        "description": "The sender's name for the message; promptd makes one. A message that comes again is done again.",
        "type": "string", "pattern": NAME_PATTERN,
    });
    let others = ["reply_to", "ref"].into_iter().filter_map(|name| Some((name.to_owned(), property(name, None)?)));
    std::iter::once(("id".to_owned(), id)).chain(others)
}

fn one_of(names: &[&str]) -> Value {
    let ways: Vec<Value> = names.iter().map(|name| json!({ "required": [name] })).collect();
    json!({ "oneOf": ways })
}

fn not_both(one: &str, other: &str) -> Value {
    json!({ "not": { "required": [one, other] } })
}

/// A bare text is the whole output.
fn bare_text() -> Value {
    let no = json!({ "const": false });
    json!({
        "if": { "properties": { "reply": { "const": "text" } }, "required": ["reply"] },
        "then": { "properties": { "stream": no, "ack": no, "parts": no } },
    })
}

/// Rules of all tasks that generate text.
fn generating() -> [Value; 4] {
    [
        not_both("inputs", "logprobs"),
        not_both("schema", "choices"),
        not_both("schema", "regex"),
        not_both("choices", "regex"),
    ]
}

fn session() -> [Value; 3] {
    let wishes = json!({ "properties": { "reset": { "const": true } }, "required": ["reset"] });
    let asks = json!({ "type": "object", "properties": { "role": { "enum": ["user", "assistant"] } } });
    [
        not_both("session", "inputs"),
        json!({ "if": wishes, "then": { "required": ["session"] } }),
        json!({ "if": { "required": ["session", "messages"] }, "then": { "properties": { "messages": { "contains": asks } } } }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_that_the_parser_reads_has_a_schema() {
        for kind in TaskKind::ALL {
            for name in fields(kind) {
                assert!(property(name, Some(kind)).is_some(), "{name} of {}", kind.name());
            }
        }
        for name in common_fields(&Form::Text) {
            assert!(property(name, None).is_some(), "{name}");
        }
    }
}
