//! A request after validation: nothing in it can be out of range.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Ability, ClientName, Constraint, Encoding, Input, JobError, Long, ModelName, Pipeline, RequestId, Session, TaskName,
};

/// A job's number within one run of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One request of one client.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The client's id for it, or one that promptd made.
    pub id: RequestId,
    /// Who asked.
    pub client: ClientName,
    /// What to do.
    pub task: Task,
    /// The definition that this was made of; none if the task is one of the interface.
    pub defined: Option<TaskName>,
    /// On which model; none means the default one.
    pub model: Option<ModelName>,
    /// The session that it goes on with; only of a chat.
    pub session: Option<Session>,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Where to stop.
    pub output: OutputLimits,
    /// Its class in the queue.
    pub priority: Priority,
    /// Time from receipt after which the answer is worthless.
    pub deadline: Duration,
    /// Send `delta` messages while generating.
    pub stream: bool,
    /// Send an `accepted` message.
    pub ack: bool,
}

impl Request {
    /// The name of the task in topics and replies.
    pub fn task_name(&self) -> &str {
        self.defined.as_ref().map_or_else(|| self.task.name(), TaskName::as_str)
    }
}

/// What a request asks for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Continue or answer one prompt.
    Generate {
        /// The prompt, never empty.
        prompt: String,
    },
    /// Answer the last message of a conversation.
    Chat {
        /// The messages, never empty, oldest first.
        messages: Vec<Message>,
    },
    /// Make an embedding of each text.
    Embed {
        /// The texts.
        input: Input,
        /// How the embeddings are written.
        encoding: Encoding,
    },
    /// Say which class each text is of.
    Classify {
        /// The texts; one, if there are labels.
        input: Input,
        /// The classes, distinct and not blank; none for those of the model.
        #[serde(default)]
        labels: Vec<String>,
    },
    /// Find what each text names.
    Extract {
        /// The texts.
        input: Input,
        /// What to look for, distinct and not blank; none for everything that the model knows.
        types: Vec<String>,
    },
    /// Find the part of a text that answers a question.
    Answer {
        /// The question, never blank.
        question: String,
        /// The text, never blank.
        context: String,
    },
    /// Put documents into the order in which they fit a question.
    Rerank {
        /// The question, never empty.
        question: String,
        /// The documents, at least one.
        documents: Vec<String>,
    },
    /// Answer a conversation that is made of a text, in parts if the context does not hold it.
    Long {
        /// The messages, never empty, oldest first.
        messages: Vec<Message>,
        /// What they were made of.
        long: Box<Long>,
    },
    /// Generate an answer to each of several inputs.
    Each {
        /// Whether they are conversations.
        chat: bool,
        /// For each input, in their order, the task that answers it, or why none does. At least one.
        items: Vec<Result<Task, JobError>>,
    },
    /// Do several tasks that use what others give.
    Pipeline(Box<Pipeline>),
}

impl Task {
    /// The names of all tasks.
    pub const NAMES: [&'static str; 8] =
        ["generate", "chat", "embed", "classify", "extract", "answer", "rerank", "pipeline"];

    /// The name of the task of the interface that this is.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Generate { .. } | Task::Each { chat: false, .. } => "generate",
            Task::Chat { .. } | Task::Long { .. } | Task::Each { chat: true, .. } => "chat",
            Task::Embed { .. } => "embed",
            Task::Classify { .. } => "classify",
            Task::Extract { .. } => "extract",
            Task::Answer { .. } => "answer",
            Task::Rerank { .. } => "rerank",
            Task::Pipeline(_) => "pipeline",
        }
    }

    /// The same as an engine gets it: without what nobody there needs.
    #[must_use]
    pub fn for_engine(&self) -> Self {
        match self {
            Task::Long { messages, .. } => Task::Chat { messages: messages.clone() },
            other => other.clone(),
        }
    }

    /// Whether it is done as several others from the beginning.
    pub fn is_composite(&self) -> bool {
        matches!(self, Task::Each { .. } | Task::Pipeline(_))
    }

    /// What a model must be able to do for it. A pipeline's steps have models of their own; where it names one for all of them,
    /// it is one for text.
    pub fn needs(&self) -> Ability {
        match self {
            Task::Generate { .. }
            | Task::Chat { .. }
            | Task::Answer { .. }
            | Task::Long { .. }
            | Task::Each { .. }
            | Task::Pipeline(_) => Ability::Generate,
            Task::Classify { labels, .. } if !labels.is_empty() => Ability::Generate,
            // Such a model searches one text.
            Task::Extract { input: Input::One(_), types } if !types.is_empty() => Ability::Generate,
            Task::Embed { .. } | Task::Rerank { .. } => Ability::Embed,
            Task::Classify { .. } => Ability::Classify,
            Task::Extract { .. } => Ability::Extract,
        }
    }

    /// What else a model may be able to do for it, if the request names that model.
    pub fn also(&self) -> Option<Ability> {
        match self {
            Task::Extract { types, .. } if !types.is_empty() => Some(Ability::Extract),
            _ => None,
        }
    }

    /// Bytes of all texts together.
    pub fn bytes(&self) -> usize {
        match self {
            Task::Generate { prompt } => prompt.len(),
            Task::Chat { messages } | Task::Long { messages, .. } => {
                messages.iter().map(|message| message.content.len()).sum()
            }
            Task::Each { items, .. } => items.iter().flatten().map(Task::bytes).sum(),
            // Of which texts are made of them is not known yet.
            Task::Pipeline(_) => 0,
            Task::Embed { input, .. } => input.bytes(),
            Task::Answer { question, context } => question.len() + context.len(),
            Task::Classify { input, labels: types } | Task::Extract { input, types } => {
                input.bytes() + types.iter().map(String::len).sum::<usize>()
            }
            Task::Rerank { question, documents } => question.len() + documents.iter().map(String::len).sum::<usize>(),
        }
    }
}

/// Sizes only: prompts do not belong in logs.
impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Generate { prompt } => write!(f, "Generate({} bytes)", prompt.len()),
            Task::Chat { messages } => write!(f, "Chat({} messages)", messages.len()),
            Task::Embed { input, .. } => write!(f, "Embed({input:?})"),
            Task::Classify { input, labels } => write!(f, "Classify({input:?}, {} labels)", labels.len()),
            Task::Answer { context, .. } => write!(f, "Answer({} bytes)", context.len()),
            Task::Extract { input, types } => write!(f, "Extract({input:?}, {} types)", types.len()),
            Task::Rerank { documents, .. } => write!(f, "Rerank({} documents)", documents.len()),
            Task::Long { long, .. } => long.fmt(f),
            Task::Each { items, .. } => write!(f, "Each({} inputs)", items.len()),
            Task::Pipeline(pipeline) => pipeline.fmt(f),
        }
    }
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({} bytes)", self.role, self.content.len())
    }
}

/// Who speaks in a conversation. A closed list: a role is copied into the prompt as the template's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions of the operator or application.
    System,
    /// The human or device.
    User,
    /// The model's earlier answers.
    Assistant,
}

impl Role {
    /// The role as templates and requests spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// Most stop texts of one request: each is searched for in every piece of output.
pub const STOPS_MAX: usize = 8;
/// Longest stop text in bytes.
pub const STOP_BYTES_MAX: usize = 256;
/// Above this, sampling no longer differs from drawing at random.
pub const TEMPERATURE_MAX: f64 = 100.0;
/// Logits are divided by it.
pub const REPEAT_PENALTY_MIN: f64 = 0.001;
/// Above this the model can repeat nothing, not even a space.
pub const REPEAT_PENALTY_MAX: f64 = 10.0;

/// How the next token is chosen. Names and meanings as in llama.cpp; neutral values switch a step off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set whose probability reaches this share; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the best one; 0 keeps all.
    pub min_p: f32,
    /// Divides the logits of recent tokens; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Same seed, same build, same load: same answer. None draws one.
    pub seed: Option<u32>,
}

impl Default for Sampling {
    fn default() -> Self {
        // llama.cpp's defaults for top-k, top-p and min-p; greedy, because devices expect the same answer twice.
        Self { temperature: 0.0, top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.0, seed: None }
    }
}

/// Where an answer ends, and what form it has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLimits {
    /// Most tokens to generate, at least 1.
    pub max_tokens: u32,
    /// Most bytes of output; none means no limit of its own.
    pub max_bytes: Option<u32>,
    /// Texts that end the answer and are not part of it; none is empty.
    pub stop: Vec<String>,
    /// Go on when the model wants to end: for measurements.
    pub ignore_eos: bool,
    /// Its form; none leaves it to the model.
    pub constraint: Option<Constraint>,
    /// Of how many alternatives to each token it is told how likely they were; none tells nothing of any token.
    pub logprobs: Option<u8>,
}

impl OutputLimits {
    /// So many tokens at most, and nothing else.
    pub fn tokens(max_tokens: u32) -> Self {
        let (max_bytes, stop, ignore_eos) = (None, Vec::new(), false);
        Self { max_tokens, max_bytes, stop, ignore_eos, constraint: None, logprobs: None }
    }
}

impl fmt::Debug for OutputLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutputLimits({} tokens, {} stops)", self.max_tokens, self.stop.len())
    }
}

/// Classes of the queue, most urgent last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// When nothing else waits.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before everything else.
    High,
}

/// Where and how the client wants its answer. Kept with the job, used when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyTo {
    /// A topic that has been checked against `mqtt.reply_allow`.
    pub topic: String,
    /// MQTT 5 Correlation Data, echoed.
    pub correlation: Option<Vec<u8>>,
    /// The request's `ref`, echoed.
    pub reference: Option<String>,
    /// The request's fields that start with `x_`, echoed.
    pub echo: Map<String, Value>,
    /// JSON documents or bare text.
    pub format: ReplyFormat,
    /// Whether an answer that the broker does not take whole may come in parts; only of JSON documents.
    pub parts: bool,
    /// Whether errors go there: a topic of an operator's choice may be for answers only.
    pub errors: bool,
}

/// The form of a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyFormat {
    /// A JSON document.
    #[default]
    Json,
    /// The output alone; an error reads `error: <code>`.
    Text,
}
