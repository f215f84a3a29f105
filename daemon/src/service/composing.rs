//! Jobs that are done as several others: their steps join the queue like any job, and what comes of them goes to the job that
//! they are steps of.

use std::collections::BTreeMap;
use std::time::Instant;

use super::composed::Composed;
use super::driver::Driver;
use super::jobs::{Deltas, Job, Mark, Owner, Stage, StepOf};
use super::policy;
use super::recording::Promise;
use super::reporting::job_publication;
use crate::job::{ErrorCode, JobError, JobId, Long, ModelName, Outcome, Output, Overflow, ReplyFormat, Request, Task};
use crate::mqtt::{output_bytes, output_value};
use crate::task::{Bounds, Next, Order, PartOf, Run, What};
use crate::telemetry::JobChange;

/// Outputs that a pipeline keeps may have so many times the bytes of the largest answer.
const KEPT_RESULTS: usize = 4;

/// Jobs of clients that are done as several others at the same time, and those of one client. Each of them has as many steps in
/// the queue as a run begins at once.
const OPEN_MAX: usize = 16;
const OPEN_OF_CLIENT_MAX: usize = 2;

impl Driver {
    fn bounds(&self) -> Bounds {
        let limits = &self.config.limits;
        Bounds { texts: limits.request, outputs: KEPT_RESULTS * limits.result, items: limits.for_each }
    }

    /// Begins a job that is done as several others, when its turn has come.
    pub(super) fn open(&mut self, id: JobId) {
        let bounds = self.bounds();
        let Some(job) = self.jobs.get(id) else { return };
        let run = match &job.request.task {
            Task::Each { items, .. } => Ok(Run::each(items)),
            Task::Pipeline(pipeline) => Run::pipeline(pipeline, bounds)
                .map_err(|error| JobError::new(ErrorCode::InvalidRequest, error.to_string())),
            _ => Err(JobError::new(ErrorCode::Internal, "the job is no composite")),
        };
        match run {
            Ok(run) => self.compose(id, run),
            Err(error) => self.fail(id, error),
        }
    }

    /// Goes on with a text that the context does not hold in parts of it, or gives the error if that can't be.
    pub(super) fn divide(&mut self, id: JobId, long: &Long, overflow: Overflow) -> Result<(), JobError> {
        let bounds = self.bounds();
        let Some(job) = self.jobs.get(id) else { return Ok(()) };
        let definition = self.config.tasks.iter().find(|task| *task.name() == long.definition);
        let definition = definition.ok_or_else(|| {
            JobError::new(ErrorCode::UnknownTask, format!("the task {} is no longer configured", long.definition))
        })?;
        let run = Run::long(long, definition, (overflow, job.request.output.max_tokens), bounds)?;
        self.compose(id, run);
        Ok(())
    }

    fn compose(&mut self, id: JobId, run: Run) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        self.queue.resolve(&job.waiting(id));
        job.stage = Stage::Composed(Box::new(Composed::new(run, Instant::now())));
        let root = job.step().map_or(id, |step| step.root);
        if let Some(job) = self.jobs.get(root) {
            // Its first templates are filled in: they, too, may be what brings the daemon down.
            self.recorder.journal.start(root, job.crashes);
        }
        self.tell_open_job(id, JobChange::Running);
        self.advance(id);
        self.mark(root);
    }

    /// Begins every step of a job that can begin, or ends it.
    fn advance(&mut self, id: JobId) {
        loop {
            let Some(composed) = self.composed(id) else { return };
            composed.advancing = true;
            match composed.run.step() {
                Next::Begin(order) => self.begin(id, *order),
                Next::Wait => break,
                Next::End(result) => {
                    self.tell_progress(id);
                    self.end_composed(id, result);
                    return;
                }
            }
        }
        if let Some(composed) = self.composed(id) {
            composed.advancing = false;
        }
        self.tell_progress(id);
        self.steps_wait = true;
    }

    fn composed(&mut self, id: JobId) -> Option<&mut Composed> {
        match self.jobs.get_mut(id) {
            Some(Job { stage: Stage::Composed(composed), .. }) => Some(composed),
            _ => None,
        }
    }

    /// Lets a step wait for its model, or takes what came of it in an earlier run.
    fn begin(&mut self, id: JobId, Order { key, what, text }: Order) {
        let Some(job) = self.jobs.get(id) else { return };
        let (root, path) = match job.step() {
            None => (id, key.to_string()),
            Some(step) => (step.root, format!("{}/{key}", step.path)),
        };
        let index = match (text, job.index()) {
            (PartOf::Nothing, _) | (_, None) => None,
            (PartOf::All, index) => index,
            // Of inputs that are a step of something nothing is told.
            (PartOf::Input(input), _) => job.is_clients().then_some(input),
        };
        let step = StepOf { job: id, root, key, path, index };
        if let Some(outcome) = self.jobs.get_mut(root).and_then(|root| root.kept.remove(&step.path)) {
            if let Some(composed) = self.composed(id) {
                composed.had_ended(&step.key);
            }
            self.take_outcome(&step, outcome);
            return;
        }
        match self.step_request(id, &step, what) {
            Ok((request, model)) => {
                if let Some(composed) = self.composed(id) {
                    composed.begins(&step.key);
                }
                self.insert_step(step, request, &model);
            }
            Err(error) => self.take_outcome(&step, Outcome::Failed(error)),
        }
    }

    /// The request of a step: what its job has, and what it says itself.
    fn step_request(&self, id: JobId, step: &StepOf, what: What) -> Result<(Request, ModelName), JobError> {
        let internal = || JobError::new(ErrorCode::Internal, "the job is gone");
        let job = self.jobs.get(id).ok_or_else(internal)?;
        let of = &job.request;
        let mut request = Request {
            id: of.id.clone(),
            client: of.client.clone(),
            task: Task::Generate { prompt: String::new() },
            defined: of.defined.clone(),
            model: of.model.clone(),
            sampling: of.sampling.clone(),
            output: of.output.clone(),
            priority: of.priority,
            deadline: of.deadline,
            stream: of.stream && step.index.is_some(),
            ack: false,
            session: None,
        };
        match what {
            What::Ready(task) => {
                request.task = task;
                let of_whole = || Some(&job.model).filter(|name| self.configured(name).is_some()).cloned();
                request.model = request.model.or_else(of_whole);
            }
            What::Asked { task, model, fields } => {
                let read = self.reader.read_step(&task, fields)?;
                let (needs, asked) = (read.task.needs(), read.asked);
                (request.task, request.defined) = (read.task, read.defined);
                (request.sampling, request.output) = (read.sampling, read.output);
                // The model of the whole is for those steps that it can do.
                let fits =
                    |name: &ModelName| self.configured(name).is_none_or(|at| self.models[at].can(needs) != Some(false));
                request.model = model.or(read.model).or_else(|| of.model.clone().filter(fits));
                // What an operator's pipeline does is the operator's business.
                let policy = self.config.policy_of(&of.client).filter(|_| of.defined.is_none());
                if let Some(policy) = policy {
                    let fitting = self.model_of(&request).ok().map(|index| self.models[index].name().clone());
                    policy::apply(policy, &mut request, asked, fitting.as_ref())?;
                }
            }
        }
        let index = self.model_of(&request)?;
        self.check_reachable(index, true)?;
        let model = self.models[index].name().clone();
        Ok((request, model))
    }

    fn insert_step(&mut self, step: StepOf, request: Request, model: &ModelName) {
        let Some(of) = self.jobs.get(step.job) else { return };
        let Some(root) = self.jobs.get(step.root) else { return };
        let job = Job {
            received: of.received,
            deadline: of.deadline,
            deltas: Deltas { count: 0, ended: root.deltas.ended },
            crashes: root.crashes,
            deaths: root.deaths,
            accepted: root.accepted,
            request,
            owner: Owner::Job(step),
            model: model.clone(),
            // Its client was charged for the whole.
            charge: None,
            parkings: 0,
            kept: BTreeMap::new(),
            spent: Some(0.0),
            suspect: root.suspect,
            mark: if root.suspect { Mark::Needed } else { Mark::None },
            stage: Stage::Waiting,
        };
        let id = self.jobs.next_id();
        self.queue.rejoin(job.waiting(id));
        self.jobs.insert(id, job);
        self.wake_model(model);
    }

    /// A step has ended in this run.
    pub(super) fn step_ended(&mut self, step: &StepOf, outcome: Outcome) {
        let ticket = self.recorder.journal.step(step.root, &step.path, &outcome);
        if let Some(composed) = self.composed(step.job) {
            composed.ticket = ticket.or(composed.ticket);
        }
        self.take_outcome(step, outcome);
        // Only now: templates are filled in with what has come of it.
        self.mark(step.root);
    }

    /// Gives a job what has come of its step. One that has ended needs it no more.
    fn take_outcome(&mut self, step: &StepOf, outcome: Outcome) {
        let Some(composed) = self.composed(step.job) else { return };
        composed.add(&outcome);
        let result = match outcome {
            Outcome::Completed(completion) => Ok(completion.output),
            Outcome::Failed(error) => Err(error),
        };
        composed.run.ended(&step.key, result, output_value);
        if !composed.advancing {
            self.advance(step.job);
        }
    }

    fn end_composed(&mut self, id: JobId, result: Result<Output, JobError>) {
        let Some(job) = self.jobs.remove(id) else { return };
        self.abort_steps(id);
        let Stage::Composed(composed) = &job.stage else { return };
        self.settle(&job.request.client, job.charge, composed.tokens());
        let max = self.config.limits.result;
        let outcome = match result {
            Ok(output) if output_bytes(&output) > max => {
                let text = format!("the answer has {} bytes; allowed are {max} (limits.result)", output_bytes(&output));
                Outcome::Failed(JobError::new(ErrorCode::ResultTooLarge, text))
            }
            Ok(output) => Outcome::Completed(composed.completion(output, job.received, &job.model, job.deltas.count)),
            Err(error) => Outcome::Failed(error),
        };
        if outcome.error().is_some() {
            self.add_failed(&job);
        }
        self.let_others_open();
        self.publish_outcome(id, job, outcome);
    }

    /// A job whose steps had begun is ended by something else than these.
    pub(super) fn left_composed(&mut self, job: &Job) {
        self.add_failed(job);
        self.let_others_open();
    }

    fn add_failed(&mut self, job: &Job) {
        if let (Stage::Composed(step), Some(of)) = (&job.stage, job.step())
            && let Some(composed) = self.composed(of.job)
        {
            composed.add_failed(step);
        }
    }

    /// Whether a job whose turn has come can start: of those that are done as several others only so many are at once, so that
    /// what waits stays bounded and nobody keeps all others out. Another one is held until one of these has ended.
    pub(super) fn may_open(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(id).filter(|job| job.request.task.is_composite()) else { return true };
        let open = self.jobs.iter().map(|(_, job)| job).filter(|job| job.is_composed());
        let may = if let Some(step) = job.step() {
            !open.filter_map(Job::step).any(|other| other.root == step.root)
        } else {
            let roots: Vec<&Job> = open.filter(|job| job.is_clients()).collect();
            let own = roots.iter().filter(|other| other.request.client == job.request.client).count();
            roots.len() < OPEN_MAX && own < OPEN_OF_CLIENT_MAX
        };
        if !may {
            self.queue.hold(id);
        }
        may
    }

    /// One of those has ended, so that others may begin.
    fn let_others_open(&mut self) {
        for (id, job) in self.jobs.iter() {
            if job.is_waiting() && job.request.task.is_composite() {
                self.queue.release(id);
            }
        }
        self.steps_wait = true;
    }

    /// A job has ended before its steps: they end without a word.
    pub(super) fn abort_steps(&mut self, id: JobId) {
        let steps: Vec<JobId> = self.jobs.steps_of(id).map(|(step, _)| step).collect();
        for step in steps {
            let Some(job) = self.jobs.get(step) else { continue };
            if job.is_running() {
                self.stop(step, JobError::new(ErrorCode::Cancelled, "the job that it is a step of has ended"));
                continue;
            }
            self.queue.remove(step);
            if let Some(job) = self.jobs.remove(step) {
                self.forget_parked(step, &job);
            }
            self.abort_steps(step);
        }
    }

    /// Tells the journal whether a job is in an engine, or a step of it: that one may be what brings the daemon down.
    pub(super) fn mark(&self, id: JobId) {
        let Some(job) = self.jobs.get(id) else { return };
        let root = job.step().map_or(id, |step| step.root);
        let parts = || {
            let of_root = move |job: &&Job| job.step().is_some_and(|step| step.root == root);
            self.jobs.iter().map(|(_, job)| job).filter(of_root).chain(self.jobs.get(root))
        };
        let crashes = parts().map(|job| job.crashes).max().unwrap_or_default();
        if parts().any(Job::is_running) {
            self.recorder.journal.start(root, crashes);
        } else {
            self.recorder.journal.put_back(root, crashes);
        }
    }

    /// Tells what has become of the steps of a pipeline when the journal has it: what was told is not done again.
    fn tell_progress(&mut self, id: JobId) {
        let Some(Job {
            stage: Stage::Composed(composed),
            request,
            model,
            accepted,
            owner: Owner::Client { reply, .. },
            ..
        }) = self.jobs.get_mut(id)
        else {
            return;
        };
        // Nor is it told before the client hears that the job is accepted.
        let (news, ticket) = (composed.news(), composed.ticket.take().or(*accepted));
        let ticket = ticket.filter(|ticket| !self.recorder.has(*ticket));
        let tells = (request.ack || request.stream) && reply.format == ReplyFormat::Json;
        let mut publications = Vec::new();
        for progress in &news {
            publications.push(job_publication(&self.topics, request, model, JobChange::Step(progress)));
            if tells {
                publications.push(self.replies.progress(&request.id, progress, reply));
            }
        }
        if publications.is_empty() {
            return;
        }
        match ticket {
            Some(ticket) => self.promise(ticket, Promise::Transient(publications)),
            None => self.publish_all(publications),
        }
    }
}

impl Job {
    /// The place in the client's output of the text that it generates; none if that is not in it.
    pub(super) fn index(&self) -> Option<u32> {
        match &self.owner {
            Owner::Client { .. } => Some(0),
            Owner::Job(step) => step.index,
        }
    }
}
