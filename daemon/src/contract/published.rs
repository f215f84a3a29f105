//! Examples of messages that a node publishes.

use serde_json::{Value, json};

use crate::job::{ErrorCode, JobError};

/// A message: the schema that it fits, what it is an example of, and the message.
pub(super) type Published = (&'static str, &'static str, Value);

/// Every example.
pub(super) fn published_examples() -> Vec<Published> {
    let mut examples = outcomes();
    examples.extend(ErrorCode::ALL.iter().map(|code| ("error", code.as_str(), error(*code))));
    examples.extend(on_the_way());
    examples.extend(of_operators());
    examples.extend(of_the_node());
    examples.extend(as_it_happens());
    examples
}

fn result(id: &str, task: &str, output: &Value, finish: &str) -> Value {
    json!({
        "event": "result", "id": id, "node": "gw1-a1b2c3", "task": task, "output": output, "finish": finish, "model": "main",
        "strategy": "cpu:int4", "usage": { "prompt_tokens": 31, "cached_tokens": 24, "generated_tokens": 12 },
        "timings": { "queue_ms": 3, "prefill_ms": 41.25, "decode_ms": 130, "total_ms": 175 }, "deltas": 0,
    })
}

fn outcomes() -> Vec<Published> {
    let text = json!("The capital of France is Paris.");
    let mut session = result("c2", "chat", &json!("Hello Ada."), "stop");
    session["session"] = json!({ "name": "kitchen", "turns": 1, "dropped": 0 });
    let mut chosen = result("q5", "generate", &json!("yes"), "choice");
    let other = json!([{ "token": "yes", "logprob": -0.2 }, { "token": "no", "logprob": -1.8 }]);
    chosen["logprobs"] = json!([{ "token": "yes", "logprob": -0.2, "top": other }]);
    let labels = json!([{ "label": "fault", "score": 0.9 }, { "label": "order", "score": 0.1 }]);
    let cities = json!([{ "text": "Oslo", "type": "city", "start": 12, "end": 16, "score": 0.8 }]);
    let found = json!({ "text": "under the mat", "start": 11, "end": 24, "score": 0.7 });
    let nothing = json!({ "text": null, "start": null, "end": null, "score": 0.6 });
    let embedding = json!({ "dim": 3, "encoding": "array", "data": [0.6, 0.0, -0.8] });
    let refused = json!({ "code": "invalid_request", "message": "the input is empty", "retryable": false });
    let ranking = json!([{ "index": 1, "score": 0.7 }, { "index": 0, "score": 0.1 }]);
    let each = json!([{ "output": "Cold" }, { "error": refused }]);
    vec![
        ("result", "text", result("q1", "generate", &text, "stop")),
        ("result", "value", result("q4", "generate", &json!({ "colour": "green" }), "schema")),
        ("result", "choice", chosen),
        ("result", "inputs", result("q7", "generate", &each, "stop")),
        ("result", "session", session),
        ("result", "embedding", result("e2", "embed", &embedding, "stop")),
        ("result", "labels", result("l1", "classify", &labels, "stop")),
        ("result", "entities", result("x1", "extract", &cities, "stop")),
        ("result", "answer", result("a1", "answer", &found, "stop")),
        ("result", "no-answer", result("a1", "answer", &nothing, "stop")),
        ("result", "ranking", result("k1", "rerank", &ranking, "stop")),
    ]
}

fn error(code: ErrorCode) -> Value {
    let mut error = json!({
        "event": "error", "id": "7", "ref": "door-3", "node": "gw1-a1b2c3", "code": code, "message": example_message(code),
        "retryable": JobError::new(code, "").is_retryable(),
    });
    if code == ErrorCode::QueueFull {
        error["retry_after_ms"] = 1500.into();
    }
    error
}

/// As it could be told; the words are for people, and may change.
fn example_message(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest => "unknown field \"promt\"",
        ErrorCode::UnknownTask => "no task \"paint\"; known are: generate, chat",
        ErrorCode::UnknownModel => "no model nobody",
        ErrorCode::InvalidSchema => "field \"schema\" is no JSON Schema at /type",
        ErrorCode::TooLarge => "the request has 300000 bytes; allowed are 262144 (limits.request)",
        ErrorCode::ResultTooLarge => "the answer has 300000 bytes; the broker takes 262144",
        ErrorCode::ContextOverflow => "the prompt has 5000 tokens; the context holds 4096",
        ErrorCode::Retained => "a request may not be retained: it would be repeated at each connect",
        ErrorCode::ReplyForbidden => "the reply topic is one that promptd uses itself",
        ErrorCode::Forbidden => "a session needs a client in the topic: request/chat/<client>",
        ErrorCode::RateLimited => "the policy cameras allows 1000 tokens a minute",
        ErrorCode::IdConflict => "the id 7 is in use for another request",
        ErrorCode::NotFound => "no open job 7 of this client",
        ErrorCode::QueueFull => "256 jobs wait already (limits.queue_jobs)",
        ErrorCode::StorageFull => "the journal has 64 MiB; allowed are 64 MiB (journal.size_max)",
        ErrorCode::MemoryHeadroom => "the machine is short of memory",
        ErrorCode::Thermal => "the machine is too hot",
        ErrorCode::NoModel => "no model is configured",
        ErrorCode::ModelUnavailable => "the model main is loading",
        ErrorCode::DeadlineExceeded => "the deadline of 60000 ms passed",
        ErrorCode::Cancelled => "cancelled while it was running",
        ErrorCode::Quarantined => "it was running in 3 engine crashes",
        ErrorCode::Draining => "the node takes no new work",
        ErrorCode::StepFailed => "the step short failed: the prompt is empty",
        ErrorCode::EngineFailed => "the engine ended",
        ErrorCode::Internal => "a defect of promptd",
    }
}

fn on_the_way() -> Vec<Published> {
    let of = |event: &str, mut body: Value| {
        body["event"] = event.into();
        body["id"] = "q2".into();
        body["node"] = "gw1-a1b2c3".into();
        body
    };
    vec![
        ("accepted", "in-the-queue", of("accepted", json!({ "position": 2, "eta_ms": 1200 }))),
        ("delta", "piece", of("delta", json!({ "seq": 0, "index": 0, "text": "The cap", "x_trace": "4f2a" }))),
        ("part", "first", of("part", json!({ "seq": 0, "of": 3, "text": "{\"event\":\"result\",\"id\":\"q2\"," }))),
        ("progress", "step", of("progress", json!({ "step": "short", "state": "running" }))),
        (
            "progress",
            "failed-step",
            of("progress", json!({ "step": "short", "state": "failed", "code": "context_overflow" })),
        ),
        ("control-progress", "loading", of("progress", json!({ "verb": "load", "step": "loading", "progress": 0.5 }))),
    ]
}

fn of_operators() -> Vec<Published> {
    let cancelled = json!({
        "event": "result", "id": "o6", "node": "gw1-a1b2c3", "verb": "cancel", "output": { "cancelled": 2 },
    });
    let job = json!({
        "client": "cam", "id": "q1", "task": "generate", "model": "main", "state": "running", "priority": "normal", "crashes": 0,
        "age_s": 1.5, "remaining_s": 58.5,
    });
    let jobs = json!({
        "event": "result", "id": "o5", "node": "gw1-a1b2c3", "verb": "jobs", "output": { "total": 1, "jobs": [job] },
    });
    vec![("control-result", "cancelled", cancelled), ("control-result", "jobs", jobs)]
}

fn of_the_node() -> Vec<Published> {
    let status = json!({
        "state": "ready", "reasons": [], "since": "2026-03-01T08:00:00Z", "boot": "6f9a4c1e-6a0e-4f43-9b1f-0d0c5a3d7e11",
        "epoch": 1_772_352_000_000_u64, "heartbeat_s": 60, "clock_synced": true, "durability": "full",
    });
    let rejected = json!({
        "strategy": "cpu:f16", "need": 6_200_000_000_u64, "headroom": 4_100_000_000_u64, "reason": "needs more memory than there is",
    });
    let model = json!({
        "name": "main", "state": "ready", "strategy": "cpu:int4", "rejected": [rejected], "file": "model.Q4_K_M.gguf",
        "precision": "Q4_K_M", "context": 4096, "sequences": 4, "kv_type": "f16", "threads": 4, "chat_template": true,
        "devices": ["CPU"], "load_seconds": 2.5, "memory": { "estimate": 2_400_000_000_u64, "real": 2_350_000_000_u64, "error": 0.02 },
    });
    let limits = json!({
        "request_bytes": 262_144, "result_bytes": 262_144, "queue_jobs": 256, "queue_jobs_per_client": 32, "inputs": 256,
        "max_tokens": 256, "max_tokens_cap": 4096, "deadline_ms": 120_000, "deadline_cap_ms": 3_600_000,
    });
    let profile = json!({
        "name": "generic", "reserve": "10%", "threads": 4, "sequences": 4, "heat": { "soft": 10, "hard": 5 }, "why": ["4 cores"],
    });
    let info = json!({
        "node": "gw1-a1b2c3", "version": "0.1.0", "api": crate::telemetry::API_VERSION,
        "tasks": [{ "name": "generate" }, { "name": "translate", "fields": ["input", "target_language"] }], "models": ["main"],
        "limits": limits, "groups": ["hall"], "labels": { "site": "north" },
        "machine": { "cores": 4, "memory_bytes": 8_000_000_000_u64, "container": false }, "profile": profile,
    });
    let health = json!({
        "uptime_s": 3600,
        "memory": {
            "limits": [{ "name": "host", "total_bytes": 8_000_000_000_u64, "available_bytes": 3_000_000_000_u64 }],
            "reserve_left": 2.5, "pressure": 0.01,
        },
        "temperatures": [{ "zone": "cpu-thermal", "celsius": 61.5, "passive": 95.0, "critical": 99.0 }],
        "throttling": { "throttled": false }, "power": { "watts": 11.4 }, "cpu": { "load": 0.5, "clock_hz": 1_500_000_000 },
        "disk": { "total_bytes": 64_000_000_000_u64, "free_bytes": 40_000_000_000_u64 },
        "governors": { "memory": "normal", "thermal": "normal" },
    });
    let telemetry = json!({
        "time_s": 1_772_352_000, "uptime_s": 3600, "ready": 1, "journal_writable": 1, "models_ready": 1, "jobs_waiting": 2,
        "jobs_running": 3, "tokens_per_s": 31.25, "temperature_max_celsius": 61.5, "power_watts": 11.4,
    });
    vec![
        ("availability", "there", json!("online")),
        ("availability", "away", json!("offline")),
        ("status", "ready", status),
        ("info", "node", info),
        ("model", "ready", model),
        ("health", "machine", health),
        ("telemetry", "numbers", telemetry),
    ]
}

fn as_it_happens() -> Vec<Published> {
    let (node, at) = ("gw1-a1b2c3", "2026-03-01T08:00:00.250Z");
    let stepped = json!({
        "node": node, "at": at, "model": "main", "event": "stepped_down", "from": "gpu:f16", "to": "gpu:int8",
        "reason": "the machine is short of memory", "took_ms": 2300,
    });
    let reloaded = json!({ "node": node, "at": at, "event": "reloaded", "reason": "changed: limits.inputs" });
    vec![
        ("event", "of-a-model", stepped),
        ("event", "of-the-node", reloaded),
        ("job", "waits", json!({ "state": "waiting", "task": "chat", "model": "main", "position": 2 })),
        ("job", "ended", json!({ "state": "ended", "task": "chat", "model": "main", "finish": "stop" })),
        ("job", "failed", json!({ "state": "ended", "task": "chat", "model": "main", "code": "cancelled" })),
    ]
}
