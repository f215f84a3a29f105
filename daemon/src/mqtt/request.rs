//! From an MQTT message to a job's request.

use std::time::{Duration, SystemTime};

use serde::Deserializer;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::job::{
    ClientName, ErrorCode, JobError, ModelName, OutputLimits, ReplyTo, Request, RequestId, Sampling, Task, TaskName,
    shown,
};
use crate::task::{Definition, PipelineDefinition};

use super::address::Address;
use super::body::{Asked, Body, not_blank};
use super::defined::{fields_of, read_defined};
use super::fields::invalid;
use super::kind::TaskKind;
use super::pipeline::read_named;
use super::sent::Timing;
use super::strict::{JsonLimits, parse_object};
use super::{InboundMessage, ReplyPolicy, Topics};

/// Longest Correlation Data in bytes: it is kept with the job.
const CORRELATION_MAX: usize = 1024;

/// What a request may ask for at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes of payload.
    pub request_bytes: usize,
    /// Tokens when the request does not say.
    pub max_tokens_default: u32,
    /// Most tokens that a request may ask for.
    pub max_tokens_cap: u32,
    /// Deadline when the request does not say.
    pub deadline_default: Duration,
    /// Longest deadline that a request may ask for.
    pub deadline_cap: Duration,
    /// Most texts of one request.
    pub inputs: usize,
    /// Bytes of a schema, a list of choices or an expression that holds an answer to its form.
    pub schema_bytes: usize,
    /// Most steps of a pipeline.
    pub pipeline_steps: usize,
}

/// Reads requests by the rules of the interface.
#[derive(Debug, Clone)]
pub struct RequestReader {
    /// For the default reply topic.
    pub topics: Topics,
    /// For other reply topics.
    pub reply_policy: ReplyPolicy,
    /// What may be asked for.
    pub limits: RequestLimits,
    /// The tasks that are data.
    pub tasks: Vec<Definition>,
    /// The pipelines that have names.
    pub pipelines: Vec<PipelineDefinition>,
    /// The time, if the clock can be believed.
    pub now: fn() -> Option<SystemTime>,
}

/// A task that a topic names.
#[derive(Clone, Copy)]
pub(super) enum Named<'a> {
    /// One of the interface.
    Kind(TaskKind),
    /// One that is data.
    Defined(&'a Definition),
    /// A pipeline.
    Pipeline(&'a PipelineDefinition),
}

impl<'a> Named<'a> {
    /// Its name, if it is none of the interface.
    pub(super) fn defined(self) -> Option<TaskName> {
        match self {
            Self::Kind(_) => None,
            Self::Defined(definition) => Some(definition.name().clone()),
            Self::Pipeline(pipeline) => Some(pipeline.name().clone()),
        }
    }

    fn name(self) -> &'a str {
        match self {
            Self::Kind(kind) => kind.name(),
            Self::Defined(definition) => definition.name().as_str(),
            Self::Pipeline(pipeline) => pipeline.name().as_str(),
        }
    }
}

/// A valid request.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// What to do.
    pub request: Request,
    /// Where the answer goes.
    pub reply: ReplyTo,
    /// What of it is the client's own wish.
    pub asked: Asked,
    /// The same for the same task and content: tells a retry from another request under the same id.
    pub fingerprint: [u8; 32],
    /// Why it can't be done in time any more; who asks for what was done before gets that all the same.
    pub overdue: Option<JobError>,
}

/// A step of a pipeline as its own request says it; the rest is as in the whole one.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRequest {
    /// What to do.
    pub task: Task,
    /// The definition that this was made of.
    pub defined: Option<TaskName>,
    /// On which model, if the task says.
    pub model: Option<ModelName>,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Where to stop.
    pub output: OutputLimits,
    /// What of it is its own wish.
    pub asked: Asked,
}

/// A request that cannot become a job, with all that is needed to say so.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// The client's id if it could be read, else one that promptd made.
    pub id: RequestId,
    /// Where the error goes: always an allowed topic.
    pub reply: ReplyTo,
    /// What is wrong.
    pub error: JobError,
}

impl RequestReader {
    /// Reads a message on a request topic. `make_id` is asked for an id when the request has none that can be used.
    pub fn read(
        &self,
        task: &str,
        client: ClientName,
        message: &InboundMessage,
        make_id: impl FnOnce() -> RequestId,
    ) -> Result<Accepted, Box<Rejected>> {
        let content = self.content(&message.payload);
        let address = match &content {
            Ok(Content::Object(map)) => Address::of(map),
            Ok(Content::Text(_)) => Address::default(),
            Err(_) => Address::salvage(&message.payload),
        };
        let id = address.id.clone().unwrap_or_else(make_id);
        let (reply, answerable) = self.reply_to(message, address, &client, &id);
        let accepted = || {
            refuse_retained(message, "a request")?;
            let content = content?;
            answerable?;
            let named = self.named(task)?;
            let fingerprint = fingerprint(named.name(), &content);
            let body = match (named, content) {
                (Named::Kind(kind), Content::Object(map)) => Body::read(kind, map, &self.limits)?,
                (Named::Kind(kind), Content::Text(text)) => Body::plain(kind, text, &self.limits)?,
                (Named::Defined(task), Content::Object(map)) => read_defined(task, map, &self.limits)?,
                (Named::Defined(task), Content::Text(text)) => read_defined(task, fields_of(text), &self.limits)?,
                (Named::Pipeline(pipeline), Content::Object(map)) => read_named(pipeline, map, &self.limits)?,
                (Named::Pipeline(pipeline), Content::Text(text)) => {
                    read_named(pipeline, fields_of(text), &self.limits)?
                }
            };
            self.check_steps(&body.task)?;
            if body.session.is_some() && client == ClientName::anonymous() {
                let text = "a session needs a client in the topic: request/chat/<client>";
                return Err(JobError::new(ErrorCode::Forbidden, text));
            }
            let timing = self.timing(&body, message)?;
            Ok((body, named.defined(), timing, fingerprint))
        };
        match accepted() {
            Ok((body, defined, Timing { deadline, overdue }, fingerprint)) => {
                let asked = body.asked;
                let request = request(id, client, (body, defined), deadline);
                Ok(Accepted { request, reply, asked, fingerprint, overdue })
            }
            Err(error) => Err(Box::new(Rejected { id, reply, error })),
        }
    }

    pub(super) fn named(&self, task: &str) -> Result<Named<'_>, JobError> {
        let kind = TaskKind::ALL.into_iter().find(|kind| kind.name() == task).map(Named::Kind);
        let defined = || self.tasks.iter().find(|definition| definition.name().as_str() == task).map(Named::Defined);
        let pipeline = || self.pipelines.iter().find(|pipeline| pipeline.name().as_str() == task).map(Named::Pipeline);
        kind.or_else(defined).or_else(pipeline).ok_or_else(|| {
            let kinds = TaskKind::ALL.into_iter().map(Named::Kind);
            let defined = self.tasks.iter().map(Named::Defined).chain(self.pipelines.iter().map(Named::Pipeline));
            let known: Vec<&str> = kinds.chain(defined).map(Named::name).collect();
            let text = format!("no task {}; known are: {}", shown(task), known.join(", "));
            JobError::new(ErrorCode::UnknownTask, text)
        })
    }

    /// What time it has: by its own deadline or the node's, and by what remained of its message's expiry.
    fn timing(&self, body: &Body, message: &InboundMessage) -> Result<Timing, JobError> {
        let timing = match (&body.sent, (self.now)()) {
            (Some(sent), Some(now)) => {
                let received = now.checked_sub(message.received.elapsed()).unwrap_or(now);
                sent.timing(received, body.deadline)?
            }
            _ => Timing::whole(body.deadline),
        };
        let deadline = message.expiry.into_iter().chain([timing.deadline]).min().unwrap_or_default();
        Ok(Timing { deadline, ..timing })
    }

    fn content(&self, payload: &[u8]) -> Result<Content, JobError> {
        self.check_size(payload)?;
        if payload.iter().find(|byte| !b" \t\r\n".contains(byte)) == Some(&b'{') {
            return parse_object(payload, JsonLimits::default()).map(Content::Object);
        }
        if is_json(payload) {
            return Err(invalid("the payload is JSON but no object"));
        }
        let text = std::str::from_utf8(payload)
            .map_err(|error| invalid(format!("the payload is not UTF-8: byte {} is wrong", error.valid_up_to())))?;
        if text.contains('\0') {
            return Err(invalid("the payload contains NUL"));
        }
        not_blank("the payload", text.to_owned()).map(Content::Text)
    }

    /// Against `limits.request`.
    pub(super) fn check_size(&self, payload: &[u8]) -> Result<(), JobError> {
        let (size, max) = (payload.len(), self.limits.request_bytes);
        if size <= max {
            return Ok(());
        }
        let text = format!("the request has {size} bytes; allowed are {max} (limits.request)");
        Err(JobError::new(ErrorCode::TooLarge, text))
    }

    /// Where and how to answer, and whether that is what was asked for.
    pub(super) fn reply_to(
        &self,
        message: &InboundMessage,
        address: Address,
        client: &ClientName,
        id: &RequestId,
    ) -> (ReplyTo, Result<(), JobError>) {
        let asked = message.response_topic.clone().or(address.reply_to);
        let allowed = asked.map(|topic| self.reply_policy.check(client, &topic).map(|()| topic)).transpose();
        let correlation = correlation(message);
        let reply = ReplyTo {
            topic: allowed.clone().unwrap_or_default().unwrap_or_else(|| self.topics.response(client, id)),
            correlation: correlation.clone().unwrap_or_default(),
            reference: address.reference,
            echo: address.echo,
            format: address.format,
            parts: address.parts,
            errors: true,
        };
        (reply, allowed.and(correlation).map(|_| ()))
    }
}

/// `what` starts the sentence that refuses a retained message.
pub(super) fn refuse_retained(message: &InboundMessage, what: &str) -> Result<(), JobError> {
    if !message.retain {
        return Ok(());
    }
    let text = format!("{what} may not be retained: it would be repeated at each connect");
    Err(JobError::new(ErrorCode::Retained, text))
}

/// Reads the payload of a cancel topic: the id of the client's own job.
pub fn parse_cancel(payload: &[u8]) -> Result<RequestId, JobError> {
    let map = parse_object(payload, JsonLimits::default())?;
    if let Some(name) = map.keys().find(|name| *name != "id" && !super::address::is_echo(name)) {
        return Err(super::fields::unknown(name));
    }
    let id = super::fields::Fields::new(map).text("id")?.ok_or_else(|| invalid("\"id\" is missing"))?;
    RequestId::new(id).map_err(|error| invalid(error.to_string()))
}

enum Content {
    Object(Map<String, Value>),
    Text(String),
}

/// Whether all of it is JSON. Only asked for what is no object.
fn is_json(payload: &[u8]) -> bool {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    (&mut deserializer).deserialize_ignored_any(IgnoredAny).is_ok() && deserializer.end().is_ok()
}

fn correlation(message: &InboundMessage) -> Result<Option<Vec<u8>>, JobError> {
    match &message.correlation {
        Some(data) if data.len() > CORRELATION_MAX => {
            Err(invalid(format!("the Correlation Data has {} bytes; allowed are 0 to {CORRELATION_MAX}", data.len())))
        }
        data => Ok(data.as_ref().map(|data| data.to_vec())),
    }
}

fn request(
    id: RequestId,
    client: ClientName,
    (body, defined): (Body, Option<TaskName>),
    deadline: Duration,
) -> Request {
    Request {
        id,
        client,
        task: body.task,
        defined,
        model: body.model,
        session: body.session,
        sampling: body.sampling,
        output: body.output,
        priority: body.priority,
        deadline,
        stream: body.stream,
        ack: body.ack,
    }
}

/// Of the object, not of its text: a client that writes its fields in another order still makes the same request. So does one
/// that sends it later.
fn fingerprint(task: &str, content: &Content) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(task);
    match content {
        Content::Object(map) => {
            hash.update(b"\0json\0");
            let mut map = map.clone();
            map.remove("sent_at");
            let mut value = Value::Object(map);
            value.sort_all_objects();
            hash.update(value.to_string());
        }
        Content::Text(text) => {
            hash.update(b"\0text\0");
            hash.update(text);
        }
    }
    hash.finalize().into()
}
