//! The life of a job, over restarts.

use std::os::unix::fs::PermissionsExt;
use std::pin::pin;
use std::task::{Context, Waker};

use super::*;
use crate::job::{Encoding, Input, Message, Role};

#[test]
fn an_open_job_comes_back_as_it_was() {
    let mut bench = Bench::new();
    let (first, _) = bench.accept("a");
    let (second, _) = bench.accept("b");
    bench.journal.start(first, 0);
    let ticket = bench.journal.put_back(first, 1).unwrap();
    bench.commit(ticket);
    let (bench, recovery) = bench.reopen();
    let [a, b] = recovery.open.as_slice() else { panic!("{recovery:?}") };
    assert_eq!((a.job, b.job, recovery.last), (first, second, second));
    assert_eq!((&a.request, &a.reply, &a.model), (&request("a"), &reply("a"), &model()));
    assert_eq!((a.fingerprint, a.outcome_max), (fingerprint("a"), 10_000));
    assert_eq!((a.crashes, a.deaths, a.suspect, b.crashes), (1, 0, false, 0));
    assert_eq!((a.waited, a.remaining), (Duration::ZERO, Duration::from_mins(5)));
    assert!(recovery.clean && recovery.unreadable == 0 && recovery.set_aside.is_none());
    let known = bench.journal.find(&client("a"), &id("a")).unwrap();
    assert_eq!(known, Known { job: first, fingerprint: fingerprint("a"), ended: None });
    assert_eq!(bench.journal.find(&client("other/a"), &id("a")), None);
}

#[test]
fn an_outcome_stays_until_it_was_kept_long_enough() {
    let mut bench = Bench::new();
    let job = bench.ended("a");
    assert_eq!(bench.fetched(job), Some(outcome("a")));
    let (mut bench, recovery) = bench.reopen();
    assert!(recovery.open.is_empty());
    assert_eq!(recovery.unsettled, [job]);
    assert_eq!(bench.fetched(job), Some(outcome("a")));
    // What the broker has not taken has no end.
    bench.clock.pass(10 * KEEP);
    assert_eq!((bench.journal.expire(KEEP), bench.journal.next_expiry(KEEP)), (0, None));
    let ticket = bench.journal.delivered(job).unwrap();
    bench.commit(ticket);
    assert_eq!(bench.journal.find(&client("a"), &id("a")).unwrap().ended, Some(Settlement::Delivered));
    let (mut bench, recovery) = bench.reopen();
    assert!(recovery.unsettled.is_empty());
    assert_eq!(bench.fetched(job), Some(outcome("a")));
    assert_eq!(bench.journal.expire(KEEP), 1);
    assert_eq!((bench.fetched(job), bench.journal.find(&client("a"), &id("a"))), (None, None));
    assert_eq!(bench.journal.usage().used, Bytes(0));
    let (mut bench, _) = bench.reopen();
    assert_eq!(bench.fetched(job), None);
}

#[test]
fn what_nobody_took_can_be_fetched_by_its_client_only() {
    let mut bench = Bench::new();
    let (a, b) = (bench.ended("c1/a"), bench.ended("c2/a"));
    bench.journal.missed(a);
    let ticket = bench.journal.missed(b).unwrap();
    bench.commit(ticket);
    let (mut bench, recovery) = bench.reopen();
    assert!(recovery.unsettled.is_empty());
    assert_eq!(bench.journal.missed_of(&client("c1/a")), [a]);
    bench.journal.delivered(a);
    assert!(bench.journal.missed_of(&client("c1/a")).is_empty());
    // Twice the same says nothing new.
    assert!(bench.journal.delivered(a).is_none());
    assert_eq!(bench.journal.forget(Some(&client("c2/a"))), 1);
    assert_eq!((bench.journal.forget(None), bench.journal.usage().outcomes), (1, 0));
}

#[test]
fn an_error_is_kept_with_its_code() {
    let mut bench = Bench::new();
    let (job, _) = bench.accept("a");
    let failed = Outcome { error: Some(ErrorCode::Quarantined), correlation: None, content_type: None, ..outcome("a") };
    let ticket = bench.journal.finish(job, failed.clone()).unwrap().unwrap();
    bench.commit(ticket);
    let (mut bench, _) = bench.reopen();
    assert_eq!(bench.fetched(job), Some(failed));
}

#[test]
fn a_name_is_given_once_and_jobs_that_are_not_here_are_nobody_s() {
    let mut bench = Bench::new();
    let (job, _) = bench.accept("a");
    assert_eq!(accept(&mut bench.journal, JobId(2), "a"), Err(Refused::Known));
    assert_eq!(accept(&mut bench.journal, job, "b"), Err(Refused::Known));
    let stranger = JobId(99);
    let journal = &mut bench.journal;
    assert!(journal.start(stranger, 0).is_none() && journal.put_back(stranger, 1).is_none());
    assert!(journal.finish(stranger, outcome("a")).unwrap().is_none());
    assert!(journal.delivered(stranger).is_none() && journal.remove(stranger).is_none());
    // One that has not ended has nothing to be delivered, and one that has ended never starts.
    assert!(journal.delivered(job).is_none());
    journal.finish(job, outcome("a")).unwrap();
    assert!(journal.start(job, 0).is_none() && journal.finish(job, outcome("a")).unwrap().is_none());
}

#[test]
fn a_job_that_was_taken_back_leaves_nothing() {
    let mut bench = Bench::new();
    let (job, _) = bench.accept("a");
    let ticket = bench.journal.remove(job).unwrap();
    bench.commit(ticket);
    assert_eq!(bench.journal.usage().used, Bytes(0));
    let (mut bench, recovery) = bench.reopen();
    assert!(recovery.open.is_empty());
    bench.accept("a");
}

#[test]
fn in_memory_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { durability: Durability::Memory, ..settings(folder.path()) };
    let clock = TestClock::new(None);
    let (mut journal, _) = Journal::open(&settings, clock.clock()).unwrap();
    let runtime = runtime();
    accept(&mut journal, JobId(1), "a").unwrap();
    let ticket = journal.finish(JobId(1), outcome("a")).unwrap().unwrap();
    committed(&runtime, &mut journal, ticket);
    assert!(journal.fetch(JobId(1)));
    assert_eq!(next(&runtime, &mut journal), Event::Fetched { job: JobId(1), outcome: Some(outcome("a")) });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    close(&runtime, journal);
}

#[test]
fn the_files_are_their_owner_s_and_texts_are_in_no_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.db");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let clock = TestClock::new(None);
    let (mut journal, _) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    let runtime = runtime();
    let ticket = accept(&mut journal, JobId(1), "a").unwrap();
    committed(&runtime, &mut journal, ticket);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for entry in names {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    let shown = format!("{journal:?} {:?} {:?}", outcome("a"), journal.find(&client("a"), &id("a")));
    close(&runtime, journal);
    let (_journal, recovery) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    let shown = format!("{shown} {recovery:?}");
    assert!(!shown.contains("secret") && !shown.contains("answer to"), "{shown}");
}

#[test]
fn only_one_process_has_it() {
    let bench = Bench::new();
    let second = Journal::open(&settings(bench.folder.path()), bench.clock.clock());
    assert!(matches!(second, Err(JournalError::InUse { .. })), "{second:?}");
}

#[test]
fn an_idle_journal_tells_nothing_and_a_dropped_one_ends() {
    let mut bench = Bench::new();
    let (_, ticket) = bench.accept("a");
    bench.commit(ticket);
    let quiet = pin!(bench.journal.next_event()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(quiet.is_pending(), "{quiet:?}");
    let (folder, clock) = (bench.folder, bench.clock);
    drop(bench.journal);
    // It opens again when the thread has let go, for which it waits a while.
    let (_journal, recovery) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    assert!(recovery.clean && recovery.open.len() == 1);
}

#[test]
fn a_request_of_any_task_comes_back_as_it_was() {
    let many = Input::Many(vec!["a".to_owned(), String::new(), "\u{1f980}".to_owned()]);
    for task in [
        Task::Chat { messages: vec![Message { role: Role::User, content: "p".to_owned() }] },
        Task::Embed { input: Input::One("p".to_owned()), encoding: Encoding::Array },
        Task::Embed { input: many.clone(), encoding: Encoding::Base64 },
        Task::Classify { input: many, labels: Vec::new() },
        Task::Answer { question: "q".to_owned(), context: "c".to_owned() },
        Task::Rerank { question: "q".to_owned(), documents: vec!["a".to_owned()] },
    ] {
        let asked = Request { task, ..request("a") };
        let text = record::write(&asked, &reply("a"), &model());
        let (read, ..) = record::read(asked.client.clone(), asked.id.clone(), &text).unwrap();
        assert_eq!(read, asked);
    }
}

#[test]
fn a_record_of_the_first_version_can_be_read() {
    let text = r#"{"version":1,"task":{"Generate":{"prompt":"p"}},"model":"main","sampling":{"temperature":0.5,"top_k":40,
        "top_p":0.95,"min_p":0.05,"repeat_penalty":1.0},"output":{"max_tokens":5},"priority":"normal","deadline_ms":1000,
        "stream":false,"ack":false,"reply":{"topic":"t","format":"text"},"added_later":1}"#;
    let (request, reply, model) = record::read(client("a"), id("a"), text.as_bytes()).unwrap();
    assert_eq!((request.task, request.deadline), (Task::Generate { prompt: "p".to_owned() }, Duration::from_secs(1)));
    assert_eq!((reply.topic.as_str(), reply.format, model.as_str()), ("t", ReplyFormat::Text, "main"));
    for bad in ["", "{}", r#"{"version":2}"#, r#"{"version":1}"#] {
        assert!(record::read(client("a"), id("a"), bad.as_bytes()).is_err(), "{bad}");
    }
}
