//! The schema of what each verb of operators takes.

use serde_json::{Map, Value, json};

use super::control::{Control, Fields, VERBS};
use super::{NAME_PATTERN, schema_of};

impl Control {
    /// Schemas of a verb's own fields, and the rules that they follow together. None if there is no such verb.
    pub fn schema(verb: &str) -> Option<(Map<String, Value>, Vec<Value>)> {
        let (_, takes) = VERBS.into_iter().find(|(known, _)| *known == verb)?;
        let fields = schema_of::<Fields>();
        let field = |name: &&str| ((*name).to_owned(), fields["properties"][*name].clone());
        Some((takes.iter().map(field).collect(), rules(verb)))
    }
}

/// A field that is null counts as left out.
fn rules(verb: &str) -> Vec<Value> {
    let name = json!({ "type": "string", "pattern": NAME_PATTERN });
    let nothing = json!({ "type": "null" });
    match verb {
        "load" | "unload" | "switch" => vec![json!({ "properties": { "model": name }, "required": ["model"] })],
        "fetch" => vec![json!({ "properties": { "client": name }, "required": ["client"] })],
        "cancel" => {
            let some = json!({ "client": name, "all": { "enum": [false, null] } });
            let all = json!({ "all": { "const": true }, "client": nothing, "job": nothing });
            let some = json!({ "properties": some, "required": ["client"] });
            vec![json!({ "oneOf": [some, { "properties": all, "required": ["all"] }] })]
        }
        "forget" => {
            let strategies = json!({ "properties": { "client": nothing, "session": nothing } });
            let sessions = json!({ "properties": { "model": nothing, "client": name }, "required": ["client"] });
            vec![json!({ "anyOf": [strategies, sessions] })]
        }
        _ => Vec::new(),
    }
}
