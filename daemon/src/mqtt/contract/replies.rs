//! The schemas of what clients and operators get.

use serde_json::{Value, json};

use super::super::kind::TaskKind;
use super::super::output::{EmbeddingBody, FoundBody, Item};
use super::super::reply::{
    AcceptedBody, ControlProgressBody, ControlResultBody, DeltaBody, ErrorBody, PartBody, ProgressBody, Reply,
    ResultBody,
};
use crate::job::{Entity, Labelled, Ranked, schema_of};

/// JSON Schemas of every reply, by the names of their files.
pub fn reply_schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("result", result()),
        ("error", of_event("error", schema_of::<Reply<'_, ErrorBody<'_>>>())),
        ("accepted", of_event("accepted", schema_of::<Reply<'_, AcceptedBody>>())),
        ("delta", of_event("delta", schema_of::<Reply<'_, DeltaBody<'_>>>())),
        ("part", of_event("part", schema_of::<Reply<'_, PartBody<'_>>>())),
        ("progress", of_event("progress", schema_of::<Reply<'_, ProgressBody<'_>>>())),
        ("control-result", of_event("result", schema_of::<Reply<'_, ControlResultBody<'_>>>())),
        ("control-progress", of_event("progress", schema_of::<Reply<'_, ControlProgressBody<'_>>>())),
    ]
}

fn of_event(event: &str, mut schema: Value) -> Value {
    schema["properties"]["event"]["const"] = event.into();
    schema
}

/// What of the output is known from the task. Those that generate text give a text, or any value that their form allows.
fn result() -> Value {
    let mut schema = of_event("result", schema_of::<Reply<'_, ResultBody<'_>>>());
    let mut defs = |name: &str, mut own: Value| {
        for (name, def) in
            own.as_object_mut().and_then(|own| own.remove("$defs")).iter().filter_map(Value::as_object).flatten()
        {
            schema["$defs"][name] = def.clone();
        }
        if let Some(keys) = own.as_object_mut() {
            keys.retain(|key, _| key != "$schema" && key != "title");
        }
        schema["$defs"][name] = own;
        json!({ "$ref": format!("#/$defs/{name}") })
    };
    let (embedding, found) =
        (defs("Embedding", schema_of::<EmbeddingBody<'_>>()), defs("Found", schema_of::<FoundBody<'_>>()));
    let labels = json!({ "type": "array", "items": defs("Labelled", schema_of::<Labelled>()) });
    let entities = json!({ "type": "array", "items": defs("Entity", schema_of::<Entity>()) });
    let ranking = json!({ "type": "array", "items": defs("Ranked", schema_of::<Ranked>()) });
    let each = json!({
        "description": "Of `inputs`, in their order.", "type": "array", "items": defs("Item", schema_of::<Item<'_>>()),
    });
    let outputs = TaskKind::ALL.into_iter().filter_map(|kind| {
        let output = match kind {
            TaskKind::Embed => json!({ "anyOf": [embedding, each] }),
            TaskKind::Classify => json!({ "anyOf": [labels, each] }),
            TaskKind::Extract => json!({ "anyOf": [entities, each] }),
            TaskKind::Answer => found.clone(),
            TaskKind::Rerank => ranking.clone(),
            TaskKind::Generate | TaskKind::Chat | TaskKind::Pipeline => return None,
        };
        let is_task = json!({ "properties": { "task": { "const": kind.name() } } });
        Some(json!({ "if": is_task, "then": { "properties": { "output": output } } }))
    });
    let outputs: Vec<Value> = outputs.collect();
    schema["allOf"] = outputs.into();
    schema
}
