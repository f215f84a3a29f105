//! Examples of messages that devices and operators send, each with what it is answered by. A test sends all of them to a node, in the
//! order of the document: its default model is `main`, and `minilm` makes embeddings.

use serde_json::{Value, json};

/// A message and its answer.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// The schema that it fits.
    pub message: &'static str,
    /// What it is an example of.
    pub name: &'static str,
    /// The message.
    pub payload: Value,
    /// `result`, `text`, or the code of an error.
    pub answer: &'static str,
}

fn sent(message: &'static str, name: &'static str, payload: Value, answer: &'static str) -> Sent {
    Sent { message, name, payload, answer }
}

/// Every example.
pub(super) fn sent_examples() -> Vec<Sent> {
    [generating(), refused(), chatting(), on_texts(), defined(), piped(), of_clients(), of_operators()].concat()
}

fn generating() -> Vec<Sent> {
    let schema = json!({
        "type": "object", "properties": { "colour": { "enum": ["red", "green", "blue"] } }, "required": ["colour"],
        "additionalProperties": false,
    });
    let of = |name, payload, answer| sent("request-generate", name, payload, answer);
    vec![
        of("question", json!({ "id": "q1", "prompt": "What is the capital of France?", "max_tokens": 16 }), "result"),
        of(
            "stream",
            json!({
                "id": "q2", "input": "Count to five.", "stream": true, "ack": true, "parts": true,
                "sent_at": "2026-01-31T12:00:00Z", "ref": "door-3", "x_trace": "4f2a", "max_tokens": 8,
            }),
            "result",
        ),
        of(
            "sampling",
            json!({
                "id": "q3", "prompt": "Name a river.", "model": "main", "temperature": 0.8, "top_p": 0.95, "top_k": 40, "min_p": 0.05,
                "repeat_penalty": 1.1, "seed": 7, "stop": ["\n"], "max_tokens": 8, "max_bytes": 200, "priority": "high",
                "deadline_ms": 60000,
            }),
            "result",
        ),
        of("schema", json!({ "id": "q4", "prompt": "The colour of grass, as JSON.", "schema": schema }), "result"),
        of(
            "choices",
            json!({ "id": "q5", "prompt": "Is water wet?", "choices": ["yes", "no"], "logprobs": 2 }),
            "result",
        ),
        of("regex", json!({ "id": "q6", "prompt": "What time is it?", "regex": "[01][0-9]:[0-5][0-9]" }), "result"),
        of(
            "inputs",
            json!({ "id": "q7", "inputs": ["One word for cold:", "One word for hot:"], "max_tokens": 4 }),
            "result",
        ),
        of("bare-text", json!({ "id": "q8", "prompt": "Say hello.", "reply": "text", "max_tokens": 4 }), "text"),
    ]
}

fn refused() -> Vec<Sent> {
    let of = |name, payload, answer| sent("request-generate", name, payload, answer);
    vec![
        of("blank", json!({ "id": "r1", "prompt": " " }), "invalid_request"),
        of("unknown-model", json!({ "id": "r2", "prompt": "Hello", "model": "nobody" }), "unknown_model"),
        of("no-schema", json!({ "id": "r3", "prompt": "Hello", "schema": { "type": "colour" } }), "invalid_schema"),
        of("elsewhere", json!({ "id": "r4", "prompt": "Hello", "reply_to": "promptd/gw/status" }), "reply_forbidden"),
        of("same-id", json!({ "id": "q1", "prompt": "Something else?" }), "id_conflict"),
        of("too-late", json!({ "id": "r5", "prompt": "Tell a story.", "deadline_ms": 1 }), "deadline_exceeded"),
        of(
            "cancelled",
            json!({ "id": "long", "prompt": "Tell a story.", "ack": true, "ignore_eos": true, "max_tokens": 512 }),
            "cancelled",
        ),
    ]
}

fn chatting() -> Vec<Sent> {
    let talk = json!([
        { "role": "system", "content": "You answer in one word." },
        { "role": "user", "content": "What is the capital of Spain?" },
    ]);
    vec![
        sent("request-chat", "conversation", json!({ "id": "c1", "messages": talk, "max_tokens": 8 }), "result"),
        sent(
            "request-chat",
            "session",
            json!({ "id": "c2", "session": "kitchen", "reset": true, "input": "My name is Ada.", "max_tokens": 8 }),
            "result",
        ),
    ]
}

fn on_texts() -> Vec<Sent> {
    let labels = json!(["fault", "greeting", "order"]);
    vec![
        sent(
            "request-embed",
            "texts",
            json!({ "id": "e1", "model": "minilm", "inputs": ["a pump", "a valve"] }),
            "result",
        ),
        sent(
            "request-embed",
            "array",
            json!({ "id": "e2", "model": "minilm", "input": "a pump", "encoding": "array" }),
            "result",
        ),
        sent(
            "request-classify",
            "labels",
            json!({ "id": "l1", "input": "The pump leaks.", "labels": labels }),
            "result",
        ),
        sent(
            "request-extract",
            "types",
            json!({ "id": "x1", "input": "Ada flew to Oslo.", "types": ["city"] }),
            "result",
        ),
        sent(
            "request-answer",
            "question",
            json!({ "id": "a1", "question": "Where is the key?", "context": "The key is under the mat." }),
            "result",
        ),
        sent(
            "request-rerank",
            "documents",
            json!({ "id": "k1", "model": "minilm", "input": "leaking pump", "documents": ["Tea recipes", "Pump repair"] }),
            "result",
        ),
    ]
}

fn defined() -> Vec<Sent> {
    let fault = json!({ "type": "object", "properties": { "part": { "type": "string", "maxLength": 20 } }, "required": ["part"] });
    vec![
        sent(
            "request-summarize",
            "sentences",
            json!({ "id": "s1", "input": "The pump leaked. We shut the valve and called Ada.", "sentences": 1, "max_tokens": 16 }),
            "result",
        ),
        sent(
            "request-translate",
            "language",
            json!({ "id": "t1", "input": "Good morning", "target_language": "French", "max_tokens": 8 }),
            "result",
        ),
        sent(
            "request-describe-json",
            "fault",
            json!({ "id": "d1", "input": "The pump leaks.", "fields": "the part", "schema": fault, "max_tokens": 32 }),
            "result",
        ),
    ]
}

fn piped() -> Vec<Sent> {
    let short = json!({ "name": "short", "task": "summarize", "input": "{{ input }}", "max_tokens": 16 });
    let kind = json!({ "name": "kind", "task": "classify", "input": "{{ steps.short.output }}", "labels": ["fault", "other"] });
    let never = json!({ "name": "never", "task": "generate", "prompt": "Why?", "when": "steps.short.output == ''" });
    let broken = json!({ "name": "broken", "task": "generate", "prompt": "{{ input }}" });
    vec![
        sent(
            "request-pipeline",
            "steps",
            json!({
                "id": "p1", "input": "The pump leaked all night.", "stream": true, "steps": [short, kind, never],
                "output": { "summary": "{{ steps.short.output }}", "kind": "{{ steps.kind.output[0].label }}" },
            }),
            "result",
        ),
        sent("request-pipeline", "failing-step", json!({ "id": "p2", "input": " ", "steps": [broken] }), "step_failed"),
    ]
}

fn of_clients() -> Vec<Sent> {
    vec![
        sent("request-fetch", "missed", json!({ "id": "f1" }), "result"),
        sent("request-fetch", "unknown-job", json!({ "id": "f2", "job": "nothing" }), "not_found"),
        sent("cancel", "long", json!({ "id": "long" }), "not_found"),
    ]
}

fn of_operators() -> Vec<Sent> {
    let main = "cpu:int4";
    vec![
        sent("control-status", "status", json!({ "id": "o1" }), "result"),
        sent("control-info", "info", json!({ "id": "o2" }), "result"),
        sent("control-models", "models", json!({ "id": "o3" }), "result"),
        sent("control-tasks", "tasks", json!({ "id": "o4" }), "result"),
        sent("control-diagnose", "node", json!({ "id": "o19" }), "result"),
        sent("control-jobs", "of-a-client", json!({ "id": "o5", "client": "cam" }), "result"),
        sent("control-cancel", "of-a-client", json!({ "id": "o6", "client": "cam" }), "result"),
        sent("control-cancel", "unknown-job", json!({ "id": "o7", "client": "cam", "job": "nothing" }), "not_found"),
        sent("control-fetch", "of-a-client", json!({ "id": "o8", "client": "cam" }), "result"),
        sent("control-forget", "strategies", json!({ "id": "o9", "model": "main" }), "result"),
        sent("control-forget", "session", json!({ "id": "o10", "client": "cam", "session": "kitchen" }), "result"),
        sent("control-switch", "strategy", json!({ "id": "o11", "model": "main", "strategy": main }), "result"),
        sent("control-unload", "model", json!({ "id": "o12", "model": "minilm" }), "result"),
        sent("control-load", "model", json!({ "id": "o13", "model": "minilm" }), "result"),
        sent("control-load", "unknown-model", json!({ "id": "o14", "model": "nobody" }), "unknown_model"),
        sent("control-reload", "model", json!({ "id": "o15", "model": "main" }), "result"),
        sent("control-reload", "configuration", json!({ "id": "o16" }), "result"),
        sent("control-drain", "node", json!({ "id": "o17" }), "result"),
        sent("control-resume", "node", json!({ "id": "o18" }), "result"),
    ]
}
