//! What a job does that is done as several others: which of them is next, and what the end is.
//!
//! Pure: whoever carries it out asks [`Run::step`] until it says to wait, and tells it how steps have ended. It begins each step
//! once, after those that it needs, and no more than [`PARALLEL`] at once, and ends once.

mod each;
mod long;
mod pipeline;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde_json::{Map, Value};

use super::plan::PipelineError;
use super::{Definition, Plan};
use crate::job::{ErrorCode, JobError, Long, ModelName, Output, Overflow, Pipeline, StepName, Task, TaskName};
use each::Each;
use long::LongRun;
use pipeline::PipelineRun;

/// Steps of one job that are in the queue or in an engine at the same time: as many as an engine of most nodes computes at once.
pub const PARALLEL: usize = 16;

/// A step's name within its job. It says what is done: the same name under another run of the same job is the same work.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepKey(String);

impl StepKey {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A step that is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Its name.
    pub key: StepKey,
    /// What it is.
    pub what: What,
    /// What its text is of the whole job's.
    pub text: PartOf,
}

/// What a step is.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A task, with everything else as the job has it.
    Ready(Task),
    /// What is to be read like a request.
    Asked {
        /// The task's name.
        task: TaskName,
        /// On which model.
        model: Option<ModelName>,
        /// Its fields.
        fields: Map<String, Value>,
    },
}

/// What the text that a step generates is of the whole job's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartOf {
    /// Nothing of it.
    Nothing,
    /// All of it.
    All,
    /// The output of this input.
    Input(u32),
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Begin a step.
    Begin(Box<Order>),
    /// Wait for the end of a step.
    Wait,
    /// Nothing: this is the end.
    End(Result<Output, JobError>),
}

/// What has become of a step of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which step.
    pub step: StepName,
    /// What it does.
    pub state: StepState,
    /// Why it has failed.
    pub code: Option<ErrorCode>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// It has begun.
    Running,
    /// It has ended with an output.
    Ended,
    /// Its condition does not hold.
    Skipped,
    /// It has failed.
    Failed,
}

impl StepState {
    /// The word in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// What a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of what the templates of a step make.
    pub texts: usize,
    /// Bytes of all outputs that are kept for others.
    pub outputs: usize,
    /// Items of a `for_each`.
    pub items: usize,
}

/// The progress of a job that is done in steps.
#[derive(Debug)]
pub struct Run {
    machine: Machine,
    /// Steps that have begun, with their places in the machine.
    running: BTreeMap<StepKey, Place>,
    progress: VecDeque<Progress>,
    ended: bool,
}

#[derive(Debug)]
enum Machine {
    Each(Each),
    Pipeline(Box<PipelineRun>),
    Long(Box<LongRun>),
}

/// Where a step is: its number, and that of its item.
type Place = (usize, usize);

impl Run {
    /// The same with each of several inputs.
    pub fn each(items: &[Result<Task, JobError>]) -> Self {
        Self::of(Machine::Each(Each::new(items)))
    }

    /// The steps of a pipeline.
    pub fn pipeline(pipeline: &Pipeline, bounds: Bounds) -> Result<Self, PipelineError> {
        let fields: Vec<String> = pipeline.fields.keys().cloned().collect();
        let plan = Plan::new(&pipeline.steps, pipeline.output.as_ref(), &fields)?;
        Ok(Self::of(Machine::Pipeline(Box::new(PipelineRun::new(plan, &pipeline.fields, bounds)))))
    }

    /// The parts of a text that was too long for the context, for answers of so many tokens. The error if it can't be cut.
    pub fn long(
        long: &Long,
        definition: &Definition,
        (overflow, answer): (Overflow, u32),
        bounds: Bounds,
    ) -> Result<Self, JobError> {
        Ok(Self::of(Machine::Long(Box::new(LongRun::new(long, definition, (overflow, answer), bounds)?))))
    }

    fn of(machine: Machine) -> Self {
        Self { machine, running: BTreeMap::new(), progress: VecDeque::new(), ended: false }
    }

    /// What is to be done next. After the end, and after a step to wait for, always the same.
    pub fn step(&mut self) -> Next {
        if self.ended {
            return Next::Wait;
        }
        if self.running.len() < PARALLEL {
            let next = match &mut self.machine {
                Machine::Each(each) => each.next(),
                Machine::Pipeline(pipeline) => pipeline.next(&mut self.progress),
                Machine::Long(long) => long.next(),
            };
            if let Some((place, order)) = next {
                self.running.insert(order.key.clone(), place);
                return Next::Begin(Box::new(order));
            }
        }
        let end = match &mut self.machine {
            Machine::Each(each) => each.end(),
            Machine::Pipeline(pipeline) => pipeline.end(),
            Machine::Long(long) => long.end(),
        };
        self.ended = end.is_some();
        end.map_or(Next::Wait, Next::End)
    }

    /// A step has ended. `value` writes an output as JSON. One that has not begun, or has ended, is nobody's.
    pub fn ended(&mut self, key: &StepKey, result: Result<Output, JobError>, value: impl FnOnce(&Output) -> Value) {
        let Some(place) = self.running.remove(key) else { return };
        match &mut self.machine {
            Machine::Each(each) => each.ended(place, result),
            Machine::Pipeline(pipeline) => {
                pipeline.ended(place, result.map(|output| value(&output)), &mut self.progress);
            }
            Machine::Long(long) => long.ended(place, result),
        }
    }

    /// What has become of steps since this was asked last.
    pub fn progress(&mut self) -> VecDeque<Progress> {
        std::mem::take(&mut self.progress)
    }
}

#[cfg(test)]
mod tests;
