//! How everything stands now, for metrics, topics and the status page.

use std::time::Instant;

use super::driver::Driver;
use super::memory::Held;
use super::models::{Active, ModelEntry};
use crate::health::{HealthReading, Roots, process_memory};
use crate::mqtt::LinkHandle;
use crate::telemetry::{GovernorLevel, JournalReading, LinkReading, ModelReading, OpenJobs, Snapshot};

impl Driver {
    /// How everything stands now.
    pub(super) fn snapshot(&mut self, now: Instant, health: HealthReading, clock_synced: Option<bool>) -> Snapshot {
        let engines = || self.models.iter().flat_map(ModelEntry::engines);
        let held = Held::by(engines(), |_| false);
        let chosen = engines().map(|engine| (engine.id(), engine.engine().load().generated_tokens));
        let tokens_per_second = self.reporting.tokens.since_last(now, chosen);
        let (state, reasons) = self.board.state();
        let running = engines().map(|engine| engine.running).sum();
        let (level, heat) = (self.governor.level(), self.thermal.heat());
        let energy = self.reporting.energy.energy(now);
        Snapshot {
            uptime: now.saturating_duration_since(self.reporting.started),
            state,
            reasons: reasons.to_vec(),
            clock_synced,
            jobs: OpenJobs { waiting: self.queue.len(), running },
            tokens_per_second,
            link: link_reading(&self.link),
            group_link: self.groups.link().map(link_reading),
            models: self.models.iter().map(model_reading).collect(),
            limits: self.memory.left(&held),
            slack: self.memory.slack(&held),
            psi: self.memory.reading().psi,
            governors: vec![
                GovernorLevel { name: "memory", level: level as u8, word: level.as_str() },
                GovernorLevel { name: "thermal", level: heat as u8, word: heat.as_str() },
            ],
            duty: f64::from(self.thermal.duty().percent()) / 100.0,
            health,
            resident: resident(std::process::id()),
            energy,
            journal: JournalReading { usage: self.recorder.journal.usage(), writable: self.recorder.trouble.is_none() },
        }
    }
}

fn link_reading(link: &LinkHandle) -> LinkReading {
    LinkReading { connected: link.is_connected(), outbox: link.outbox_len(), counters: link.counters() }
}

fn model_reading(entry: &ModelEntry) -> ModelReading {
    let serving = || entry.engines().filter(|engine| engine.report.is_some());
    let places = |engine: &Active| {
        let shape = engine.chosen.option.shape;
        u64::from(shape.sequences) * u64::from(shape.context)
    };
    let room: u64 = serving().map(places).sum();
    let held: u64 = serving().map(|engine| engine.engine().load().context_tokens).sum();
    let pids: Vec<u32> = entry.engines().filter_map(|engine| engine.pid).collect();
    ModelReading {
        document: entry.document(),
        running: entry.engines().map(|engine| engine.running).sum(),
        prefix_bytes: serving().map(|engine| engine.engine().load().prefix_bytes).sum(),
        context_used: (room > 0).then(|| held as f64 / room as f64),
        threads: serving().map(|engine| engine.engine().load().threads).filter(|&threads| threads > 0).max(),
        resident: pids.into_iter().map(resident).reduce(|a, b| Some(a? + b?)).flatten(),
    }
}

/// Memory of a process, mapped files included.
fn resident(pid: u32) -> Option<u64> {
    let memory = process_memory(&Roots::this(), pid)?;
    Some(memory.anon + memory.file + memory.shmem)
}
