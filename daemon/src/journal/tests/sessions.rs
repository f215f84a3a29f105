//! What sessions remember is kept with the outcomes of their turns.

use super::*;
use crate::job::{Memory, Message, Role, SessionName};

fn session(name: &str) -> SessionName {
    SessionName::new(name).unwrap()
}

/// A memory of so many turns.
fn memory(turns: usize) -> Memory {
    let turn = |turn: usize| [Message { role: Role::User, content: format!("a secret of {turn}") }];
    (0..turns).fold(Memory::default(), |memory, number| memory.with(&turn(number), "answer", 1 << 20).unwrap())
}

/// One that takes about so many bytes.
fn large(bytes: usize) -> Memory {
    let message = Message { role: Role::User, content: "x".repeat(bytes) };
    Memory::default().with(&[message], "", 1 << 26).unwrap()
}

impl Bench {
    /// A turn of a session is done; of the client in its name, `client/id`.
    fn turn(&mut self, name: &str, of: &str, memory: &Memory, per_client: usize) -> JobId {
        self.last += 1;
        let job = JobId(self.last);
        let (request, reply, model) = (request(name), reply(name), model());
        let new = NewJob {
            request: &request,
            reply: &reply,
            model: &model,
            fingerprint: fingerprint(name),
            waited: Duration::ZERO,
            outcome_max: 10_000,
            session_max: Some(memory.size() as u64),
        };
        self.journal.accept(job, new).unwrap();
        let turn = Turn { session: session(of), memory: memory.clone(), per_client };
        let ticket = self.journal.finish_turn(job, outcome(name), &turn).unwrap().unwrap();
        self.commit(ticket);
        job
    }

    /// What a session remembers.
    fn recall(&mut self, client: &str, of: &str) -> Option<Memory> {
        let client = ClientName::new(client).unwrap();
        match self.journal.recall(&client, &session(of)) {
            Recall::Nothing => return None,
            Recall::Asked => {}
            Recall::Later => panic!("nothing else is asked"),
        }
        loop {
            if let Event::Recalled { client: whose, session: which, memory } = self.event() {
                assert_eq!((whose, which), (client, session(of)));
                return memory;
            }
        }
    }
}

#[test]
fn a_turn_is_there_with_its_outcome_in_the_next_run_whatever_ended_this_one() {
    let mut bench = Bench::new();
    let job = bench.turn("cam/1", "s", &memory(1), 8);
    assert_eq!(bench.recall("cam", "s"), Some(memory(1)));
    bench.turn("cam/2", "s", &memory(2), 8);
    bench.turn("other/1", "s", &memory(3), 8);
    let (mut bench, _) = bench.cut_off();
    assert!(bench.fetched(job).is_some());
    for (client, turns) in [("cam", 2), ("other", 3)] {
        assert_eq!(bench.recall(client, "s"), Some(memory(turns)));
    }
    assert_eq!((bench.recall("cam", "t"), bench.journal.usage().sessions), (None, 2));
    let (mut bench, recovery) = bench.reopen();
    assert!(recovery.clean);
    assert_eq!(bench.recall("cam", "s"), Some(memory(2)));
}

#[test]
fn what_is_not_written_yet_is_remembered_already_and_forgotten_at_once() {
    let mut bench = Bench::new();
    bench.turn("cam/1", "s", &memory(1), 8);
    let Bench { folder, clock, runtime, journal, last } = bench;
    close(&runtime, journal);
    let slow = Settings { commit_window: Duration::from_hours(1), ..settings(folder.path()) };
    let (journal, _) = Journal::open(&slow, clock.clock()).unwrap();
    let mut bench = Bench { folder, clock, runtime, journal, last };
    // The first transaction waits for nobody, the next one for an hour.
    let (job, accepted) = bench.accept("cam/2");
    bench.commit(accepted);
    let turn = Turn { session: session("s"), memory: memory(2), per_client: 8 };
    let ticket = bench.journal.finish_turn(job, outcome("cam/2"), &turn).unwrap().unwrap();
    assert_eq!(bench.recall("cam", "s"), Some(memory(2)));
    assert!(!bench.journal.is_committed(ticket));
    assert_eq!(bench.journal.forget_sessions(&ClientName::new("cam").unwrap(), None), 1);
    assert_eq!(bench.recall("cam", "s"), None);
    let (mut bench, _) = bench.reopen();
    assert_eq!((bench.recall("cam", "s"), bench.journal.usage().sessions), (None, 0));
    assert!(bench.fetched(job).is_some(), "the outcome stays");
}

#[test]
fn the_one_goes_that_was_not_used_for_the_longest_time() {
    let mut bench = Bench::new();
    for (id, of) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "c")] {
        bench.turn(&format!("cam/{id}"), of, &memory(1), 2);
        bench.clock.pass(Duration::from_secs(1));
    }
    bench.turn("other/1", "b", &memory(1), 2);
    let (mut bench, _) = bench.cut_off();
    assert_eq!(bench.recall("cam", "b"), None);
    for (client, of) in [("cam", "a"), ("cam", "c"), ("other", "b")] {
        assert_eq!(bench.recall(client, of), Some(memory(1)), "{client} {of}");
    }
    // Those that nobody uses go, one after the other.
    let keep = Duration::from_secs(10);
    assert!(bench.journal.next_session_expiry(keep).unwrap() <= Duration::from_secs(9));
    assert_eq!(bench.journal.expire_sessions(keep), 0);
    bench.clock.pass(Duration::from_secs(8));
    assert_eq!(bench.journal.expire_sessions(keep), 1);
    assert_eq!((bench.recall("cam", "a"), bench.journal.usage().sessions), (None, 2));
    bench.clock.pass(Duration::from_secs(10));
    assert_eq!(bench.journal.expire_sessions(keep), 2);
    assert_eq!(bench.journal.next_session_expiry(keep), None);
}

#[test]
fn sessions_leave_room_for_jobs_and_take_what_is_counted() {
    let mut bench = Bench::new();
    let before = bench.journal.usage().used;
    // Each of 1 MiB; a quarter of 56 MiB is for all of them.
    for number in 0..40 {
        let job = bench.turn(&format!("cam-{number}/1"), "s", &large(1 << 20), 8);
        bench.journal.remove(job);
        bench.clock.pass(Duration::from_millis(1));
    }
    let usage = bench.journal.usage();
    assert!((10..=14).contains(&usage.sessions) && usage.used.0 <= usage.max.0 / 4, "{usage:?}");
    let size = std::fs::metadata(bench.folder.path().join("journal.db")).unwrap().len();
    assert!(size <= 56 << 20, "{size}");
    let (mut bench, _) = bench.cut_off();
    assert_eq!(bench.journal.usage().used, usage.used);
    assert_eq!((bench.recall("cam-39", "s").map(|memory| memory.turns()), bench.recall("cam-0", "s")), (Some(1), None));
    for number in 0..40 {
        bench.journal.forget_sessions(&ClientName::new(format!("cam-{number}")).unwrap(), Some(&session("s")));
    }
    assert_eq!((bench.journal.usage().used, bench.journal.usage().sessions), (before, 0));
    // One that is larger than all of them may be is no session.
    let (job, _) = bench.accept("cam/1");
    let turn = Turn { session: session("s"), memory: large(20 << 20), per_client: 8 };
    bench.journal.finish_turn(job, outcome("cam/1"), &turn).unwrap_err();
    assert!(bench.journal.finish(job, outcome("cam/1")).unwrap().is_some());
}
