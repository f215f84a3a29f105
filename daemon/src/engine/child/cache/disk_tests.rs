use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::plan::Bytes;

const KEY: Key = [7; HASH];
const TOKENS: [Token; 3] = [1, 2, 3];
const STATE: &[u8] = b"what llama.cpp gave";

/// A folder that is not there yet.
fn disk(parent: &TempDir) -> Disk {
    let folder = PrefixFolder { path: parent.path().join("prefixes"), most: Bytes(250), reserve: Bytes(0) };
    Disk::new(folder, "model", KEY)
}

fn names(disk: &Disk) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(&disk.folder.path).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_read_by_who_computes_the_same_way() {
    let parent = TempDir::new().unwrap();
    let disk = disk(&parent);
    assert!(disk.read(&TOKENS, || ()).is_none(), "nothing is there");
    disk.write(&TOKENS, STATE).unwrap();
    assert_eq!(disk.read(&TOKENS, || ()).unwrap().as_slice(), STATE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&disk.folder.path), mode(&disk.path(&TOKENS))), (0o700, 0o600));
    assert_eq!(names(&disk), [disk.path(&TOKENS)], "nothing unfinished is left");
    let other = Disk::new(disk.folder.clone(), "model", [8; HASH]);
    assert!(other.read(&TOKENS, || ()).is_none() && disk.read(&TOKENS[..2], || ()).is_none());
}

#[test]
fn a_file_of_other_tokens_or_of_another_way_is_removed() {
    let parent = TempDir::new().unwrap();
    let disk = disk(&parent);
    for (key, tokens) in [(KEY, [1, 2, 4]), ([8; HASH], TOKENS)] {
        disk.write(&TOKENS, STATE).unwrap();
        fs::write(disk.path(&TOKENS), [&header(&key, &tokens, STATE), STATE].concat()).unwrap();
        assert!(disk.read(&TOKENS, || ()).is_none());
        assert!(names(&disk).is_empty());
    }
}

#[test]
fn what_is_no_file_is_not_read() {
    let parent = TempDir::new().unwrap();
    let disk = disk(&parent);
    disk.write(&TOKENS, STATE).unwrap();
    let (path, elsewhere) = (disk.path(&TOKENS), parent.path().join("elsewhere"));
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(disk.read(&TOKENS, || ()).is_none(), "not through a link");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(disk.read(&TOKENS, || ()).is_none());
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![0; 251]).unwrap();
    assert!(disk.read(&TOKENS, || ()).is_none(), "larger than all may be");
}

#[test]
fn the_folder_keeps_to_its_bound_and_drops_what_was_not_used_for_the_longest_time() {
    let parent = TempDir::new().unwrap();
    let disk = disk(&parent);
    let tokens = |number: Token| [number; 3];
    let old = |number: Token, seconds: u64| {
        let file = File::options().write(true).open(disk.path(&tokens(number))).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    disk.write(&tokens(1), STATE).unwrap();
    disk.write(&tokens(2), STATE).unwrap();
    old(1, 1);
    old(2, 2);
    assert!(disk.read(&tokens(1), || ()).is_some(), "it is used now");
    disk.write(&tokens(3), STATE).unwrap();
    assert!(disk.read(&tokens(2), || ()).is_none());
    assert!(disk.read(&tokens(1), || ()).is_some() && disk.read(&tokens(3), || ()).is_some());
    let refused = disk.write(&tokens(4), STATE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull, "both were used lately");
    assert!(disk.read(&tokens(1), || ()).is_some() && disk.read(&tokens(3), || ()).is_some());
    // What a crash has left counts, too.
    fs::write(disk.path(&tokens(9)).with_extension(UNFINISHED), vec![0; 100]).unwrap();
    old(1, 1);
    disk.write(&tokens(4), STATE).unwrap();
    let bytes: u64 = names(&disk).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= 250, "{bytes}");
}

#[test]
fn a_disk_without_room_gets_nothing() {
    let parent = TempDir::new().unwrap();
    let mut disk = disk(&parent);
    disk.folder.reserve = Bytes(u64::MAX);
    assert_eq!(disk.write(&TOKENS, STATE).unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(names(&disk).is_empty());
}

proptest! {
    #[test]
    fn a_damaged_file_gives_nothing(at in 0_usize..200, bit in 0_u8..8, cut in prop::option::of(0_usize..200)) {
        let mut bytes = [&header(&KEY, &TOKENS, STATE), STATE].concat();
        prop_assert_eq!(open(bytes.clone(), &KEY, &TOKENS, || ()), Ok(STATE.to_vec()));
        if let Some(length) = cut {
            bytes.truncate(length.min(bytes.len() - 1));
        } else {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        prop_assert!(open(bytes, &KEY, &TOKENS, || ()).is_err());
    }

    #[test]
    fn whatever_is_in_a_file_it_is_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open([MAGIC, &bytes[..]].concat(), &KEY, &TOKENS, || ()).is_err());
    }
}
