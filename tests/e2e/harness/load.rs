//! A client that keeps a node busy and does as it is told when it is refused.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Broker, Device, PATIENCE};

/// How often the client looks whether it is time to ask again.
const TURN: Duration = Duration::from_millis(20);

/// A client with a number of requests under way all the time.
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// What came of the requests.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The answers.
    pub results: Vec<Answer>,
    /// Refusals for lack of memory, or because of heat.
    pub refused: Vec<Value>,
    /// Anything else that ended a request.
    pub others: Vec<Value>,
    /// Requests that have not ended.
    pub open: BTreeSet<String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub at: Instant,
    pub strategy: String,
    pub tokens: u64,
}

impl Load {
    /// Begins: `width` requests of `tokens` tokens each, again and again.
    pub async fn start(broker: &Broker, width: usize, tokens: u32) -> Self {
        let device = Device::connect(broker, "load").await;
        let (tally, stop) = (Arc::<Mutex<Tally>>::default(), Arc::<AtomicBool>::default());
        let client = Client { device, tokens, asked: 0, due: vec![Instant::now(); width] };
        let task = tokio::spawn(client.run(Arc::clone(&tally), Arc::clone(&stop)));
        Self { tally, stop, task }
    }

    /// What came of them so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Asks no more, waits for the end of what was asked, and gives everything.
    pub async fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        timeout(PATIENCE, self.task).await.unwrap_or_else(|_| panic!("never answered: {:?}", self.tally)).unwrap();
        self.tally.lock().unwrap().clone()
    }
}

struct Client {
    device: Device,
    tokens: u32,
    asked: usize,
    /// When to ask again, for each place that is free.
    due: Vec<Instant>,
}

impl Client {
    async fn run(mut self, tally: Arc<Mutex<Tally>>, stop: Arc<AtomicBool>) {
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            if stopping && tally.lock().unwrap().open.is_empty() {
                return;
            }
            let now = Instant::now();
            while let Some(place) = self.due.iter().position(|due| !stopping && *due <= now) {
                self.due.swap_remove(place);
                let id = format!("load{}", self.asked);
                self.asked += 1;
                tally.lock().unwrap().open.insert(id.clone());
                let request = json!({ "id": id, "prompt": "Count.", "max_tokens": self.tokens, "ignore_eos": true });
                self.device.ask("generate", &request).await;
            }
            if let Ok(reply) = timeout(TURN, self.device.next()).await {
                self.take(reply.json, &mut tally.lock().unwrap());
            }
        }
    }

    fn take(&mut self, reply: Value, tally: &mut Tally) {
        assert!(tally.open.remove(reply["id"].as_str().unwrap()), "a second end: {reply}");
        let mut pause = Duration::ZERO;
        if reply["event"] == "result" {
            let tokens = reply["usage"]["generated_tokens"].as_u64().unwrap();
            let strategy = reply["strategy"].as_str().unwrap().to_owned();
            tally.results.push(Answer { at: Instant::now(), strategy, tokens });
        } else if reply["code"] == "memory_headroom" || reply["code"] == "thermal" {
            pause = Duration::from_millis(reply["retry_after_ms"].as_u64().expect("a refusal says when to come again"));
            tally.refused.push(reply);
        } else {
            tally.others.push(reply);
        }
        self.due.push(Instant::now() + pause);
    }
}
