//! The tasks of the interface, and the fields that a request of each may have.

use serde_json::{Map, Value};

use crate::job::{Ability, Encoding, Input, JobError, Message, Role, Task};

use super::fields::invalid;

/// Fields of every task.
pub(super) const KNOWN: [&str; 13] = [
    "id",
    "input",
    "prompt",
    "model",
    "stream",
    "ack",
    "parts",
    "reply",
    "reply_to",
    "ref",
    "priority",
    "deadline_ms",
    "sent_at",
];

/// Fields of tasks that generate text.
pub(super) const GENERATING: [&str; 16] = [
    "messages",
    "max_tokens",
    "max_bytes",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "seed",
    "stop",
    "ignore_eos",
    "inputs",
    "schema",
    "choices",
    "regex",
    "logprobs",
];

/// Fields of `chat` besides these.
const CHATTING: [&str; 2] = ["session", "reset"];

/// Fields of `embed`, of `classify`, of `extract`, of `answer` and of `rerank`.
const EMBEDDING: [&str; 2] = ["inputs", "encoding"];
const CLASSIFYING: [&str; 2] = ["inputs", "labels"];
const EXTRACTING: [&str; 3] = ["inputs", "types", "max_tokens"];
const ANSWERING: [&str; 3] = ["question", "context", "max_tokens"];
const RANKING: [&str; 1] = ["documents"];
const PIPING: [&str; 3] = ["steps", "output", "fields"];

/// Fields of the interface that this version cannot serve yet, or only for some tasks. To ignore them would give another answer than asked for.
pub(super) const NOT_YET: [&str; 1] = ["target_language"];

/// The tasks of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskKind {
    Generate,
    Chat,
    Embed,
    Classify,
    Extract,
    Answer,
    Rerank,
    Pipeline,
}

impl TaskKind {
    pub const ALL: [TaskKind; 8] = [
        TaskKind::Generate,
        TaskKind::Chat,
        TaskKind::Embed,
        TaskKind::Classify,
        TaskKind::Extract,
        TaskKind::Answer,
        TaskKind::Rerank,
        TaskKind::Pipeline,
    ];

    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Generate => "generate",
            TaskKind::Chat => "chat",
            TaskKind::Embed => "embed",
            TaskKind::Classify => "classify",
            TaskKind::Extract => "extract",
            TaskKind::Answer => "answer",
            TaskKind::Rerank => "rerank",
            TaskKind::Pipeline => "pipeline",
        }
    }

    /// Its fields besides those of every task.
    pub fn own(self) -> [&'static [&'static str]; 2] {
        match self {
            TaskKind::Generate => [&GENERATING, &[]],
            TaskKind::Chat => [&GENERATING, &CHATTING],
            TaskKind::Embed => [&EMBEDDING, &[]],
            TaskKind::Classify => [&CLASSIFYING, &[]],
            TaskKind::Extract => [&EXTRACTING, &[]],
            TaskKind::Answer => [&ANSWERING, &[]],
            TaskKind::Rerank => [&RANKING, &[]],
            TaskKind::Pipeline => [&PIPING, &[]],
        }
    }

    /// Whether it has a field besides those of every task.
    pub fn has(self, field: &str) -> bool {
        self.own().into_iter().any(|fields| fields.contains(&field))
    }

    /// What a model must be able to do for it with these fields. A pipeline's steps have models of their own.
    pub fn needs(self, fields: &Map<String, Value>) -> Ability {
        match self {
            TaskKind::Embed | TaskKind::Rerank => Ability::Embed,
            TaskKind::Classify if !fields.contains_key("labels") => Ability::Classify,
            TaskKind::Extract if !fields.contains_key("types") => Ability::Extract,
            _ => Ability::Generate,
        }
    }

    /// The task on one plain text.
    pub fn on(self, text: String) -> Result<Task, JobError> {
        Ok(match self {
            TaskKind::Generate => Task::Generate { prompt: text },
            TaskKind::Chat => Task::Chat { messages: vec![Message { role: Role::User, content: text }] },
            TaskKind::Embed => Task::Embed { input: Input::One(text), encoding: Encoding::default() },
            TaskKind::Classify => Task::Classify { input: Input::One(text), labels: Vec::new() },
            TaskKind::Extract => Task::Extract { input: Input::One(text), types: Vec::new() },
            TaskKind::Answer => {
                return Err(invalid("the task \"answer\" needs a JSON object with \"question\" and \"context\""));
            }
            TaskKind::Rerank => return Err(invalid("the task \"rerank\" needs a JSON object with \"documents\"")),
            TaskKind::Pipeline => return Err(invalid("the task \"pipeline\" needs a JSON object with \"steps\"")),
        })
    }
}
