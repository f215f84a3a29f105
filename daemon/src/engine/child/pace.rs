//! How much of a prompt fits into one step without delaying the others too long.

use std::time::Duration;

/// A smaller piece of a prompt wastes the matrix kernels. In reproducible mode chunks are multiples of it: one fixed grid
/// makes a prompt's chunks independent of the load.
pub const CHUNK: usize = 64;

/// Weight of the newest measurement in the running means.
const NEWEST: f64 = 0.2;

/// Learns the speed of steps and sizes prompt chunks to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    max_stall: f64,
    /// Seconds of a step that only decodes.
    decode: Option<f64>,
    /// Seconds that one prompt token adds.
    prompt: Option<f64>,
}

impl Pace {
    /// Steps shall take at most this long while some job waits for its next token.
    pub fn new(max_stall: Duration) -> Self {
        Self { max_stall: max_stall.as_secs_f64(), decode: None, prompt: None }
    }

    /// Takes the time of one step with so many prompt tokens in it.
    pub fn measured(&mut self, prompt_tokens: usize, took: Duration) {
        let took = took.as_secs_f64();
        if prompt_tokens == 0 {
            learn(&mut self.decode, took);
        } else if prompt_tokens >= CHUNK {
            let extra = (took - self.decode.unwrap_or(0.0)).max(0.0);
            learn(&mut self.prompt, extra / prompt_tokens as f64);
        }
    }

    /// Most prompt tokens for the next step, if it must not take long. Never less than one chunk: a prompt must get on.
    pub fn prompt_budget(&self, bounded: bool, n_batch: usize) -> usize {
        if !bounded {
            return n_batch;
        }
        let budget = match self.prompt {
            None => CHUNK,
            Some(seconds) => {
                let left = (self.max_stall - self.decode.unwrap_or(0.0)).max(0.0);
                // Bounded by n_batch right below; the cast saturates.
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "saturates, never negative"
                )]
                let tokens = (left / seconds.max(1e-9)) as usize;
                tokens
            }
        };
        budget.clamp(CHUNK.min(n_batch), n_batch)
    }
}

fn learn(mean: &mut Option<f64>, sample: f64) {
    *mean = Some(mean.map_or(sample, |old| old + NEWEST * (sample - old)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_the_whole_batch() {
        assert_eq!(Pace::new(Duration::from_millis(100)).prompt_budget(false, 512), 512);
    }

    #[test]
    fn starts_with_one_chunk_and_learns_the_rest() {
        let mut pace = Pace::new(Duration::from_millis(110));
        assert_eq!(pace.prompt_budget(true, 512), CHUNK);
        pace.measured(0, Duration::from_millis(10));
        // 64 tokens in 42 - 10 ms: half a millisecond each, so 100 ms hold 200.
        pace.measured(64, Duration::from_millis(42));
        assert_eq!(pace.prompt_budget(true, 512), 200);
        assert_eq!(pace.prompt_budget(true, 128), 128);
    }

    #[test]
    fn a_slow_machine_still_gets_on() {
        let mut pace = Pace::new(Duration::from_millis(50));
        pace.measured(0, Duration::from_millis(400));
        pace.measured(64, Duration::from_secs(6));
        assert_eq!(pace.prompt_budget(true, 512), CHUNK);
    }
}
