//! Every schema, under the name of its file.

use serde_json::{Map, Value, json};

use super::control::{control_result, control_schemas};
use crate::config::Config;
use crate::mqtt::{reply_schemas, request_schemas};
use crate::plan::Profile;
use crate::telemetry::document_schemas;

/// The dialect that every schema is written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A JSON Schema of the contract.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSchema {
    /// What it is called, without `.json`.
    pub name: String,
    /// The schema.
    pub schema: Value,
}

impl NamedSchema {
    fn new(name: impl Into<String>, schema: Value) -> Self {
        let name = name.into();
        let mut keys = Map::new();
        keys.insert("$schema".to_owned(), DIALECT.into());
        keys.insert("$id".to_owned(), format!("urn:promptd:api:v1:{name}").into());
        keys.insert("title".to_owned(), name.as_str().into());
        if let Some(meaning) = meaning(&name) {
            keys.insert("description".to_owned(), meaning.into());
        }
        if let Value::Object(own) = schema {
            let own = own.into_iter().filter(|(key, _)| !["$schema", "title"].contains(&key.as_str()));
            for (key, value) in own {
                keys.entry(key).or_insert(value);
            }
        }
        Self { name, schema: Value::Object(keys) }
    }

    /// The name of its file.
    pub fn file(&self) -> String {
        format!("{}.json", self.name)
    }

    /// Its file.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.schema)
    }

    /// What it is the schema of, in a line.
    pub fn description(&self) -> &str {
        self.schema["description"].as_str().unwrap_or_default().lines().next().unwrap_or_default()
    }
}

/// What a node tells, where its type does not say it.
fn meaning(name: &str) -> Option<&'static str> {
    Some(match name {
        "result" => "The whole answer to a request.",
        "error" => {
            "Why there is no answer. `x-counter` of a code names the metrics that count it, by code; errors of control messages, of \
             `fetch`, and of one of many `inputs` are counted by none."
        }
        "accepted" => "The request waits. Sent when it says `ack`.",
        "delta" => {
            "A piece of an answer that is being made. Sent when the request says `stream`; the result has all of it."
        }
        "part" => {
            "A piece of a result that the broker does not take as one message. Sent when the request says `parts`."
        }
        "progress" => "What a step of a pipeline does. Sent when the request says `ack` or `stream`.",
        "control-result" => "What an operator has asked for.",
        "control-progress" => "How far it is.",
        "status" => "The node's state, and why it is not better.",
        "info" => "What the node is and can do.",
        "model" => "How a model runs, and why not better.",
        "telemetry" => "Numbers for time series: flat, each with its unit in its name; what is not known is left out.",
        "event" => "What has happened to a model or to the node.",
        "job" => "What has become of a request; never what was asked or answered.",
        _ => return None,
    })
}

/// Every schema of the contract: of requests, cancels and control messages, of all answers to them, and of what a node tells.
pub fn schemas() -> Vec<NamedSchema> {
    let requests = request_schemas(&Config::defaults(&Profile::default()).tasks);
    let mut replies = reply_schemas();
    let documents = document_schemas();
    for (name, schema) in &mut replies {
        if *name == "control-result" {
            control_result(schema, &documents);
        }
    }
    let requests = requests.into_iter().map(|(name, schema)| NamedSchema::new(name, schema));
    let controls = control_schemas().into_iter().map(|(name, schema)| NamedSchema::new(name, schema));
    let replies = replies.into_iter().chain(documents).map(|(name, schema)| NamedSchema::new(name, schema));
    let availability = json!({
        "description": "Whether the node is there: plain text, not JSON; its will says `offline`.", "enum": ["online", "offline"],
    });
    let availability = [NamedSchema::new("availability", availability)];
    requests.chain(controls).chain(replies).chain(availability).collect()
}
