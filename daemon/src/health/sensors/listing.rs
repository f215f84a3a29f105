//! What lies in a folder of the kernel's, and what it is called.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::file::text;

/// Most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 4096;

/// Most things of one kind that are kept, such as chips with sensors.
const KEPT_MAX: usize = 128;

/// Longest name in bytes. The kernel's own are shorter; it has 20 for a thermal zone.
const NAME_MAX: usize = 64;

/// Entries that are called `prefix`, a number and `suffix`, by their number: `hwmon0`, `temp1_input`.
pub(super) fn numbered(folder: &Path, prefix: &str, suffix: &str) -> Vec<(u32, PathBuf)> {
    let number = |name: &str| -> Option<u32> {
        let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        // `parse` would take a sign.
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let entries = fs::read_dir(folder).into_iter().flatten().take(ENTRIES_MAX).flatten();
    let mut found: Vec<(u32, PathBuf)> =
        entries.filter_map(|entry| Some((number(entry.file_name().to_str()?)?, entry.path()))).collect();
    found.sort_unstable();
    found.truncate(KEPT_MAX);
    found
}

/// A file, if it is there: one that is not would be missed at each reading.
pub(super) fn existing(path: PathBuf) -> Option<PathBuf> {
    path.exists().then_some(path)
}

/// The name in a file, if it is fit to be shown: one line of text.
pub(super) fn name(path: &Path) -> Option<String> {
    let text = text(path)?;
    // Names from a device tree end with a NUL.
    let name = text.trim_end_matches('\0').trim();
    let is_text = |character: char| !character.is_control() && character != char::REPLACEMENT_CHARACTER;
    ((1..=NAME_MAX).contains(&name.len()) && name.chars().all(is_text)).then(|| name.to_owned())
}

/// Gives a number to names that others had before: the second `acpitz` is `acpitz 2`.
pub(super) fn tell_apart<'a>(names: impl Iterator<Item = &'a mut String>) {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        let candidates = (2..).map(|number| format!("{name} {number}"));
        let free = std::iter::once(name.clone()).chain(candidates).find(|candidate| !taken.contains(candidate));
        if let Some(free) = free {
            taken.push(free.clone());
            *name = free;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_by_their_number() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(numbered(&folder.path().join("none"), "temp", "_input"), []);
        for name in ["temp10_input", "temp2_input", "temp1_label", "temp_input", "temp+3_input", "temp4294967296_input"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = numbered(folder.path(), "temp", "_input");
        assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 10]);
        for number in 0..200 {
            fs::write(folder.path().join(format!("hwmon{number}")), "").unwrap();
        }
        assert_eq!(numbered(folder.path(), "hwmon", "").len(), KEPT_MAX);
    }

    #[test]
    fn only_a_line_of_text_is_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("name");
        let read = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            name(&file)
        };
        assert_eq!(read(b"ga10b\0").as_deref(), Some("ga10b"));
        assert_eq!(read(b" Package id 0\n").as_deref(), Some("Package id 0"));
        for wrong in [&b""[..], b"\n", b"\0", b"a\nb", b"\xff", b"a\0b", &[b'x'; NAME_MAX + 1]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn names_that_repeat_are_told_apart() {
        let mut names = ["a", "b", "a", "a 2", "a"].map(str::to_owned);
        tell_apart(names.iter_mut());
        assert_eq!(names, ["a", "b", "a 2", "a 2 2", "a 3"]);
    }
}
