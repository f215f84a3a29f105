//! Small files of the kernel, and the numbers in them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most that is read of one file. The largest is the mount table; cgroups are mounted at boot and stand early in it.
const SIZE_MAX: u64 = 1024 * 1024;

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Its text; bytes that are no UTF-8 are replaced.
    Text(String),
    /// There is no such file.
    Absent,
    /// It is there and can't be read.
    Unreadable,
}

impl Content {
    /// Reads a file, up to [`SIZE_MAX`] bytes of it.
    pub(super) fn of(path: &Path) -> Self {
        let mut bytes = Vec::new();
        match File::open(path).and_then(|file| file.take(SIZE_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Self::Text(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Self::Absent
            }
            Err(_) => Self::Unreadable,
        }
    }
}

/// The text of a file, if it can be read.
pub(super) fn text(path: &Path) -> Option<String> {
    match Content::of(path) {
        Content::Text(text) => Some(text),
        Content::Absent | Content::Unreadable => None,
    }
}

/// The only number of a text.
pub(super) fn number(text: &str) -> Option<u64> {
    let text = text.trim_ascii();
    // `parse` would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The only number of a text, which may be below zero.
pub(super) fn signed(text: &str) -> Option<i64> {
    let text = text.trim_ascii();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The number of `key` in lines of the form `key 123`, as in `memory.stat`.
pub(super) fn flat_keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(key)?.strip_prefix(' ')?))
}

/// Bytes of `key` in lines of the form `key:   123 kB`, as in `/proc/meminfo`. Their kB are 1024 bytes.
pub(super) fn kib(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    number(value.trim_end().strip_suffix("kB")?)?.checked_mul(1024)
}

/// The strings of a device-tree property: each ends with a NUL.
pub(super) fn strings(property: &str) -> impl Iterator<Item = &str> {
    property.split('\0').map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_number_is_a_number() {
        assert_eq!(number("123\n"), Some(123));
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "\n", "+1", "-1", "18446744073709551616", "max", "1 2", "1\0", "0x10", "1.5", "\u{0661}"] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
        assert_eq!((signed("-40000\n"), signed("0"), signed("52")), (Some(-40_000), Some(0), Some(52)));
        for wrong in ["", "-", "--1", "+1", "- 1", "9223372036854775808", "1-", "\u{0661}"] {
            assert_eq!(signed(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn keys_are_whole_words() {
        let stat = "total_inactive_file 1\ninactive_file 2\ninactive_file_x 3\n";
        assert_eq!(flat_keyed(stat, "inactive_file"), Some(2));
        assert_eq!(flat_keyed(stat, "inactive"), None);
        assert_eq!(flat_keyed("oom 7", "oom_kill"), None);

        let meminfo = "MemTotal:       24684096 kB\nSwapCached:     1 kB\nHugePages_Total:    4\nCached:  x kB\n";
        assert_eq!(kib(meminfo, "MemTotal"), Some(24_684_096 * 1024));
        for missing in ["Mem", "SwapTotal", "HugePages_Total", "Cached"] {
            assert_eq!(kib(meminfo, missing), None, "{missing}");
        }
        assert_eq!(kib("MemTotal: 18014398509481984 kB", "MemTotal"), None, "2^64 bytes");
    }

    #[test]
    fn a_missing_file_is_not_an_unreadable_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert_eq!(Content::of(&file), Content::Absent);
        // A folder opens and can't be read: so does a sensor that answers EAGAIN, for any user.
        assert_eq!(Content::of(folder.path()), Content::Unreadable);
        std::fs::write(&file, b"4\xff").unwrap();
        assert_eq!(Content::of(&file), Content::Text("4\u{fffd}".to_owned()));
        assert_eq!(Content::of(&file.join("below")), Content::Absent);
    }

    #[test]
    fn no_file_is_read_without_end() {
        let read = text(Path::new("/dev/zero")).unwrap();
        assert_eq!(read.len() as u64, SIZE_MAX);
        assert_eq!(number(&read), None);
    }

    proptest! {
        #[test]
        fn numbers_survive_their_file(bytes in any::<u64>(), kibibytes in 0_u64..1 << 54, noise in "[a-z_ 0-9\n]{0,40}") {
            let stat = format!("key {bytes}\n{noise}");
            prop_assert_eq!(flat_keyed(&stat, "key"), Some(bytes));
            let meminfo = format!("Key:{kibibytes:>15} kB\n{noise}");
            prop_assert_eq!(kib(&meminfo, "Key"), Some(kibibytes * 1024));
        }

        #[test]
        fn garbage_is_unknown(text in any::<String>()) {
            let digits = !text.trim_ascii().is_empty() && text.trim_ascii().bytes().all(|byte| byte.is_ascii_digit());
            prop_assert!(digits || number(&text).is_none());
            prop_assert_eq!(flat_keyed(&text, "inactive_file"), None);
            prop_assert_eq!(kib(&text, "MemAvailable"), None);
        }
    }
}
