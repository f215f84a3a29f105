//! A process that is killed while it writes.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

/// Where the process shall write that is to be killed.
const FOLDER: &str = "PROMPTD_TEST_JOURNAL";

const WRITER: &str = "journal::tests::killed::writes_until_it_is_killed";

/// Not a test but what the other one kills; it does nothing by itself.
#[test]
fn writes_until_it_is_killed() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let clock = TestClock::new(Some(WALL));
    let settings = Settings { commit_window: Duration::from_millis(1), ..settings(folder.as_ref()) };
    let (mut journal, recovery) = Journal::open(&settings, clock.clock()).unwrap();
    let (runtime, mut out) = (runtime(), std::io::stdout());
    for number in recovery.last.0 + 1.. {
        let name = number.to_string();
        let ticket = accept(&mut journal, JobId(number), &name).unwrap();
        committed(&runtime, &mut journal, ticket);
        writeln!(out, "\nwritten {number}").unwrap();
        journal.start(JobId(number), 0);
        let ticket = if number % 3 == 0 {
            // Marks are not synced, but the kernel has them.
            journal.put_back(JobId(number), 1).unwrap()
        } else {
            journal.finish(JobId(number), outcome(&name)).unwrap();
            journal.delivered(JobId(number)).unwrap()
        };
        committed(&runtime, &mut journal, ticket);
        writeln!(out, "\nmarked {number}").unwrap();
    }
}

#[test]
fn what_it_told_before_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (mut written, mut marked) = (0, BTreeSet::new());
    for lines in [1, 7, 60, 301] {
        let mut writer = Command::new(env::current_exe().unwrap())
            .args([WRITER, "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(writer.stdout.take().unwrap());
        let told =
            output.lines().map_while(Result::ok).filter(|line| line.contains("ten ") || line.contains("marked "));
        for line in told.take(lines) {
            let number = line.rsplit(' ').next().unwrap().parse().unwrap();
            if line.contains("marked") {
                marked.insert(number);
            } else {
                written = number;
            }
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        check(folder.path(), written, &marked);
    }
    assert!(marked.len() > 100);
}

fn check(folder: &Path, written: u64, marked: &BTreeSet<u64>) {
    // Looking at it must not make it a run that ended well.
    let copy = copy(folder);
    let (journal, recovery) = Journal::open(&settings(copy.path()), TestClock::new(Some(WALL)).clock()).unwrap();
    assert!(!recovery.clean && recovery.set_aside.is_none() && recovery.unreadable == 0);
    let known = |number: u64| {
        let name = number.to_string();
        journal.find(&client(&name), &id(&name)).unwrap_or_else(|| panic!("{number} of {written}"))
    };
    for number in 1..=written {
        assert_eq!(known(number).job, JobId(number));
    }
    for number in marked {
        let expected = (number % 3 != 0).then_some(Settlement::Delivered);
        assert_eq!(known(*number).ended, expected, "{number}");
    }
    for open in recovery.open.iter().filter(|open| marked.contains(&open.job.0)) {
        assert_eq!((open.crashes, open.deaths), (1, 0), "{}", open.job);
    }
}
