//! Steps with as many threads as are best now.

use std::sync::Arc;
use std::time::Instant;

use super::sensor::{Idle, Stopwatch};
use super::{Kind, Step, Threads};
use crate::engine::child::link::Shared;
use crate::engine::child::llama::{Batch, Context, DecodeFailed, Decoded};
use crate::engine::protocol::{LoadParams, ThreadCount};
use crate::plan::GpuLayers;

/// Computes the steps of a loop. One token for each sequence is bound by memory, prompts by processors: each kind has a number of
/// its own.
pub struct Crew {
    tokens: Threads,
    prompts: Threads,
    now: u32,
    idle: Idle,
    shared: Arc<Shared>,
}

impl Crew {
    /// As the model was loaded. A GPU waits for no thread of ours.
    pub fn new(params: &LoadParams, shared: &Arc<Shared>) -> Self {
        let threads = || match params.threads {
            ThreadCount::UpTo(most) if params.layers == GpuLayers::None => Threads::adapting(most),
            count => Threads::fixed(count.most()),
        };
        let now = params.threads.most();
        shared.computes_with(now);
        Self { tokens: threads(), prompts: threads(), now, idle: Idle::new(), shared: Arc::clone(shared) }
    }

    /// Computes a batch with tokens of so many sequences.
    pub fn decode(
        &mut self,
        context: &mut Context,
        batch: &mut Batch,
        sequences: usize,
    ) -> Result<Decoded, DecodeFailed> {
        let kind = Kind::of(batch.len(), sequences);
        let threads = if matches!(kind, Kind::Decode(_)) { &mut self.tokens } else { &mut self.prompts };
        let wanted = threads.of_step(kind, Instant::now());
        if wanted != self.now {
            context.set_threads(wanted);
            self.shared.computes_with(wanted);
            self.now = wanted;
        }
        let stopwatch = Stopwatch::start();
        let decoded = context.decode(batch)?;
        // What was broken off says nothing.
        if decoded == Decoded::Done {
            let (wall, cpu) = stopwatch.elapsed();
            let now = Instant::now();
            threads.measured(Step { kind, tokens: batch.len(), wall, cpu }, now, || self.idle.cores(now));
        }
        Ok(decoded)
    }
}
