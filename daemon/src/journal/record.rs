//! A request as it stands in the file.
//!
//! JSON with a version and with names of its own: the types of `job` may change without a change of what is kept. A field
//! that is added here needs a default, for the records that lack it; anything else takes another version.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::time::millis;
use crate::job::{
    ClientName, Constraint, ModelName, OutputLimits, Priority, ReplyFormat, ReplyTo, Request, RequestId, Sampling,
    Session, SessionName, Task, TaskName,
};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    version: u32,
    task: Cow<'a, Task>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    defined: Option<TaskName>,
    /// The model that was chosen.
    model: ModelName,
    /// The model that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<ModelName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionRecord>,
    sampling: SamplingRecord,
    output: OutputRecord,
    priority: Priority,
    deadline_ms: u64,
    stream: bool,
    ack: bool,
    reply: ReplyRecord<'a>,
}

#[derive(Serialize, Deserialize)]
struct SessionRecord {
    name: SessionName,
    #[serde(default)]
    reset: bool,
}

#[derive(Serialize, Deserialize)]
struct SamplingRecord {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct OutputRecord {
    max_tokens: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stop: Vec<String>,
    #[serde(default)]
    ignore_eos: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    constraint: Option<Constraint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logprobs: Option<u8>,
}

#[derive(Serialize, Deserialize)]
struct ReplyRecord<'a> {
    topic: Cow<'a, str>,
    /// In base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation: Option<String>,
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<Cow<'a, str>>,
    #[serde(default)]
    echo: Cow<'a, Map<String, Value>>,
    format: ReplyFormat,
    #[serde(default)]
    parts: bool,
    #[serde(default = "yes")]
    errors: bool,
}

fn yes() -> bool {
    true
}

/// A request with its answer's address and the model that shall answer. The names of client and request are kept beside it.
pub(super) fn write(request: &Request, reply: &ReplyTo, model: &ModelName) -> Vec<u8> {
    let Request { id: _, client: _, task, defined, model: asked, session, sampling, output, .. } = request;
    let Request { priority, deadline, stream, ack, .. } = request;
    let Sampling { temperature, top_k, top_p, min_p, repeat_penalty, seed } = *sampling;
    let OutputLimits { max_tokens, max_bytes, stop, ignore_eos, constraint, logprobs } = output.clone();
    let ReplyTo { topic, correlation, reference, echo, format, parts, errors } = reply;
    let record = Record {
        version: VERSION,
        task: Cow::Borrowed(task),
        defined: defined.clone(),
        model: model.clone(),
        asked: asked.clone(),
        session: session.clone().map(|Session { name, reset }| SessionRecord { name, reset }),
        sampling: SamplingRecord { temperature, top_k, top_p, min_p, repeat_penalty, seed },
        output: OutputRecord { max_tokens, max_bytes, stop, ignore_eos, constraint, logprobs },
        priority: *priority,
        deadline_ms: millis(*deadline),
        stream: *stream,
        ack: *ack,
        reply: ReplyRecord {
            topic: Cow::Borrowed(topic),
            correlation: correlation.as_ref().map(|data| STANDARD.encode(data)),
            reference: reference.as_deref().map(Cow::Borrowed),
            echo: Cow::Borrowed(echo),
            format: *format,
            parts: *parts,
            errors: *errors,
        },
    };
    // Only maps with keys that are no strings can fail, and there are none.
    serde_json::to_vec(&record).unwrap_or_default()
}

/// Reads what [`write`] has written. The reason of a failure quotes nothing of the request.
pub(super) fn read(
    client: ClientName,
    id: RequestId,
    bytes: &[u8],
) -> Result<(Request, ReplyTo, ModelName), &'static str> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(bytes).map_err(|_| "it is no record")?;
    if version != VERSION {
        return Err("it has another version");
    }
    let record = serde_json::from_slice(bytes).map_err(|_| "its fields are not those of its version")?;
    let Record { version: _, task, defined, model, asked, session, sampling, output, .. } = record;
    let Record { priority, deadline_ms, stream, ack, reply, .. } = record;
    let SamplingRecord { temperature, top_k, top_p, min_p, repeat_penalty, seed } = sampling;
    let OutputRecord { max_tokens, max_bytes, stop, ignore_eos, constraint, logprobs } = output;
    let correlation = reply.correlation.map(|data| STANDARD.decode(data)).transpose();
    let request = Request {
        id,
        client,
        task: task.into_owned(),
        defined,
        model: asked,
        session: session.map(|SessionRecord { name, reset }| Session { name, reset }),
        sampling: Sampling { temperature, top_k, top_p, min_p, repeat_penalty, seed },
        output: OutputLimits { max_tokens, max_bytes, stop, ignore_eos, constraint, logprobs },
        priority,
        deadline: Duration::from_millis(deadline_ms),
        stream,
        ack,
    };
    let reply = ReplyTo {
        topic: reply.topic.into_owned(),
        correlation: correlation.map_err(|_| "its correlation data is no base64")?,
        reference: reply.reference.map(Cow::into_owned),
        echo: reply.echo.into_owned(),
        format: reply.format,
        parts: reply.parts,
        errors: reply.errors,
    };
    Ok((request, reply, model))
}
