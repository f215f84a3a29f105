//! The rules of the interface for requests, as tables.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::job::{ClientName, ErrorCode, NodeName, Priority, ReplyFormat, RequestId, Role, Task};

use super::defined_tests::repeat;
use super::kind::TaskKind;
use super::{
    Accepted, Asked, InboundMessage, Rejected, ReplyPolicy, RequestLimits, RequestReader, Topics, parse_cancel,
};

pub(super) fn reader() -> RequestReader {
    RequestReader {
        tasks: vec![repeat()],
        pipelines: Vec::new(),
        topics: Topics::new("promptd", &NodeName::new("gw1").unwrap()).unwrap(),
        reply_policy: ReplyPolicy::new("promptd", vec!["alarms/+".parse().unwrap()], Vec::new()),
        limits: RequestLimits {
            request_bytes: 4096,
            max_tokens_default: 256,
            max_tokens_cap: 1024,
            deadline_default: Duration::from_mins(1),
            deadline_cap: Duration::from_mins(10),
            inputs: 4,
            schema_bytes: 200,
            pipeline_steps: 3,
        },
        now: || Some(SystemTime::now()),
    }
}

pub(super) fn message(payload: impl Into<Vec<u8>>) -> InboundMessage {
    InboundMessage::plain(payload)
}

fn read(task: &str, message: &InboundMessage) -> Result<Accepted, Box<Rejected>> {
    let client = ClientName::new("cam").unwrap();
    reader().read(task, client, message, || RequestId::new("made").unwrap())
}

pub(super) fn accept(task: &str, payload: impl Into<Vec<u8>>) -> Accepted {
    read(task, &message(payload)).unwrap()
}

pub(super) fn reject(task: &str, payload: impl Into<Vec<u8>>) -> (ErrorCode, String) {
    let rejected = read(task, &message(payload)).unwrap_err();
    (rejected.error.code, rejected.error.message)
}

fn generate(prompt: &str) -> Task {
    Task::Generate { prompt: prompt.to_owned() }
}

#[test]
fn plain_text_is_the_input_with_the_default_of_everything() {
    let Accepted { request, reply, asked, .. } = accept("generate", " Say: hi \n");
    assert_eq!(asked, Asked::default());
    assert_eq!(request.task, generate(" Say: hi \n"));
    assert_eq!((request.id.as_str(), request.client.as_str()), ("made", "cam"));
    assert_eq!((request.output.max_tokens, request.deadline), (256, Duration::from_mins(1)));
    assert_eq!(reply.topic, "promptd/gw1/response/cam/made");
    let Task::Chat { messages } = accept("chat", "hi").request.task else { panic!("no chat") };
    assert_eq!((messages[0].role, messages[0].content.as_str(), messages.len()), (Role::User, "hi", 1));
}

#[test]
fn tells_text_from_json_by_the_first_byte() {
    for text in ["[draft] hi", "[1,2", "42 is the answer", "\"quoted\" word", "true story", "-", "x{}"] {
        assert_eq!(accept("generate", text).request.task, generate(text));
    }
    for json in ["[1]", " [ ] ", "42", "\"text\"", "true", "null", "-1.5e3", &"[".repeat(2000)] {
        let closed = format!("{json}{}", "]".repeat(if json.len() == 2000 { 2000 } else { 0 }));
        assert_eq!(
            reject("generate", closed.as_bytes()),
            (ErrorCode::InvalidRequest, "the payload is JSON but no object".to_owned())
        );
    }
    for broken in ["{", " \r\n\t{hello}", "{}x", "{\"prompt\":\"a\"} {}"] {
        assert_eq!(reject("generate", broken).0, ErrorCode::InvalidRequest, "{broken}");
    }
    for (payload, text) in [
        (&b""[..], "the payload is empty"),
        (b" \n\t ", "the payload is empty"),
        (b"a\0b", "the payload contains NUL"),
        (b"ab\xff", "the payload is not UTF-8: byte 2 is wrong"),
    ] {
        assert_eq!(reject("generate", payload), (ErrorCode::InvalidRequest, text.to_owned()));
    }
}

#[test]
fn reads_every_field() {
    let payload = json!({
        "id": "7", "prompt": "p", "model": "main", "stream": true, "ack": true, "parts": true, "reply": "json", "reply_to": "alarms/1",
        "ref": "r", "priority": "high", "deadline_ms": 1500, "max_tokens": 12.0, "max_bytes": 100, "temperature": 0.5,
        "top_p": 1, "top_k": 0, "min_p": 0.25, "repeat_penalty": 1.5, "seed": 4_294_967_295_u32, "stop": ["a", "b"],
        "ignore_eos": true, "x_a": {"b": 1},
    });
    let Accepted { request, reply, asked, .. } = accept("generate", payload.to_string());
    assert_eq!((request.id.as_str(), &request.task), ("7", &generate("p")));
    assert_eq!(asked, Asked { priority: Some(Priority::High), max_tokens: Some(12) });
    assert_eq!(request.model.unwrap().as_str(), "main");
    assert!(request.stream && request.ack && request.output.ignore_eos);
    assert_eq!((request.priority, request.deadline), (Priority::High, Duration::from_millis(1500)));
    assert_eq!((request.output.max_tokens, request.output.max_bytes), (12, Some(100)));
    assert_eq!(request.output.stop, ["a", "b"]);
    let sampling = request.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p), (0.5, 1.0, 0, 0.25));
    assert_eq!((sampling.repeat_penalty, sampling.seed), (1.5, Some(u32::MAX)));
    assert_eq!(
        (reply.topic.as_str(), reply.reference.as_deref(), reply.format),
        ("alarms/1", Some("r"), ReplyFormat::Json)
    );
    assert!(reply.parts);
    assert_eq!(Value::Object(reply.echo), json!({"x_a": {"b": 1}}));
    assert_eq!(accept("generate", r#"{"input":"p","stop":"end"}"#).request.output.stop, ["end"]);
    assert_eq!(accept("generate", r#"{"input":"p","reply":"text"}"#).reply.format, ReplyFormat::Text);
}

#[test]
fn when_it_was_sent_is_no_part_of_what_a_request_asks() {
    let sent = |time: &str| {
        let payload = format!(r#"{{"id":"7","prompt":"p","deadline_ms":1000,"sent_at":"{time}"}}"#);
        accept("generate", payload)
    };
    let (late, again) = (sent("2026-01-31T12:00:00Z"), sent("2026-01-31T12:00:01Z"));
    assert_eq!(late.fingerprint, again.fingerprint);
    assert_eq!(late.request.deadline, Duration::ZERO);
    assert_eq!(late.overdue.unwrap().code, ErrorCode::DeadlineExceeded);
    let unset = RequestReader { now: || None, ..reader() };
    let message = message(r#"{"prompt":"p","deadline_ms":1000,"sent_at":"2026-01-31T12:00:00Z"}"#);
    let client = ClientName::new("cam").unwrap();
    let accepted = unset.read("generate", client, &message, || RequestId::new("made").unwrap()).unwrap();
    assert_eq!((accepted.request.deadline, accepted.overdue), (Duration::from_secs(1), None));
}

#[test]
fn policies_know_every_task() {
    let mut kinds = TaskKind::ALL.map(TaskKind::name);
    let mut names = Task::NAMES;
    kinds.sort_unstable();
    names.sort_unstable();
    assert_eq!(kinds, names);
}

#[test]
fn reads_conversations() {
    let payload = r#"{"messages":[{"role":"system","content":""},{"role":"assistant","content":"a"},{"role":"user","content":"b"}]}"#;
    let Task::Chat { messages } = accept("chat", payload).request.task else { panic!("no chat") };
    assert_eq!(
        messages.iter().map(|message| message.role).collect::<Vec<_>>(),
        [Role::System, Role::Assistant, Role::User]
    );
    for (messages, text) in [
        (json!([]), "field \"messages\" is empty"),
        (json!("hi"), "field \"messages\": got a string, wanted an array"),
        (json!(["hi"]), "field \"messages[0]\": got a string, wanted an object"),
        (json!([{"role": "user"}]), "messages[0]: \"role\" and \"content\" are needed"),
        (
            json!([{"role": "tool", "content": "a"}]),
            "messages[0]: field \"role\" is none of \"system\", \"user\", \"assistant\"",
        ),
        (json!([{"role": "user", "content": 1}]), "messages[0]: field \"content\": got a number, wanted a string"),
        (json!([{"role": "user", "content": "a", "name": "b"}]), "messages[0]: unknown field \"name\""),
        (json!([{"role": "user", "content": " "}]), "field \"messages\": the last message is empty"),
    ] {
        let payload = json!({ "messages": messages }).to_string();
        assert_eq!(reject("chat", payload), (ErrorCode::InvalidRequest, text.to_owned()));
    }
}

#[test]
fn names_what_is_wrong_with_a_field() {
    for (field, value, text) in [
        ("foo", json!(1), "unknown field \"foo\""),
        ("max_token", json!(1), "unknown field \"max_token\""),
        ("schema", json!([]), "field \"schema\": got an array, wanted an object"),
        ("choices", json!("a"), "field \"choices\": got a string, wanted an array of strings"),
        ("choices", json!([]), "field \"choices\" has 0 texts; allowed are 1 to 1024"),
        ("choices", json!(["a", 1]), "field \"choices[1]\": got a number, wanted a string"),
        ("choices", json!(["a", ""]), "field \"choices[1]\" is empty"),
        ("choices", json!(["a", "b", "b"]), "field \"choices[2]\" is there twice"),
        ("regex", json!(""), "field \"regex\" is empty"),
        ("logprobs", json!(6), "field \"logprobs\" is 6; allowed are 0 to 5"),
        ("sent_at", json!(1), "field \"sent_at\": got a number, wanted a string"),
        ("id", json!(7), "field \"id\": got a number, wanted a string"),
        ("id", json!(""), "id has 0 bytes; allowed are 1 to 64"),
        ("id", json!("a/b"), "id contains '/'; allowed are letters, digits, '.', '_' and '-'"),
        ("model", json!("a b"), "model contains ' '; allowed are letters, digits, '.', '_' and '-'"),
        ("stream", json!(1), "field \"stream\": got a number, wanted true or false"),
        ("parts", json!("yes"), "field \"parts\": got a string, wanted true or false"),
        ("ack", json!(null), "field \"ack\": got null, wanted true or false"),
        ("reply", json!("xml"), "field \"reply\" is none of \"json\", \"text\""),
        ("reply_to", json!([]), "field \"reply_to\": got an array, wanted a string"),
        ("ref", json!("r".repeat(257)), "field \"ref\" has 257 bytes; allowed are 0 to 256"),
        ("priority", json!("urgent"), "field \"priority\" is none of \"low\", \"normal\", \"high\""),
        ("deadline_ms", json!(0), "field \"deadline_ms\" is 0; allowed are 1 to 600000 (limits.deadline_cap)"),
        (
            "deadline_ms",
            json!(600_001),
            "field \"deadline_ms\" is 600001; allowed are 1 to 600000 (limits.deadline_cap)",
        ),
        ("max_tokens", json!(0), "field \"max_tokens\" is 0; allowed are 1 to 1024 (limits.max_tokens_cap)"),
        ("max_tokens", json!(1025), "field \"max_tokens\" is 1025; allowed are 1 to 1024 (limits.max_tokens_cap)"),
        ("max_tokens", json!(-1), "field \"max_tokens\" is -1; allowed are 1 to 1024 (limits.max_tokens_cap)"),
        ("max_tokens", json!(1.5), "field \"max_tokens\": got a number, wanted a whole number"),
        ("max_tokens", json!("9"), "field \"max_tokens\": got a string, wanted a whole number"),
        ("max_bytes", json!(0), "field \"max_bytes\" is 0; allowed are 1 to 4294967295"),
        ("temperature", json!(-0.5), "field \"temperature\" is -0.5; allowed are 0 to 100"),
        ("temperature", json!(101), "field \"temperature\" is 101; allowed are 0 to 100"),
        ("temperature", json!("hot"), "field \"temperature\": got a string, wanted a number"),
        ("top_p", json!(1.1), "field \"top_p\" is 1.1; allowed are 0 to 1"),
        ("top_k", json!(1_000_001), "field \"top_k\" is 1000001; allowed are 0 to 1000000"),
        ("min_p", json!(-1), "field \"min_p\" is -1; allowed are 0 to 1"),
        ("repeat_penalty", json!(0), "field \"repeat_penalty\" is 0; allowed are 0.001 to 10"),
        ("seed", json!(4_294_967_296_u64), "field \"seed\" is 4294967296; allowed are 0 to 4294967295"),
        ("stop", json!(1), "field \"stop\": got a number, wanted a string or an array of strings"),
        ("stop", json!([1]), "field \"stop\": got a number, wanted a string or an array of strings"),
        ("stop", json!(""), "field \"stop\": a text has 0 bytes; allowed are 1 to 256"),
        ("stop", json!(["a", "x".repeat(257)]), "field \"stop\": a text has 257 bytes; allowed are 1 to 256"),
        ("stop", json!(vec!["a"; 9]), "field \"stop\" has 9 texts; allowed are 0 to 8"),
        ("ignore_eos", json!("yes"), "field \"ignore_eos\": got a string, wanted true or false"),
        ("x_big", json!("y".repeat(2048)), "fields starting with x_: allowed are 16, of 2048 bytes of JSON together"),
        ("messages", json!([]), "only one of \"input\", \"prompt\", \"messages\" and \"inputs\" may be given"),
        ("input", json!("i"), "only one of \"input\", \"prompt\", \"messages\" and \"inputs\" may be given"),
    ] {
        let mut payload = json!({"prompt": "p"});
        payload[field] = value;
        assert_eq!(reject("generate", payload.to_string()), (ErrorCode::InvalidRequest, text.to_owned()));
    }
    let many: serde_json::Map<String, Value> = (0..17).map(|n| (format!("x_{n}"), json!(n))).collect();
    let mut payload = Value::Object(many);
    payload["prompt"] = json!("p");
    assert!(reject("generate", payload.to_string()).1.starts_with("fields starting with x_"));
}

#[test]
fn wants_exactly_one_input() {
    for (task, payload, text) in [
        ("generate", r#"{"id":"7"}"#, "\"input\", \"prompt\" or \"inputs\" is missing"),
        ("chat", r#"{"id":"7"}"#, "\"messages\", \"input\", \"prompt\" or \"inputs\" is missing"),
        ("generate", r#"{"prompt":" "}"#, "field \"prompt\" is empty"),
        (
            "chat",
            r#"{"inputs":["a"],"session":"s"}"#,
            "field \"inputs\": a session takes one turn: give \"messages\", \"input\" or \"prompt\"",
        ),
        (
            "generate",
            r#"{"inputs":["a"],"logprobs":1}"#,
            "field \"logprobs\": of \"inputs\" there are none, only of one text",
        ),
        ("generate", r#"{"input":{"a":1}}"#, "field \"input\": got an object, wanted a string"),
        (
            "generate",
            r#"{"messages":[{"role":"user","content":"a"}]}"#,
            "field \"messages\": the task \"generate\" takes \"input\" or \"prompt\"; \"chat\" takes messages",
        ),
    ] {
        assert_eq!(reject(task, payload), (ErrorCode::InvalidRequest, text.to_owned()));
    }
    let text = "\"stream\", \"ack\" and \"parts\" need \"reply\":\"json\": a bare text is the whole output";
    assert_eq!(reject("generate", r#"{"prompt":"p","reply":"text","stream":true}"#).1, text);
}

#[test]
fn other_refusals_have_their_own_codes() {
    assert_eq!(
        reject("sing", "hi"),
        (
            ErrorCode::UnknownTask,
            "no task \"sing\"; known are: generate, chat, embed, classify, extract, answer, rerank, pipeline, repeat"
                .to_owned()
        )
    );
    assert_eq!(reject(&"x".repeat(60_000), "hi").0, ErrorCode::UnknownTask);
    assert!(reject(&"x".repeat(60_000), "hi").1.len() < 200);
    assert_eq!(
        reject("generate", "x".repeat(4097)),
        (ErrorCode::TooLarge, "the request has 4097 bytes; allowed are 4096 (limits.request)".to_owned())
    );
    let retained = InboundMessage { retain: true, ..message(r#"{"id":"7","prompt":"p"}"#) };
    let rejected = read("generate", &retained).unwrap_err();
    assert_eq!((rejected.error.code, rejected.id.as_str()), (ErrorCode::Retained, "7"));
}

#[test]
fn properties_of_mqtt_5_count() {
    let full = InboundMessage {
        response_topic: Some("alarms/property".to_owned()),
        correlation: Some(vec![0, 255].into()),
        expiry: Some(Duration::from_secs(2)),
        ..message(r#"{"prompt":"p","reply_to":"alarms/field","deadline_ms":3000}"#)
    };
    let Accepted { request, reply, .. } = read("generate", &full).unwrap();
    assert_eq!(reply.topic, "alarms/property", "the property comes first");
    assert_eq!((reply.correlation, request.deadline), (Some(vec![0, 255]), Duration::from_secs(2)));
    let early =
        InboundMessage { expiry: Some(Duration::from_secs(9)), ..message(r#"{"prompt":"p","deadline_ms":3000}"#) };
    assert_eq!(read("generate", &early).unwrap().request.deadline, Duration::from_secs(3));
    let large = InboundMessage { correlation: Some(vec![0; 1025].into()), ..message("p") };
    let rejected = read("generate", &large).unwrap_err();
    assert_eq!((rejected.error.code, rejected.reply.correlation), (ErrorCode::InvalidRequest, None));
}

#[test]
fn errors_find_their_way() {
    for (payload, id, topic, reference) in [
        (r#"{"id":"7","ref":"r","prompt":1}"#, "7", "promptd/gw1/response/cam/7", Some("r")),
        (r#"{"id":"7","ref":"r","reply_to":"alarms/1","a":1,"a":2}"#, "7", "alarms/1", Some("r")),
        (r#"{"reply_to":"alarms/1","id":"7","prompt":"unfinished"#, "7", "alarms/1", None),
        (r#"{"id":"a/b","prompt":"p"}"#, "made", "promptd/gw1/response/cam/made", None),
        (r#"{"prompt":"p","reply_to":"other/1"}"#, "made", "promptd/gw1/response/cam/made", None),
        (r#"{"broken"#, "made", "promptd/gw1/response/cam/made", None),
    ] {
        let rejected = read("generate", &message(payload)).unwrap_err();
        assert_eq!((rejected.id.as_str(), rejected.reply.topic.as_str()), (id, topic), "{payload}");
        assert_eq!(rejected.reply.reference.as_deref(), reference);
    }
    let (code, text) = reject("generate", r#"{"prompt":"p","reply_to":"promptd/gw1/request/generate"}"#);
    assert_eq!((code, text.as_str()), (ErrorCode::ReplyForbidden, "the reply topic is one of promptd's own topics"));
    let text = read("generate", &message(r#"{"reply":"text","prompt":1}"#)).unwrap_err();
    assert_eq!(text.reply.format, ReplyFormat::Text);
    let property = InboundMessage { response_topic: Some("a/#".to_owned()), ..message("p") };
    assert_eq!(read("generate", &property).unwrap_err().error.code, ErrorCode::ReplyForbidden);
}

#[test]
fn messages_never_quote_the_prompt() {
    for payload in [
        r#"{"prompt":"secret","prompt":"secret"}"#,
        r#"{"prompt":["secret"]}"#,
        r#"{"prompt":"secret","priority":"secret"}"#,
        r#"{"prompt":"secret" "#,
        r#"{"messages":[{"role":"secret","content":"secret"}]}"#,
    ] {
        for task in ["generate", "chat"] {
            let (_, text) = reject(task, payload);
            assert!(!text.contains("secret"), "{text}");
        }
    }
}

#[test]
fn fingerprints_tell_requests_apart() {
    let print = |task: &str, payload: &str| accept(task, payload).fingerprint;
    let one = print("generate", r#"{"id":"7","prompt":"p"}"#);
    assert_eq!(one, print("generate", r#" {"prompt" : "p", "id" : "7"}"#), "the order of fields does not matter");
    for (task, payload) in [
        ("chat", r#"{"id":"7","prompt":"p"}"#),
        ("generate", r#"{"id":"7","prompt":"q"}"#),
        ("generate", r#"{"id":"8","prompt":"p"}"#),
        ("generate", r#"{"id":"7","prompt":"p","seed":1}"#),
        ("generate", "p"),
    ] {
        assert_ne!(one, print(task, payload));
    }
    assert_ne!(print("generate", "p"), print("chat", "p"));
}

#[test]
fn reads_cancels() {
    assert_eq!(parse_cancel(br#"{"id":"7","x_a":1}"#).unwrap().as_str(), "7");
    for bad in ["", "7", "{}", r#"{"id":7}"#, r#"{"id":"a/b"}"#, r#"{"id":"7","id":"8"}"#, r#"{"id":"7","all":true}"#] {
        assert_eq!(parse_cancel(bad.as_bytes()).unwrap_err().code, ErrorCode::InvalidRequest, "{bad}");
    }
}

proptest! {
    #[test]
    fn never_panics(task in "generate|chat|\\PC{0,9}", payload in proptest::collection::vec(any::<u8>(), 0..48)) {
        let _ = read(&task, &message(payload));
    }

    #[test]
    fn never_panics_on_requests(
        name in "id|input|prompt|messages|stop|seed|top_k|max_tokens|deadline_ms|temperature|reply_to|ref|x_a",
        value in r#"-?[0-9]{1,25}(\.[0-9]{1,3}(e-?[0-9]{1,3})?)?|"\PC{0,5}"|\[("a",?){0,3}\]|\{\}|null|true"#,
    ) {
        let _ = read("chat", &message(format!("{{\"prompt\":\"p\",\"{name}\":{value}}}")));
    }
}
