//! What the journal takes.

use super::*;

const SIZE_MAX: u64 = 12 << 20;

fn small(folder: &Path) -> Settings {
    Settings { size_max: Bytes(SIZE_MAX), ..settings(folder) }
}

/// What the files have together.
fn on_disk(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn new<'a>(request: &'a Request, reply: &'a ReplyTo, model: &'a ModelName, outcome_max: u64) -> NewJob<'a> {
    NewJob { request, reply, model, fingerprint: [1; 32], waited: Duration::ZERO, outcome_max, session_max: None }
}

/// Accepts jobs of all sizes until there is no room; then they all end with their largest outcomes.
fn fill(journal: &mut Journal, runtime: &Runtime, random: &mut fastrand::Rng, first: u64) -> Vec<(JobId, u64)> {
    let mut jobs = Vec::new();
    let refused = loop {
        let number = first + jobs.len() as u64;
        let name = number.to_string();
        let prompt = "p".repeat(1 << random.u32(0..16));
        let request = Request { task: Task::Generate { prompt }, ..request(&name) };
        let bits = random.u32(1..18);
        let outcome_max = 4096 + random.u64(..1 << bits);
        match journal.accept(JobId(number), new(&request, &reply(&name), &model(), outcome_max)) {
            Ok(ticket) => {
                committed(runtime, journal, ticket);
                jobs.push((JobId(number), outcome_max));
            }
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("journal.size_max"), "{refused}");
    jobs
}

#[test]
fn an_outcome_larger_than_expected_is_taken_where_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(&small(folder.path()), TestClock::new(Some(WALL)).clock()).unwrap();
    let request = request("long");
    journal.accept(JobId(1), new(&request, &reply("long"), &model(), 5000)).unwrap();
    let used = journal.usage().used;
    let larger = Outcome { payload: vec![b'z'; 100_000].into(), ..outcome("x") };
    let ticket = journal.finish(JobId(1), larger).unwrap().unwrap();
    assert!(journal.usage().used.0 > used.0 + 80_000);
    committed(&runtime(), &mut journal, ticket);
}

#[test]
fn an_accepted_job_s_outcome_always_has_room_and_removed_rows_give_theirs_back() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let (mut journal, _) = Journal::open(&small(folder.path()), TestClock::new(Some(WALL)).clock()).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let mut first = 1;
    for round in 0..8 {
        let jobs = fill(&mut journal, &runtime, &mut random, first);
        assert!(jobs.len() > 5, "{} jobs in round {round}", jobs.len());
        first += jobs.len() as u64;
        let mut last = None;
        for (job, outcome_max) in &jobs {
            let mut largest = outcome("x");
            let payload = usize::try_from(outcome_max - (largest.size() - largest.payload.len() as u64)).unwrap();
            largest.payload = vec![b'z'; payload].into();
            assert_eq!(largest.size(), *outcome_max);
            // More than there is in all.
            let more = Outcome { payload: vec![b'z'; usize::try_from(SIZE_MAX).unwrap()].into(), ..largest.clone() };
            let error = OutcomeTooLarge { size: Bytes(more.size()), max: Bytes(*outcome_max) };
            assert_eq!(journal.finish(*job, more), Err(error));
            last = journal.finish(*job, largest).unwrap();
            journal.delivered(*job);
            // One transaction each, so that the log has its bounds.
            committed(&runtime, &mut journal, last.unwrap());
        }
        committed(&runtime, &mut journal, last.unwrap());
        assert!(journal.is_writable());
        let taken = on_disk(folder.path());
        assert!(taken <= SIZE_MAX, "{taken} bytes in round {round}");
        // Half of them go, in no order.
        for (job, _) in jobs.iter().filter(|_| round % 2 == 1 || random.bool()) {
            journal.remove(*job);
        }
        if round % 2 == 1 {
            journal.forget(None);
            assert_eq!(journal.usage().used, Bytes(0));
        }
    }
    let used = journal.usage();
    close(&runtime, journal);
    let (journal, recovery) = Journal::open(&small(folder.path()), TestClock::new(Some(WALL)).clock()).unwrap();
    let again = journal.usage();
    assert_eq!((again.open, again.outcomes, again.used), (used.open, used.outcomes, used.used));
    assert!(recovery.open.is_empty());
}

#[test]
fn what_is_set_aside_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let (mut journal, _) = Journal::open(&small(folder.path()), TestClock::new(Some(WALL)).clock()).unwrap();
    fill(&mut journal, &runtime, &mut fastrand::Rng::with_seed(4), 1);
    let used = journal.usage().used;
    close(&runtime, journal);
    let (mut journal, _) = Journal::open(&small(folder.path()), TestClock::new(Some(WALL)).clock()).unwrap();
    assert_eq!(journal.usage().used, used);
    // An error always fits, even for a job that asked for no room.
    assert!(journal.finish(JobId(1), Outcome { error: Some(ErrorCode::Internal), ..outcome("1") }).is_ok());
}

#[test]
fn questions_are_counted() {
    let mut bench = Bench::new();
    let job = bench.ended("a");
    let asked = (0..100).filter(|_| bench.journal.fetch(job)).count();
    assert!((16..100).contains(&asked), "{asked}");
    for _ in 0..asked {
        assert_eq!(bench.event(), Event::Fetched { job, outcome: Some(outcome("a")) });
    }
    assert!(bench.journal.fetch(job));
}

#[test]
fn changes_within_the_window_are_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { commit_window: Duration::from_millis(300), ..settings(folder.path()) };
    let (mut journal, _) = Journal::open(&settings, TestClock::new(None).clock()).unwrap();
    let runtime = runtime();
    let tickets: Vec<Ticket> =
        (1..=20).map(|number| accept(&mut journal, JobId(number), &number.to_string()).unwrap()).collect();
    assert!(tickets.is_sorted());
    let last = Event::Committed(*tickets.last().unwrap());
    // The first finds a quiet disk.
    let first = next(&runtime, &mut journal);
    assert!(first == last || next(&runtime, &mut journal) == last, "{first:?}");
}
