//! Messages of devices whose topics can't change, and what their bindings make of them.

use std::time::{Duration, Instant};

use super::driver::Driver;
use super::intake::made_id;
use super::jobs::{Job, Stage};
use crate::config::{Binding, OnBusy, wildcards};
use crate::job::{ClientName, ErrorCode, JobError, JobId, Request};
use crate::journal::Ticket;
use crate::mqtt::{InboundMessage, Slot};
use crate::telemetry::NodeEvent;

/// Nobody is told more often that bindings fail: devices may send as many bad messages as they like.
const TELL: Duration = Duration::from_secs(10);

/// What was told of bindings that fail.
#[derive(Default)]
pub(super) struct Failures {
    told: Option<Instant>,
    /// Since then.
    untold: u64,
}

impl Driver {
    /// Takes a message that is on none of promptd's topics. Gives what the journal must have before it is acknowledged.
    pub(super) fn on_bound(&mut self, slot: Slot, message: &InboundMessage) -> Option<Ticket> {
        let bindings = self.config.bindings.iter();
        let bound = bindings.filter_map(|binding| Some((binding, wildcards(&binding.subscribe, &message.topic)?)));
        let Some((binding, wildcards)) = { bound }.next() else {
            tracing::debug!("a message on a topic of nobody's here");
            return None;
        };
        self.reporting.metrics.jobs.received();
        let accepted = match self.reader.read_bound(binding, &wildcards, message, made_id) {
            Ok(accepted) => accepted,
            Err(rejected) => {
                self.refuse(slot, &rejected.id, &rejected.error, &rejected.reply);
                return None;
            }
        };
        let (on_busy, Request { client, id, .. }) = (binding.on_busy, accepted.request.clone());
        if on_busy == OnBusy::Drop && self.open_jobs_of(&client).next().is_some() {
            // As it was configured: nobody needs to hear of it.
            self.reporting.metrics.jobs.refused(ErrorCode::QueueFull);
            return None;
        }
        let ticket = self.admit(slot, accepted, message.received);
        if on_busy == OnBusy::Latest
            && let Some((latest, _)) = self.jobs.find(&client, &id)
        {
            self.take_the_place(&client, latest);
        }
        ticket
    }

    /// What was asked for as this client and has not ended; of a job that is done as several others, not these.
    fn open_jobs_of(&self, client: &ClientName) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.iter().filter(move |(_, job)| job.is_clients() && job.request.client == *client)
    }

    /// Those that wait go for a newer one that has been let in. What has begun goes on, also where it has made room for others.
    fn take_the_place(&mut self, client: &ClientName, latest: JobId) {
        let waits = |(id, job): &(JobId, &Job)| *id < latest && matches!(job.stage, Stage::Waiting);
        let waiting: Vec<JobId> = self.open_jobs_of(client).filter(waits).map(|(id, _)| id).collect();
        for id in waiting {
            self.fail(id, JobError::new(ErrorCode::Cancelled, "a newer message took its place"));
        }
    }

    /// A binding publishes there.
    pub(super) fn is_bound_topic(&self, topic: &str) -> bool {
        let reaches = |binding: &Binding| wildcards(&binding.publish.reach(&binding.subscribe), topic).is_some();
        self.config.bindings.iter().any(reaches)
    }

    /// A message has no answer, and its topic takes no errors. `event` tells it, with the topic and not too often.
    pub(super) fn tell_unanswered(&mut self, topic: &str, error: &JobError) {
        if error.code == ErrorCode::Cancelled {
            return;
        }
        let now = Instant::now();
        let failures = &mut self.bound_failures;
        if failures.told.is_some_and(|told| now < told + TELL) {
            failures.untold += 1;
            return;
        }
        let others = match failures.untold {
            0 => String::new(),
            count => format!(" ({count} others were not told)"),
        };
        *failures = Failures { told: Some(now), untold: 0 };
        let reason = format!("no answer on {topic}: {error}{others}");
        let event = NodeEvent { event: "binding_failed", reason, ..NodeEvent::default() };
        self.board.publish_node_event(&self.link, &self.topics, &event);
    }
}
