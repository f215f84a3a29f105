//! What the machine's memory allows the models.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::config::Memory;
use crate::health::{MemoryReading, MemorySensors, Roots, process_memory};
use crate::plan::{Budget, Bytes, DeviceKind, DeviceMemory, Headroom, MemoryLimit, Slack};

use super::kills::Kills;
use super::models::{Active, Gpu};

/// The sensors and what they said last.
pub struct MemoryWatch {
    sensors: MemorySensors,
    config: Memory,
    reading: MemoryReading,
    kills: Kills,
}

/// What engines hold or will hold, apart from those that may leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Files of theirs that must stay in memory.
    mapped: u64,
    /// What those that load are going to take.
    pending: u64,
    /// What those that leave give back.
    freed: u64,
    /// All of the others together.
    used: u64,
    /// Memory of a discrete GPU.
    device: u64,
}

impl Held {
    /// Sums up the engines. Those that are to leave count as gone.
    pub fn by<'a>(engines: impl Iterator<Item = &'a Active>, leaves: impl Fn(&Active) -> bool) -> Self {
        let (gone, stay): (Vec<_>, Vec<_>) = engines.partition(|engine| leaves(engine));
        let freed = gone.iter().filter(|old| old.report.is_some()).map(|old| old.anonymous().0).sum();
        let mut held = Self { freed, ..Self::default() };
        let mut files: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for engine in stay {
            // Two engines of one file map the same pages.
            let mapped = files.entry(engine.file.inode).or_default();
            *mapped = engine.mapped().0.max(*mapped);
            held.used += engine.host().0;
            held.device += engine.chosen.option.need.device().0;
            if engine.report.is_none() {
                held.pending += pending(engine);
            }
        }
        held.mapped = files.values().sum();
        held
    }
}

/// What an engine that loads is still going to take. What it reads of its file the kernel counts as available until it
/// serves, so that only memory of its own is taken already.
fn pending(engine: &Active) -> u64 {
    let roots = Roots::this();
    let memory = engine.pid.and_then(|pid| process_memory(&roots, pid));
    engine.chosen.option.need.host().0.saturating_sub(memory.map_or(0, |memory| memory.anon))
}

impl MemoryWatch {
    /// Reads the sensors for the first time.
    pub fn new(sensors: MemorySensors, config: Memory) -> Self {
        let reading = sensors.read();
        let kills = Kills::since(&reading);
        Self { sensors, config, reading, kills }
    }

    /// Goes by other rules from now on.
    pub fn set_config(&mut self, config: Memory) {
        self.config = config;
    }

    /// Reads the sensors.
    pub fn read(&mut self) -> &MemoryReading {
        self.reading = self.sensors.read();
        self.kills.observe(Instant::now(), &self.reading);
        &self.reading
    }

    /// Whether an engine that has just ended was killed for memory.
    pub fn take_kill(&mut self) -> bool {
        self.read();
        self.kills.take(Instant::now())
    }

    /// Everything that limits memory, with what it leaves.
    pub fn limits(&self, held: &Held) -> Vec<MemoryLimit> {
        let mut limits = self.reading.limits(held.mapped);
        for limit in &mut limits {
            limit.available.0 = (limit.available.0 + held.freed).saturating_sub(held.pending);
        }
        limits
    }

    /// What a model may take.
    pub fn headroom(&self, held: &Held, gpu: Option<&Gpu>) -> Headroom {
        let budget = self.config.budget.map(|total| Budget { total, used: Bytes(held.used) });
        let device = gpu.map(|gpu| DeviceMemory {
            kind: gpu.kind,
            total: gpu.device.total,
            free: match gpu.kind {
                // The driver's number is from before any engine was started.
                DeviceKind::Discrete => Bytes(gpu.device.free.0.saturating_sub(held.device)),
                DeviceKind::Unified => gpu.device.free,
            },
        });
        Headroom::of(&self.limits(held), self.config.reserve, budget, device)
    }

    /// How much of the reserve is left now, by the tightest limit. What loads has been planned for and doesn't count before
    /// it is there.
    pub fn slack(&self, held: &Held) -> Option<Slack> {
        Slack::of(&self.left(held), self.config.reserve)
    }

    /// Everything that limits memory, with what is left of it now.
    pub fn left(&self, held: &Held) -> Vec<MemoryLimit> {
        self.limits(&Held { pending: 0, ..*held })
    }

    /// What the sensors said last.
    pub fn reading(&self) -> &MemoryReading {
        &self.reading
    }
}
