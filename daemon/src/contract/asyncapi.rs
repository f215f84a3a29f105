//! The AsyncAPI document: topics, who sends what on each and how, and examples.

use serde_json::{Map, Value, json};

use super::channels::{CHANNELS, Channel, OPERATIONS, Operation, TEXT, TEXT_RESULT, VALUE_RESULT};
use super::examples::sent_examples;
use super::published::published_examples;
use super::schemas::NamedSchema;
use crate::config::Config;
use crate::job::{Control, NAME_PATTERN};
use crate::mqtt::text_tasks;
use crate::plan::Profile;
use crate::telemetry::API_VERSION;

/// The format of the schemas that the document refers to.
const SCHEMA_FORMAT: &str = "application/schema+json;version=draft-2020-12";

/// The version of AsyncAPI's bindings for MQTT.
const BINDING_VERSION: &str = "0.2.0";

/// What a reader must know before all else.
const ABOUT: &str = "What devices, operators and fleets can rely on. Within version 1 only optional fields are added; codes and topics are \
never renamed. Readers ignore fields that they do not know in what a node publishes. Words may be added, too: states, kinds of events, codes, \
finishes. A reader does not refuse a message for a word that it does not know: of an unknown code `retryable` tells what to do, an unknown \
`finish` ends an answer as any other does, and unknown states and events are told to people or passed over. The schemas refuse nothing that \
a node takes; a node refuses more, such as texts beyond a limit of its configuration. Each message that is sent to a node has examples, and \
`x-answers` tells what each is answered by: a result, a bare text, or an error's code. Not in here is what a node publishes for other \
systems if its configuration says so, in their own formats: `homeassistant/…` for Home Assistant, `te/…` for thin-edge.io.";

/// AsyncAPI 3.
pub(super) fn asyncapi(schemas: &[NamedSchema]) -> Value {
    let channels = CHANNELS.iter().map(|channel| (channel.name.to_owned(), channel_object(channel, schemas)));
    let operations = OPERATIONS.iter().map(|operation| (operation.name.to_owned(), operation_object(operation)));
    let mut messages: Map<String, Value> =
        schemas.iter().map(|schema| (schema.name.clone(), message_object(schema))).collect();
    messages.extend(bare_messages());
    json!({
        "asyncapi": "3.0.0",
        "info": { "title": "promptd", "version": API_VERSION, "description": ABOUT, "license": { "name": "Apache-2.0" } },
        "defaultContentType": "application/json",
        "servers": { "broker": {
            "host": "localhost:1883", "protocol": "mqtt", "protocolVersion": "5.0", "description": "The broker of node and devices.",
        } },
        "channels": channels.collect::<Map<_, _>>(),
        "operations": operations.collect::<Map<_, _>>(),
        "components": { "messages": messages, "parameters": parameters(schemas) },
    })
}

fn channel_object(channel: &Channel, schemas: &[NamedSchema]) -> Value {
    let messages = channel.messages.names(schemas).into_iter().map(|name| {
        let reference = json!({ "$ref": format!("#/components/messages/{name}") });
        (name, reference)
    });
    let names = channel.address.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let parameters =
        names.map(|(name, _)| (name.to_owned(), json!({ "$ref": format!("#/components/parameters/{name}") })));
    let parameters: Map<String, Value> = parameters.collect();
    json!({
        "address": channel.address, "description": channel.description, "messages": messages.collect::<Map<_, _>>(),
        "parameters": parameters,
    })
}

fn operation_object(operation: &Operation) -> Value {
    let Operation { action, channel, summary, qos, retain, messages, .. } = operation;
    let mut object = json!({
        "action": action, "channel": { "$ref": format!("#/channels/{channel}") }, "summary": summary,
        "bindings": { "mqtt": { "qos": qos, "retain": retain, "bindingVersion": BINDING_VERSION } },
    });
    if let Some(messages) = messages {
        let references = messages.iter().map(|name| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") }));
        object["messages"] = references.collect();
    }
    if *action == "receive" {
        object["reply"] = json!({ "channel": { "$ref": "#/channels/response" } });
    }
    object
}

fn message_object(schema: &NamedSchema) -> Value {
    let name = schema.name.as_str();
    let sent: Vec<_> = sent_examples().into_iter().filter(|example| example.message == name).collect();
    let published = published_examples().into_iter().filter(|(message, ..)| *message == name);
    let examples = sent.iter().map(|example| json!({ "name": example.name, "payload": example.payload }));
    let examples = examples.chain(published.map(|(_, name, payload)| json!({ "name": name, "payload": payload })));
    let content_type = if name == "availability" { "text/plain" } else { "application/json" };
    let mut object = json!({
        "name": name, "summary": schema.description(), "contentType": content_type,
        "payload": { "schemaFormat": SCHEMA_FORMAT, "schema": { "$ref": format!("./{}", schema.file()) } },
        "examples": examples.collect::<Vec<_>>(),
    });
    if !sent.is_empty() {
        let answers = sent.iter().map(|example| (example.name.to_owned(), Value::from(example.answer)));
        object["x-answers"] = answers.collect();
    }
    object
}

/// Messages that are a text or a value and nothing around it.
fn bare_messages() -> [(String, Value); 3] {
    let tasks = text_tasks(&Config::defaults(&Profile::default()).tasks);
    let request = format!(
        "A request that is the text alone: for {}, and for tasks of the operator's own that need no other field than `input`.",
        tasks.join(", ")
    );
    let mut request =
        bare_message(&request, "text/plain", &json!({ "type": "string" }), "What is the capital of France?");
    request["x-tasks"] = tasks.into();
    let text = "With `reply` as `text`: the output alone if it is a text, or `error: <code>`.";
    let value = "With `reply` as `text`: the output alone, as JSON, if it is no text.";
    let labels = json!([{ "label": "fault", "score": 0.9 }, { "label": "order", "score": 0.1 }]);
    [
        (TEXT.to_owned(), request),
        (TEXT_RESULT.to_owned(), bare_message(text, "text/plain", &json!({ "type": "string" }), "Paris.")),
        (VALUE_RESULT.to_owned(), bare_message(value, "application/json", &json!(true), labels)),
    ]
}

fn bare_message(summary: &str, content_type: &str, schema: &Value, example: impl Into<Value>) -> Value {
    json!({
        "summary": summary, "contentType": content_type,
        "payload": { "schemaFormat": SCHEMA_FORMAT, "schema": schema },
        "examples": [{ "name": "alone", "payload": example.into() }],
    })
}

fn parameters(schemas: &[NamedSchema]) -> Value {
    let tasks = schemas.iter().filter_map(|schema| schema.name.strip_prefix("request-"));
    let tasks = tasks.collect::<Vec<_>>().join(", ");
    let named = |text: &str| json!({ "description": format!("{text} `{NAME_PATTERN}`.") });
    json!({
        "node": named("The node."),
        "client": named("The client, as the broker knows it."),
        "group": named("A group of nodes."),
        "id": named("The request's id."),
        "model": named("The model."),
        "task": { "description": format!("The task: {tasks}, one of the operator's own, or a pipeline's name.") },
        "verb": { "description": "What is asked for.", "enum": Control::verbs().collect::<Vec<_>>() },
        "topic": { "description": "Any topic." },
    })
}
