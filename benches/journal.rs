//! What the journal costs: small jobs a second, from their receipt to the mark that the broker has the answer, and what each
//! of them makes the kernel write.
//!
//! Jobs run one after the other, which is the worst case for the flash, and 64 at a time, as many as a broker sends ahead.
//! Then come lone ones, which compute for a while and meet a quiet disk: what their clients wait for it.
//! The bytes are those of `write_bytes` in `/proc/self/io` (proc(5)): pages that became dirty, so that a page that is
//! written twice before the disk gets it counts twice, and what the file system writes for itself is not in it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers that prints its figures")]

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use promptd::config::Durability;
use promptd::job::{
    ClientName, JobId, ModelName, OutputLimits, Priority, ReplyFormat, ReplyTo, Request, RequestId, Sampling, Task,
};
use promptd::journal::{Event, Journal, Moment, NewJob, Outcome, Settings, Ticket};
use promptd::plan::Bytes;
use tokio::runtime::Builder;

/// Each measurement takes so long.
const TIME: Duration = Duration::from_secs(4);

/// A lone job computes for so long, and so long later comes the next.
const COMPUTING: Duration = Duration::from_millis(20);

/// Lone jobs in a measurement.
const LONE: u32 = 50;

/// A short question and a short answer.
const PROMPT: &str = "Is the door of the cold room open? Answer yes or no.";
const ANSWER: &str = r#"{"event":"result","id":"7","node":"gw1-a1b2c3","task":"generate","output":"yes","finish":"stop","model":"main","strategy":"cpu:int8","usage":{"prompt_tokens":31,"cached_tokens":24,"generated_tokens":12},"timings":{"queue_ms":3,"prefill_ms":41,"decode_ms":130,"total_ms":175},"deltas":0}"#;

fn main() {
    let millis = Duration::from_millis;
    println!("{:<22} {:>9} {:>10} {:>13} {:>14}", "journal", "at a time", "jobs/s", "bytes/job", "to the PUBACK");
    for window in [0, 2, 5, 10].map(millis) {
        for jobs in [1, 64] {
            measure(&format!("full, window {window:?}"), Durability::Full, window, jobs);
        }
    }
    for jobs in [1, 64] {
        measure("memory, window 0ns", Durability::Memory, Duration::ZERO, jobs);
    }
    println!("\n{:<22} {:>14} {:>14}", "a lone job", "to the PUBACK", "to its answer");
    for window in [0, 2, 5, 10].map(millis) {
        measure_lone(&format!("full, window {window:?}"), window);
    }
}

/// The time from receipt to the PUBACK, and that from the end of its computation to its answer; medians.
fn measure_lone(name: &str, commit_window: Duration) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut journal = open(folder.path(), Durability::Full, commit_window);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let committed = |journal: &mut Journal, ticket: Ticket| {
        let start = Instant::now();
        while !journal.is_committed(ticket) {
            runtime.block_on(journal.next_event());
        }
        start.elapsed()
    };
    let (mut accepted, mut ended) = (Vec::new(), Vec::new());
    for job in (1..=LONE.into()).map(JobId) {
        let ticket = accept(&mut journal, job);
        journal.start(job, 0);
        accepted.push(committed(&mut journal, ticket));
        std::thread::sleep(COMPUTING);
        let ticket = journal.finish(job, outcome(job)).unwrap().unwrap();
        ended.push(committed(&mut journal, ticket));
        journal.delivered(job);
        std::thread::sleep(COMPUTING);
    }
    runtime.block_on(journal.close());
    let [accepted, ended] = [accepted, ended].map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    println!("{name:<22} {accepted:>14.1?} {ended:>14.1?}");
}

fn open(folder: &Path, durability: Durability, commit_window: Duration) -> Journal {
    let settings = Settings { folder: folder.to_owned(), durability, commit_window, size_max: Bytes(4 << 30) };
    let start = Instant::now();
    Journal::open(&settings, Box::new(move || Moment { running: start.elapsed(), wall: None })).unwrap().0
}

/// Where a job is.
enum Phase {
    Accepted(Instant),
    Ended,
}

fn measure(name: &str, durability: Durability, commit_window: Duration, jobs: usize) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut journal = open(folder.path(), durability, commit_window);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let written = written();
    let (start, mut waits, mut last, mut done) = (Instant::now(), VecDeque::new(), 0, 0_u32);
    let mut waited = Duration::ZERO;
    while start.elapsed() < TIME {
        while waits.len() < jobs {
            last += 1;
            let at = Instant::now();
            waits.push_back((accept(&mut journal, JobId(last)), JobId(last), Phase::Accepted(at)));
        }
        let Event::Committed(ticket) = runtime.block_on(journal.next_event()) else { panic!("the disk does not work") };
        while let Some((_, job, phase)) = waits.pop_front_if(|(wanted, ..)| *wanted <= ticket) {
            match phase {
                Phase::Accepted(at) => {
                    waited += at.elapsed();
                    journal.start(job, 0);
                    let ended = journal.finish(job, outcome(job)).unwrap().unwrap();
                    waits.push_back((ended, job, Phase::Ended));
                }
                Phase::Ended => {
                    journal.delivered(job);
                    done += 1;
                }
            }
        }
        // What was accepted meanwhile waits behind what ended meanwhile.
        waits.make_contiguous().sort_by_key(|(ticket, ..)| *ticket);
    }
    let time = start.elapsed();
    runtime.block_on(journal.close());
    let bytes = (self::written() - written) / u64::from(done.max(1));
    let rate = f64::from(done) / time.as_secs_f64();
    println!("{name:<22} {jobs:>9} {rate:>10.0} {bytes:>13} {:>14.1?}", waited / done.max(1));
}

fn accept(journal: &mut Journal, job: JobId) -> Ticket {
    let request = Request {
        id: RequestId::new(job.to_string()).unwrap(),
        client: ClientName::new("door-7").unwrap(),
        defined: None,
        task: Task::Generate { prompt: PROMPT.to_owned() },
        model: None,
        session: None,
        sampling: Sampling::default(),
        output: OutputLimits::tokens(12),
        priority: Priority::Normal,
        deadline: Duration::from_mins(5),
        stream: false,
        ack: false,
    };
    let reply = ReplyTo {
        topic: topic(job),
        correlation: None,
        reference: None,
        echo: serde_json::Map::new(),
        format: ReplyFormat::Json,
        parts: false,
        errors: true,
    };
    let model = ModelName::new("main").unwrap();
    let (fingerprint, waited) = ([7; 32], Duration::ZERO);
    let new = NewJob {
        request: &request,
        reply: &reply,
        model: &model,
        fingerprint,
        waited,
        outcome_max: 4096,
        session_max: None,
    };
    journal.accept(job, new).unwrap()
}

fn outcome(job: JobId) -> Outcome {
    let content_type = Some("application/json".to_owned());
    Outcome { error: None, topic: topic(job), payload: ANSWER.into(), content_type, correlation: None, part_head: None }
}

fn topic(job: JobId) -> String {
    format!("promptd/gw1-a1b2c3/response/door-7/{job}")
}

/// Bytes that this process has made the kernel write.
fn written() -> u64 {
    let text = fs::read_to_string(Path::new("/proc/self/io")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}
