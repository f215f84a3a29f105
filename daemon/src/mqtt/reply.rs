//! The messages that promptd sends to a client, exactly as the interface has them.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::job::{
    Completion, ErrorCode, Finish, JobError, NodeName, Output, ReplyFormat, ReplyTo, RequestId, SessionReport, Timings,
    TokenLogprob, Usage,
};
use crate::task::Progress;

use super::output::OutputBody;
use super::{PartHead, Publication};

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

    /// `result`: the whole answer.
    pub fn result(&self, id: &RequestId, task: &str, completion: &Completion, to: &ReplyTo) -> Publication {
        let body = ResultBody {
            task,
            output: OutputBody(&completion.output),
            finish: completion.finish,
            logprobs: &completion.logprobs,
            model: completion.model.as_str(),
            strategy: &completion.strategy,
            usage: UsageBody { tokens: completion.usage, energy_joules: completion.energy_joules },
            timings: completion.timings.into(),
            deltas: completion.deltas,
            session: completion.session.as_deref().map(SessionBody::from),
        };
        match to.format {
            ReplyFormat::Json => {
                let parts = to.parts.then(|| PartHead::new(self.written("part", id, NoBody {}, to)));
                Publication { parts, ..self.json("result", id, body, to) }
            }
            ReplyFormat::Text => match &completion.output {
                Output::Text(output) => text(output.clone(), to),
                // As the model has written it.
                Output::Json(output) => publication(output.clone().into_bytes(), JSON, to),
                // As above: nothing in it can fail.
                output => publication(serde_json::to_vec(&OutputBody(output)).unwrap_or_default(), JSON, to),
            },
        }
    }

    /// `error`: why there is no answer.
    pub fn error(&self, id: &RequestId, error: &JobError, to: &ReplyTo) -> Publication {
        match to.format {
            ReplyFormat::Json => self.json("error", id, ErrorBody::from(error), to),
            ReplyFormat::Text => text(format!("error: {}", error.code), to),
        }
    }

    /// `accepted`: the request is in the queue. `position` counts the jobs before it.
    pub fn accepted(&self, id: &RequestId, position: usize, eta: Option<Duration>, to: &ReplyTo) -> Publication {
        self.json("accepted", id, AcceptedBody { position, eta_ms: eta.map(Millis) }, to)
    }

    /// `delta`: the next piece of output `index`. `seq` counts from 0, without gaps when none was lost.
    pub fn delta(&self, id: &RequestId, seq: u32, index: u32, text: &str, to: &ReplyTo) -> Publication {
        self.json("delta", id, DeltaBody { seq, index, text }, to)
    }

    /// `progress`: what a step of a pipeline does.
    pub fn progress(&self, id: &RequestId, progress: &Progress, to: &ReplyTo) -> Publication {
        let Progress { step, state, code } = progress;
        self.json("progress", id, ProgressBody { step: step.as_str(), state: state.as_str(), code: *code }, to)
    }

    /// `result` of an operator's request: `output` is what the verb gives.
    pub fn control_result(&self, id: &RequestId, verb: &str, output: &Value, to: &ReplyTo) -> Publication {
        self.json("result", id, ControlResultBody { verb, output }, to)
    }

    /// `progress` of an operator's request that takes long: what is being done, and the share of the whole that is done,
    /// 0 to 1, if it is known.
    pub fn control_progress(
        &self,
        id: &RequestId,
        verb: &str,
        step: &str,
        progress: Option<f32>,
        to: &ReplyTo,
    ) -> Publication {
        self.json("progress", id, ControlProgressBody { verb, step, progress }, to)
    }

    fn json<B: Serialize>(&self, event: &'static str, id: &RequestId, body: B, to: &ReplyTo) -> Publication {
        publication(self.written(event, id, body, to), JSON, to)
    }

    fn written<B: Serialize>(&self, event: &'static str, id: &RequestId, body: B, to: &ReplyTo) -> Vec<u8> {
        let reply = Reply {
            event,
            id: id.as_str(),
            reference: to.reference.as_deref(),
            node: self.node.as_str(),
            body,
            echo: &to.echo,
        };
        // Only maps with keys that are no strings can fail, and there are none.
        serde_json::to_vec(&reply).unwrap_or_default()
    }
}

fn text(output: String, to: &ReplyTo) -> Publication {
    publication(output.into_bytes(), TEXT, to)
}

fn publication(payload: Vec<u8>, content_type: &'static str, to: &ReplyTo) -> Publication {
    Publication {
        topic: to.topic.clone(),
        payload: payload.into(),
        content_type: Some(content_type.into()),
        correlation: to.correlation.clone(),
        parts: None,
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(extend("patternProperties" = { "^x_": { "description": "As the request has it." } }))]
pub(super) struct Reply<'a, B> {
    /// What kind of message this is.
    event: &'static str,
    /// The request's id, or the one that promptd made for it.
    id: &'a str,
    /// The request's `ref`.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// The node that answers.
    node: &'a str,
    #[serde(flatten)]
    body: B,
    #[serde(flatten)]
    #[schemars(skip)]
    echo: &'a Map<String, Value>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct ResultBody<'a> {
    /// The task that was asked for.
    task: &'a str,
    output: OutputBody<'a>,
    finish: Finish,
    /// How likely each token was, if the request has asked.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    logprobs: &'a [TokenLogprob],
    /// The model that answered.
    model: &'a str,
    /// How it ran, such as `cpu:int4`.
    strategy: &'a str,
    usage: UsageBody,
    timings: TimingsBody,
    /// How many `delta` messages were sent for it.
    deltas: u32,
    /// What became of its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionBody<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
struct SessionBody<'a> {
    /// The session.
    name: &'a str,
    /// Turns that it has now.
    turns: usize,
    /// Earlier turns that were left out of the prompt, because they would not fit.
    dropped: usize,
}

impl<'a> From<&'a SessionReport> for SessionBody<'a> {
    fn from(SessionReport { name, turns, dropped }: &'a SessionReport) -> Self {
        Self { name: name.as_str(), turns: *turns, dropped: *dropped }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Usage")]
struct UsageBody {
    #[serde(flatten)]
    tokens: Usage,
    /// Energy that the board used for it, where that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    energy_joules: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "the interface names the unit in each field")]
#[schemars(rename = "Timings")]
struct TimingsBody {
    /// From receipt to the engine.
    queue_ms: Millis,
    /// From the engine's receipt to the first token.
    prefill_ms: Millis,
    /// From the first token to the last.
    decode_ms: Millis,
    /// From receipt to the outcome.
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

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct ErrorBody<'a> {
    code: ErrorCode,
    /// For people: names the value and the limit, never the text of a prompt or an answer.
    message: &'a str,
    /// Whether the same request may succeed later. It decides, whatever the code says as a rule: `deadline_exceeded` and
    /// `step_failed` can be retryable.
    retryable: bool,
    /// When a retry is worth it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl<'a> From<&'a JobError> for ErrorBody<'a> {
    fn from(error: &'a JobError) -> Self {
        Self {
            code: error.code,
            message: &error.message,
            retryable: error.is_retryable(),
            retry_after_ms: error.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct AcceptedBody {
    /// Jobs before it.
    position: usize,
    /// When it will be answered, by the node's pace so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_ms: Option<Millis>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct DeltaBody<'a> {
    /// Counts from 0, without gaps when none was lost.
    seq: u32,
    /// Which output it belongs to.
    index: u32,
    /// The next piece of it.
    text: &'a str,
}

/// One of the messages in which an answer goes out that the broker does not take whole: `text` is piece `seq`, from 0, of `of`
/// pieces. One after the other they are the text of the `result` message.
#[derive(Serialize, JsonSchema)]
pub(super) struct PartBody<'a> {
    /// Which piece it is, from 0; a 0 begins anew.
    pub seq: u32,
    /// How many pieces there are.
    pub of: u32,
    /// The piece. One after the other they are the text of the `result` message.
    pub text: &'a str,
}

/// Of what all parts have in common.
#[derive(Serialize)]
struct NoBody {}

#[derive(Serialize, JsonSchema)]
pub(super) struct ProgressBody<'a> {
    /// The step of the pipeline.
    step: &'a str,
    /// What it does.
    #[schemars(extend("enum" = ["running", "ended", "skipped", "failed"]))]
    state: &'static str,
    /// Why it has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct ControlResultBody<'a> {
    /// What was asked for.
    verb: &'a str,
    /// What the verb gives, as `allOf` says.
    output: &'a Value,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct ControlProgressBody<'a> {
    /// What was asked for.
    verb: &'a str,
    /// What is being done.
    step: &'a str,
    /// The share of the whole that is done, 0 to 1, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<f32>,
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

impl JsonSchema for Millis {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Millis".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0 })
    }
}
