//! Messages of devices whose topics can't change, and what their bindings make of them.

use std::time::{Duration, Instant};

use super::driver::Driver;
use super::intake::made_id;
use crate::config::{Binding, OnBusy, wildcards};
use crate::job::{ErrorCode, JobError, JobId, Request};
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
        let on_busy = binding.on_busy;
        if !self.makes_way(on_busy, &accepted.request) {
            // As it was configured: nobody needs to hear of it.
            self.reporting.metrics.jobs.refused(ErrorCode::QueueFull);
            return None;
        }
        self.admit(slot, accepted, message.received)
    }

    /// Whether a message is taken while others of its binding are being answered. One that waits may go for it.
    fn makes_way(&mut self, on_busy: OnBusy, request: &Request) -> bool {
        let open = self.jobs.iter().filter(|(_, job)| job.request.client == request.client);
        match on_busy {
            OnBusy::Queue => true,
            OnBusy::Drop => { open }.next().is_none(),
            OnBusy::Latest => {
                let waiting: Vec<JobId> = open.filter(|(_, job)| job.is_waiting()).map(|(id, _)| id).collect();
                for id in waiting {
                    self.fail(id, JobError::new(ErrorCode::Cancelled, "a newer message took its place"));
                }
                true
            }
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
