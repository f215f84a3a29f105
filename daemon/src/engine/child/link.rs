//! The child's end of the socket: one thread reads, one writes and reports progress, the batch loop never waits for either.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::protocol::{DELTA_CREDITS, EngineLoad, FromChild, HEARTBEAT, Phase, ToChild};
use crate::job::JobId;

use super::{frame, logs, sandbox};

/// Messages that may wait for the batch loop: the daemon keeps fewer jobs, cancels and credits under way than this.
const INBOX: usize = 1024;

/// Frames that may wait for the socket besides the deltas, which have credits: final answers and load progress.
const OUTBOX: usize = 256;

/// How often an idle child turns its loop: often enough that its counter has grown at each heartbeat.
pub const IDLE_TURN: Duration = Duration::from_millis(200);

/// What the threads of a child share.
pub struct Shared {
    /// Grows with everything that is done.
    counter: AtomicU64,
    phase: AtomicU8,
    context_tokens: AtomicU64,
    generated_tokens: AtomicU64,
    threads: AtomicU32,
    prefix_bytes: AtomicU64,
    /// Makes llama.cpp leave the compute graph that it is working on.
    abort: AtomicBool,
    /// Jobs whose prompt is part of the step that runs now, so that it is worth an abort when they shall leave.
    prefilling: Mutex<Vec<JobId>>,
}

impl Shared {
    fn new() -> Self {
        Self {
            counter: AtomicU64::new(0),
            phase: AtomicU8::new(phase_number(Phase::Starting)),
            context_tokens: AtomicU64::new(0),
            generated_tokens: AtomicU64::new(0),
            threads: AtomicU32::new(0),
            prefix_bytes: AtomicU64::new(0),
            abort: AtomicBool::new(false),
            prefilling: Mutex::new(Vec::new()),
        }
    }

    /// Says what the child is at now.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase_number(phase), Ordering::Relaxed);
        self.progress();
    }

    /// Counts one thing done. Two threads that count at once may count one: the daemon only looks for a change.
    pub fn progress(&self) {
        self.counter.store(self.counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Says how many tokens are in memory now, and how many were chosen since this was said last.
    pub fn loaded(&self, context_tokens: usize, generated: usize) {
        self.context_tokens.store(context_tokens as u64, Ordering::Relaxed);
        self.generated_tokens.fetch_add(generated as u64, Ordering::Relaxed);
    }

    /// Says how many threads compute from now on.
    pub fn computes_with(&self, threads: u32) {
        self.threads.store(threads, Ordering::Relaxed);
    }

    /// Says how many bytes are kept of prompts now.
    pub fn keeps(&self, bytes: usize) {
        self.prefix_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the running step should be left; asked for each node of the graph, so it counts as progress.
    pub fn should_abort(&self) -> bool {
        self.progress();
        let abort = self.abort.load(Ordering::Relaxed);
        if abort {
            logs::expect_abort(true);
        }
        abort
    }

    /// Announces whose prompts the next step computes. Look at the inbox after this and before the step: a cancel or park is
    /// then either in the inbox or aborts the step.
    pub fn announce_prefill(&self, jobs: Vec<JobId>) {
        let mut prefilling = self.prefilling.lock().unwrap_or_else(PoisonError::into_inner);
        *prefilling = jobs;
        self.abort.store(false, Ordering::Relaxed);
        logs::expect_abort(false);
    }

    fn leave(&self, job: JobId) {
        let prefilling = self.prefilling.lock().unwrap_or_else(PoisonError::into_inner);
        if prefilling.contains(&job) {
            self.abort.store(true, Ordering::Relaxed);
        }
    }

    fn heartbeat(&self) -> FromChild {
        let phase = match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Loading,
            2 => Phase::Warming,
            3 => Phase::Idle,
            4 => Phase::Working,
            _ => Phase::Resting,
        };
        let load = EngineLoad {
            context_tokens: self.context_tokens.load(Ordering::Relaxed),
            generated_tokens: self.generated_tokens.load(Ordering::Relaxed),
            threads: self.threads.load(Ordering::Relaxed),
            prefix_bytes: self.prefix_bytes.load(Ordering::Relaxed),
        };
        FromChild::Heartbeat { phase, counter: self.counter.load(Ordering::Relaxed), load }
    }
}

fn phase_number(phase: Phase) -> u8 {
    match phase {
        Phase::Starting => 0,
        Phase::Loading => 1,
        Phase::Warming => 2,
        Phase::Idle => 3,
        Phase::Working => 4,
        Phase::Resting => 5,
    }
}

/// A message of the daemon and when it came.
pub struct Received {
    /// What it says.
    pub message: ToChild,
    /// When it was read from the socket.
    pub at: Instant,
}

/// The batch loop's view of the daemon.
pub struct Link {
    /// Jobs, cancels and credits, in order.
    pub inbox: Receiver<Received>,
    /// Progress and abort.
    pub shared: Arc<Shared>,
    outbox: SyncSender<FromChild>,
    writer: JoinHandle<()>,
}

impl Link {
    /// Starts both threads.
    pub fn start(stream: UnixStream) -> io::Result<Self> {
        let shared = Arc::new(Shared::new());
        let (inbox_in, inbox) = sync_channel(INBOX);
        let (outbox, outbox_out) = sync_channel(OUTBOX + DELTA_CREDITS as usize);
        let reader = stream.try_clone()?;
        let for_reader = Arc::clone(&shared);
        let for_writer = Arc::clone(&shared);
        std::thread::Builder::new().name("reader".into()).spawn(move || read(reader, &inbox_in, &for_reader))?;
        let writer =
            std::thread::Builder::new().name("writer".into()).spawn(move || write(stream, &outbox_out, &for_writer))?;
        Ok(Self { inbox, shared, outbox, writer })
    }

    /// Sends what must arrive. Waits only while the daemon reads nothing at all.
    pub fn send(&self, message: FromChild) {
        // The writer ends only with the process.
        let _ = self.outbox.send(message);
    }

    /// Writes everything that was sent, then ends.
    pub fn finish(self) {
        drop(self.outbox);
        // A writer that panicked has nothing left to say.
        let _ = self.writer.join();
    }

    /// Sends what may be left out when the daemon is slow.
    pub fn offer(&self, message: FromChild) {
        match self.outbox.try_send(message) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// The end of the stream is the first sign that the daemon has died: nobody is left to answer to.
fn read(stream: UnixStream, inbox: &SyncSender<Received>, shared: &Shared) {
    let mut stream = BufReader::new(stream);
    loop {
        match frame::read::<ToChild>(&mut stream) {
            Ok(Some(message)) => {
                // Who makes room shall not keep the other waiting for the rest of a prompt.
                let leaving = if let ToChild::Cancel(job) | ToChild::Park(job) = message { Some(job) } else { None };
                if inbox.send(Received { message, at: Instant::now() }).is_err() {
                    sandbox::end_now();
                }
                if let Some(job) = leaving {
                    shared.leave(job);
                }
            }
            Ok(None) => sandbox::end_now(),
            Err(e) => {
                tracing::error!("cannot read from the daemon: {e}");
                sandbox::end_now();
            }
        }
    }
}

fn write(mut stream: UnixStream, outbox: &Receiver<FromChild>, shared: &Shared) {
    let mut due = Instant::now();
    loop {
        let message = match outbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                due = Instant::now() + HEARTBEAT;
                shared.heartbeat()
            }
            // The batch loop has returned: everything it said has been written.
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(e) = frame::write(&mut stream, &message) {
            tracing::error!("cannot write to the daemon: {e}");
            sandbox::end_now();
        }
    }
}
