//! Brokers that acknowledge nothing, and clients that are away or slow: memory, outbox and journal stay within their limits,
//! what is beyond is held back or refused, and what was accepted ends once.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::http::{free_port, get, sum};
use crate::harness::{Broker, Device, MIB, Node, Relay, Send, Setup, Tap, process_status, signal_pid, until};

/// Requests that are too long for the context: they cost everything but computing. So many of them are more than a daemon
/// that keeps all of them could hide.
const LARGE: usize = 240 * 1024;
const REQUESTS: usize = 250;

/// What the daemon may take more than at its start: 8 MiB of requests that wait for their places (`mqtt::inbound`), 8 MiB that
/// wait for the disk (`journal`), the 11 MiB of requests in all places, 2 MiB of SQLite's pages, and as much as 10 MiB that the
/// allocator keeps. All requests together are 59 MiB.
const GROWTH_MAX: u64 = 40 * MIB;

/// Places in the outbox: as many as are configured, and one for each job that an engine may take, which are those of an encoder.
const PLACES: f64 = 16.0 + 32.0;

fn request(id: usize) -> Value {
    // Every tenth is answered.
    let prompt = if id.is_multiple_of(10) { "Hi".to_owned() } else { "x ".repeat(LARGE / 2) };
    json!({ "id": id.to_string(), "prompt": prompt, "max_tokens": 2, "ignore_eos": true })
}

fn setup(port: u16, mqtt: String, tables: &str) -> Setup {
    let tables = format!("[telemetry]\nhttp = \"127.0.0.1:{port}\"\n[journal]\nsize_max = \"16MiB\"\n{tables}");
    Setup { sequences: 2, mqtt, tables, ..Setup::default() }
}

fn metric(port: u16, name: &str) -> Option<f64> {
    sum(&get(port, "/metrics", "")?.body, name, "")
}

/// Bytes that the daemon holds, and the most that it ever held.
fn memory(node: &Node) -> (u64, u64) {
    let of = |key| process_status(node.pid(), key).unwrap();
    (of("VmRSS"), of("VmHWM"))
}

fn is_within_memory(node: &Node, start: u64) {
    let (_, most) = memory(node);
    eprintln!("the daemon took {:.1} MiB at the start and {:.1} MiB at most", mib(start), mib(most));
    assert!(most < start + GROWTH_MAX, "{:.1} MiB", mib(most));
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

/// The journal's files are no larger than allowed.
fn is_within_journal(node: &Node) {
    let size = |name: &str| std::fs::metadata(node.folder().join(name)).map_or(0, |found| found.len());
    let taken = size("journal.db") + size("journal.db-wal");
    eprintln!("the journal takes {:.1} MiB", mib(taken));
    assert!(taken <= 16 * MIB, "{taken}");
}

/// Every message that ended a request, by its id.
#[derive(Default)]
struct Ends(BTreeMap<String, Vec<Value>>);

impl Ends {
    fn take(&mut self, message: Value) {
        if matches!(message["event"].as_str(), Some("result" | "error")) {
            self.0.entry(message["id"].as_str().unwrap().to_owned()).or_default().push(message);
        }
    }

    /// Listens until so many requests have ended.
    async fn until(&mut self, device: &mut Device, count: usize) {
        while self.0.len() < count {
            self.take(device.next().await.json);
        }
    }

    fn with_code(&self, code: &str) -> usize {
        self.0.values().filter(|ends| ends[0]["code"] == code).count()
    }
}

#[tokio::test]
async fn a_broker_that_acknowledges_nothing_holds_requests_back_and_gets_every_answer_in_the_end() {
    let broker = Broker::start().await;
    let tap = Tap::start(&broker).await;
    let port = free_port();
    let mqtt = "outbox_max = 16\nreceive_maximum = 8".to_owned();
    let url = Some(format!("mqtt://127.0.0.1:{}", tap.port));
    let node = Node::ready(
        &broker,
        Setup { url, ..setup(port, mqtt, "[limits]\nqueue_jobs = 15\nqueue_jobs_per_client = 15") },
    )
    .await;
    let mut device = Device::connect(&broker, "dev").await;
    device.answer("generate", json!({ "id": "first", "prompt": "Hi", "max_tokens": 1 })).await;
    let (start, _) = memory(&node);
    tap.swallow();
    for id in 0..REQUESTS {
        device.ask("generate", &request(id)).await;
    }
    until("the outbox is full of answers", || {
        let full = metric(port, "promptd_mqtt_outbox_messages")? >= PLACES;
        let busy = metric(port, "promptd_jobs_waiting")? + metric(port, "promptd_jobs_running")?;
        (full && busy < 0.5 && tap.swallowed() > 0).then_some(())
    })
    .await;
    assert_eq!(metric(port, "promptd_mqtt_outbox_messages"), Some(PLACES), "its limit");
    let received = metric(port, "promptd_requests_received_total").unwrap();
    assert!(received <= PLACES + 1.0, "one before, and one for each place; the others wait at the broker: {received}");
    is_within_memory(&node, start);
    is_within_journal(&node);

    tap.mend();
    let mut ends = Ends::default();
    ends.until(&mut device, REQUESTS).await;
    for messages in ends.0.values() {
        // What was not acknowledged was published again, and is the same.
        let different: BTreeSet<String> = messages.iter().map(Value::to_string).collect();
        assert_eq!(different.len(), 1, "{different:?}");
    }
    let (overflows, refused) = (ends.with_code("context_overflow"), ends.with_code("queue_full"));
    let results = ends.0.values().filter(|messages| messages[0]["event"] == "result").count();
    eprintln!("{results} results, {overflows} were too long, {refused} were refused when all came at once");
    assert_eq!(results + overflows + refused, REQUESTS);
    until("nothing is under way", || (metric(port, "promptd_mqtt_outbox_messages")? < 0.5).then_some(())).await;
    is_within_memory(&node, start);
}

#[tokio::test]
async fn a_client_that_is_away_costs_no_more_than_the_limits_and_finds_every_outcome() {
    // For a client that is away it keeps five messages, and throws the others away without a word.
    let mut broker = Broker::absent("allow_anonymous true\npersistence false\n");
    broker.queues(5);
    broker.up().await;
    let port = free_port();
    let node = Node::ready(
        &broker,
        setup(
            port,
            "outbox_max = 1000".to_owned(),
            "[engine]\nheartbeat_timeout = \"1h\"\n[limits]\nqueue_jobs_per_client = 200",
        ),
    )
    .await;
    let absent = Device::connect_as(&broker, "away", "device-away", broker.port).await;
    drop(absent);
    // Another one that may speak for it and hears what it would hear. It reads, so that the broker keeps nothing for it.
    let mut other = Device::connect(&broker, "other").await;
    other.answer("generate", json!({ "id": "first", "prompt": "Hi", "max_tokens": 1 })).await;
    other.subscribe("promptd/gw/response/away/#").await;
    let (start, _) = memory(&node);
    // However fast the engine is, the journal fills before it has done anything.
    let engine = node.engines()[0];
    signal_pid(engine, Signal::STOP);
    for id in 0..REQUESTS {
        other.send(Send::new("promptd/gw/request/generate/away", request(id).to_string())).await;
        // The broker must not throw away what is for the node: one after the other.
        until("it is accepted or refused", || {
            let known = |name| metric(port, name).unwrap_or(0.0);
            let known = known("promptd_requests_accepted_total") + known("promptd_requests_refused_total");
            (known > id as f64 + 1.5).then_some(())
        })
        .await;
    }
    let (used, limit) = (metric(port, "promptd_journal_used_bytes"), metric(port, "promptd_journal_limit_bytes"));
    assert!(used.unwrap() <= limit.unwrap(), "{used:?} of {limit:?}");
    is_within_memory(&node, start);
    is_within_journal(&node);
    signal_pid(engine, Signal::CONT);
    let mut ends = Ends::default();
    ends.until(&mut other, REQUESTS).await;
    let refused = ends.with_code("storage_full");
    eprintln!("{refused} of {REQUESTS} requests were refused");
    assert!(refused > 0 && refused < REQUESTS, "{refused}");

    let mut back = Device::connect_as(&broker, "away", "device-away", broker.port).await;
    for (id, messages) in &ends.0 {
        assert_eq!(messages.len(), 1, "{messages:?}");
        if messages[0]["code"] != "storage_full" {
            // Whether the broker has kept it or not.
            let again = back.answer("generate", request(id.parse().unwrap())).await;
            assert_eq!(again, messages[0]);
        }
    }
    is_within_journal(&node);
}

/// Bytes a second.
const SLOW: u32 = 8 * 1024;

#[tokio::test]
async fn a_client_that_is_slow_keeps_nobody_waiting_and_gets_every_answer_once() {
    // Of few messages under way, so that what keeps the connection alive does not wait behind many.
    let broker = Broker::with("allow_anonymous true\npersistence false\nmax_inflight_messages 4\n").await;
    let port = free_port();
    let node = Node::ready(
        &broker,
        setup(port, "outbox_max = 64".to_owned(), "[limits]\nqueue_jobs = 63\nqueue_jobs_per_client = 63"),
    )
    .await;
    let relay = Relay::start(&broker, Some(SLOW));
    let mut slow = Device::connect_as(&broker, "slow", "device-slow", relay.port).await;
    let mut other = Device::connect(&broker, "other").await;
    let (start, _) = memory(&node);
    let jobs = 60_usize;
    // Echoes make the answers long: together they take the link a quarter of a minute.
    let pad = "x".repeat(1900);
    for id in 0..jobs {
        let request = json!({ "id": id.to_string(), "prompt": "Hi", "max_tokens": 1, "x_pad": pad });
        slow.ask("generate", &request).await;
    }
    // However fast the node is: when its first answer has got through, the others are still to come.
    let mut ends = Ends::default();
    ends.until(&mut slow, 1).await;
    assert_eq!(
        other.answer("generate", json!({ "id": "a", "prompt": "Hi", "max_tokens": 1 })).await["event"],
        "result"
    );
    while let Some(reply) = slow.now() {
        ends.take(reply.json);
    }
    assert!(ends.0.len() < jobs, "it reads on while others are answered");
    ends.until(&mut slow, jobs).await;
    until("nothing is left in the node", || {
        let settled = node.operator_json(&["status"])["journal"]["unsettled"] == 0;
        (settled && node.operator_json(&["jobs"])["total"] == 0).then_some(())
    })
    .await;
    assert_eq!(metric(port, "promptd_requests_accepted_total"), Some(jobs as f64 + 1.0), "each was asked once");
    assert!(ends.0.values().all(|messages| messages.len() == 1 && messages[0]["event"] == "result"));
    is_within_memory(&node, start);
}
