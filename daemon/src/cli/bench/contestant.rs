//! Who is measured: an engine of our own, or a server such as llama-server. Both get the same load.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use promptd::job::{OutputLimits, Task};

use super::runner::{Runner, words};
use super::server::Server;

/// One answer, as its client saw it.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Tokens of the prompt, template included.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub tokens: u32,
    /// From the request to the first token.
    pub first: Duration,
    /// From the request to the last token.
    pub total: Duration,
}

/// A load: so many answers at once, each stream so many one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Answers at once.
    pub streams: u32,
    /// Answers of each stream.
    pub answers: u32,
    /// Words of a prompt.
    pub words: u32,
    /// Tokens of an answer.
    pub tokens: u32,
}

/// What a load gave.
#[derive(Debug)]
pub struct Round {
    /// From the first request to the last answer.
    pub wall: Duration,
    /// Each answer.
    pub samples: Vec<Sample>,
}

/// One of those that are measured side by side.
pub enum Contestant {
    /// A child of this process.
    Engine(Box<Runner>),
    /// A server, and how many prompts it has got.
    Server(Server, u64),
}

impl Contestant {
    /// The largest memory of an engine's process so far, bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        match self {
            Self::Engine(runner) => runner.peak_memory(),
            Self::Server(..) => None,
        }
    }

    /// Keeps so many answers running until each stream has had its share. No two prompts are equal.
    pub async fn round(&mut self, work: Work) -> anyhow::Result<Round> {
        let start = Instant::now();
        let samples = match self {
            Self::Engine(runner) => of_engine(runner, work).await?,
            Self::Server(server, sent) => {
                let first = *sent;
                *sent += u64::from(work.streams * work.answers);
                of_server(server, work, first).await?
            }
        };
        Ok(Round { wall: start.elapsed(), samples })
    }
}

async fn of_engine(runner: &mut Runner, work: Work) -> anyhow::Result<Vec<Sample>> {
    let output = || OutputLimits { ignore_eos: true, ..OutputLimits::tokens(work.tokens) };
    let submit =
        |runner: &mut Runner| runner.submit(output(), |number| Task::Generate { prompt: words(number, work.words) });
    let all = work.streams * work.answers;
    let (mut submitted, mut samples) = (work.streams, Vec::new());
    for _ in 0..work.streams {
        submit(runner)?;
    }
    while samples.len() < all as usize {
        let answer = runner.answer().await?;
        samples.push(Sample {
            prompt_tokens: answer.usage.prompt_tokens,
            tokens: answer.usage.generated_tokens,
            first: answer.prefill,
            total: answer.prefill + answer.decode,
        });
        if submitted < all {
            submitted += 1;
            submit(runner)?;
        }
    }
    Ok(samples)
}

async fn of_server(server: &Server, work: Work, first: u64) -> anyhow::Result<Vec<Sample>> {
    let stream = |number: u64| async move {
        let mut samples = Vec::new();
        for answer in 0..u64::from(work.answers) {
            let prompt = words(first + number * u64::from(work.answers) + answer, work.words);
            samples.push(server.answer(&prompt, work.tokens).await?);
        }
        anyhow::Ok(samples)
    };
    let mut streams: FuturesUnordered<_> = (0..u64::from(work.streams)).map(stream).collect();
    let mut samples = Vec::new();
    while let Some(of_stream) = streams.next().await {
        samples.extend(of_stream?);
    }
    Ok(samples)
}
