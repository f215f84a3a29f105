//! The messages that promptd sends to a client, exactly as the interface has them.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::job::{
    Completion, ErrorCode, Finish, JobError, NodeName, Outcome, ReplyFormat, ReplyTo, RequestId, Timings, Usage,
};

use super::Publication;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// Writes the replies of one node.
#[derive(Debug, Clone)]
pub struct Replies {
    node: NodeName,
}

impl Replies {
    /// Every JSON reply names `node`.
    pub fn new(node: NodeName) -> Self {
        Self { node }
    }

    /// The one message that ends a request: `result` or `error`.
    pub fn outcome(&self, id: &RequestId, task: &str, outcome: &Outcome, to: &ReplyTo) -> Publication {
        match outcome {
            Outcome::Completed(completion) => self.result(id, task, completion, to),
            Outcome::Failed(error) => self.error(id, error, to),
        }
    }

    /// `result`: the whole answer.
    pub fn result(&self, id: &RequestId, task: &str, completion: &Completion, to: &ReplyTo) -> Publication {
        let body = ResultBody {
            task,
            output: &completion.output,
            finish: completion.finish,
            model: completion.model.as_str(),
            strategy: &completion.strategy,
            usage: completion.usage,
            timings: completion.timings.into(),
            deltas: completion.deltas,
        };
        match to.format {
            ReplyFormat::Json => self.json("result", id, body, to),
            ReplyFormat::Text => text(completion.output.clone(), to),
        }
    }

    /// `error`: why there is no answer.
    pub fn error(&self, id: &RequestId, error: &JobError, to: &ReplyTo) -> Publication {
        let body = ErrorBody {
            code: error.code,
            message: &error.message,
            retryable: error.code.retryable(),
            retry_after_ms: error.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        };
        match to.format {
            ReplyFormat::Json => self.json("error", id, body, to),
            ReplyFormat::Text => text(format!("error: {}", error.code), to),
        }
    }

    /// `accepted`: the request is in the journal. `position` counts the jobs before it.
    pub fn accepted(&self, id: &RequestId, position: usize, eta: Option<Duration>, to: &ReplyTo) -> Publication {
        self.json("accepted", id, AcceptedBody { position, eta_ms: eta.map(Millis) }, to)
    }

    /// `delta`: the next piece of output `index`. `seq` counts from 0, without gaps when none was lost.
    pub fn delta(&self, id: &RequestId, seq: u32, index: u32, text: &str, to: &ReplyTo) -> Publication {
        self.json("delta", id, DeltaBody { seq, index, text }, to)
    }

    fn json<B: Serialize>(&self, event: &'static str, id: &RequestId, body: B, to: &ReplyTo) -> Publication {
        let reply = Reply {
            event,
            id: id.as_str(),
            reference: to.reference.as_deref(),
            node: self.node.as_str(),
            body,
            echo: &to.echo,
        };
        // Only maps with keys that are no strings can fail, and there are none.
        let payload = serde_json::to_vec(&reply).unwrap_or_default();
        publication(payload, JSON, to)
    }
}

fn text(output: String, to: &ReplyTo) -> Publication {
    publication(output.into_bytes(), TEXT, to)
}

fn publication(payload: Vec<u8>, content_type: &'static str, to: &ReplyTo) -> Publication {
    Publication {
        topic: to.topic.clone(),
        payload: payload.into(),
        content_type: Some(content_type),
        correlation: to.correlation.clone(),
    }
}

#[derive(Serialize)]
struct Reply<'a, B> {
    event: &'static str,
    id: &'a str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    node: &'a str,
    #[serde(flatten)]
    body: B,
    #[serde(flatten)]
    echo: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct ResultBody<'a> {
    task: &'a str,
    output: &'a str,
    finish: Finish,
    model: &'a str,
    strategy: &'a str,
    usage: Usage,
    timings: TimingsBody,
    deltas: u32,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the interface names the unit in each field")]
struct TimingsBody {
    queue_ms: Millis,
    prefill_ms: Millis,
    decode_ms: Millis,
    total_ms: Millis,
}

impl From<Timings> for TimingsBody {
    fn from(timings: Timings) -> Self {
        Self {
            queue_ms: Millis(timings.queue),
            prefill_ms: Millis(timings.prefill),
            decode_ms: Millis(timings.decode),
            total_ms: Millis(timings.total),
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: ErrorCode,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

#[derive(Serialize)]
struct AcceptedBody {
    position: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_ms: Option<Millis>,
}

#[derive(Serialize)]
struct DeltaBody<'a> {
    seq: u32,
    index: u32,
    text: &'a str,
}

/// A time as milliseconds with at most three decimals, and with none when they are zero.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        if micros % 1000 == 0 {
            serializer.serialize_u64(micros / 1000)
        } else {
            serializer.serialize_f64(micros as f64 / 1000.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::job::ModelName;

    use super::*;

    fn to(format: ReplyFormat) -> ReplyTo {
        let Value::Object(echo) = json!({"x_trace": {"a": 1}}) else { unreachable!() };
        ReplyTo {
            topic: "promptd/gw1/response/cam/7".to_owned(),
            correlation: Some(vec![0, 255]),
            reference: Some("r".to_owned()),
            echo,
            format,
        }
    }

    fn bare() -> ReplyTo {
        ReplyTo { reference: None, echo: Map::new(), correlation: None, ..to(ReplyFormat::Json) }
    }

    fn completion() -> Completion {
        Completion {
            output: "Ja, \"ä\"".to_owned(),
            finish: Finish::Stop,
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
        let result = replies.outcome(&id, "generate", &Outcome::Completed(completion()), &bare());
        assert_eq!(
            written(&result),
            concat!(
                r#"{"event":"result","id":"7","node":"gw1","task":"generate","output":"Ja, \"ä\"","finish":"stop","#,
                r#""model":"main","strategy":"cpu:int8","usage":{"prompt_tokens":31,"cached_tokens":24,"generated_tokens":12},"#,
                r#""timings":{"queue_ms":3,"prefill_ms":41.25,"decode_ms":130.123,"total_ms":0},"deltas":0}"#
            )
        );
        assert_eq!(
            (result.topic.as_str(), result.content_type),
            ("promptd/gw1/response/cam/7", Some("application/json"))
        );
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
            written(&replies.outcome(&id, "chat", &Outcome::Failed(error), &bare())),
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
    fn text_format_is_the_output_alone() {
        let (replies, id) = replies();
        let to = to(ReplyFormat::Text);
        let result = replies.result(&id, "generate", &completion(), &to);
        assert_eq!((written(&result).as_str(), result.content_type), ("Ja, \"ä\"", Some("text/plain")));
        assert_eq!(written(&replies.error(&id, &JobError::new(ErrorCode::Thermal, "hot"), &to)), "error: thermal");
        assert_eq!(result.correlation, Some(vec![0, 255]));
    }
}
