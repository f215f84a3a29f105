//! Disks that are full or can't be written.
//!
//! Each test runs again in a mount namespace of its own, as root there, where it mounts what it needs; that is gone with the
//! process. Where namespaces are forbidden nothing is tested.

use std::env;
use std::process::Command;
use std::time::Instant;

use super::*;

/// Set in the namespace.
const INSIDE: &str = "PROMPTD_TEST_IN_NAMESPACE";

/// True in the namespace. Outside, the test has been run there when this returns.
fn inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", program]);
        command
    };
    if !unshare("true").status().is_ok_and(|status| status.success()) {
        return false;
    }
    let this = env::current_exe().unwrap();
    let name = format!("journal::tests::disk::{test}");
    let status = unshare(this.to_str().unwrap()).args([&name, "--exact"]).env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "{test}");
    false
}

fn mount(arguments: &[&str], folder: &Path) {
    assert!(Command::new("mount").args(arguments).arg(folder).status().unwrap().success());
}

/// Everything that is free.
fn fill(folder: &Path) {
    let mut file = std::fs::File::create(folder.join("filler")).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_when_it_has_room_again() {
    if !inside("a_full_disk_is_told_and_nothing_is_lost_when_it_has_room_again") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    mount(&["-t", "tmpfs", "-o", "size=8m", "none"], folder.path());
    let (clock, runtime) = (TestClock::new(Some(WALL)), runtime());
    let (mut journal, _) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    let ticket = accept(&mut journal, JobId(1), "a").unwrap();
    committed(&runtime, &mut journal, ticket);
    fill(folder.path());
    // More than what is left in pages that are there.
    let mut number = 1;
    let reason = loop {
        number += 1;
        let ticket = accept(&mut journal, JobId(number), &number.to_string()).unwrap();
        match next(&runtime, &mut journal) {
            Event::Committed(told) => assert!(told <= ticket),
            Event::Unwritable(reason) => break reason,
            event => panic!("{event:?}"),
        }
    };
    assert!(reason.contains("full"), "{reason}");
    assert!(!journal.is_writable());
    // Its end is in memory: it goes on, and can be asked for.
    journal.finish(JobId(1), outcome("a")).unwrap();
    assert!(journal.fetch(JobId(1)));
    assert_eq!(next(&runtime, &mut journal), Event::Fetched { job: JobId(1), outcome: Some(outcome("a")) });
    let waits = journal.delivered(JobId(1)).unwrap();
    std::fs::remove_file(folder.path().join("filler")).unwrap();
    let mut writable = false;
    while !writable || !journal.is_committed(waits) {
        match next(&runtime, &mut journal) {
            Event::Writable => writable = true,
            Event::Committed(_) | Event::Unwritable(_) => {}
            event => panic!("{event:?}"),
        }
    }
    assert!(journal.is_writable());
    close(&runtime, journal);
    let (journal, recovery) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    assert_eq!(recovery.open.len() as u64, number - 1);
    assert_eq!(journal.find(&client("a"), &id("a")).unwrap().ended, Some(Settlement::Delivered));
}

#[test]
fn what_waits_for_a_full_disk_is_bounded() {
    if !inside("what_waits_for_a_full_disk_is_bounded") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    mount(&["-t", "tmpfs", "-o", "size=8m", "none"], folder.path());
    let clock = TestClock::new(Some(WALL));
    let (mut journal, _) = Journal::open(&settings(folder.path()), clock.clock()).unwrap();
    fill(folder.path());
    let (reply, model) = (reply("a"), model());
    let mut accepted = 0;
    let refused = loop {
        let name = accepted.to_string();
        let request = Request { task: Task::Generate { prompt: "x".repeat(200_000) }, ..request(&name) };
        let new = NewJob {
            request: &request,
            reply: &reply,
            model: &model,
            fingerprint: fingerprint(&name),
            waited: Duration::ZERO,
            outcome_max: 1000,
            session_max: None,
        };
        match journal.accept(JobId(accepted + 1), new) {
            Ok(_) => accepted += 1,
            Err(refused) => break refused,
        }
        // An engine that comes and goes all the time adds nothing.
        for crashes in 0..100 {
            journal.start(JobId(1), crashes);
            journal.put_back(JobId(1), crashes);
        }
    };
    assert!(matches!(refused, Refused::Behind { .. }) && !journal.has_room(), "{refused}");
    let waiting = journal.usage().waiting.0;
    assert!((8 << 20..9 << 20).contains(&waiting), "{waiting} bytes of {accepted} jobs");
    // What has ended and is kept long enough makes room, although nothing was written.
    let mut tickets = Vec::new();
    for number in 1..=accepted {
        journal.finish(JobId(number), outcome("x")).unwrap();
        journal.delivered(JobId(number));
        tickets.extend(journal.remove(JobId(number)));
    }
    assert_eq!(tickets.len() as u64, accepted);
    assert_eq!(journal.usage().used, Bytes(0));
    // The thread may be trying to write them just now.
    let end = Instant::now() + PATIENCE;
    while journal.usage().waiting > Bytes(0) {
        assert!(Instant::now() < end, "{:?}", journal.usage());
        std::thread::yield_now();
    }
    std::fs::remove_file(folder.path().join("filler")).unwrap();
    let runtime = runtime();
    while !journal.is_committed(*tickets.last().unwrap()) {
        next(&runtime, &mut journal);
    }
}

#[test]
fn a_file_system_that_is_read_only_is_a_clear_error() {
    if !inside("a_file_system_that_is_read_only_is_a_clear_error") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    mount(&["-t", "tmpfs", "none"], folder.path());
    let clock = TestClock::new(Some(WALL));
    let open = || Journal::open(&settings(folder.path()), clock.clock());
    let refused = || {
        mount(&["-o", "remount,ro"], folder.path());
        let error = open().unwrap_err();
        assert!(matches!(&error, JournalError::Unwritable { .. }), "{error}");
        assert!(error.to_string().contains("Read-only file system"), "{error}");
        mount(&["-o", "remount,rw"], folder.path());
    };
    refused();
    // The same with a file that is there.
    close(&runtime(), open().unwrap().0);
    refused();
    assert_eq!(open().unwrap().1.set_aside, None);
}

#[test]
fn a_folder_that_is_a_file_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    std::fs::write(&file, "").unwrap();
    let error = Journal::open(&settings(&file), TestClock::new(None).clock()).unwrap_err();
    assert!(matches!(error, JournalError::File { .. }), "{error}");
}
