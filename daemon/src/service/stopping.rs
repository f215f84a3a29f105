//! How the node stops: what runs is finished, what waits is left to the next run, and the broker hears of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::driver::{Driver, Phase};
use super::jobs::Job;
use super::systemd;
use super::wiring::OFFLINE;
use crate::job::{ErrorCode, JobError, JobId};
use crate::mqtt::{LinkEvent, ShutdownEnd};
use crate::telemetry::NodeState;

/// How long the clean good-bye to the broker may take.
const GOODBYE: Duration = Duration::from_secs(3);

impl Driver {
    pub(super) fn on_signal(&mut self) {
        systemd::stopping();
        if let Phase::Draining { .. } = self.phase {
            self.phase = Phase::Draining { until: Instant::now() };
            return;
        }
        let running = self.jobs.running().count();
        tracing::info!(running, waiting = self.queue.len(), "stopping");
        self.phase = Phase::Draining { until: Instant::now() + self.config.service.drain_timeout };
        // What is in the journal goes on in the next run.
        let ends = |job: &Job| job.is_clients() && !job.is_running();
        let lost = |(_, job): &(JobId, &Job)| ends(job) && !self.is_kept(job);
        let lost: Vec<JobId> = self.jobs.iter().filter(lost).map(|(id, _)| id).collect();
        let error = JobError::new(ErrorCode::Draining, "the node is stopping; the job was waiting");
        for job in lost {
            self.fail(job, error.clone());
        }
        self.publish_status();
    }

    pub(super) fn is_drained(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Paused => false,
            Phase::Draining { until } => {
                let open = self.jobs.iter().filter(|(_, job)| job.is_running()).count();
                // Those that wait hold the places of their answers.
                let waits = |job: &Job| job.is_clients() && !job.is_running();
                let waiting = self.jobs.iter().filter(|(_, job)| waits(job)).count();
                let unsent = self.link.outbox_len().saturating_sub(waiting);
                let done = open == 0 && unsent == 0 && self.recorder.is_settled();
                done || until <= Instant::now()
            }
        }
    }

    /// Ends what is still open or leaves it to the next run, lets the engines go, and leaves the broker as it should be left.
    pub(super) async fn say_goodbye(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        // Steps go with their jobs.
        let jobs = self.jobs.iter().filter(|(_, job)| job.is_clients());
        let (kept, ending): (Vec<_>, Vec<_>) = jobs.partition(|(_, job)| self.is_kept(job));
        let [kept, ending] = [kept, ending].map(|jobs| jobs.into_iter().map(|(id, _)| id).collect::<Vec<JobId>>());
        if !kept.is_empty() {
            tracing::info!(jobs = kept.len(), "jobs wait in the journal for the next run");
        }
        for job in kept {
            self.set_aside(job);
        }
        let stopping = JobError::new(ErrorCode::Draining, "the node is stopping");
        for job in ending {
            self.fail(job, stopping.clone());
        }
        self.settle_journal().await;
        self.deriving = None;
        self.models.clear();
        self.groups.say_goodbye().await;
        self.board.publish_state(&self.link, &self.topics, NodeState::Stopped, Vec::new());
        self.announce_end();
        let last = vec![(self.topics.availability(), Bytes::from_static(OFFLINE))];
        let end = self.link.shutdown(last, GOODBYE).await;
        if end == ShutdownEnd::Clean {
            self.reporting.settled();
        }
        let unsent = self.link.outbox_len();
        if unsent > 0 {
            let kept = if self.is_durable() { "they are published by the next run" } else { "they are lost" };
            tracing::error!(unsent, ?end, "the broker could not be told all answers: {kept}");
        }
        // What the broker has taken need not be published by the next run.
        while let Ok(event) = events.try_recv() {
            if let LinkEvent::Settled { tag, delivery } = event {
                self.on_settled(tag, delivery);
            }
        }
        self.recorder.journal.close().await;
    }
}
