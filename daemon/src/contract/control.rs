//! The schemas of what operators ask for and get.

use serde_json::{Map, Value, json};

use crate::job::{Control, NAME_PATTERN};
use crate::mqtt::{addressed_fields, sent_object};

/// JSON Schemas of the control message of each verb, by the names of their files.
pub(super) fn control_schemas() -> Vec<(String, Value)> {
    Control::verbs().filter_map(|verb| Some((format!("control-{verb}"), of_verb(verb)?))).collect()
}

fn of_verb(verb: &str) -> Option<Value> {
    let (own, rules) = Control::schema(verb)?;
    let properties: Map<String, Value> = addressed_fields().chain(own).collect();
    Some(sent_object(&format!("{} An empty payload stands for {{}}.", meaning(verb)), &properties, &rules))
}

fn meaning(verb: &str) -> &'static str {
    match verb {
        "load" => "Load a model that was unloaded, perhaps with one strategy only.",
        "unload" => "Let a model go once its running jobs have ended.",
        "switch" => "Run a model with another strategy, or make it the default.",
        "reload" => "Read the files of a model again; without one, read the configuration again and put it in force.",
        "drain" => "Take no new work; what was accepted is finished.",
        "resume" => "Take work again.",
        "forget" => "Forget which strategies have failed, or what is remembered of a client's conversations.",
        "jobs" => "List the jobs that have not ended.",
        "cancel" => "Cancel one job, all of a client, or all.",
        "fetch" => "Publish outcomes of a client again: those that nobody has got, or one.",
        "status" => "Give the `status` document.",
        "info" => "Give the `info` document.",
        "models" => "Give the `model/<name>` documents.",
        _ => "Give the tasks, with the schemas of those that are data.",
    }
}

/// Adds what is known of the output from the verb.
pub(super) fn control_result(schema: &mut Value, documents: &[(&'static str, Value)]) {
    for (name, def) in [("Status", "status"), ("Info", "info"), ("Model", "model")] {
        let document = documents.iter().find(|(known, _)| *known == def);
        let Some((_, Value::Object(mut document))) = document.cloned() else { continue };
        document.retain(|key, _| !["$schema", "title"].contains(&key.as_str()));
        for (name, def) in document.shift_remove("$defs").iter().filter_map(Value::as_object).flatten() {
            schema["$defs"][name] = def.clone();
        }
        schema["$defs"][name] = Value::Object(document);
    }
    let outputs = Control::verbs().map(|verb| {
        let is_verb = json!({ "properties": { "verb": { "const": verb } } });
        json!({ "if": is_verb, "then": { "properties": { "output": output(verb) } } })
    });
    let outputs: Vec<Value> = outputs.collect();
    schema["allOf"] = outputs.into();
}

fn output(verb: &str) -> Value {
    let def = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    let count = |name: &str| object(&json!({ name: { "type": "integer", "minimum": 0 } }));
    match verb {
        "load" | "unload" | "switch" => def("Model"),
        "reload" => json!({ "anyOf": [def("Model"), reloaded(&def("Model"))] }),
        "drain" | "resume" => def("Status"),
        "status" => json!({ "allOf": [def("Status"), status_of_machine()] }),
        "info" => json!({ "allOf": [def("Info"), object(&json!({ "config": { "type": "string" } }))] }),
        "models" => json!({ "type": "array", "items": def("Model") }),
        "forget" => count("forgotten"),
        "cancel" => count("cancelled"),
        "fetch" => count("fetched"),
        "jobs" => object(&json!({
            "total": { "type": "integer", "minimum": 0 }, "jobs": { "type": "array", "items": job() },
        })),
        "tasks" => json!({ "type": "array", "items": task() }),
        _ => json!({ "type": "array", "items": finding() }),
    }
}

/// Every property is always there.
fn object(properties: &Value) -> Value {
    let names: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({ "type": "object", "properties": properties, "required": names })
}

fn reloaded(model: &Value) -> Value {
    let names = json!({ "type": "array", "items": { "type": "string" } });
    object(&json!({
        "changed": names, "added": names, "removed": names, "restart": names, "models": { "type": "array", "items": model },
    }))
}

/// What `status` tells only those who operate the machine.
fn status_of_machine() -> Value {
    let (count, known) = (json!({ "type": "integer", "minimum": 0 }), json!({ "type": ["number", "null"] }));
    object(&json!({
        "connected": { "type": "boolean" },
        "pid": count,
        "heat": object(&json!({
            "level": { "type": "string" }, "duty": { "type": "number" }, "zone": { "type": ["string", "null"] }, "celsius": known,
            "soft_celsius": known, "hard_celsius": known,
        })),
        "journal": object(&json!({
            "open": count, "outcomes": count, "unsettled": count, "missed": count, "sessions": count, "used_bytes": count,
            "max_bytes": count, "waiting_bytes": count, "trouble": { "type": ["string", "null"] },
        })),
    }))
}

fn job() -> Value {
    let name = json!({ "type": "string", "pattern": NAME_PATTERN });
    let seconds = json!({ "type": "number", "minimum": 0 });
    object(&json!({
        "client": name, "id": name, "task": name, "model": name,
        "state": { "enum": ["waiting", "parked", "running", "stopping"] }, "priority": { "enum": ["low", "normal", "high"] },
        "crashes": { "type": "integer", "minimum": 0 }, "age_s": seconds, "remaining_s": seconds,
    }))
}

/// What is as it should be has no remedy.
fn finding() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "properties": { "check": text, "level": { "enum": ["pass", "warn", "fail"] }, "what": text, "remedy": text },
        "required": ["check", "level", "what"],
    })
}

/// One of the interface has a name and a description only; one that is data its schemas, and a pipeline its steps.
fn task() -> Value {
    let text = json!({ "type": "string" });
    let steps = json!({ "type": "array", "items": object(&json!({ "name": text, "task": text })) });
    json!({
        "type": "object",
        "properties": {
            "name": text, "description": text, "input": { "type": "object" }, "output": { "type": "object" },
            "model": { "type": ["string", "null"] }, "max_tokens": { "type": ["integer", "null"] }, "steps": steps,
        },
        "required": ["name", "description"],
    })
}
