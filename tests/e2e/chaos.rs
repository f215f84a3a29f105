//! Everything goes wrong at random while several clients have jobs: each job ends once, and whoever asks again gets the same.
//! `PROMPTD_CHAOS_KILLS` says how often something is killed or the link is cut; `make chaos` does it for long. The seed is
//! printed, and `PROMPTD_CHAOS_SEED` repeats it. The node has a network namespace of its own, for which the test needs root.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Setup, Wire, until};

/// How often something is killed when nobody says how often.
const KILLS: u32 = 8;

/// Jobs that are under way at once, of each client.
const OPEN: usize = 4;

fn setup(wire: &Wire, broker: &Broker) -> Setup {
    // As short as it may be: twice that long after the last packet a cut is noticed.
    let mqtt = "keep_alive = \"5s\"".to_owned();
    let (url, namespace) = (Some(wire.url(broker)), Some(wire.namespace()));
    let tables = "[engine]\nheartbeat_timeout = \"3s\"\ncrash_quarantine = 10\n[limits]\ndeadline = \"1h\"".to_owned();
    Setup { sequences: 3, tables, mqtt, url, namespace, ..Setup::default() }
}

/// Sampled without a seed, so that no two runs of a job have the same answer.
fn request(id: &str) -> Value {
    json!({ "id": id, "prompt": "Tell me something.", "max_tokens": 24, "ignore_eos": true, "temperature": 3.0, "ack": true })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// A client and what it has seen.
struct Client {
    device: Device,
    asked: u32,
    open: BTreeSet<String>,
    accepted: BTreeSet<String>,
    outcomes: BTreeMap<String, BTreeSet<String>>,
}

impl Client {
    async fn connect(broker: &Broker, name: &str) -> Self {
        let device = Device::connect(broker, name).await;
        Self { device, asked: 0, open: BTreeSet::new(), accepted: BTreeSet::new(), outcomes: BTreeMap::new() }
    }

    async fn ask(&mut self) {
        while self.open.len() < OPEN {
            let id = format!("job{}", self.asked);
            self.asked += 1;
            self.device.ask("generate", &request(&id)).await;
            self.open.insert(id);
        }
    }

    fn take(&mut self, reply: &Value) {
        let id = reply["id"].as_str().unwrap_or_default().to_owned();
        match reply["event"].as_str() {
            Some("accepted") => _ = self.accepted.insert(id),
            Some("result" | "error") => {
                self.open.remove(&id);
                self.outcomes.entry(id).or_default().insert(reply.to_string());
            }
            _ => {}
        }
    }

    fn take_all(&mut self) {
        while let Some(reply) = self.device.now() {
            self.take(&reply.json);
        }
    }

    /// Asks again for what is open: its message may have been lost with the broker.
    async fn ask_again(&mut self) {
        for id in self.open.clone() {
            self.device.ask("generate", &request(&id)).await;
        }
    }
}

/// How often a device asks again before it gives up.
const PATIENCE: u32 = 20;

impl Client {
    /// Waits until another of its jobs has ended. What is asked before the node is back at a broker without memory is lost:
    /// after some silence a device asks again.
    async fn hear(&mut self) {
        let (before, mut silences) = (self.open.len(), 0);
        while self.open.len() == before {
            if let Some(reply) = self.device.soon().await {
                self.take(&reply.json);
            } else {
                silences += 1;
                assert!(silences < PATIENCE, "never answered: {:?}", self.open);
                self.ask_again().await;
            }
        }
    }
}

#[derive(Debug)]
enum Trouble {
    Daemon,
    Engine(Signal),
    Broker,
    Link(Cut),
}

/// What happens while the link is cut.
#[derive(Debug)]
enum Cut {
    /// Its connections outlive it.
    Short,
    /// The node gives its connection up, and finds no other.
    Long,
    /// The node is killed, and the next one finds no broker.
    Daemon,
}

/// One may be gone just now.
fn signal_engines(node: &Node, signal: Signal) {
    for engine in node.engines() {
        let _ = kill_process(Pid::from_raw(i32::try_from(engine).unwrap()).unwrap(), signal);
    }
}

fn is_connected(node: &Node) -> Option<bool> {
    let output = node.operator(&["status", "--json"]);
    serde_json::from_slice::<Value>(&output.stdout).ok()?["connected"].as_bool()
}

/// What is sent while it is cut is lost, and no connection is closed.
async fn cut(cut: &Cut, wire: &Wire, node: &mut Node, broker: &Broker, clients: &mut [Client]) {
    wire.cut();
    for client in clients.iter_mut() {
        client.ask_again().await;
    }
    match cut {
        Cut::Short => {}
        Cut::Long => until("the node notices", || (is_connected(node) == Some(false)).then_some(())).await,
        Cut::Daemon => {
            node.restart(&setup(wire, broker));
            until("the daemon listens", || is_connected(node)).await;
        }
    }
    wire.join();
}

async fn cause(trouble: &Trouble, wire: &Wire, node: &mut Node, broker: &mut Broker, clients: &mut [Client]) {
    match trouble {
        Trouble::Daemon => node.restart(&setup(wire, broker)),
        Trouble::Link(how) => cut(how, wire, node, broker, clients).await,
        Trouble::Engine(signal) => signal_engines(node, *signal),
        // It keeps nothing on disk: sessions, subscriptions and messages are gone.
        Trouble::Broker => {
            broker.kill();
            broker.up().await;
            for client in clients.iter_mut() {
                let filter = format!("promptd/gw/response/{}/#", client.device.name);
                client.device.subscribe(&filter).await;
                client.ask_again().await;
            }
        }
    }
}

#[tokio::test]
async fn whatever_is_killed_each_job_ends_once() {
    let kills = number("PROMPTD_CHAOS_KILLS").map_or(KILLS, |kills| u32::try_from(kills).unwrap());
    let seed = number("PROMPTD_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("PROMPTD_CHAOS_SEED={seed}, {kills} kills");
    let mut random = fastrand::Rng::with_seed(seed);
    let wire = Wire::lay();
    let mut broker = wire.broker().await;
    let mut node = Node::ready(&broker, setup(&wire, &broker)).await;
    let mut clients = Vec::new();
    for name in ["a", "b", "c"] {
        clients.push(Client::connect(&broker, name).await);
    }
    let mut counts: HashMap<String, u32> = HashMap::new();
    for _ in 0..kills {
        for client in &mut clients {
            client.take_all();
            client.ask().await;
        }
        let trouble = match random.u32(0..10) {
            0..4 => Trouble::Daemon,
            4..6 => Trouble::Engine(Signal::KILL),
            6 => Trouble::Engine(Signal::STOP),
            7 => Trouble::Broker,
            _ => Trouble::Link(match random.u32(0..4) {
                0..2 => Cut::Short,
                2 => Cut::Long,
                _ => Cut::Daemon,
            }),
        };
        *counts.entry(format!("{trouble:?}")).or_default() += 1;
        cause(&trouble, &wire, &mut node, &mut broker, &mut clients).await;
        // The next comes at once, when the daemon listens, when a model is being loaded or serves, or when it has answered.
        match random.u32(0..4) {
            0 => {}
            1 => until("the daemon listens", || node.operator(&["status"]).status.success().then_some(())).await,
            2 => until("an engine runs", || (!node.engines().is_empty()).then_some(())).await,
            _ => clients[random.usize(0..3)].hear().await,
        }
    }
    // In the end nothing is killed any more.
    signal_engines(&node, Signal::CONT);
    for client in &mut clients {
        client.ask_again().await;
        while !client.open.is_empty() {
            client.hear().await;
        }
    }
    until("nothing is open", || (node.operator_json(&["jobs"])["total"] == 0).then_some(())).await;
    let mut jobs = 0;
    for client in &mut clients {
        client.take_all();
        for id in client.accepted.clone() {
            // Nothing that was accepted is forgotten.
            let known = node.operator(&["fetch", &client.device.name, &id]);
            assert!(known.status.success(), "{id} of {} was accepted and is lost: {known:?}", client.device.name);
        }
        for number in 0..client.asked {
            let id = format!("job{number}");
            let again = client.device.answer("generate", request(&id)).await;
            client.take(&again);
            let outcomes = &client.outcomes[&id];
            assert_eq!(outcomes.len(), 1, "{id} of {} ended differently: {outcomes:#?}", client.device.name);
            let end: Value = serde_json::from_str(outcomes.first().unwrap()).unwrap();
            assert!(end["event"] == "result" || end["code"] == "quarantined", "{end}");
            jobs += 1;
        }
    }
    eprintln!("{jobs} jobs, each ended once; what happened: {counts:?}");
}
