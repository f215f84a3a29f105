//! The contract of the interface, against what really is on the wire.

use std::collections::BTreeMap;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Reply, promptd};

/// Keywords whose schemas are about the same value.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "if", "then", "else", "not"];

/// The committed schemas; those of what a node publishes in a stricter form: a field that they do not name is a fault.
pub struct Contract {
    validators: BTreeMap<String, Validator>,
    /// The QoS at which each kind of message is sent.
    qos: BTreeMap<String, u64>,
    /// How many messages of each kind were checked.
    pub seen: BTreeMap<String, usize>,
}

/// A message that is sent to a node, and what it is answered by.
pub struct Example {
    /// The schema that it fits.
    pub message: String,
    /// What it is an example of.
    pub name: String,
    /// The message.
    pub payload: Value,
    /// `result`, `text`, or the code of an error.
    pub answer: String,
}

impl Contract {
    /// Reads `config/api/v1`.
    pub fn committed() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/api/v1");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let schemas = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let validators = schemas.map(|path| {
            let mut schema = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            // What is sent to a node names every field that there is anyway.
            if !is_sent(&name) {
                close(&mut schema, true);
            }
            (name, jsonschema::draft202012::new(&schema).unwrap())
        });
        Self { validators: validators.collect(), qos: sent_qos(&topics()), seen: BTreeMap::new() }
    }

    /// Every example of what is sent to a node, in the order of the document.
    pub fn examples() -> Vec<Example> {
        let topics = topics();
        let of_message = |(name, message): (&String, &Value)| -> Vec<Example> {
            let answers = message["x-answers"].as_object().into_iter().flatten();
            let example = |(example, answer): (&String, &Value)| Example {
                message: name.clone(),
                name: example.clone(),
                payload: payload(message, example),
                answer: answer.as_str().unwrap().to_owned(),
            };
            answers.map(example).collect()
        };
        let messages = topics["components"]["messages"].as_object().unwrap();
        let examples: Vec<Example> = messages.iter().flat_map(of_message).collect();
        assert!(examples.len() > 40, "{} examples", examples.len());
        examples
    }

    /// Every kind of message that a node publishes.
    pub fn published(&self) -> Vec<&str> {
        self.validators.keys().map(String::as_str).filter(|name| !is_sent(name)).collect()
    }

    /// Checks a message of the node `gw`, on whatever topic it is, that came on a subscription at QoS 1.
    pub fn check(&mut self, message: &Reply) {
        let Some(kind) = kind_of(message) else { return };
        let value = if kind == "availability" {
            json!(String::from_utf8(message.payload.to_vec()).unwrap())
        } else {
            message.json.clone()
        };
        self.check_value(kind, &value);
        let qos = self.qos.get(kind).unwrap_or_else(|| panic!("no operation sends {kind}"));
        assert_eq!(u64::from(message.qos), *qos, "the QoS of {kind} on {}", message.topic);
    }

    /// Checks a message of a kind.
    pub fn check_value(&mut self, kind: &str, value: &Value) {
        let validator = self.validators.get(kind).unwrap_or_else(|| panic!("no schema {kind}"));
        let wrong: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{kind} is not as the contract says:\n{}\n{value:#}", wrong.join("\n"));
        *self.seen.entry(kind.to_owned()).or_default() += 1;
    }

    /// The kinds that a node publishes and of which none was checked so far.
    pub fn unseen(&self) -> Vec<&str> {
        self.published().into_iter().filter(|kind| !self.seen.contains_key(*kind)).collect()
    }
}

/// The document of the topics.
fn topics() -> Value {
    let output = promptd().args(["schema", "asyncapi", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the operations say of each kind of message. One that lists none sends all of its channel's.
fn sent_qos(topics: &Value) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for operation in topics["operations"].as_object().unwrap().values().filter(|known| known["action"] == "send") {
        let of_channel = || {
            let channel =
                topics.pointer(operation["channel"]["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
            channel["messages"].as_object().unwrap().keys().cloned().collect()
        };
        let listed = operation["messages"].as_array().map(|listed| {
            let name = |message: &Value| message["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            listed.iter().map(name).collect()
        });
        let names: Vec<String> = listed.unwrap_or_else(of_channel);
        let qos = operation["bindings"]["mqtt"]["qos"].as_u64().unwrap();
        for name in names {
            let other = kinds.insert(name.clone(), qos).filter(|other| *other != qos);
            assert!(other.is_none(), "{name} is sent at several QoS");
        }
    }
    kinds
}

/// Whether it is a message that is sent to a node.
fn is_sent(name: &str) -> bool {
    let is_control = name.starts_with("control-") && !["control-result", "control-progress"].contains(&name);
    name == "cancel" || name.starts_with("request-") || is_control
}

fn payload(message: &Value, name: &str) -> Value {
    let examples = message["examples"].as_array().unwrap();
    examples.iter().find(|example| example["name"] == name).expect("an example of that name")["payload"].clone()
}

/// Which schema a message fits. None for what clients send, for a bare text, and for what removes a retained document.
fn kind_of(message: &Reply) -> Option<&'static str> {
    let rest = message.topic.strip_prefix("promptd/gw/")?;
    let of_operators = message.json.get("verb").is_some();
    match rest.split('/').next()? {
        _ if message.payload.is_empty() => None,
        "availability" => Some("availability"),
        "status" => Some("status"),
        "info" => Some("info"),
        "model" => Some("model"),
        "health" => Some("health"),
        "telemetry" => Some("telemetry"),
        "event" => Some("event"),
        "jobs" => Some("job"),
        "response" => match message.json["event"].as_str()? {
            "result" if of_operators => Some("control-result"),
            "progress" if of_operators => Some("control-progress"),
            "result" => Some("result"),
            "error" => Some("error"),
            "accepted" => Some("accepted"),
            "delta" => Some("delta"),
            "progress" => Some("progress"),
            "part" => Some("part"),
            other => panic!("an answer that the contract does not know: {other}"),
        },
        "request" | "cancel" | "control" => None,
        other => panic!("a topic that the contract does not know: {other}"),
    }
}

/// Refuses fields that a schema does not name, at every place where a value has a schema of its own.
fn close(schema: &mut Value, whole: bool) {
    let Value::Object(keys) = schema else { return };
    let says = |key: &str| keys.contains_key(key);
    let describes = says("properties") || says("$ref") || says("anyOf") || says("oneOf") || says("allOf");
    if whole && describes && !says("additionalProperties") {
        keys.insert("unevaluatedProperties".to_owned(), json!(false));
    }
    for (key, below) in keys.iter_mut() {
        match (key.as_str(), below) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(|own| close(own, true)),
            ("$defs", Value::Object(defs)) => defs.values_mut().for_each(|def| close(def, false)),
            ("items", item) => close(item, true),
            (key, Value::Array(ways)) if IN_PLACE.contains(&key) => ways.iter_mut().for_each(|way| close(way, false)),
            (key, way) if IN_PLACE.contains(&key) => close(way, false),
            _ => {}
        }
    }
}
