//! Steps that use what others give.

use std::collections::{BTreeMap, VecDeque};

use minijinja::value::{Serde, Value as Seen};
use serde_json::{Map, Value, json};

use super::{Bounds, Order, PartOf, Place, Progress, StepKey, StepState, What};
use crate::job::{ErrorCode, JobError, ModelName, OnError, Output, StepName, step_failed};
use crate::task::Plan;
use crate::task::expression::{FUEL_OF_JOB, Room};
use crate::task::plan::Step;

#[derive(Debug)]
pub(super) struct PipelineRun {
    plan: Plan,
    bounds: Bounds,
    /// The request's own fields, as templates see them.
    fields: Vec<(String, Seen)>,
    states: Vec<State>,
    /// The model of the step that began last: others for it go before those for another one, which may have to be loaded.
    model: Option<ModelName>,
    /// Bytes of outputs that are kept.
    kept: usize,
    /// What templates may still take.
    fuel: u64,
    failed: Option<JobError>,
}

#[derive(Debug)]
enum State {
    Waiting,
    Running(Items),
    Settled(Settled),
}

/// What is done in a step.
#[derive(Debug)]
struct Items {
    /// None: it is done once.
    of: Option<Vec<Seen>>,
    next: usize,
    outputs: Vec<Option<Value>>,
    error: Option<JobError>,
}

/// What has become of a step.
#[derive(Debug)]
struct Settled {
    output: Value,
    seen: Seen,
}

impl PipelineRun {
    pub fn new(plan: Plan, fields: &Map<String, Value>, bounds: Bounds) -> Self {
        let fields = fields.iter().map(|(key, value)| (key.clone(), seen(value))).collect();
        let states = plan.steps.iter().map(|_| State::Waiting).collect();
        Self { plan, bounds, fields, states, model: None, kept: 0, fuel: FUEL_OF_JOB, failed: None }
    }

    pub fn next(&mut self, progress: &mut VecDeque<Progress>) -> Option<(Place, Order)> {
        loop {
            if self.failed.is_some() {
                return None;
            }
            let place = self.ready()?;
            if matches!(self.states[place], State::Waiting) {
                self.begin(place, progress);
                continue;
            }
            if let Some(order) = self.order(place, progress) {
                return Some(order);
            }
        }
    }

    /// The step that is next: of those that can go on, one for the model that was used last, else the first.
    fn ready(&self) -> Option<usize> {
        let can_go_on = |place: &usize| match &self.states[*place] {
            State::Waiting => {
                self.plan.steps[*place].needs.iter().all(|need| matches!(self.states[*need], State::Settled(_)))
            }
            State::Running(items) => items.next < items.outputs.len(),
            State::Settled(_) => false,
        };
        let mut ready = (0..self.plan.steps.len()).filter(can_go_on);
        let first = ready.next()?;
        let same = |place: &usize| self.plan.steps[*place].model == self.model;
        Some(Some(first).filter(same).or_else(|| ready.find(same)).unwrap_or(first))
    }

    /// Looks whether a step is done, and with what.
    fn begin(&mut self, place: usize, progress: &mut VecDeque<Progress>) {
        match self.items(place) {
            Ok(None) => {
                tell(progress, &self.plan.steps[place].name, StepState::Skipped, None);
                self.settle(place, Value::Null, true, None);
            }
            Ok(Some(items)) => {
                tell(progress, &self.plan.steps[place].name, StepState::Running, None);
                let empty = items.outputs.is_empty();
                self.states[place] = State::Running(items);
                if empty {
                    self.finish(place, progress);
                }
            }
            Err(error) => self.fail(place, None, error, progress),
        }
    }

    /// What a step is done with; none if it is not done.
    fn items(&mut self, place: usize) -> Result<Option<Items>, JobError> {
        let known = self.known(None);
        let Step { when, for_each, .. } = &self.plan.steps[place];
        let mut room = Room::new(self.bounds.outputs, &mut self.fuel);
        if let Some(when) = when
            && !when.holds(&known, &mut room)?
        {
            return Ok(None);
        }
        let Some(for_each) = for_each else {
            return Ok(Some(Items { of: None, next: 0, outputs: vec![None], error: None }));
        };
        let Value::Array(items) = for_each.value(&known, &mut room)? else {
            return Err(JobError::new(ErrorCode::InvalidRequest, "\"for_each\" gives no array"));
        };
        let (count, most) = (items.len(), self.bounds.items);
        if count > most {
            let text = format!("\"for_each\" gives {count} items; allowed are 0 to {most} (limits.for_each)");
            return Err(JobError::new(ErrorCode::TooLarge, text));
        }
        let of = items.iter().map(seen).collect();
        Ok(Some(Items { of: Some(of), next: 0, outputs: vec![None; count], error: None }))
    }

    /// What templates see.
    fn known(&self, item: Option<(&Seen, usize)>) -> Seen {
        let of_step = |(step, state): (&Step, &State)| match state {
            State::Settled(settled) => Some((step.name.as_str().to_owned(), settled.seen.clone())),
            _ => None,
        };
        let steps: BTreeMap<String, Seen> = self.plan.steps.iter().zip(&self.states).filter_map(of_step).collect();
        let mut known: BTreeMap<String, Seen> = self.fields.iter().cloned().collect();
        known.insert("steps".to_owned(), steps.into());
        if let Some((item, index)) = item {
            known.insert("item".to_owned(), item.clone());
            known.insert("index".to_owned(), index.into());
        }
        known.into()
    }

    /// The next order of a step that has begun; none if it has failed.
    fn order(&mut self, place: usize, progress: &mut VecDeque<Progress>) -> Option<(Place, Order)> {
        let State::Running(items) = &mut self.states[place] else { return None };
        let index = items.next;
        items.next += 1;
        let item = items.of.as_ref().map(|of| of[index].clone());
        let known = self.known(item.as_ref().map(|item| (item, index)));
        let step = &self.plan.steps[place];
        let mut room = Room::new(self.bounds.texts, &mut self.fuel);
        let filled = step.fields.iter().map(|(key, form)| Ok((key.clone(), form.fill(&known, &mut room)?)));
        match filled.collect::<Result<Map<_, _>, JobError>>() {
            Ok(fields) => {
                let key = item.map_or_else(|| step.name.to_string(), |_| format!("{}/{index}", step.name));
                let what = What::Asked { task: step.task.clone(), model: step.model.clone(), fields };
                self.model.clone_from(&step.model);
                Some(((place, index), Order { key: StepKey(key), what, text: PartOf::Nothing }))
            }
            Err(error) => {
                self.ended((place, index), Err(error), progress);
                None
            }
        }
    }

    pub fn ended(&mut self, (place, index): Place, result: Result<Value, JobError>, progress: &mut VecDeque<Progress>) {
        let State::Running(items) = &mut self.states[place] else { return };
        let item = items.of.is_some().then_some(index);
        match (result, &self.plan.steps[place].on_error) {
            (Ok(output), _) => items.outputs[index] = Some(output),
            (Err(error), OnError::Fail) => return self.fail(place, item, error, progress),
            (Err(error), OnError::Skip) => {
                items.outputs[index] = Some(Value::Null);
                items.error.get_or_insert(error);
            }
            (Err(error), OnError::Default(value)) => {
                items.outputs[index] = Some(value.clone());
                items.error.get_or_insert(error);
            }
        }
        if items.outputs.iter().all(Option::is_some) {
            self.finish(place, progress);
        }
    }

    /// Everything in a step has ended.
    fn finish(&mut self, place: usize, progress: &mut VecDeque<Progress>) {
        let State::Running(Items { of, outputs, error, .. }) =
            std::mem::replace(&mut self.states[place], State::Waiting)
        else {
            return;
        };
        let mut outputs: Vec<Value> = outputs.into_iter().flatten().collect();
        let output = if of.is_some() { Value::Array(outputs) } else { outputs.pop().unwrap_or_default() };
        self.kept += output.to_string().len();
        if self.kept > self.bounds.outputs {
            let text = format!("the outputs of all steps have more than {} bytes together", self.bounds.outputs);
            return self.fail(place, None, JobError::new(ErrorCode::ResultTooLarge, text), progress);
        }
        let state = if error.is_some() { StepState::Failed } else { StepState::Ended };
        tell(progress, &self.plan.steps[place].name, state, error.as_ref());
        let skipped = error.is_some() && self.plan.steps[place].on_error == OnError::Skip;
        self.settle(place, output, skipped, error);
    }

    /// A step has failed as a whole, or an item of one whose errors end the pipeline.
    fn fail(&mut self, place: usize, item: Option<usize>, error: JobError, progress: &mut VecDeque<Progress>) {
        let step = &self.plan.steps[place];
        tell(progress, &step.name, StepState::Failed, Some(&error));
        match step.on_error.clone() {
            OnError::Fail => self.failed = Some(step_failed(&step.name, item, &error)),
            OnError::Skip => self.settle(place, Value::Null, true, Some(error)),
            OnError::Default(value) => self.settle(place, value, false, Some(error)),
        }
    }

    fn settle(&mut self, place: usize, output: Value, skipped: bool, error: Option<JobError>) {
        let error = error.map(|error| json!({ "code": error.code, "message": error.message }));
        let seen = seen(&json!({ "output": output, "skipped": skipped, "error": error }));
        self.states[place] = State::Settled(Settled { output, seen });
    }

    pub fn end(&mut self) -> Option<Result<Output, JobError>> {
        if let Some(error) = self.failed.clone() {
            return Some(Err(error));
        }
        if !self.states.iter().all(|state| matches!(state, State::Settled(_))) {
            return None;
        }
        let known = self.known(None);
        let output = match (&self.plan.output, self.states.last()) {
            (Some(form), _) => form.fill(&known, &mut Room::new(self.bounds.outputs, &mut self.fuel)),
            (None, Some(State::Settled(Settled { output, .. }))) => Ok(output.clone()),
            (None, _) => Ok(Value::Null),
        };
        Some(match output {
            Ok(Value::String(text)) => Ok(Output::Text(text)),
            Ok(value) => Ok(Output::Json(value.to_string())),
            Err(error) => {
                Err(JobError::new(ErrorCode::StepFailed, format!("the output: {}: {}", error.code, error.message)))
            }
        })
    }
}

/// A value as templates see it.
fn seen(value: &Value) -> Seen {
    Seen::from(Serde(value))
}

fn tell(progress: &mut VecDeque<Progress>, step: &StepName, state: StepState, error: Option<&JobError>) {
    progress.push_back(Progress { step: step.clone(), state, code: error.map(|error| error.code) });
}
