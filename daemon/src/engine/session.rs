//! One engine child from its start to its end, and the jobs in it.

use std::collections::HashSet;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::EngineError;
use super::connection::{Connection, Launch};
use super::handle::{Command, EngineEnd, EngineEvent, EngineSpec, Reports};
use super::protocol::{DELTA_CREDITS, FromChild, ToChild};
use crate::job::{JobError, JobId};

/// Credits are given back in parcels of this size.
const CREDIT_PARCEL: u32 = DELTA_CREDITS / 4;

/// A child that has been told what to load.
pub(super) struct Session<'a> {
    spec: &'a EngineSpec,
    reports: &'a Reports,
    connection: Connection,
    running: HashSet<JobId>,
    credits_due: u32,
    loaded_at: Option<Instant>,
    /// When the load went on last.
    progress_at: Instant,
}

impl<'a> Session<'a> {
    /// Starts a child and tells it what to load.
    pub(super) async fn start(spec: &'a EngineSpec, reports: &'a Reports) -> Result<Self, EngineError> {
        // The driver hears of a load at once, however large the model.
        reports.send(EngineEvent::Loading(0.0)).await;
        let file = spec.file.descriptor().map_err(EngineError::Spawn)?;
        let heartbeat_timeout = spec.heartbeat_timeout;
        let launch = Launch { model: &spec.model, file, output: None, heartbeat_timeout };
        let mut connection = Connection::open(launch).await?;
        connection.show_load(reports.load.clone());
        if let Some(pid) = connection.pid() {
            reports.send(EngineEvent::Started(pid)).await;
        }
        connection.send(&ToChild::Load(spec.load.clone())).await?;
        let (running, progress_at) = (HashSet::new(), Instant::now());
        Ok(Self { spec, reports, connection, running, credits_due: 0, loaded_at: None, progress_at })
    }

    /// Serves until the child or the driver goes away, or the driver wants its end. The child is then gone, and every job
    /// that was in it has been given back.
    pub(super) async fn run(mut self, commands: &mut mpsc::Receiver<Command>) -> EngineEnd {
        let result = self.serve(commands).await;
        // First of all: from now on this child gets no more jobs.
        self.reports.send(EngineEvent::Interrupted).await;
        let end = match result {
            Ok(()) => EngineEnd::Stopped,
            Err(error) => {
                let served = self.loaded_at.map(|at| at.elapsed());
                EngineEnd::Failed { error: self.connection.explain(error).await, served }
            }
        };
        self.connection.end().await;
        // A kill comes from outside: no job is the reason.
        let crashed = !matches!(end, EngineEnd::Stopped | EngineEnd::Failed { error: EngineError::Killed, .. });
        for job in self.running.drain() {
            self.reports.send(EngineEvent::Returned { job, crashed }).await;
        }
        end
    }

    async fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) -> Result<(), EngineError> {
        loop {
            let load_deadline = self.load_deadline();
            tokio::select! {
                // What the child has said already must win against the clock.
                biased;
                message = self.connection.receive() => self.take(message?).await?,
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => return Ok(()),
                    Some(command) => self.obey(command).await?,
                },
                // Heartbeats may have told of progress meanwhile.
                () = sleep_until(load_deadline), if self.loaded_at.is_none() => if self.load_deadline() <= Instant::now() {
                    return Err(EngineError::LoadTimeout(self.spec.load_timeout));
                }
            }
        }
    }

    /// When the load is given up, unless it goes on before: it reads the file, or computes the golden prompt.
    fn load_deadline(&self) -> Instant {
        self.progress_at.max(self.connection.progress_at()) + self.spec.load_timeout
    }

    async fn obey(&mut self, command: Command) -> Result<(), EngineError> {
        match command {
            Command::Submit(job) => {
                self.running.insert(job.id);
                self.connection.send(&ToChild::Submit(job)).await
            }
            Command::Cancel(job) => self.connection.send(&ToChild::Cancel(job)).await,
            Command::Park(job) => self.connection.send(&ToChild::Park(job)).await,
            Command::Resume(job) => {
                self.running.insert(job);
                self.connection.send(&ToChild::Resume(job)).await
            }
            Command::Openings(openings) => self.connection.send(&ToChild::Openings(openings)).await,
            Command::Forget { client, session } => self.connection.send(&ToChild::Forget { client, session }).await,
            Command::Trim => self.connection.send(&ToChild::Trim).await,
            Command::Ease => self.connection.send(&ToChild::Ease).await,
            Command::Duty(duty) => self.connection.send(&ToChild::Duty(duty)).await,
            Command::Stop => Ok(()),
        }
    }

    async fn take(&mut self, message: FromChild) -> Result<(), EngineError> {
        let event = match message {
            FromChild::LoadProgress(share) => {
                self.progress_at = Instant::now();
                EngineEvent::Loading(share)
            }
            FromChild::Loaded(report) => {
                self.loaded_at = Some(Instant::now());
                self.connection.expect_progress();
                EngineEvent::Ready(report)
            }
            FromChild::LoadFailed(reason) => return Err(EngineError::Refused(reason)),
            FromChild::Delta { job, text } => {
                self.reports.send(EngineEvent::Delta { job, text }).await;
                return self.give_credit().await;
            }
            FromChild::Finished { job, answer } => {
                self.running.remove(&job);
                EngineEvent::Ended { job, result: Ok(answer) }
            }
            FromChild::Parked(job) => {
                self.running.remove(&job);
                EngineEvent::Parked(job)
            }
            FromChild::Failed { job, code, message, overflow } => {
                self.running.remove(&job);
                EngineEvent::Ended { job, result: Err(JobError { overflow, ..JobError::new(code, message) }) }
            }
            unexpected => return Err(EngineError::unexpected(&unexpected)),
        };
        // The driver outlives its engines; without it nobody waits for this.
        self.reports.send(event).await;
        Ok(())
    }

    async fn give_credit(&mut self) -> Result<(), EngineError> {
        self.credits_due += 1;
        if self.credits_due < CREDIT_PARCEL {
            return Ok(());
        }
        let credits = std::mem::take(&mut self.credits_due);
        self.connection.send(&ToChild::Credit(credits)).await
    }
}
