//! Snapshots for tests: of a machine that tells everything, and of one that tells nothing.

use std::time::Duration;

use super::*;
use crate::health::{CpuReading, Fan, GpuReading, HealthReading, Psi, Rail, Room, Temperature, Throttling};
use crate::job::ModelName;
use crate::journal::Usage;
use crate::mqtt::Counters;
use crate::plan::{Bytes, KvType, MemoryLimit, Slack};

/// A busy Jetson on which every sensor works.
pub fn snapshot() -> Snapshot {
    Snapshot {
        uptime: Duration::from_hours(1),
        state: NodeState::Ready,
        clock_synced: Some(true),
        jobs: OpenJobs { waiting: 2, running: 3 },
        tokens_per_second: 31.25,
        link: LinkReading { connected: true, outbox: 5, counters: counters() },
        group_link: Some(LinkReading { connected: true, outbox: 0, counters: counters() }),
        models: vec![ModelReading {
            document: document(),
            running: 3,
            context_used: Some(0.25),
            threads: Some(5),
            prefix_bytes: 9_000_000,
            resident: Some(2_500_000_000),
        }],
        limits: vec![limit("host", 8_000_000_000), limit("cgroup /system.slice/promptd.service", 9_000_000_000)],
        slack: Some(Slack::from_permille(2500)),
        psi: Some(Psi { some_avg10: 1.5, full_avg10: 0.5 }),
        governors: vec![
            GovernorLevel { name: "memory", level: 0, word: "normal" },
            GovernorLevel { name: "thermal", level: 0, word: "normal" },
        ],
        health: health(),
        resident: Some(20_000_000),
        energy: Energy { total: Some(41_000.0), jobs: Some(1200.5) },
        journal: JournalReading {
            usage: Usage {
                open: 5,
                outcomes: 120,
                unsettled: 1,
                missed: 2,
                sessions: 2,
                used: Bytes(1 << 20),
                max: Bytes(248 << 20),
                waiting: Bytes(0),
            },
            writable: true,
        },
        ..bare()
    }
}

/// A machine that tells nothing.
pub fn bare() -> Snapshot {
    Snapshot {
        uptime: Duration::ZERO,
        state: NodeState::NoModel,
        reasons: Vec::new(),
        clock_synced: None,
        jobs: OpenJobs::default(),
        tokens_per_second: 0.0,
        link: LinkReading::default(),
        group_link: None,
        models: Vec::new(),
        limits: Vec::new(),
        slack: None,
        psi: None,
        governors: Vec::new(),
        duty: 1.0,
        health: HealthReading::default(),
        resident: None,
        energy: Energy::default(),
        journal: JournalReading::default(),
    }
}

fn counters() -> Counters {
    Counters { received: 100, redelivered: 1, published: 99, reconnects: 2, ..Counters::default() }
}

fn limit(name: &str, total: u64) -> MemoryLimit {
    MemoryLimit { name: name.to_owned(), total: Bytes(total), available: Bytes(total / 4) }
}

fn document() -> ModelDocument {
    ModelDocument {
        name: ModelName::new("main").unwrap(),
        state: ModelStage::Ready,
        progress: None,
        reason: None,
        strategy: Some("gpu:int4".to_owned()),
        squeezed: None,
        rejected: Vec::new(),
        unusable: Vec::new(),
        file: "main.gguf".to_owned(),
        sha256: None,
        precision: Some("Q4_1".to_owned()),
        description: None,
        context: Some(2048),
        sequences: Some(4),
        kv_type: Some(KvType::F16),
        threads: Some(6),
        tuning: None,
        chat_template: Some(true),
        devices: None,
        cpu_features: None,
        load_seconds: Some(3.5),
        memory: Some(ModelMemory { estimate: Bytes(2_000_000_000), real: Some(Bytes(1_900_000_000)), error: None }),
    }
}

fn health() -> HealthReading {
    let zone =
        |zone: &str, celsius| Temperature { zone: zone.to_owned(), celsius, passive: Some(95.0), critical: Some(99.0) };
    let rail = |name: &str, watts, total| Rail { name: name.to_owned(), watts, total };
    HealthReading {
        temperatures: vec![zone("cpu-thermal", 58.2), zone("tj-thermal", 61.5)],
        throttling: Throttling {
            cooling: Vec::new(),
            has_cooling: true,
            under_voltage: Some(false),
            capped: Some(false),
            over_current: Some(4),
        },
        rails: vec![rail("VDD_IN", 11.4, true), rail("VDD_SOC", 2.5, false)],
        fans: vec![Fan { name: "pwm-fan".to_owned(), rpm: Some(2400), power: Some(0.4) }],
        cpu: CpuReading { load: Some(0.5), clock_hz: Some(1_500_000_000), clock_max_hz: Some(2_000_000_000) },
        gpu: Some(GpuReading {
            name: Some("Orin".to_owned()),
            load: Some(0.9),
            clock_hz: Some(900_000_000),
            clock_max_hz: Some(1_000_000_000),
            memory: Some(Room { total: 8_000_000_000, free: 1_000_000_000 }),
        }),
        swap: Some(Room { total: 4_000_000_000, free: 4_000_000_000 }),
        disk: Some(Room { total: 64_000_000_000, free: 32_000_000_000 }),
    }
}
