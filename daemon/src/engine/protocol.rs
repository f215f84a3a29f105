//! What the daemon and an engine child say to each other, over a Unix socket pair.
//!
//! A frame is a big-endian `u32` length and that many bytes of postcard. The first frame of the child is a [`Hello`];
//! then the daemon sends [`ToChild::Load`], and jobs once it has seen [`FromChild::Loaded`].

mod prefixes;
mod sizes;
mod tuning;

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::prefixes::{Instructions, Opening, PrefixFolder, Prefixes, SessionNumber, SessionUse};
pub use self::sizes::{BufferSizes, Buffers, CpuBackend, GpuDevice, MeasureParams, MeasurePoint, MeasureReport};
pub use self::tuning::{Place, TuneParams, TuneReport};
use super::Duty;
use super::derive::FileType;
pub use super::real_memory::RealMemory;
use crate::job::{ErrorCode, Finish, JobId, Output, OutputLimits, Overflow, Sampling, Task, TokenLogprob, Usage};
use crate::plan::{GpuLayers, LoadShape, Tuning};

/// Raised with every change to a message of this file.
pub const PROTOCOL: u16 = 14;

/// Which version this is. A daemon talks only to children of its own version.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Largest frame in bytes: a prompt or an answer at its configured limit, with room to spare.
pub const FRAME_MAX: usize = 8 * 1024 * 1024;

/// How many deltas may be on their way from the child to the driver at once.
pub const DELTA_CREDITS: u32 = 128;

/// The descriptor on which a child finds its socket.
pub const SOCKET_FD: i32 = 3;

/// The descriptor on which a child finds its model file.
pub const MODEL_FD: i32 = 4;

/// The descriptor on which a child finds the file that it shall write, when it has to write one.
pub const OUTPUT_FD: i32 = 5;

/// Jobs that an encoder takes at once: with short texts of this many jobs it fills a step, and a job of many long texts does
/// not keep others out.
pub const ENCODER_JOBS: u32 = 32;

/// How often a child reports its progress counter.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// The child's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the child.
    pub protocol: u16,
    /// [`BUILD`] of the child.
    pub build: String,
}

impl Hello {
    /// The greeting of this build.
    pub fn own() -> Self {
        Self { protocol: PROTOCOL, build: BUILD.to_owned() }
    }
}

/// From the daemon to the child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToChild {
    /// Load the model; sent once.
    Load(LoadParams),
    /// Find out what loading the model would take, without doing it; sent instead of a load.
    Measure(MeasureParams),
    /// Measure speed and quality; sent instead of a load.
    Tune(TuneParams),
    /// Write the model once more in another type; sent instead of a load.
    Quantize(QuantizeParams),
    /// Start a job. Never more than [`ModelReport::sequences`] run at once.
    Submit(Box<EngineJob>),
    /// Stop a job that is running, or forget one that is parked, of which nothing is said any more.
    Cancel(JobId),
    /// Let a running job make room for another; it is answered with [`FromChild::Parked`], unless the job ended just now.
    Park(JobId),
    /// Go on with a parked job.
    Resume(JobId),
    /// The driver has taken this many deltas.
    Credit(u32),
    /// What prompts of the operator's begin with from now on.
    Openings(Vec<Opening>),
    /// Forget what the sessions of a client have left, or one of them.
    Forget {
        /// Whose.
        client: u64,
        /// Which; none is all.
        session: Option<u64>,
    },
    /// Give back memory that is not needed now, and keep nothing that is only there to be fast.
    Trim,
    /// Memory is short no more.
    Ease,
    /// Compute so much of the time from now on.
    Duty(Duty),
}

/// From the child to the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromChild {
    /// Still alive; the counter has grown if anything was done.
    Heartbeat {
        /// What the child is at.
        phase: Phase,
        /// Grows with every turn of the loop and every node of a compute graph.
        counter: u64,
        /// How much it does.
        load: EngineLoad,
    },
    /// How much of the model file has been read, 0 to 1.
    LoadProgress(f32),
    /// The model answered its golden prompt.
    Loaded(Box<ModelReport>),
    /// The model cannot be used; the child ends.
    LoadFailed(String),
    /// What loading would take; the child ends.
    Measured(MeasureReport),
    /// How fast it is, and what it says; the child ends.
    Tuned(Box<TuneReport>),
    /// The other file is written; the child ends.
    Quantized,
    /// A piece of an answer, in order.
    Delta {
        /// Whose answer.
        job: JobId,
        /// The text since the last delta.
        text: String,
    },
    /// A job's whole answer.
    Finished {
        /// Which job.
        job: JobId,
        /// The answer.
        answer: Answer,
    },
    /// A job runs no more and can go on from where it was.
    Parked(JobId),
    /// A job ended without an answer.
    Failed {
        /// Which job.
        job: JobId,
        /// Why.
        code: ErrorCode,
        /// For the client's developer; never quotes text.
        message: String,
        /// By how much its prompt was too long, if it was.
        overflow: Option<Overflow>,
    },
}

/// How much a child does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineLoad {
    /// Tokens of all jobs together that are in its context memory.
    pub context_tokens: u64,
    /// Tokens that it has chosen since it was started.
    pub generated_tokens: u64,
    /// Threads that compute; 0 before it serves.
    pub threads: u32,
    /// Bytes that are kept of prompts.
    pub prefix_bytes: u64,
}

/// What a child is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Starting up.
    Starting,
    /// Reading the model.
    Loading,
    /// Answering the golden prompt.
    Warming,
    /// Waiting for jobs.
    Idle,
    /// Computing.
    Working,
    /// Waiting although there are jobs: it shall not compute all the time.
    Resting,
}

/// How to load a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadParams {
    /// Folders of the back ends to load, in this order.
    pub backends: Vec<String>,
    /// What the model does, by its file.
    pub kind: ModelKind,
    /// Where the layers go.
    pub layers: GpuLayers,
    /// Context, sequences and the type of the KV cache.
    pub shape: LoadShape,
    /// Threads that compute.
    pub threads: ThreadCount,
    /// The other settings that decide how fast it is.
    pub tuning: Tuning,
    /// Longest time that a prompt may delay the next token of another job.
    pub max_stall: Duration,
    /// Same output alone and under load.
    pub reproducible: bool,
    /// Bytes of the longest prompt.
    pub prompt_bytes: u64,
    /// Whether each class of a classification head has a score of its own.
    pub multi_label: bool,
    /// The prompt that the model must answer before it is used.
    pub golden: Golden,
    /// Whether to compute a step as large as they get before it is used. Left out when jobs wait for the model to come back.
    pub warm_up: bool,
    /// What is kept of prompts.
    pub prefixes: Prefixes,
}

impl LoadParams {
    /// Jobs that run at once.
    pub fn jobs(&self) -> u32 {
        match self.kind {
            ModelKind::Decoder => self.shape.sequences,
            ModelKind::Encoder => ENCODER_JOBS,
        }
    }
}

/// How many threads compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThreadCount {
    /// Always so many.
    Fixed(u32),
    /// So many, and fewer while other programs want the processors.
    UpTo(u32),
}

impl ThreadCount {
    /// The most that compute at once.
    pub fn most(self) -> u32 {
        match self {
            Self::Fixed(threads) | Self::UpTo(threads) => threads,
        }
    }
}

/// What a model does with text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelKind {
    /// Goes on with it.
    Decoder,
    /// Makes an embedding or scores of it, and remembers nothing.
    Encoder,
}

/// How to write a model once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuantizeParams {
    /// What the file becomes.
    pub file_type: FileType,
    /// Threads that compute.
    pub threads: u32,
}

/// The test that a model passes before it serves.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Golden {
    /// The loss on a shipped sentence.
    Loss,
    /// The operator's prompt, whose greedy answer must match.
    Answer {
        /// The prompt.
        prompt: String,
        /// A regular expression.
        expect: String,
    },
}

impl std::fmt::Debug for Golden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Golden::Loss => "Loss",
            Golden::Answer { .. } => "Answer",
        })
    }
}

/// A job as the child needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineJob {
    /// The daemon's number for it.
    pub id: JobId,
    /// What to answer.
    pub task: Task,
    /// Messages of a chat that a session remembers. Where the context is full, its oldest turns are left out.
    pub memory: Range<usize>,
    /// The instructions of the operator's that it is made of. What they begin with is found by such a job only: others could find out by
    /// guesses what an operator has written.
    pub instructions: Option<Instructions>,
    /// The session that it is a turn of: what its prompt has in common with the turn before need not be computed again.
    pub session: Option<SessionUse>,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Where to stop, and in what form.
    pub output: OutputLimits,
    /// Send deltas.
    pub stream: bool,
}

/// A job's answer and what it cost the child.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What it is.
    pub output: Output,
    /// Text that no delta has carried yet.
    pub last_delta: Option<String>,
    /// Why it ended.
    pub finish: Finish,
    /// How likely each token was, if that was asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Remembered turns that were left out.
    pub dropped: u32,
    /// Tokens.
    pub usage: Usage,
    /// From the child's receipt to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({:?}, {:?}, {:?})", self.output, self.finish, self.usage)
    }
}

/// What a loaded model is, as llama.cpp sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReport {
    /// Such as `llama 134M Q4_1`.
    pub description: String,
    /// Tokens of context for each sequence, as rounded by llama.cpp.
    pub context: u32,
    /// Jobs that run at once.
    pub sequences: u32,
    /// Threads that compute.
    pub threads: u32,
    /// Whether the model's own chat template is used.
    pub chat_template: bool,
    /// Devices that compute, such as `CPU`.
    pub devices: Vec<String>,
    /// CPU features of the loaded back end.
    pub cpu_features: String,
    /// What the process really holds after a step as large as they get.
    pub memory: RealMemory,
    /// Time from the start of the load to the passed golden prompt.
    pub load_time: Duration,
}
