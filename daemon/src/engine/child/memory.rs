//! The child's own memory.

#![allow(unsafe_code)]

use std::fs;
use std::os::fd::BorrowedFd;

use crate::engine::protocol::RealMemory;
use crate::plan::Bytes;

/// What this process holds now, from the kernel; a line that can't be read counts as nothing.
pub fn own_memory() -> RealMemory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    RealMemory {
        anonymous: Bytes((kib("RssAnon:") + kib("RssShmem:")) * 1024),
        file: Bytes(kib("RssFile:") * 1024),
        device: Bytes(0),
    }
}

/// Gives freed memory of the allocator back to the kernel.
pub fn trim() {
    // SAFETY: no preconditions.
    unsafe { libc::malloc_trim(0) };
}

/// Takes a mapped file out of this process' memory; a page that is read again comes back from the page cache. After
/// weights were copied into another order, most of the file is never read again.
pub fn forget_mapping(file: BorrowedFd<'_>) {
    let Ok(stat) = rustix::fs::fstat(file) else { return };
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(|line| mapping(line, stat.st_ino)) {
        // SAFETY: a shared, read-only mapping of a file: dropping its pages changes no content.
        if unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) } != 0 {
            tracing::debug!("cannot release mapped weights: {}", std::io::Error::last_os_error());
        }
    }
}

/// The range of a line of `/proc/self/maps` if it maps this file read-only and shared:
/// `7f…-7f… r--s 00000000 fe:00 1234 /path`.
fn mapping(line: &str, inode: u64) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (range, permissions) = (fields.next()?, fields.next()?);
    let of_file = fields.nth(2)?.parse() == Ok(inode);
    let (start, end) = range.split_once('-')?;
    let hex = |text: &str| usize::from_str_radix(text, 16).ok();
    (of_file && permissions == "r--s").then_some((hex(start)?, hex(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mapping_of_a_file_and_no_other() {
        let line = "7f0000001000-7f0000003000 r--s 00000000 fe:00 1234                       /models/a.gguf";
        assert_eq!(mapping(line, 1234), Some((0x7f00_0000_1000, 0x7f00_0000_3000)));
        assert_eq!(mapping(line, 1235), None);
        assert_eq!(mapping(&line.replace("r--s", "rw-p"), 1234), None);
        assert_eq!(mapping("", 0), None);
    }

    #[test]
    fn a_process_has_memory() {
        let memory = own_memory();
        assert!(memory.anonymous.0 > 0 && memory.file.0 > 0, "{memory:?}");
    }
}
