//! The schema of each field that a request can have.

use serde_json::{Value, json};

use super::super::address::REF_MAX;
use super::super::body::TOP_K_MAX;
use super::super::kind::TaskKind;
use crate::job::{
    CHOICES_MAX, ENTITY_TYPE_BYTES_MAX, ENTITY_TYPES_MAX, Encoding, LABEL_BYTES_MAX, LABELS_MAX, LOGPROBS_MAX,
    NAME_PATTERN, REPEAT_PENALTY_MAX, REPEAT_PENALTY_MIN, STOP_BYTES_MAX, STOPS_MAX, TEMPERATURE_MAX,
};
use crate::task::{OF_REQUESTS, OF_TEMPLATES};

/// A field of a task of the interface, or of a task that is data. None if there is none of that name.
pub(super) fn property(name: &str, kind: Option<TaskKind>) -> Option<Value> {
    let of_steps = if kind == Some(TaskKind::Pipeline) { of_steps(name) } else { None };
    let of_all = of_steps.or_else(|| of_all(name)).or_else(|| of_sampling(name)).or_else(|| of_form(name));
    of_all.or_else(|| of_texts(name, kind)).or_else(|| of_pipelines(name))
}

/// What every request says of itself and of its answer.
fn of_all(name: &str) -> Option<Value> {
    Some(match name {
        "id" => named(
            "The client's name for the request; promptd makes one. A task is done once for an id: who asks again gets the same outcome.",
        ),
        "model" => named("The model that shall answer, else the task's, else the node's default one."),
        "reply_to" => json!({
            "description": "Where the answer goes; the MQTT 5 Response Topic comes first. mqtt.reply_allow says what is allowed.",
            "type": "string",
        }),
        "ref" => json!({
            "description": format!("Echoed in each answer; at most {REF_MAX} bytes."), "type": "string", "maxLength": REF_MAX,
        }),
        "reply" => json!({
            "description": "`text` is the output alone; an error is then `error: <code>`.", "enum": ["json", "text"], "default": "json",
        }),
        "stream" => flag("Send `delta` messages while the answer is made."),
        "ack" => flag("Send `accepted` when the request waits."),
        "parts" => flag("Send an answer that the broker does not take as one message in `part` messages."),
        "sent_at" => json!({
            "description": "When it was sent, RFC 3339 in UTC: `deadline_ms` counts from then, if a time server has set the node's clock.",
            "type": "string", "format": "date-time", "pattern": "^.{10}T.+Z$",
        }),
        "priority" => json!({
            "description": "Policies say how far it may go.", "enum": ["low", "normal", "high"], "default": "normal",
        }),
        "deadline_ms" => json!({
            "description": "Milliseconds from receipt, at most limits.deadline_cap; limits.deadline by default. The message's expiry counts \
                            too, and the earlier wins.",
            "type": "integer", "minimum": 1,
        }),
        _ => return None,
    })
}

/// How tokens are chosen, and where the answer ends.
fn of_sampling(name: &str) -> Option<Value> {
    let share = |text: &str| json!({ "description": text, "type": "number", "minimum": 0, "maximum": 1 });
    Some(match name {
        "max_tokens" => json!({
            "description": "Most tokens of the answer, at most limits.max_tokens_cap.", "type": "integer", "minimum": 1,
        }),
        "max_bytes" => json!({
            "description": "Most bytes of the answer: it is cut on a character and ends as `truncated`.",
            "type": "integer", "minimum": 1, "maximum": u32::MAX,
        }),
        "temperature" => json!({
            "description": "0 takes the likeliest token.", "type": "number", "minimum": 0, "maximum": TEMPERATURE_MAX,
        }),
        "top_p" => share("Only the likeliest tokens whose probabilities have this sum."),
        "min_p" => share("Only tokens that are at least so likely as a share of the likeliest."),
        "top_k" => json!({
            "description": "Only so many of the likeliest tokens; 0 is all.", "type": "integer", "minimum": 0, "maximum": TOP_K_MAX,
        }),
        "repeat_penalty" => json!({
            "description": "Above 1, tokens that were there before become less likely.",
            "type": "number", "minimum": REPEAT_PENALTY_MIN, "maximum": REPEAT_PENALTY_MAX,
        }),
        "seed" => json!({
            "description": "The same seed gives the same answer.", "type": "integer", "minimum": 0, "maximum": u32::MAX,
        }),
        "stop" => {
            let text = json!({ "type": "string", "minLength": 1, "maxLength": STOP_BYTES_MAX });
            let texts = json!({ "type": "array", "items": text, "maxItems": STOPS_MAX });
            json!({
                "description": format!("Texts that end the answer, each of at most {STOP_BYTES_MAX} bytes."), "anyOf": [text, texts],
            })
        }
        "ignore_eos" => flag("Go on when the model would end."),
        _ => return None,
    })
}

/// The form of the answer.
fn of_form(name: &str) -> Option<Value> {
    Some(match name {
        "schema" => json!({
            "description": "A JSON Schema 2020-12 that refers to nothing outside of itself; at most limits.schema bytes. The output is a \
                            value of it.",
            "type": "object",
        }),
        "choices" => texts("The output is one of these texts; at most limits.schema bytes.", 1, CHOICES_MAX),
        "regex" => json!({
            "description": "The output is a text that this regular expression matches as a whole; at most limits.schema bytes.",
            "type": "string", "minLength": 1,
        }),
        "logprobs" => json!({
            "description": "Tell of each token how likely it was, and so many others with it.",
            "type": "integer", "minimum": 0, "maximum": LOGPROBS_MAX,
        }),
        _ => return None,
    })
}

/// What the work is done on.
fn of_texts(name: &str, kind: Option<TaskKind>) -> Option<Value> {
    let value = "What the steps work on: any value, `input` in their templates.";
    Some(match name {
        "input" | "prompt" if kind == Some(TaskKind::Pipeline) => json!({ "description": value }),
        "input" | "prompt" => text("The text; not blank. `prompt` is another name for `input`."),
        "messages" => {
            let role = json!({ "enum": ["system", "user", "assistant"] });
            let properties = json!({ "role": role, "content": { "type": "string" } });
            let message = json!({
                "type": "object", "properties": properties, "required": ["role", "content"], "additionalProperties": false,
            });
            json!({
                "description": "A conversation, the oldest message first; the last one is not blank.",
                "type": "array", "items": message, "minItems": 1,
            })
        }
        "inputs" => {
            let item = match kind {
                Some(TaskKind::Chat) => json!({ "description": "A text, or messages.", "type": ["string", "array"] }),
                Some(_) => json!({ "type": "string" }),
                None => {
                    json!({ "description": "A text for `input`, or the task's fields.", "type": ["string", "object"] })
                }
            };
            json!({
                "description": "The same with each of these, at most limits.inputs. One that can't be used has an error of its own.",
                "type": "array", "items": item, "minItems": 1,
            })
        }
        "session" => named("The conversation that this is a turn of, of this client only."),
        "reset" => flag("Begin the session anew."),
        "encoding" => json!({
            "description": "How the numbers are written.", "enum": [Encoding::Base64.as_str(), Encoding::Array.as_str()],
            "default": Encoding::default().as_str(),
        }),
        "labels" => texts(
            &format!(
                "Which of these fits, each of at most {LABEL_BYTES_MAX} bytes; without them, the model's head decides."
            ),
            2,
            LABELS_MAX,
        ),
        "types" => texts(
            &format!(
                "What to look for, each of at most {ENTITY_TYPE_BYTES_MAX} bytes; without them, the model's head decides."
            ),
            1,
            ENTITY_TYPES_MAX,
        ),
        "question" => text("The question; `input` and `prompt` are other names for it."),
        "context" => text("The text that the answer stands in."),
        "documents" => json!({
            "description": "What is put in order, at most limits.inputs texts.", "type": "array", "items": { "type": "string" },
            "minItems": 1,
        }),
        _ => return None,
    })
}

/// What has another meaning for a pipeline.
fn of_steps(name: &str) -> Option<Value> {
    Some(match name {
        "stream" => flag("Send `delta` messages while the answer is made, and `progress` messages about the steps."),
        "ack" => flag("Send `accepted` when the request waits, and `progress` messages about the steps."),
        _ => return None,
    })
}

fn of_pipelines(name: &str) -> Option<Value> {
    Some(match name {
        "steps" => json!({
            "description": "What to do, at most limits.pipeline_steps.", "type": "array", "items": step(), "minItems": 1,
        }),
        "output" => {
            json!({ "description": "A value with templates that becomes the output; by default what the last step gives." })
        }
        "fields" => {
            let taken: Vec<&str> = OF_TEMPLATES.into_iter().chain(["input"]).collect();
            json!({
                "description": "More values for templates, by their names.", "type": "object",
                "propertyNames": { "not": { "enum": taken } },
            })
        }
        _ => return None,
    })
}

/// A step has the fields of its task besides these.
fn step() -> Value {
    let text = |text: &str| json!({ "description": text, "type": "string" });
    let of_requests: Vec<Value> = OF_REQUESTS.iter().map(|name| json!({ "required": [name] })).collect();
    json!({
        "type": "object",
        "properties": {
            "name": {
                "description": "How templates of other steps call it.", "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,31}$",
            },
            "task": named("What it does; no pipeline."),
            "model": named("Its model."),
            "when": text("An expression: if it is false, the step is skipped."),
            "for_each": text("An expression that gives a list: the step is done for each `item`."),
            "needs": {
                "description": "Steps that end before it begins, besides those whose outputs it uses.",
                "type": "array", "items": { "type": "string", "pattern": NAME_PATTERN },
            },
            "on_error": { "description": "What follows if it fails.", "enum": ["fail", "skip", "default"], "default": "fail" },
            "default": { "description": "Its output if it fails and `on_error` is `default`." },
        },
        "required": ["name", "task"],
        "propertyNames": { "not": { "pattern": "^x_" } },
        "not": { "anyOf": of_requests },
        "if": { "properties": { "on_error": { "const": "default" } }, "required": ["on_error"] },
        "then": { "required": ["default"] },
        "else": { "not": { "required": ["default"] } },
    })
}

fn named(text: &str) -> Value {
    json!({ "description": text, "type": "string", "pattern": NAME_PATTERN })
}

fn flag(text: &str) -> Value {
    json!({ "description": text, "type": "boolean", "default": false })
}

fn text(text: &str) -> Value {
    json!({ "description": text, "type": "string", "minLength": 1 })
}

/// Different texts, none of them blank.
fn texts(text: &str, least: usize, most: usize) -> Value {
    let item = json!({ "type": "string", "minLength": 1 });
    json!({
        "description": text, "type": "array", "items": item, "minItems": least, "maxItems": most, "uniqueItems": true,
    })
}
