//! What a job asks for that is done as several others, its steps.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ErrorCode, JobError, ModelName, StepName, TaskName};

/// Steps that use what others give.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// The steps, at least one, each with a name of its own.
    pub steps: Vec<PipelineStep>,
    /// What comes of them, with templates in it; none is what the last step gives.
    pub output: Option<Value>,
    /// The request's own fields, that the templates look at.
    pub fields: Map<String, Value>,
}

/// A step of a pipeline. All its texts are templates.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineStep {
    /// What others call it.
    pub name: StepName,
    /// The task that does it, the `<task>` segment of a request topic.
    pub task: TaskName,
    /// On which model; none is the request's, else the task's.
    pub model: Option<ModelName>,
    /// The fields of the task.
    pub fields: Map<String, Value>,
    /// The condition on which it is done; none is always.
    pub when: Option<String>,
    /// The array for each of whose items it is done; none is once.
    pub for_each: Option<String>,
    /// The steps that come before it, besides those that its templates name.
    pub needs: Vec<StepName>,
    /// What its error does.
    pub on_error: OnError,
}

/// What the error of a step does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It ends the pipeline.
    #[default]
    Fail,
    /// The others go on without its output.
    Skip,
    /// The others go on with this for its output.
    Default(Value),
}

/// A text that is worked on in parts if the context does not hold it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Long {
    /// The definition that makes a conversation of a part.
    pub definition: TaskName,
    /// The request's own fields.
    pub fields: Map<String, Value>,
    /// The one of them that is the text.
    pub field: String,
    /// What stands between the answers to the parts when one is made of them.
    pub join: String,
    /// How often it was cut to get this text, or put together.
    pub depth: u32,
}

impl Long {
    /// The text.
    pub fn text(&self) -> &str {
        self.fields.get(&self.field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// By how much a prompt was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overflow {
    /// Tokens of the prompt, or fewer where it was not worth to count them all.
    pub tokens: u64,
    /// What the context holds.
    pub context: u64,
}

/// Sizes only: fields of clients do not belong in logs.
impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipeline({} steps)", self.steps.len())
    }
}

impl fmt::Debug for PipelineStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PipelineStep({}: {})", self.name, self.task)
    }
}

impl fmt::Debug for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Long({} bytes)", self.text().len())
    }
}

/// The error of a pipeline of which a step has failed.
pub fn step_failed(step: &StepName, index: Option<usize>, error: &JobError) -> JobError {
    let item = index.map(|index| format!(", item {index}")).unwrap_or_default();
    let text = format!("step \"{step}\"{item}: {}: {}", error.code, error.message);
    let failed = JobError::new(ErrorCode::StepFailed, text);
    // What may go better later may do so in a step, too.
    match error.retry_after {
        Some(after) => failed.retry_after(after),
        None => failed,
    }
}
