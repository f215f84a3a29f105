//! Other programs want the processors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::json;

use crate::harness::http::{free_port, page, sum};
use crate::harness::{Broker, Device, Node, Setup, until};

/// Threads of this test that always compute, two for each processor, until they are dropped.
struct Busy(Arc<AtomicBool>, Vec<JoinHandle<()>>);

impl Busy {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let count = 2 * std::thread::available_parallelism().unwrap().get();
        let spin = |over: Arc<AtomicBool>| {
            move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let threads = (0..count).map(|_| std::thread::spawn(spin(Arc::clone(&over)))).collect();
        Self(over, threads)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

#[tokio::test]
async fn fewer_threads_compute_beside_busy_programs() {
    let broker = Broker::start().await;
    let port = free_port();
    let tables = format!("[telemetry]\nhttp = \"127.0.0.1:{port}\"");
    let _node = Node::ready(&broker, Setup { threads: 2, sequences: 1, tables, ..Setup::default() }).await;
    let mut device = Device::connect(&broker, "dev").await;
    let long = json!({ "id": "long", "prompt": "Count.", "max_tokens": 300, "ignore_eos": true, "stream": true });
    let busy = Busy::start();
    device.ask("generate", &long).await;
    until("one thread computes", || {
        (sum(&page(port, "/metrics").body, "promptd_model_threads", "model=\"main\"") == Some(1.0)).then_some(())
    })
    .await;
    drop(busy);
    let answer = device.outcome("long").await;
    assert_eq!((&answer["finish"], &answer["usage"]["generated_tokens"]), (&json!("length"), &json!(300)), "{answer}");
}
