//! An engine that runs jobs to be measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use promptd::engine::protocol::{
    Answer, EngineJob, Golden, Instructions, LoadParams, ModelKind, ModelReport, Opening, PrefixFolder, Prefixes,
    ThreadCount,
};
use promptd::engine::{Engine, EngineEnd, EngineEvent, EngineId, EngineReport, EngineSpec, ModelFile, backends_folder};
use promptd::health::{Roots, process_memory};
use promptd::job::{JobId, Message, ModelName, OutputLimits, Sampling, Task, TaskName};
use promptd::plan::{Bytes, GpuLayers, KvType, LoadShape, Tuning};
use tokio::sync::mpsc;

/// Words for texts that no two jobs share.
const WORDS: [&str; 24] = [
    "river", "engine", "light", "number", "garden", "signal", "winter", "copper", "bridge", "market", "yellow",
    "thunder", "paper", "window", "island", "method", "silver", "travel", "corner", "animal", "sensor", "harbor",
    "candle", "planet",
];

/// What may be kept of prompts, in memory and on disk: large models have large ones.
const PREFIXES: Bytes = Bytes(1 << 30);

/// How a model is loaded.
pub struct Load {
    /// What it does.
    pub kind: ModelKind,
    /// Tokens of context for each sequence.
    pub context: u32,
    /// Sequences.
    pub sequences: u32,
    /// Threads that compute.
    pub threads: ThreadCount,
}

/// A running engine.
pub struct Runner {
    engine: Engine,
    reports: mpsc::Receiver<EngineReport>,
    pid: Option<u32>,
    jobs: u64,
    /// The task whose jobs it gets.
    instructions: Option<Instructions>,
}

impl Runner {
    /// Starts it and waits until the model is loaded.
    pub async fn start(file: Arc<ModelFile>, load: Load) -> anyhow::Result<(Self, ModelReport)> {
        Self::start_with(file, load, None).await
    }

    /// The same with a folder for what is kept of prompts.
    pub async fn start_with(
        file: Arc<ModelFile>,
        load: Load,
        folder: Option<PathBuf>,
    ) -> anyhow::Result<(Self, ModelReport)> {
        let Load { kind, context, sequences, threads } = load;
        let spec = EngineSpec {
            model: ModelName::new("bench")?,
            load: LoadParams {
                backends: vec![format!("{}/cpu", backends_folder()?.display())],
                kind,
                layers: GpuLayers::None,
                shape: LoadShape { context, sequences, kv_type: KvType::F16 },
                threads,
                tuning: Tuning::default(),
                max_stall: Duration::from_millis(250),
                reproducible: false,
                prompt_bytes: 16 * u64::from(context),
                multi_label: false,
                golden: Golden::Loss,
                warm_up: true,
                prefixes: Prefixes {
                    most: PREFIXES,
                    model: file.sha256.clone(),
                    disk: folder.map(|path| PrefixFolder { path, most: PREFIXES, reserve: Bytes(0) }),
                },
            },
            file,
            load_timeout: Duration::from_mins(10),
            heartbeat_timeout: Duration::from_mins(1),
        };
        let (driver, mut reports) = mpsc::channel(256);
        let engine = Engine::start(spec, EngineId(1), driver);
        let mut pid = None;
        loop {
            match reports.recv().await.context("the engine is gone")?.event {
                EngineEvent::Started(child) => pid = Some(child),
                EngineEvent::Ready(report) => {
                    return Ok((Self { engine, reports, pid, jobs: 0, instructions: None }, *report));
                }
                EngineEvent::Gone(end) => bail!(why(end)),
                _ => {}
            }
        }
    }

    /// Further jobs are of a task whose prompts begin with these messages, the last of which goes on.
    pub fn set_opening(&mut self, messages: Vec<Message>) -> anyhow::Result<()> {
        let instructions = Instructions { task: TaskName::new("bench")?, step: None };
        self.instructions = Some(instructions.clone());
        let taken = self.engine.set_openings(vec![Opening { instructions, messages }]);
        if taken { Ok(()) } else { bail!("the engine takes no openings") }
    }

    /// Starts a job whose task is made of its number.
    pub fn submit(&mut self, output: OutputLimits, task: impl FnOnce(u64) -> Task) -> anyhow::Result<()> {
        self.jobs += 1;
        let (id, task) = (JobId(self.jobs), task(self.jobs));
        let (instructions, sampling) = (self.instructions.clone(), Sampling::default());
        let job = EngineJob { id, task, memory: 0..0, instructions, session: None, sampling, output, stream: false };
        if self.engine.submit(job) { Ok(()) } else { bail!("the engine took no job") }
    }

    /// The largest memory that the child has had, mapped files included, bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        Some(process_memory(&Roots::this(), self.pid?)?.peak)
    }

    /// The next answer.
    pub async fn answer(&mut self) -> anyhow::Result<Answer> {
        loop {
            match self.reports.recv().await.context("the engine is gone")?.event {
                EngineEvent::Ended { result, .. } => return Ok(result?),
                EngineEvent::Gone(end) => bail!(why(end)),
                _ => {}
            }
        }
    }
}

/// Opens and hashes a model's file.
pub async fn open(model: &Path) -> anyhow::Result<Arc<ModelFile>> {
    let path = model.to_owned();
    Ok(Arc::new(tokio::task::spawn_blocking(move || ModelFile::open(&path, None)).await??))
}

/// So many words in an order that depends on the number.
pub fn words(number: u64, count: u32) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    let words: Vec<&str> = (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
    words.join(" ")
}

fn why(end: EngineEnd) -> anyhow::Error {
    match end {
        EngineEnd::Failed { error, .. } => error.into(),
        EngineEnd::Stopped => anyhow::anyhow!("the engine was stopped"),
    }
}
