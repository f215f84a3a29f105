//! What earlier runs have left in the journal goes on; outcomes are published again for those who missed them.

use std::time::{Duration, Instant};

use super::driver::Driver;
use super::jobs::{Deltas, Job, Mark, Owner, Stage};
use super::recording::Asked;
use crate::job::{ErrorCode, JobError, JobId, ReplyTo, RequestId};
use crate::journal::{OpenJob, Outcome, Recovery};
use crate::mqtt::{Accepted, PartHead, Publication, Slot};

impl Driver {
    /// Lets the jobs of earlier runs wait again, or ends them.
    pub(super) fn recover(&mut self, recovery: Recovery) {
        let Recovery { open, unsettled, last, set_aside, unreadable, clean } = recovery;
        self.jobs.begin_after(last);
        if let Some(path) = set_aside {
            tracing::error!("the journal was damaged: it lies in {}, and a new one was begun", path.display());
        }
        if unreadable > 0 {
            tracing::error!(unreadable, "jobs of the last run could not be read and are lost");
        }
        if !open.is_empty() || !unsettled.is_empty() {
            tracing::info!(open = open.len(), unsettled = unsettled.len(), clean, "earlier runs have left jobs");
        }
        for job in open {
            self.wait_on(job);
        }
        self.fetch_backlog();
    }

    fn wait_on(&mut self, open: OpenJob) {
        let OpenJob { job: id, request, reply, model, waited, remaining, suspect, crashes, deaths, steps, .. } = open;
        // Room was made for it.
        let Some(slot) = self.link.try_reserve() else {
            tracing::error!("a job of an earlier run waits for the next: the outbox is full");
            return;
        };
        let now = Instant::now();
        let received = now.checked_sub(waited).unwrap_or(now);
        let deadline = now + remaining;
        let most = self.config.engine.crash_quarantine;
        let job = Job {
            request,
            owner: Owner::Client { slot, reply },
            model,
            received,
            deadline,
            // It was let in by the run that took it.
            charge: None,
            // Its client may have got some in the last run.
            deltas: Deltas { count: 0, ended: true },
            crashes,
            deaths,
            parkings: 0,
            kept: steps,
            spent: None,
            // Found in the journal, so it is in it.
            accepted: None,
            suspect,
            mark: if suspect { Mark::Needed } else { Mark::None },
            stage: Stage::Waiting,
        };
        let entry = job.waiting(id);
        let configured = self.configured(&job.model).is_some();
        let unknown = self.unknown_model(&job.model);
        self.jobs.insert(id, job);
        if crashes + deaths >= most {
            self.quarantine(id, crashes + deaths);
        } else if remaining == Duration::ZERO {
            let text = "the deadline passed while the node was not running";
            self.fail(id, JobError::new(ErrorCode::DeadlineExceeded, text));
        } else if configured {
            self.queue.rejoin(entry);
            self.join_session(id);
        } else {
            self.fail(id, unknown);
        }
    }

    /// A client asks again for what has ended: it gets the first outcome.
    pub(super) fn publish_again(
        &mut self,
        job: JobId,
        slot: Slot,
        accepted: &Accepted,
    ) -> Result<(), (Slot, JobError)> {
        let to = Some((accepted.request.id.clone(), accepted.reply.clone()));
        if let Some(asked) = self.recorder.asked.get_mut(&job) {
            // Each of them gets it: a place for each was reserved.
            asked.push(Asked { slot, to });
            return Ok(());
        }
        if !self.recorder.journal.fetch(job) {
            let error = JobError::new(ErrorCode::QueueFull, "too many outcomes are asked for at once");
            return Err((slot, error.retry_after(Duration::from_secs(1))));
        }
        self.recorder.asked.insert(job, vec![Asked { slot, to }]);
        Ok(())
    }

    /// Publishes these outcomes as soon as there is room for them.
    pub(super) fn fetch(&mut self, jobs: Vec<JobId>) {
        self.recorder.backlog.extend(jobs);
        self.fetch_backlog();
    }

    /// Asks for outcomes, as many as the journal takes at once.
    pub(super) fn fetch_backlog(&mut self) {
        while let Some(&job) = self.recorder.backlog.first() {
            let Some(slot) = self.link.try_reserve() else { return };
            if !self.recorder.journal.fetch(job) {
                return;
            }
            self.recorder.backlog.pop_first();
            self.recorder.asked.entry(job).or_default().push(Asked { slot, to: None });
        }
    }

    /// When to look again whether there is room for outcomes.
    pub(super) fn next_fetch(&self) -> Option<Instant> {
        (!self.recorder.backlog.is_empty()).then(|| Instant::now() + FETCH_TURN)
    }

    /// An outcome that was asked for.
    pub(super) fn on_fetched(&mut self, job: JobId, outcome: Option<Outcome>) {
        let asked = self.recorder.asked.remove(&job).unwrap_or_default();
        if let Some(outcome) = outcome {
            for Asked { slot, to } in asked {
                self.publish_fetched(job, slot, publication(outcome.clone(), to));
            }
        } else {
            tracing::error!(%job, "the outcome of a job cannot be read");
            self.recorder.journal.missed(job);
            let error = JobError::new(ErrorCode::Internal, "the answer was kept and cannot be read any more");
            for Asked { slot, to } in asked {
                if let Some((id, to)) = to {
                    slot.publish(self.error_message(&id, &error, &to));
                }
            }
        }
        self.fetch_backlog();
    }
}

/// Until a place in the outbox may have come free that no outcome has held.
const FETCH_TURN: Duration = Duration::from_secs(1);

/// The same message, where it is wanted now.
fn publication(outcome: Outcome, to: Option<(RequestId, ReplyTo)>) -> Publication {
    let Outcome { error: _, topic, payload, content_type, correlation, part_head } = outcome;
    let content_type = content_type.map(Into::into);
    let parts = part_head.map(PartHead::new);
    match to {
        Some((_, ReplyTo { topic, correlation, .. })) => {
            Publication { topic, payload, content_type, correlation, parts }
        }
        None => Publication { topic, payload, content_type, correlation, parts },
    }
}
