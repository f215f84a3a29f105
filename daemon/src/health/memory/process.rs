//! Memory of one process.

use super::super::Roots;
use super::super::file::{kib, text};

/// What a process holds, in bytes, from `/proc/<pid>/status`. The kernel counts per thread and adds up now and then, so
/// that a number can be some hundred KiB off (Documentation/filesystems/proc.rst, `VmRSS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Anonymous memory that is resident: heap, stacks, KV, repacked weights.
    pub anon: u64,
    /// Pages of mapped files that are resident: weights and libraries. Others may share them.
    pub file: u64,
    /// Shared memory that is resident.
    pub shmem: u64,
    /// The most that was ever resident at once, of all kinds (`VmHWM`).
    pub peak: u64,
    /// Anonymous memory that was swapped out.
    pub swap: u64,
}

/// The memory of a process. None if it is gone, a zombie, or the kernel doesn't tell the kinds apart (before 4.5).
pub fn process_memory(roots: &Roots, pid: u32) -> Option<ProcessMemory> {
    let status = text(&roots.proc.join(pid.to_string()).join("status"))?;
    Some(ProcessMemory {
        anon: kib(&status, "RssAnon")?,
        file: kib(&status, "RssFile")?,
        shmem: kib(&status, "RssShmem")?,
        peak: kib(&status, "VmHWM")?,
        swap: kib(&status, "VmSwap")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        std::fs::create_dir_all(roots.proc.join("7")).unwrap();
        let status = "Name:\tpromptd\nVmHWM:\t    6000 kB\nVmRSS:\t    5000 kB\nRssAnon:\t    3000 kB\n\
                      RssFile:\t    1500 kB\nRssShmem:\t     500 kB\nVmSwap:\t     250 kB\n";
        let write = |text: &str| std::fs::write(roots.proc.join("7/status"), text).unwrap();
        write(status);
        let expected =
            ProcessMemory { anon: 3000 << 10, file: 1500 << 10, shmem: 500 << 10, peak: 6000 << 10, swap: 250 << 10 };
        assert_eq!(process_memory(&roots, 7), Some(expected));
        for line in ["RssAnon", "RssFile", "RssShmem", "VmHWM", "VmSwap"] {
            write(&status.replace(line, "Other"));
            assert_eq!(process_memory(&roots, 7), None, "without {line}");
        }
        assert_eq!(process_memory(&roots, 8), None, "no such process");
    }

    #[test]
    fn this_process_has_a_heap_and_a_binary() {
        let memory = process_memory(&Roots::default(), std::process::id()).unwrap();
        assert!(memory.anon > 0 && memory.file > 0 && memory.peak >= memory.anon);
    }
}
