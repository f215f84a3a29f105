//! Files that are not what they should be.

use rusqlite::Connection;

use super::*;

fn open(folder: &Path) -> Result<(Journal, Recovery), JournalError> {
    Journal::open(&settings(folder), TestClock::new(Some(WALL)).clock())
}

/// A closed journal with many jobs; gives the file's content.
fn filled() -> (TempDir, Vec<u8>) {
    let mut bench = Bench::new();
    for number in 0..200 {
        let (job, _) = bench.accept(&format!("job{number}"));
        if number % 2 == 0 {
            let outcome = Outcome { payload: vec![b'y'; 5000].into(), ..outcome("x") };
            bench.journal.finish(job, outcome).unwrap();
        }
    }
    close(&bench.runtime, bench.journal);
    let content = std::fs::read(bench.folder.path().join("journal.db")).unwrap();
    (bench.folder, content)
}

/// Whether a journal takes a job and gives it back.
fn works(folder: &Path) {
    let (mut journal, recovery) = open(folder).unwrap();
    assert_eq!(recovery.set_aside, None);
    let runtime = runtime();
    let ticket = accept(&mut journal, JobId(recovery.last.0 + 1), "works").unwrap();
    committed(&runtime, &mut journal, ticket);
    close(&runtime, journal);
    let (journal, recovery) = open(folder).unwrap();
    assert!(recovery.open.iter().any(|open| open.request.id.as_str() == "works"));
    close(&runtime, journal);
}

#[test]
fn a_file_that_is_none_is_set_aside_and_told() {
    for content in [b"this was never a database, whatever its name says".repeat(300), vec![0xff; 8192]] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("journal.db"), &content).unwrap();
        let (journal, recovery) = open(folder.path()).unwrap();
        let aside = recovery.set_aside.unwrap();
        assert_eq!(aside, folder.path().join("journal.corrupt-1"));
        assert_eq!(std::fs::read(aside).unwrap(), content);
        close(&runtime(), journal);
        works(folder.path());
    }
}

#[test]
fn bytes_that_flip_end_in_a_journal_that_works() {
    let (_, content) = filled();
    let mut random = fastrand::Rng::with_seed(7);
    let mut set_aside = 0;
    for turn in 0..120 {
        let folder = tempfile::tempdir().unwrap();
        let mut damaged = content.clone();
        // The header, the schema's page, or any other.
        let end = [100, 4096, damaged.len()][turn % 3];
        for _ in 0..random.usize(1..20) {
            damaged[random.usize(..end)] = random.u8(..);
        }
        std::fs::write(folder.path().join("journal.db"), damaged).unwrap();
        match open(folder.path()) {
            Ok((journal, recovery)) => {
                set_aside += usize::from(recovery.set_aside.is_some());
                close(&runtime(), journal);
                works(folder.path());
            }
            // The version is among the bytes.
            Err(JournalError::Newer { .. }) => {}
            Err(error) => panic!("turn {turn}: {error}"),
        }
    }
    assert!(set_aside > 30, "{set_aside}");
}

#[test]
fn a_file_that_was_cut_is_set_aside() {
    let (_, content) = filled();
    for length in [10_000, content.len() - 4096, content.len() / 2 + 17] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("journal.db"), &content[..length]).unwrap();
        let (journal, recovery) = open(folder.path()).unwrap();
        assert!(recovery.set_aside.is_some(), "{length}");
        close(&runtime(), journal);
        works(folder.path());
    }
}

#[test]
fn only_the_last_damaged_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    for turn in 1..=6 {
        std::fs::write(folder.path().join("journal.db"), vec![turn; 5000]).unwrap();
        std::fs::write(folder.path().join("journal.db-wal"), "log").unwrap();
        let (journal, recovery) = open(folder.path()).unwrap();
        assert_eq!(recovery.set_aside.unwrap(), folder.path().join(format!("journal.corrupt-{turn}")));
        close(&runtime(), journal);
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> =
        names.map(|name| name.into_string().unwrap()).filter(|name| !name.ends_with("wal")).collect();
    names.sort();
    assert_eq!(names, ["journal.corrupt-4", "journal.corrupt-5", "journal.corrupt-6", "journal.db"]);
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let later = Connection::open(&path).unwrap();
    later.execute_batch("CREATE TABLE other (x); PRAGMA user_version = 99").unwrap();
    later.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 99, known: 4, .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_request_that_can_not_be_read_is_counted_and_goes() {
    let mut bench = Bench::new();
    bench.accept("a");
    bench.accept("b");
    close(&bench.runtime, bench.journal);
    let path = bench.folder.path().join("journal.db");
    let file = Connection::open(path).unwrap();
    file.execute("UPDATE job SET request = X'7B7D' WHERE number = 1", []).unwrap();
    file.close().unwrap();
    let (journal, recovery) = open(bench.folder.path()).unwrap();
    assert_eq!((recovery.unreadable, recovery.open.len(), recovery.last), (1, 1, JobId(2)));
    close(&bench.runtime, journal);
    assert_eq!(open(bench.folder.path()).unwrap().1.unreadable, 0);
}
