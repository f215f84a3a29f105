//! The fields of requests.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::job::{
    JobError, Message, ModelName, OutputLimits, Priority, ReplyFormat, Role, Sampling, Session, SessionName, Task,
};
use crate::job::{LOGPROBS_MAX, REPEAT_PENALTY_MAX, REPEAT_PENALTY_MIN, STOP_BYTES_MAX, STOPS_MAX, TEMPERATURE_MAX};

use super::RequestLimits;
use super::address::{check_address, check_echo, is_echo};
use super::constraint::read_constraint;
use super::fields::{Fields, Limits, invalid, unknown, wrong_type};
use super::inputs::read_each;
use super::kind::{KNOWN, NOT_YET, TaskKind};
use super::pipeline::read_pipeline;
use super::sent::Sent;
use super::texts::{read_answer, read_classify, read_embed, read_extract, read_rerank};

/// More than the vocabulary of any model.
pub(super) const TOP_K_MAX: u32 = 1_000_000;

/// What a request itself names of that which a policy may cap; none where it takes the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its class.
    pub priority: Option<Priority>,
    /// Tokens of the answer.
    pub max_tokens: Option<u32>,
}

/// A request without what the topic and the message's properties say.
pub(super) struct Body {
    pub task: Task,
    pub model: Option<ModelName>,
    pub session: Option<Session>,
    pub sampling: Sampling,
    pub output: OutputLimits,
    pub priority: Priority,
    pub asked: Asked,
    pub deadline: Duration,
    pub sent: Option<Sent>,
    pub stream: bool,
    pub ack: bool,
}

impl Body {
    /// A plain text with the default of everything.
    pub fn plain(kind: TaskKind, text: String, limits: &RequestLimits) -> Result<Self, JobError> {
        Ok(Self::of(kind.on(text)?, limits))
    }

    /// A task with the default of everything.
    pub fn of(task: Task, limits: &RequestLimits) -> Self {
        Self {
            task,
            model: None,
            session: None,
            sampling: Sampling::default(),
            output: OutputLimits::tokens(limits.max_tokens_default.min(limits.max_tokens_cap)),
            priority: Priority::default(),
            asked: Asked::default(),
            deadline: limits.deadline_default.min(limits.deadline_cap),
            sent: None,
            stream: false,
            ack: false,
        }
    }

    /// From a request object.
    pub fn read(kind: TaskKind, map: Map<String, Value>, limits: &RequestLimits) -> Result<Self, JobError> {
        check_names(kind.name(), &map, |name| KNOWN.contains(&name) || kind.has(name))?;
        let mut fields = Fields::new(map);
        check_address(&mut fields)?;
        let task = match kind {
            TaskKind::Generate | TaskKind::Chat => read_task(kind, &mut fields, limits)?,
            TaskKind::Embed => read_embed(&mut fields, limits)?,
            TaskKind::Classify => read_classify(&mut fields, limits)?,
            TaskKind::Extract => read_extract(&mut fields, limits)?,
            TaskKind::Answer => read_answer(&mut fields)?,
            TaskKind::Rerank => read_rerank(&mut fields, limits)?,
            TaskKind::Pipeline => read_pipeline(&mut fields, limits)?,
        };
        let session = if kind == TaskKind::Chat { read_session(&mut fields, &task)? } else { None };
        Self { session, ..Self::of(task, limits) }.with(fields, limits)
    }

    /// With the fields of every task, where the request gives them.
    pub fn with(self, mut fields: Fields, limits: &RequestLimits) -> Result<Self, JobError> {
        let model =
            fields.text("model")?.map(ModelName::new).transpose().map_err(|error| invalid(error.to_string()))?;
        let (stream, ack, parts) = (fields.flag("stream")?, fields.flag("ack")?, fields.flag("parts")?);
        let formats = [("json", ReplyFormat::Json), ("text", ReplyFormat::Text)];
        if fields.choice("reply", &formats)? == Some(ReplyFormat::Text) && (stream || ack || parts) {
            return Err(invalid(
                "\"stream\", \"ack\" and \"parts\" need \"reply\":\"json\": a bare text is the whole output",
            ));
        }
        let priorities = [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)];
        let priority = fields.choice("priority", &priorities)?;
        let deadline_cap = u64::try_from(limits.deadline_cap.as_millis()).unwrap_or(u64::MAX);
        let deadline =
            fields.whole("deadline_ms", &Limits { range: 1..=deadline_cap, from: Some("limits.deadline_cap") })?;
        let deadline = deadline.map(Duration::from_millis);
        let max_tokens = fields.whole_u32("max_tokens", 1..=limits.max_tokens_cap, Some("limits.max_tokens_cap"))?;
        let output = read_output(&mut fields, max_tokens, self.output, limits)?;
        if output.logprobs.is_some() && matches!(self.task, Task::Each { .. }) {
            return Err(invalid("field \"logprobs\": of \"inputs\" there are none, only of one text"));
        }
        Ok(Self {
            task: self.task,
            model: model.or(self.model),
            session: self.session,
            sampling: read_sampling(&mut fields, &self.sampling)?,
            output,
            priority: priority.unwrap_or_default(),
            asked: Asked { priority, max_tokens },
            deadline: deadline.unwrap_or(self.deadline),
            sent: Sent::read(&mut fields, deadline)?,
            stream,
            ack,
        })
    }
}

/// Refuses a field that a task does not have.
pub(super) fn check_names(task: &str, map: &Map<String, Value>, has: impl Fn(&str) -> bool) -> Result<(), JobError> {
    for name in map.keys() {
        let text = name.as_str();
        if has(text) || is_echo(name) {
            continue;
        }
        if NOT_YET.contains(&text) {
            return Err(invalid(format!("the field \"{name}\" is not supported by this version")));
        }
        if TaskKind::ALL.into_iter().any(|other| other.has(text)) {
            return Err(invalid(format!("the task \"{task}\" has no field \"{name}\"")));
        }
        return Err(unknown(name));
    }
    check_echo(map)
}

/// What is wrong with a request that gives its text twice.
const ONLY_ONE: &str = "only one of \"input\", \"prompt\", \"messages\" and \"inputs\" may be given";

/// The task of a request that generates text.
fn read_task(kind: TaskKind, fields: &mut Fields, limits: &RequestLimits) -> Result<Task, JobError> {
    let inputs = fields.take("inputs");
    let given = (fields.text("input")?, fields.text("prompt")?, fields.take("messages"));
    match (given, kind) {
        ((None, None, None), _) if inputs.is_some() => read_each(kind, inputs.unwrap_or_default(), limits),
        _ if inputs.is_some() => Err(invalid(ONLY_ONE)),
        ((Some(text), None, None), _) => kind.on(not_blank("field \"input\"", text)?),
        ((None, Some(text), None), _) => kind.on(not_blank("field \"prompt\"", text)?),
        ((None, None, Some(messages)), TaskKind::Chat) => read_messages(messages),
        ((None, None, Some(_)), _) => Err(invalid(
            "field \"messages\": the task \"generate\" takes \"input\" or \"prompt\"; \"chat\" takes messages",
        )),
        ((None, None, None), TaskKind::Chat) => {
            Err(invalid("\"messages\", \"input\", \"prompt\" or \"inputs\" is missing"))
        }
        ((None, None, None), _) => Err(invalid("\"input\", \"prompt\" or \"inputs\" is missing")),
        _ => Err(invalid(ONLY_ONE)),
    }
}

/// How a chat goes on with a session.
fn read_session(fields: &mut Fields, task: &Task) -> Result<Option<Session>, JobError> {
    let name = fields.text("session")?.map(SessionName::new).transpose();
    let name = name.map_err(|error| invalid(error.to_string()))?;
    let reset = fields.flag("reset")?;
    let Some(name) = name else {
        return if reset { Err(invalid("\"reset\" needs a \"session\"")) } else { Ok(None) };
    };
    if matches!(task, Task::Each { .. }) {
        return Err(invalid("field \"inputs\": a session takes one turn: give \"messages\", \"input\" or \"prompt\""));
    }
    if let Task::Chat { messages } = task
        && messages.iter().all(|message| message.role == Role::System)
    {
        return Err(invalid("field \"messages\": a session needs more than system messages"));
    }
    Ok(Some(Session { name, reset }))
}

pub(super) fn not_blank(what: &str, text: String) -> Result<String, JobError> {
    if text.trim().is_empty() { Err(invalid(format!("{what} is empty"))) } else { Ok(text) }
}

pub(super) fn read_messages(value: Value) -> Result<Task, JobError> {
    let Value::Array(items) = value else { return Err(wrong_type("messages", &value, "an array")) };
    let messages = items.into_iter().enumerate().map(read_message).collect::<Result<Vec<_>, _>>()?;
    match messages.last() {
        Some(last) if !last.content.trim().is_empty() => Ok(Task::Chat { messages }),
        Some(_) => Err(invalid("field \"messages\": the last message is empty")),
        None => Err(invalid("field \"messages\" is empty")),
    }
}

fn read_message((index, value): (usize, Value)) -> Result<Message, JobError> {
    let Value::Object(map) = value else { return Err(wrong_type(&format!("messages[{index}]"), &value, "an object")) };
    let place = |error: JobError| invalid(format!("messages[{index}]: {}", error.message));
    if let Some(name) = map.keys().find(|name| !["role", "content"].contains(&name.as_str())) {
        return Err(place(unknown(name)));
    }
    let mut fields = Fields::new(map);
    let roles = [("system", Role::System), ("user", Role::User), ("assistant", Role::Assistant)];
    let role = fields.choice("role", &roles).map_err(place)?;
    let content = fields.text("content").map_err(place)?;
    match (role, content) {
        (Some(role), Some(content)) => Ok(Message { role, content }),
        _ => Err(place(invalid("\"role\" and \"content\" are needed"))),
    }
}

fn read_sampling(fields: &mut Fields, default: &Sampling) -> Result<Sampling, JobError> {
    Ok(Sampling {
        temperature: fields.number("temperature", &(0.0..=TEMPERATURE_MAX).into())?.unwrap_or(default.temperature),
        top_k: fields.whole_u32("top_k", 0..=TOP_K_MAX, None)?.unwrap_or(default.top_k),
        top_p: fields.number("top_p", &(0.0..=1.0).into())?.unwrap_or(default.top_p),
        min_p: fields.number("min_p", &(0.0..=1.0).into())?.unwrap_or(default.min_p),
        repeat_penalty: fields
            .number("repeat_penalty", &(REPEAT_PENALTY_MIN..=REPEAT_PENALTY_MAX).into())?
            .unwrap_or(default.repeat_penalty),
        seed: fields.whole_u32("seed", 0..=u32::MAX, None)?.or(default.seed),
    })
}

fn read_output(
    fields: &mut Fields,
    max_tokens: Option<u32>,
    default: OutputLimits,
    limits: &RequestLimits,
) -> Result<OutputLimits, JobError> {
    let logprobs = fields.whole_u32("logprobs", 0..=u32::from(LOGPROBS_MAX), None)?;
    Ok(OutputLimits {
        constraint: read_constraint(fields, limits.schema_bytes)?.or(default.constraint),
        logprobs: logprobs.and_then(|count| u8::try_from(count).ok()),
        max_tokens: max_tokens.unwrap_or(default.max_tokens),
        max_bytes: fields.whole_u32("max_bytes", 1..=u32::MAX, None)?,
        stop: fields.take("stop").map(read_stops).transpose()?.unwrap_or(default.stop),
        ignore_eos: fields.flag("ignore_eos")?,
    })
}

fn read_stops(value: Value) -> Result<Vec<String>, JobError> {
    let items = match value {
        text @ Value::String(_) => vec![text],
        Value::Array(items) => items,
        other => return Err(wrong_type("stop", &other, "a string or an array of strings")),
    };
    if items.len() > STOPS_MAX {
        return Err(invalid(format!("field \"stop\" has {} texts; allowed are 0 to {STOPS_MAX}", items.len())));
    }
    items.into_iter().map(read_stop).collect()
}

fn read_stop(value: Value) -> Result<String, JobError> {
    match value {
        Value::String(text) if (1..=STOP_BYTES_MAX).contains(&text.len()) => Ok(text),
        Value::String(text) => {
            Err(invalid(format!("field \"stop\": a text has {} bytes; allowed are 1 to {STOP_BYTES_MAX}", text.len())))
        }
        other => Err(wrong_type("stop", &other, "a string or an array of strings")),
    }
}
