//! Steps that have been checked: what comes before what, and their templates.

use std::collections::BTreeSet;

use serde_json::Value;
use thiserror::Error;

use super::expression::{Expression, Form, Names, is_global};
use crate::job::{ModelName, OnError, PipelineStep, StepName, TaskName, shown};

/// Why steps are no pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{reason}", .step.as_ref().map(|(_, name)| format!("step \"{name}\": ")).unwrap_or_default())]
pub struct PipelineError {
    /// The step that is to blame, by its place and name; none if it is the whole.
    pub step: Option<(usize, StepName)>,
    /// What is wrong.
    pub reason: String,
}

/// Steps that can be done.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) output: Option<Form>,
}

/// A step that can be done.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub name: StepName,
    pub task: TaskName,
    pub model: Option<ModelName>,
    pub fields: Vec<(String, Form)>,
    pub when: Option<Expression>,
    pub for_each: Option<Expression>,
    /// The places of the steps that come before it.
    pub needs: BTreeSet<usize>,
    pub on_error: OnError,
}

impl Plan {
    /// Checks steps. `fields` are the names of the request's own fields.
    pub fn new(steps: &[PipelineStep], output: Option<&Value>, fields: &[String]) -> Result<Self, PipelineError> {
        let whole = |reason: String| PipelineError { step: None, reason };
        let names = Known { steps, fields };
        if let Some((place, twin)) =
            steps.iter().enumerate().find(|(place, step)| names.place(&step.name) != Some(*place))
        {
            return Err(PipelineError {
                step: Some((place, twin.name.clone())),
                reason: "has the name of another step".to_owned(),
            });
        }
        let planned = |(place, step): (usize, &PipelineStep)| {
            names.plan(step).map_err(|reason| PipelineError { step: Some((place, step.name.clone())), reason })
        };
        let planned = steps.iter().enumerate().map(planned).collect::<Result<Vec<_>, _>>()?;
        if planned.is_empty() {
            return Err(whole("\"steps\" is empty".to_owned()));
        }
        if let Some(place) = in_cycle(&planned) {
            let reason = "waits for itself, through the steps that it needs".to_owned();
            return Err(PipelineError { step: Some((place, planned[place].name.clone())), reason });
        }
        let mut looks_at = Names::new();
        let output = output.map(|output| Form::new(output, &mut looks_at)).transpose();
        let output = output.map_err(|reason| whole(format!("\"output\": {reason}")))?;
        names.needs(&looks_at, false).map_err(|reason| whole(format!("\"output\": {reason}")))?;
        Ok(Self { steps: planned, output })
    }
}

/// What templates may look at.
struct Known<'a> {
    steps: &'a [PipelineStep],
    fields: &'a [String],
}

impl Known<'_> {
    fn place(&self, name: &StepName) -> Option<usize> {
        self.steps.iter().position(|step| step.name == *name)
    }

    fn plan(&self, step: &PipelineStep) -> Result<Step, String> {
        let (mut of_step, mut of_items) = (Names::new(), Names::new());
        let condition = |(key, source): (&str, &Option<String>), names: &mut Names| {
            let expression = source.as_deref().map(|source| Expression::new(source, names)).transpose();
            expression.map_err(|reason| format!("\"{key}\": {reason}"))
        };
        let when = condition(("when", &step.when), &mut of_step)?;
        let for_each = condition(("for_each", &step.for_each), &mut of_step)?;
        let mut fields = Vec::new();
        for (key, value) in &step.fields {
            let form = Form::new(value, &mut of_items).map_err(|reason| format!("field {}: {reason}", shown(key)))?;
            fields.push((key.clone(), form));
        }
        let mut needs = self.needs(&of_step, false)?;
        needs.extend(self.needs(&of_items, for_each.is_some())?);
        for name in &step.needs {
            needs.insert(self.place(name).ok_or_else(|| format!("needs \"{name}\", which is no step"))?);
        }
        let PipelineStep { name, task, model, on_error, .. } = step.clone();
        Ok(Step { name, task, model, fields, when, for_each, needs, on_error })
    }

    /// The steps that templates look at, if there is all that they look at.
    fn needs(&self, names: &Names, items: bool) -> Result<BTreeSet<usize>, String> {
        let mut needs = BTreeSet::new();
        for name in names {
            let mut path = name.split('.');
            let root = path.next().unwrap_or_default();
            match (root, path.next()) {
                ("steps", Some(step)) => {
                    let place = self.steps.iter().position(|other| other.name.as_str() == step);
                    needs.insert(place.ok_or_else(|| format!("looks at \"steps.{step}\", which is no step"))?);
                }
                ("steps", None) => return Err("looks at all \"steps\": write steps.NAME.output".to_owned()),
                ("item" | "index", _) if items => {}
                _ if self.fields.iter().any(|field| field == root) || is_global(root) => {}
                ("item" | "index", _) => {
                    return Err(format!("looks at \"{root}\", which only fields of a step with \"for_each\" have"));
                }
                _ => return Err(format!("looks at \"{root}\"; there are {}, steps", self.fields.join(", "))),
            }
        }
        Ok(needs)
    }
}

/// A step that can never begin, because it comes before itself.
fn in_cycle(steps: &[Step]) -> Option<usize> {
    let mut left: BTreeSet<usize> = (0..steps.len()).collect();
    loop {
        let ready: Vec<usize> = left.iter().copied().filter(|place| steps[*place].needs.is_disjoint(&left)).collect();
        if ready.is_empty() {
            return left.first().copied();
        }
        left.retain(|place| !ready.contains(place));
    }
}
