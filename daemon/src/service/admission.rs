//! Who is let in: what policy, queue and deadline say to a valid request that is new.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::driver::Driver;
use super::intake::{cost, waiting};
use super::jobs::{Deltas, Job, Mark, Owner, Stage};
use super::models::Active;
use super::policy;
use crate::job::{ClientName, ErrorCode, JobError, JobId, ModelName, ReplyFormat, ReplyTo, Request, RequestId};
use crate::journal::Ticket;
use crate::mqtt::{Accepted, Asked, Publication, Slot};
use crate::queue::{Charge, Forecast, Refused};
use crate::telemetry::JobChange;

/// Nobody is told to come back sooner than that.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// A job that waits.
struct Admitted {
    id: JobId,
    model: ModelName,
    deadline: Instant,
    position: usize,
    charge: Option<Charge>,
}

impl Driver {
    /// Makes a request a job, or says why not.
    pub(super) fn admit(&mut self, slot: Slot, accepted: Accepted, received: Instant) -> Option<Ticket> {
        let Accepted { mut request, reply, asked, fingerprint, overdue } = accepted;
        let let_in = overdue.map_or_else(|| self.let_in(&mut request, asked, received), Err);
        let Admitted { id, model, deadline, position, charge } = match let_in {
            Ok(admitted) => admitted,
            Err(error) => {
                self.refuse(slot, &request.id, &error, &reply);
                return None;
            }
        };
        let ticket = match self.record(id, &request, &reply, &model, fingerprint, received) {
            Ok(ticket) => ticket,
            Err(error) => {
                self.queue.remove(id);
                self.settle(&request.client, charge, 0);
                self.refuse(slot, &request.id, &error, &reply);
                return None;
            }
        };
        if request.ack && reply.format == ReplyFormat::Json {
            let accepted = self.accepted_reply(&request.id, id, &model, &reply);
            self.tell(accepted, Some(ticket));
        }
        self.reporting.metrics.jobs.accepted();
        self.tell_job(&request, &model, JobChange::Waiting(Some(position)));
        self.wake_model(&model);
        let job = Job {
            request,
            owner: Owner::Client { slot, reply },
            model,
            received,
            deadline,
            charge,
            deltas: Deltas { count: 0, ended: false },
            crashes: 0,
            deaths: 0,
            parkings: 0,
            kept: BTreeMap::new(),
            spent: Some(0.0),
            accepted: Some(ticket),
            suspect: false,
            mark: Mark::None,
            stage: Stage::Waiting,
        };
        self.jobs.insert(id, job);
        self.join_session(id);
        self.dispatch();
        Some(ticket)
    }

    fn let_in(&mut self, request: &mut Request, asked: Asked, received: Instant) -> Result<Admitted, JobError> {
        let policy = self.config.policy_of(&request.client);
        if let Some(policy) = policy {
            let fitting = || self.model_of(request).ok().map(|index| self.models[index].name().clone());
            let model = request.model.clone().or_else(fitting);
            policy::apply(policy, request, asked, model.as_ref())?;
        }
        self.check_session(request)?;
        let model = self.model_for(request)?;
        let (now, sequences) = (Instant::now(), self.sequences_of(&model));
        if let Some((policy, most)) = policy.and_then(|policy| Some((policy, policy.queue_jobs?)))
            && self.queue.len_of(&request.client) >= most
        {
            let after = self.queue.next_start(&model, Some(&request.client), sequences, now);
            return Err(retry(policy::too_many_jobs(policy, most), after));
        }
        let (id, deadline) = (self.jobs.next_id(), received + request.deadline);
        let position = self.queue.admit(waiting(id, request, &model, received, deadline)).map_err(|full| {
            let client = matches!(full, Refused::ClientFull(_)).then_some(&request.client);
            let after = self.queue.next_start(&model, client, sequences, now);
            retry(JobError::new(ErrorCode::QueueFull, full.to_string()), after)
        })?;
        let forecast = self.queue.forecast(id, sequences, now);
        let late = forecast.and_then(|forecast| too_late(&forecast, deadline.saturating_duration_since(now)));
        match late.map_or_else(|| self.charge(request, now), Err) {
            Ok(charge) => Ok(Admitted { id, model, deadline, position, charge }),
            Err(error) => {
                self.queue.remove(id);
                Err(error)
            }
        }
    }

    /// Takes what a job may use out of its client's tokens, if a policy counts them.
    fn charge(&mut self, request: &Request, now: Instant) -> Result<Option<Charge>, JobError> {
        let Some(policy) = self.config.policy_of(&request.client) else { return Ok(None) };
        let Some(per_minute) = policy.tokens_per_minute else { return Ok(None) };
        let charge = self.rates.charge(&request.client, cost(request), per_minute, now);
        charge.map(Some).map_err(|over| policy::too_many_tokens(policy, over))
    }

    /// A job has ended that was charged for: it has used so many tokens.
    pub(super) fn settle(&mut self, client: &ClientName, charge: Option<Charge>, used: u64) {
        if let Some(charge) = charge {
            self.rates.settle(client, charge, used, Instant::now());
        }
    }

    /// Tells the client of a job where it is in the queue.
    pub(super) fn accepted_reply(&self, id: &RequestId, job: JobId, model: &ModelName, reply: &ReplyTo) -> Publication {
        let forecast = self.queue.forecast(job, self.sequences_of(model), Instant::now());
        self.replies.accepted(id, self.queue.position(job), forecast.map(|forecast| forecast.end), reply)
    }

    /// How many jobs of a model run at once, unless memory is short.
    fn sequences_of(&self, model: &ModelName) -> usize {
        let entry = self.models.iter().find(|entry| entry.name() == model);
        entry.map_or(1, |entry| entry.serving().map_or(entry.config.sequences as usize, Active::places))
    }
}

/// The error for a job whose deadline can't be met. What is ahead of it gets less with time, its own prompt does not.
fn too_late(forecast: &Forecast, left: Duration) -> Option<JobError> {
    let late = forecast.first_token.checked_sub(left).filter(|late| !late.is_zero())?;
    let text = format!(
        "the first token would not be there within {} ms, and the deadline is in {} ms",
        forecast.first_token.as_millis(),
        left.as_millis()
    );
    let error = JobError::new(ErrorCode::DeadlineExceeded, text);
    Some(retry(error, (forecast.own <= left).then_some(late)))
}

fn retry(error: JobError, after: Option<Duration>) -> JobError {
    match after {
        Some(after) => error.retry_after(after.max(RETRY_MIN)),
        None => error,
    }
}
