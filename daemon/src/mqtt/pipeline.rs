//! Requests of pipelines, and their steps.

use serde_json::{Map, Value};

use crate::job::{Ability, JobError, Pipeline, PipelineStep, Task, TaskName};
use crate::task::{OF_TEMPLATES, PipelineDefinition, Plan, read_step};

use super::address::check_address;
use super::body::{Body, check_names};
use super::defined::read_defined;
use super::fields::{Fields, invalid, wrong_type};
use super::kind::{KNOWN, TaskKind};
use super::request::Named;
use super::{RequestLimits, RequestReader, StepRequest};

/// What stands in the place of the text of other tasks.
const TEXTS: [&str; 2] = ["input", "prompt"];

/// Reads the steps of a request, and what they work on.
pub(super) fn read_pipeline(fields: &mut Fields, limits: &RequestLimits) -> Result<Task, JobError> {
    let steps = fields.take("steps").ok_or_else(|| invalid("\"steps\" is missing"))?;
    let Value::Array(steps) = steps else { return Err(wrong_type("steps", &steps, "an array of objects")) };
    let (count, most) = (steps.len(), limits.pipeline_steps);
    if count == 0 || count > most {
        let text = format!("field \"steps\" has {count} steps; allowed are 1 to {most} (limits.pipeline_steps)");
        return Err(invalid(text));
    }
    let step = |(index, step): (usize, Value)| match step {
        Value::Object(map) => read_step(map).map_err(|reason| invalid(format!("steps[{index}] {reason}"))),
        other => Err(wrong_type(&format!("steps[{index}]"), &other, "an object")),
    };
    let steps = steps.into_iter().enumerate().map(step).collect::<Result<Vec<PipelineStep>, _>>()?;
    let given = match (fields.take("input"), fields.take("prompt")) {
        (Some(value), None) | (None, Some(value)) => value,
        (None, None) => Value::Null,
        (Some(_), Some(_)) => return Err(invalid("only one of \"input\" and \"prompt\" may be given")),
    };
    let mut own = match fields.take("fields") {
        None => Map::new(),
        Some(Value::Object(own)) => own,
        Some(other) => return Err(wrong_type("fields", &other, "an object")),
    };
    if let Some(name) = own.keys().find(|name| *name == "input" || OF_TEMPLATES.contains(&name.as_str())) {
        return Err(invalid(format!("field \"fields\": \"{name}\" has a meaning of its own in templates")));
    }
    own.insert("input".to_owned(), given);
    let pipeline = Pipeline { steps, output: fields.take("output"), fields: own };
    let names: Vec<String> = pipeline.fields.keys().cloned().collect();
    Plan::new(&pipeline.steps, pipeline.output.as_ref(), &names).map_err(|error| invalid(error.to_string()))?;
    Ok(Task::Pipeline(Box::new(pipeline)))
}

/// From a request object for a pipeline that has a name.
pub(super) fn read_named(
    definition: &PipelineDefinition,
    mut map: Map<String, Value>,
    limits: &RequestLimits,
) -> Result<Body, JobError> {
    let is_own = |name: &str| definition.fields().iter().any(|field| field == name);
    let is_common = |name: &str| KNOWN.contains(&name) && !TEXTS.contains(&name);
    check_names(definition.name().as_str(), &map, |name| is_own(name) || is_common(name))?;
    let own: Map<String, Value> = definition.fields().iter().filter_map(|name| map.remove_entry(name)).collect();
    let mut fields = Fields::new(map);
    check_address(&mut fields)?;
    let mut body = Body::of(Task::Pipeline(Box::new(definition.pipeline(own)?)), limits);
    body.model.clone_from(&definition.parts().model);
    body.with(fields, limits)
}

impl RequestReader {
    /// Each step is of a task that there is.
    pub(super) fn check_steps(&self, task: &Task) -> Result<(), JobError> {
        let Task::Pipeline(pipeline) = task else { return Ok(()) };
        for step in &pipeline.steps {
            let named = self.of_step(&step.task);
            named
                .map_err(|error| JobError { message: format!("step \"{}\": {}", step.name, error.message), ..error })?;
        }
        Ok(())
    }

    fn of_step(&self, task: &TaskName) -> Result<Named<'_>, JobError> {
        match self.named(task.as_str())? {
            Named::Kind(TaskKind::Pipeline) | Named::Pipeline(_) => {
                Err(invalid(format!("the task \"{task}\" is a pipeline, which is no step of another")))
            }
            named => Ok(named),
        }
    }

    /// What a model must be able to do for a step; none if there is no such task any more.
    pub fn step_needs(&self, step: &PipelineStep) -> Option<Ability> {
        Some(match self.of_step(&step.task).ok()? {
            Named::Kind(kind) => kind.needs(&step.fields),
            Named::Defined(_) | Named::Pipeline(_) => Ability::Generate,
        })
    }

    /// Reads a step like a request of its task.
    pub fn read_step(&self, task: &TaskName, fields: Map<String, Value>) -> Result<StepRequest, JobError> {
        let named = self.of_step(task)?;
        let body = match named {
            Named::Defined(definition) => read_defined(definition, fields, &self.limits)?,
            Named::Kind(kind) => Body::read(kind, fields, &self.limits)?,
            Named::Pipeline(_) => return Err(invalid("a pipeline is no step of another")),
        };
        let Body { task, model, sampling, output, asked, .. } = body;
        Ok(StepRequest { task, defined: named.defined(), model, sampling, output, asked })
    }
}
