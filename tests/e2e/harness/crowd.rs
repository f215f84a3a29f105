//! Many nodes that are not there: what they would tell, made by promptd's own writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use promptd::health::{HealthReading, Temperature, Throttling};
use promptd::job::{ModelName, NodeName};
use promptd::plan::{Bytes, KvType, MemoryLimit, Slack};
use promptd::telemetry::{
    Documents, Energy, GovernorLevel, JobTotals, JournalReading, LinkReading, ModelDocument, ModelReading, ModelStage,
    NodeState, OpenJobs, RejectedStrategy, Snapshot, Status, health_document, telemetry_message,
};
use rumqttc::v5::mqttbytes::QoS;
use tokio::task::JoinHandle;

use super::{Broker, Device, Send};

/// Places where the nodes stand; a number follows.
const PLACES: [&str; 5] = ["press", "paint", "pump", "weld", "store"];

/// Here the crowd hears from itself that the broker has taken all that it told before.
const TOLD: &str = "crowd/told";

/// The nodes. Their telemetry ends when this is dropped.
pub struct Crowd {
    device: Device,
    nodes: usize,
    rounds: Arc<AtomicU64>,
    telemetry: Option<JoinHandle<()>>,
}

impl Crowd {
    /// So many nodes; the broker has all of their documents.
    pub async fn start(broker: &Broker, nodes: usize, heartbeat: Duration) -> Self {
        let mut device = Device::connect(broker, "crowd").await;
        device.subscribe(TOLD).await;
        let mut crowd = Self { device, nodes, rounds: Arc::default(), telemetry: None };
        crowd.tell(heartbeat).await;
        crowd
    }

    async fn tell(&mut self, heartbeat: Duration) {
        for number in 0..self.nodes {
            let name = name(number);
            let documents = Documents::new(NodeName::new(&name).unwrap());
            let (state, reasons) = state(number);
            let since = SystemTime::now();
            let clock_synced = Some(true);
            let status = Status { state, reasons: &reasons, since, heartbeat, clock_synced, durability: "full" };
            let now = snapshot(number, 0);
            let availability = if is_offline(number) { "offline" } else { "online" };
            self.keep(&name, "availability", availability.into()).await;
            self.keep(&name, "status", documents.status(status)).await;
            self.keep(&name, "model/main", documents.model(&now.models[0].document)).await;
            self.keep(&name, "health", health_document(&now)).await;
        }
        self.device.send(Send::new(TOLD, "")).await;
        self.device.next().await;
    }

    async fn keep(&self, node: &str, topic: &str, payload: Vec<u8>) {
        let topic = format!("promptd/{node}/{topic}");
        self.device.send(Send { retain: true, ..Send::new(&topic, payload) }).await;
    }

    /// From now on each node that is there sends its numbers once in every `interval`.
    pub async fn chatter(&mut self, broker: &Broker, interval: Duration) {
        let device = Device::connect(broker, "chatter").await;
        let (nodes, rounds) = (self.nodes, Arc::clone(&self.rounds));
        self.telemetry = Some(tokio::spawn(async move {
            let mut turn = tokio::time::interval(interval);
            loop {
                turn.tick().await;
                let round = rounds.load(Ordering::Relaxed);
                for number in (0..nodes).filter(|number| !is_offline(*number)) {
                    let now = snapshot(number, round);
                    let payload = telemetry_message(&now, &JobTotals::default(), SystemTime::now());
                    let topic = format!("promptd/{}/telemetry", name(number));
                    device.send(Send { qos: QoS::AtMostOnce, ..Send::new(&topic, payload) }).await;
                }
                rounds.store(round + 1, Ordering::Relaxed);
            }
        }));
    }

    /// How often all nodes have sent their numbers.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.abort();
        }
    }
}

/// The name of a node.
pub fn name(number: usize) -> String {
    format!("{}-{number:03}", PLACES[number % PLACES.len()])
}

/// One in forty has lost its connection.
pub fn is_offline(number: usize) -> bool {
    number % 40 == 7
}

fn state(number: usize) -> (NodeState, Vec<String>) {
    match number % 40 {
        3 => (NodeState::Degraded, vec!["main: runs as cpu:int8, a GPU is expected".to_owned()]),
        11 => (NodeState::Throttled, vec!["tj-thermal is at 86.5 °C; its soft limit is 85 °C".to_owned()]),
        19 if number < 40 => (NodeState::Paused, vec!["tj-thermal is at 96.0 °C; its hard limit is 95 °C".to_owned()]),
        23 => (NodeState::Loading, Vec::new()),
        31 if number < 40 => {
            let reason = "publication_refused: the broker takes nothing on promptd/paint-031/event: not authorized";
            (NodeState::Misconfigured, vec![reason.to_owned()])
        }
        _ => (NodeState::Ready, Vec::new()),
    }
}

fn snapshot(number: usize, round: u64) -> Snapshot {
    let (state, reasons) = state(number);
    let jitter = (number as u64 * 7 + round * 13) % 50;
    let busy = state == NodeState::Ready;
    let celsius = match state {
        NodeState::Paused => 96.0,
        NodeState::Throttled => 86.5,
        _ => 48.0 + (jitter % 20) as f32 / 2.0,
    };
    let limit =
        MemoryLimit { name: "host".to_owned(), total: Bytes(8 << 30), available: Bytes((2 << 30) + (jitter << 24)) };
    let governor = |name, level, word| GovernorLevel { name, level, word };
    Snapshot {
        uptime: Duration::from_secs(3600 * (number as u64 + 1) + round),
        state,
        reasons,
        clock_synced: Some(true),
        jobs: OpenJobs { waiting: number % 3, running: if busy { 1 + number % 4 } else { 0 } },
        tokens_per_second: if busy { 18.0 + jitter as f64 / 2.0 } else { 0.0 },
        link: LinkReading { connected: true, ..LinkReading::default() },
        group_link: None,
        models: vec![ModelReading {
            threads: Some(2),
            document: model(number),
            running: 1,
            context_used: Some(0.25),
            prefix_bytes: 0,
            resident: Some(2 << 30),
        }],
        limits: vec![limit],
        slack: Some(Slack::from_permille(2500)),
        psi: None,
        governors: vec![governor("memory", 0, "normal"), governor("thermal", 0, "normal")],
        duty: 1.0,
        health: HealthReading {
            temperatures: vec![Temperature {
                zone: "tj-thermal".to_owned(),
                celsius,
                passive: Some(95.0),
                critical: Some(99.0),
            }],
            throttling: Throttling { under_voltage: Some(state == NodeState::Throttled), ..Throttling::default() },
            ..HealthReading::default()
        },
        resident: Some(20 << 20),
        energy: Energy::default(),
        journal: JournalReading::default(),
    }
}

fn model(number: usize) -> ModelDocument {
    let on_gpu = number % 40 != 3;
    let rejected = |strategy: &str, need| RejectedStrategy {
        strategy: strategy.to_owned(),
        need: Some(Bytes(need)),
        headroom: Some(Bytes(5 << 30)),
        reason: "needs more memory than there is".to_owned(),
    };
    ModelDocument {
        name: ModelName::new("main").unwrap(),
        state: if number % 40 == 23 { ModelStage::Loading } else { ModelStage::Ready },
        progress: None,
        reason: None,
        strategy: Some(if on_gpu { "gpu:int8" } else { "cpu:int8" }.to_owned()),
        squeezed: None,
        rejected: vec![rejected("gpu:f16", 9 << 30)],
        unusable: Vec::new(),
        file: "main-Q8_0.gguf".to_owned(),
        sha256: Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned()),
        precision: Some("Q8_0".to_owned()),
        description: Some("llama 3B Q8_0".to_owned()),
        context: Some(4096),
        sequences: Some(4),
        kv_type: Some(KvType::F16),
        threads: Some(6),
        tuning: None,
        chat_template: Some(true),
        devices: None,
        cpu_features: None,
        load_seconds: Some(3.5),
        memory: None,
    }
}
