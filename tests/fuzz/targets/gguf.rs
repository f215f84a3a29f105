//! A file that says to be a model: its header, what is known of it, and what it would need.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use promptd::config::{Config, Engine};
use promptd::gguf::Gguf;
use promptd::plan::{KvType, LoadShape, Profile, squeezes};
use promptd::service::estimate;

/// Contexts and sequences as the configuration bounds them.
const SHAPES: [(u32, u32); 3] = [(1, 1), (4096, 8), (10_000_000, 256)];

/// As it is without a configuration.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| Config::defaults(&Profile::default()).engine);

fuzz_target!(|bytes: &[u8]| {
    let Ok(gguf) = Gguf::read(&bytes, bytes.len() as u64) else { return };
    // What is accepted must be usable.
    let facts = gguf.facts().expect("facts of an accepted file");
    for (context, sequences) in SHAPES {
        for kv_type in [KvType::F16, KvType::Q8_0] {
            for shape in squeezes(LoadShape { context, sequences, kv_type }, context.min(512), true) {
                let need = estimate(&facts, shape, &ENGINE);
                assert!(need.total() >= need.expected() && need.expected().0 >= facts.weight_bytes());
            }
        }
    }
});
