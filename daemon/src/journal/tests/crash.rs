//! Runs that are cut off: what was told is there.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;

/// Jobs of one writer.
const JOBS: u64 = 400;

/// Copies that are opened.
const COPIES: u64 = 25;

#[test]
fn every_copy_of_the_files_has_what_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    // Jobs up to these numbers were told to be accepted, and to have ended.
    let (accepted, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (path, accepted, ended) = (folder.path().to_owned(), Arc::clone(&accepted), Arc::clone(&ended));
        let (mut journal, _) = Journal::open(&settings(&path), TestClock::new(Some(WALL)).clock()).unwrap();
        thread::spawn(move || {
            let runtime = runtime();
            for number in 1..=JOBS {
                let name = number.to_string();
                let ticket = accept(&mut journal, JobId(number), &name).unwrap();
                committed(&runtime, &mut journal, ticket);
                accepted.store(number, Ordering::SeqCst);
                journal.start(JobId(number), 0);
                let ticket = journal.finish(JobId(number), long_outcome(&name)).unwrap().unwrap();
                committed(&runtime, &mut journal, ticket);
                ended.store(number, Ordering::SeqCst);
                journal.delivered(JobId(number));
            }
            close(&runtime, journal);
        })
    };
    let mut random = fastrand::Rng::with_seed(1);
    for turn in 1..=COPIES {
        while accepted.load(Ordering::SeqCst) < turn * JOBS / COPIES {
            thread::yield_now();
        }
        let (accepted, ended) = (accepted.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
        let copy = copy(folder.path());
        // A page that was being written when the power went.
        let torn: Vec<u8> = (0..random.usize(..5000)).map(|_| random.u8(..)).collect();
        let log = copy.path().join("journal.db-wal");
        std::fs::OpenOptions::new().append(true).open(log).unwrap().write_all(&torn).unwrap();
        check(copy.path(), accepted, ended);
    }
    writer.join().unwrap();
}

fn long_outcome(name: &str) -> Outcome {
    Outcome { payload: vec![b'x'; 9000].into(), ..outcome(name) }
}

fn check(folder: &Path, accepted: u64, ended: u64) {
    let (mut journal, recovery) = Journal::open(&settings(folder), TestClock::new(Some(WALL)).clock()).unwrap();
    assert_eq!((recovery.set_aside, recovery.unreadable), (None, 0));
    let open: BTreeSet<u64> = recovery.open.iter().map(|open| open.job.0).collect();
    for number in 1..=accepted {
        let name = number.to_string();
        let known = journal.find(&client(&name), &id(&name)).unwrap_or_else(|| panic!("{number} of {accepted}"));
        assert!(known.ended.is_some() != open.contains(&number));
        assert!(known.ended.is_some() || number > ended, "{number} had ended, as {ended} others");
    }
    let runtime = runtime();
    if ended > 0 {
        assert!(journal.fetch(JobId(ended)));
        let outcome = Some(long_outcome(&ended.to_string()));
        assert_eq!(next(&runtime, &mut journal), Event::Fetched { job: JobId(ended), outcome });
    }
    close(&runtime, journal);
}

#[test]
fn a_job_that_ends_the_daemon_each_time_is_known() {
    let mut bench = Bench::new();
    let (bad, _) = bench.accept("bad");
    let (good, _) = bench.accept("good");
    let ticket = bench.journal.start(bad, 0).unwrap();
    bench.commit(ticket);
    for deaths in 1..=3 {
        let recovery;
        (bench, recovery) = bench.cut_off();
        assert!(!recovery.clean);
        let of = |job| recovery.open.iter().find(|open| open.job == job).unwrap();
        assert_eq!((of(bad).deaths, of(good).deaths, of(bad).crashes), (deaths, 0, 0));
        assert!(of(bad).suspect && of(good).suspect);
        let ticket = bench.journal.start(bad, 0).unwrap();
        bench.commit(ticket);
    }
    // A run that ends as it should is nobody's fault.
    let (bench, recovery) = bench.reopen();
    assert!(recovery.clean && recovery.open.iter().all(|open| !open.suspect));
    assert_eq!(recovery.open[0].deaths, 3);
    let (_, recovery) = bench.reopen();
    assert_eq!(recovery.open[0].deaths, 3);
}

#[test]
fn only_promises_wait_for_the_disk_and_suspects() {
    let mut bench = Bench::new();
    let (job, ticket) = bench.accept("a");
    bench.commit(ticket);
    let (bench, _) = bench.cut_off();
    let batch_of = |change: &dyn Fn(&Journal) -> Option<Ticket>| {
        let mailbox = Arc::new(mailbox::Mailbox::default());
        let mut journal = Bench::new().journal;
        accept(&mut journal, JobId(1), "a").unwrap();
        journal.mailbox = Arc::clone(&mailbox);
        change(&journal).unwrap();
        mailbox.take(&throttle::Throttle::new(Duration::ZERO), None).batch
    };
    assert!(!batch_of(&|journal| journal.start(JobId(1), 0)).sync);
    assert!(!batch_of(&|journal| journal.put_back(JobId(1), 1)).sync);
    // This one was open when a run was cut off.
    let (mailbox, mut journal) = (Arc::new(mailbox::Mailbox::default()), bench.journal);
    let kept = std::mem::replace(&mut journal.mailbox, Arc::clone(&mailbox));
    journal.start(job, 0);
    assert!(mailbox.take(&throttle::Throttle::new(Duration::ZERO), None).batch.sync);
    journal.mailbox = kept;
}
