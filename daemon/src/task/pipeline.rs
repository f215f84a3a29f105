//! A pipeline that has a name.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::fields::Schema;
use super::opening::of_step;
use super::{DefinitionError, PipelineError, Plan};
use crate::job::{JobError, Message, ModelName, Pipeline, PipelineStep, StepName, TaskName};

/// What a definition is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineParts {
    /// Its name, the `<task>` segment of topics.
    pub name: TaskName,
    /// What it does, in a line.
    pub description: String,
    /// JSON Schema 2020-12 of the fields that a request gives.
    pub input: Value,
    /// The model of steps that name none, where a request does not say; none is the node's default one.
    pub model: Option<ModelName>,
    /// Its steps.
    pub steps: Vec<PipelineStep>,
    /// What comes of them; none is what the last one gives.
    pub output: Option<Value>,
}

/// A pipeline that can be used.
#[derive(Clone)]
pub struct PipelineDefinition {
    parts: PipelineParts,
    schema: Arc<Schema>,
}

/// What is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPipeline {
    /// Its schema.
    #[error(transparent)]
    Schema(#[from] DefinitionError),
    /// Its steps.
    #[error(transparent)]
    Steps(#[from] PipelineError),
}

/// What templates see besides a request's own fields.
pub const OF_TEMPLATES: [&str; 3] = ["index", "item", "steps"];

impl PipelineDefinition {
    /// Checks a definition.
    pub fn new(parts: PipelineParts) -> Result<Self, InvalidPipeline> {
        let schema = Schema::new(&parts.input)?;
        if let Some(name) = schema.fields().iter().find(|name| OF_TEMPLATES.contains(&name.as_str())) {
            let text = format!("has {name:?} in input.properties, which has a meaning of its own in templates");
            return Err(DefinitionError::Schema(text).into());
        }
        Plan::new(&parts.steps, parts.output.as_ref(), schema.fields())?;
        Ok(Self { schema: Arc::new(schema), parts })
    }

    /// What it is made of.
    pub fn parts(&self) -> &PipelineParts {
        &self.parts
    }

    /// Its name.
    pub fn name(&self) -> &TaskName {
        &self.parts.name
    }

    /// The fields that a request may give besides those of every task, sorted.
    pub fn fields(&self) -> &[String] {
        self.schema.fields()
    }

    /// What the conversations of its steps begin with, whatever a request says, as of [`Definition::opening`](super::Definition::opening).
    pub fn openings(&self) -> impl Iterator<Item = (&StepName, Vec<Message>)> {
        let of_steps = self.parts.steps.iter().map(|step| (&step.name, of_step(step.task.as_str(), &step.fields)));
        of_steps.filter(|(_, opening)| !opening.is_empty())
    }

    /// The pipeline for a request with these fields. One that is not given is nothing to the templates.
    pub fn pipeline(&self, mut fields: Map<String, Value>) -> Result<Pipeline, JobError> {
        self.schema.check(&fields)?;
        for name in self.schema.fields() {
            fields.entry(name).or_insert(Value::Null);
        }
        Ok(Pipeline { steps: self.parts.steps.clone(), output: self.parts.output.clone(), fields })
    }
}

impl fmt::Debug for PipelineDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PipelineDefinition({})", self.parts.name)
    }
}

/// What is compiled follows from the parts.
impl PartialEq for PipelineDefinition {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for PipelineDefinition {}
