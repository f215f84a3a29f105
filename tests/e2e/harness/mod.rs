//! A broker, a node and devices, each gone when it is dropped.

#[path = "../../mqtt/authority.rs"]
pub mod authority;
mod broker;
mod cgroup;
pub mod contract;
mod crowd;
mod device;
mod disk;
pub mod files;
mod fleet;
mod heat;
pub mod http;
mod load;
mod mutate;
mod node;
mod operator;
pub mod picture;
pub mod plot;
pub mod reference;
mod relay;
mod tap;
mod terminal;
mod watch;
mod web;
mod wire;

pub use broker::Broker;
pub use cgroup::{Cgroup, Hog, MIB, evict, uncached};
pub use crowd::{Crowd, name as crowd_name};
pub use device::{Device, Reply, Send};
pub use disk::Disk;
pub use fleet::Fleet;
pub use heat::Heat;
pub use load::{Answer, Load};
pub use mutate::mutate;
pub use node::{Node, Setup, alive, process_status, processor_seconds, promptd, signal_pid};
pub use operator::Operator;
pub use relay::Relay;
pub use tap::Tap;
pub use terminal::Terminal;
pub use watch::Watch;
pub use web::{Served, Web};
pub use wire::Wire;

use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for anything. Generous: a machine that tests this may be slow and busy.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// The model that every test uses.
pub fn model() -> PathBuf {
    let path = std::env::var_os("PROMPTD_TEST_MODEL").map(PathBuf::from);
    let path = path.unwrap_or_else(|| {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_promptd"));
        let target = binary.ancestors().nth(2).expect("target/<profile>/promptd").to_owned();
        target.join("models/SmolLM2-135M-Instruct.Q4_1.gguf")
    });
    assert!(path.is_file(), "no test model at {}; run `make model`", path.display());
    path
}

/// A question to which the model's greedy answer names Paris.
pub const CAPITAL: &str = "What is the capital of France? Answer in one sentence.";

/// Polls until a condition holds.
pub async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    let mut turn = tokio::time::interval(Duration::from_millis(20));
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long: {what}");
        turn.tick().await;
    }
}

/// Words that make about this many tokens, other ones for another seed.
pub fn words(count: usize, seed: u64) -> String {
    const WORDS: [&str; 12] = [
        "river", "engine", "light", "number", "garden", "signal", "winter", "copper", "bridge", "market", "yellow",
        "paper",
    ];
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect::<Vec<_>>().join(" ")
}
