//! The replies, to the letter.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::job::{
    Completion, Embedding, Encoding, ErrorCode, Finish, JobError, Labelled, ModelName, NodeName, Output, Ranked,
    ReplyFormat, ReplyTo, RequestId, Timings, Usage,
};

use super::{Publication, Replies, output_bytes};

fn to(format: ReplyFormat) -> ReplyTo {
    let Value::Object(echo) = json!({"x_trace": {"a": 1}}) else { unreachable!() };
    ReplyTo {
        topic: "promptd/gw1/response/cam/7".to_owned(),
        correlation: Some(vec![0, 255]),
        reference: Some("r".to_owned()),
        echo,
        format,
        parts: false,
        errors: true,
    }
}

fn bare() -> ReplyTo {
    ReplyTo { reference: None, echo: Map::new(), correlation: None, ..to(ReplyFormat::Json) }
}

fn completion() -> Completion {
    Completion {
        output: Output::Text("Ja, \"ä\"".to_owned()),
        finish: Finish::Stop,
        logprobs: Vec::new(),
        model: ModelName::new("main").unwrap(),
        strategy: "cpu:int8".to_owned(),
        usage: Usage { prompt_tokens: 31, cached_tokens: 24, generated_tokens: 12 },
        timings: Timings {
            queue: Duration::from_millis(3),
            prefill: Duration::from_micros(41_250),
            decode: Duration::from_nanos(130_123_456),
            total: Duration::ZERO,
        },
        deltas: 0,
        session: None,
        energy_joules: None,
    }
}

fn replies() -> (Replies, RequestId) {
    (Replies::new(NodeName::new("gw1").unwrap()), RequestId::new("7").unwrap())
}

fn written(publication: &Publication) -> String {
    String::from_utf8(publication.payload.to_vec()).unwrap()
}

#[test]
fn writes_results_as_the_interface_has_them() {
    let (replies, id) = replies();
    let result = replies.result(&id, "generate", &completion(), &bare());
    assert_eq!(
        written(&result),
        concat!(
            r#"{"event":"result","id":"7","node":"gw1","task":"generate","output":"Ja, \"ä\"","finish":"stop","#,
            r#""model":"main","strategy":"cpu:int8","usage":{"prompt_tokens":31,"cached_tokens":24,"generated_tokens":12},"#,
            r#""timings":{"queue_ms":3,"prefill_ms":41.25,"decode_ms":130.123,"total_ms":0},"deltas":0}"#
        )
    );
    assert_eq!(
        (result.topic.as_str(), result.content_type.as_deref()),
        ("promptd/gw1/response/cam/7", Some("application/json"))
    );
}

#[test]
fn results_that_may_come_in_parts_say_how_these_begin() {
    let (replies, id) = replies();
    let head = |to: &ReplyTo| {
        let parts = replies.result(&id, "chat", &completion(), to).parts;
        parts.map(|head| serde_json::from_slice::<Value>(head.as_bytes()).unwrap())
    };
    let asked = ReplyTo { parts: true, ..to(ReplyFormat::Json) };
    let expected = json!({ "event": "part", "id": "7", "ref": "r", "node": "gw1", "x_trace": { "a": 1 } });
    assert_eq!(head(&asked), Some(expected));
    assert_eq!(head(&to(ReplyFormat::Json)), None);
    let error = JobError::new(ErrorCode::QueueFull, "full");
    assert_eq!(replies.error(&id, &error, &asked).parts, None);
}

#[test]
fn writes_embeddings_in_either_encoding_and_what_many_inputs_give() {
    let (replies, id) = replies();
    let embedding = |encoding| Output::Embedding(Embedding { values: vec![0.6, -0.8], encoding });
    let written = |output: Output, format| {
        let result = replies.result(&id, "embed", &Completion { output, ..completion() }, &to(format));
        let reply: Value = serde_json::from_slice(&result.payload).unwrap();
        assert_eq!(result.content_type.as_deref(), Some("application/json"));
        if format == ReplyFormat::Text { reply } else { reply["output"].clone() }
    };
    let array = json!({ "dim": 2, "encoding": "array", "data": [0.6, -0.8] });
    // 0.6 is 3f19999a, -0.8 is bf4ccccd.
    let base64 = json!({ "dim": 2, "encoding": "f32le_base64", "data": "mpkZP83MTL8=" });
    assert_eq!(written(embedding(Encoding::Array), ReplyFormat::Json), array);
    assert_eq!(written(embedding(Encoding::Base64), ReplyFormat::Json), base64);
    assert_eq!(written(embedding(Encoding::Base64), ReplyFormat::Text), base64);
    let error = JobError::new(ErrorCode::ContextOverflow, "too long");
    let each = Output::Each(vec![Ok(embedding(Encoding::Array)), Err(error)]);
    let size = output_bytes(&each);
    let expected = json!([
        { "output": array },
        { "error": { "code": "context_overflow", "message": "too long", "retryable": false } }
    ]);
    assert_eq!(
        size,
        r#"[{"output":{"dim":2,"encoding":"array","data":[0.6,-0.8]}},"#.len()
            + r#"{"error":{"code":"context_overflow","message":"too long","retryable":false}}]"#.len()
    );
    assert_eq!(written(each, ReplyFormat::Json), expected);
    assert_eq!(output_bytes(&completion().output), "Ja, \"ä\"".len());
}

#[test]
fn writes_classes_and_rankings() {
    let (replies, id) = replies();
    let written = |output: Output| {
        let result = replies.result(&id, "classify", &Completion { output, ..completion() }, &bare());
        serde_json::from_slice::<Value>(&result.payload).unwrap()["output"].clone()
    };
    let labels =
        vec![Labelled { label: "hot".to_owned(), score: 0.75 }, Labelled { label: "cold".to_owned(), score: 0.25 }];
    let expected = json!([{ "label": "hot", "score": 0.75 }, { "label": "cold", "score": 0.25 }]);
    assert_eq!(written(Output::Labels(labels)), expected);
    let ranked = vec![Ranked { index: 1, score: 0.5 }, Ranked { index: 0, score: -0.25 }];
    assert_eq!(written(Output::Ranking(ranked)), json!([{ "index": 1, "score": 0.5 }, { "index": 0, "score": -0.25 }]));
}

#[test]
fn echoes_ref_correlation_and_own_fields_in_every_message() {
    let (replies, id) = replies();
    let to = to(ReplyFormat::Json);
    let error = JobError::new(ErrorCode::QueueFull, "full").retry_after(Duration::from_millis(1500));
    for publication in [
        replies.result(&id, "chat", &completion(), &to),
        replies.error(&id, &error, &to),
        replies.accepted(&id, 2, Some(Duration::from_millis(70)), &to),
        replies.delta(&id, 4, 0, "x", &to),
        replies.control_result(&id, "drain", &Value::Null, &to),
        replies.control_progress(&id, "load", "weights", None, &to),
    ] {
        let value: Value = serde_json::from_slice(&publication.payload).unwrap();
        assert_eq!((&value["id"], &value["ref"], &value["x_trace"]), (&json!("7"), &json!("r"), &json!({"a": 1})));
        assert_eq!(value["node"], "gw1");
        assert_eq!(publication.correlation, Some(vec![0, 255]));
    }
}

#[test]
fn writes_errors_accepted_and_deltas() {
    let (replies, id) = replies();
    let error = JobError::new(ErrorCode::QueueFull, "full").retry_after(Duration::from_millis(1500));
    assert_eq!(
        written(&replies.error(&id, &error, &bare())),
        r#"{"event":"error","id":"7","node":"gw1","code":"queue_full","message":"full","retryable":true,"retry_after_ms":1500}"#
    );
    assert_eq!(
        written(&replies.error(&id, &JobError::new(ErrorCode::Internal, "m"), &bare())),
        r#"{"event":"error","id":"7","node":"gw1","code":"internal","message":"m","retryable":false}"#
    );
    assert_eq!(
        written(&replies.accepted(&id, 2, None, &bare())),
        r#"{"event":"accepted","id":"7","node":"gw1","position":2}"#
    );
    assert_eq!(
        written(&replies.delta(&id, 4, 0, "x", &bare())),
        r#"{"event":"delta","id":"7","node":"gw1","seq":4,"index":0,"text":"x"}"#
    );
}

#[test]
fn writes_answers_to_operators() {
    let (replies, id) = replies();
    assert_eq!(
        written(&replies.control_result(&id, "load", &json!({"name": "main"}), &bare())),
        r#"{"event":"result","id":"7","node":"gw1","verb":"load","output":{"name":"main"}}"#
    );
    assert_eq!(
        written(&replies.control_progress(&id, "load", "weights", Some(0.4), &bare())),
        r#"{"event":"progress","id":"7","node":"gw1","verb":"load","step":"weights","progress":0.4}"#
    );
    assert_eq!(
        written(&replies.control_progress(&id, "load", "golden prompt", None, &bare())),
        r#"{"event":"progress","id":"7","node":"gw1","verb":"load","step":"golden prompt"}"#
    );
}

#[test]
fn text_format_is_the_output_alone() {
    let (replies, id) = replies();
    let to = to(ReplyFormat::Text);
    let result = replies.result(&id, "generate", &completion(), &to);
    assert_eq!((written(&result).as_str(), result.content_type.as_deref()), ("Ja, \"ä\"", Some("text/plain")));
    assert_eq!(written(&replies.error(&id, &JobError::new(ErrorCode::Thermal, "hot"), &to)), "error: thermal");
    assert_eq!(result.correlation, Some(vec![0, 255]));
}
