//! Steps with as many threads as are best now.

use std::sync::Arc;
use std::time::Instant;

use super::sensor::{Idle, Stopwatch};
use super::{Step, Threads};
use crate::engine::child::link::Shared;
use crate::engine::child::llama::{Batch, Context, DecodeFailed, Decoded};
use crate::engine::protocol::{LoadParams, ThreadCount};
use crate::plan::GpuLayers;

/// Computes the steps of a loop.
pub struct Crew {
    threads: Threads,
    idle: Idle,
    shared: Arc<Shared>,
}

impl Crew {
    /// As the model was loaded. A GPU waits for no thread of ours.
    pub fn new(params: &LoadParams, shared: &Arc<Shared>) -> Self {
        let threads = match params.threads {
            ThreadCount::UpTo(most) if params.layers == GpuLayers::None => Threads::adapting(most),
            count => Threads::fixed(count.most()),
        };
        shared.computes_with(threads.now());
        Self { threads, idle: Idle::new(), shared: Arc::clone(shared) }
    }

    /// Computes a batch with tokens of so many sequences.
    pub fn decode(
        &mut self,
        context: &mut Context,
        batch: &mut Batch,
        sequences: usize,
    ) -> Result<Decoded, DecodeFailed> {
        let stopwatch = Stopwatch::start();
        let decoded = context.decode(batch)?;
        // What was broken off says nothing.
        if decoded == Decoded::Done {
            let (wall, cpu) = stopwatch.elapsed();
            let (before, now) = (self.threads.now(), Instant::now());
            self.threads.measured(Step::new(batch.len(), sequences, wall, cpu), now, || self.idle.cores(now));
            if self.threads.now() != before {
                context.set_threads(self.threads.now());
                self.shared.computes_with(self.threads.now());
            }
        }
        Ok(decoded)
    }
}
