//! Memory of the whole machine.

use super::super::Roots;
use super::super::file::{flat_keyed, kib, number, text};

/// The machine's memory, in bytes, from `/proc/meminfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMemory {
    /// What the kernel manages: less than what is built in, by its own image and by what firmware keeps.
    pub total: u64,
    /// What new work can have without swapping, in the kernel's own estimate (`MemAvailable`): free memory and the larger
    /// part of page cache and reclaimable slabs. Kernels before 3.14 don't tell; then the same sum is made from the parts.
    pub available: u64,
    /// Free swap.
    pub swap_free: Option<u64>,
    /// What is mapped for the GPU and other engines of a Tegra (`NvMapMemUsed`): it is in no process' resident memory.
    pub nvmap_used: Option<u64>,
}

impl HostMemory {
    /// Reads it; none without a total or without any way to tell what is available.
    pub(super) fn read(roots: &Roots) -> Option<Self> {
        let meminfo = text(&roots.proc.join("meminfo"))?;
        let min_free = || number(&text(&roots.proc.join("sys/vm/min_free_kbytes"))?)?.checked_mul(1024);
        Some(Self {
            total: kib(&meminfo, "MemTotal")?,
            available: kib(&meminfo, "MemAvailable").or_else(|| estimate(&meminfo, min_free()?))?,
            swap_free: kib(&meminfo, "SwapFree"),
            nvmap_used: kib(&meminfo, "NvMapMemUsed"),
        })
    }

    /// What is left for new work when `kept_file` bytes of mapped files must stay in memory.
    ///
    /// The kernel counts page cache as available, mapped or not (Documentation/filesystems/proc.rst, `MemAvailable`). The
    /// weights of a loaded model are such pages: giving them away would have every token read them from disk again.
    pub fn available(&self, kept_file: u64) -> u64 {
        self.available.saturating_sub(kept_file)
    }
}

/// How many processes the kernel has killed for memory since boot; counted by Linux 4.13 and newer.
pub(super) fn kills(roots: &Roots) -> Option<u64> {
    flat_keyed(&text(&roots.proc.join("vmstat"))?, "oom_kill")
}

/// The kernel's estimate from its parts (`si_mem_available`, as of Linux 3.14): free memory above the
/// low watermark, and of page cache and reclaimable slabs all but half, or but the low watermark if that is less. The
/// low watermark is 5/4 of `min_free_kbytes` (`__setup_per_zone_wmarks`).
fn estimate(meminfo: &str, min_free: u64) -> Option<u64> {
    let low = min_free.checked_add(min_free / 4)?;
    let reclaimable = |bytes: u64| bytes - low.min(bytes / 2);
    let cache = kib(meminfo, "Active(file)")?.checked_add(kib(meminfo, "Inactive(file)")?)?;
    let above = kib(meminfo, "MemFree")?.saturating_sub(low);
    above.checked_add(reclaimable(cache))?.checked_add(reclaimable(kib(meminfo, "SReclaimable")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines of a real `meminfo`; its `MemAvailable` was 23718148 kB, and its `min_free_kbytes` 67584.
    const PARTS: &str = "MemTotal: 24684096 kB\nMemFree: 22806444 kB\nActive(file): 505272 kB\n\
                         Inactive(file): 570740 kB\nSReclaimable: 100172 kB\n";

    fn read(meminfo: &str, min_free: Option<&str>) -> Option<HostMemory> {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        std::fs::create_dir_all(roots.proc.join("sys/vm")).unwrap();
        std::fs::write(roots.proc.join("meminfo"), meminfo).unwrap();
        if let Some(kibibytes) = min_free {
            std::fs::write(roots.proc.join("sys/vm/min_free_kbytes"), kibibytes).unwrap();
        }
        HostMemory::read(&roots)
    }

    #[test]
    fn the_kernels_own_estimate_comes_first() {
        let host = read(&format!("{PARTS}MemAvailable: 1024 kB\nSwapFree: 0 kB\n"), Some("67584")).unwrap();
        assert_eq!((host.total, host.available, host.swap_free), (24_684_096 << 10, 1 << 20, Some(0)));
        assert_eq!(host.nvmap_used, None);
    }

    #[test]
    fn an_old_kernel_is_estimated_close_to_what_a_new_one_says() {
        let host = read(PARTS, Some("67584\n")).unwrap();
        let low = 67_584 * 5 / 4;
        assert_eq!(host.available >> 10, 22_806_444 - low + 1_076_012 - low + 100_172 - 100_172 / 2);
        let kernel = 23_718_148_u64 << 10;
        assert!(host.available.abs_diff(kernel) < kernel / 100, "{} is not {kernel}", host.available);
        assert_eq!(host.swap_free, None);
    }

    #[test]
    fn unknown_is_not_zero() {
        assert_eq!(read(PARTS, None), None, "no watermark");
        assert_eq!(read(PARTS, Some("many")), None);
        assert_eq!(read("", Some("67584")), None);
        assert_eq!(read("MemAvailable: 5 kB\n", None), None, "no total");
        assert_eq!(read(&PARTS.replace("MemFree", "MemFee"), Some("67584")), None);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_not_available(total in any::<u64>(), available in any::<u64>(), kept in any::<u64>()) {
            let host = HostMemory { total, available, swap_free: None, nvmap_used: None };
            let left = host.available(kept);
            prop_assert!(left <= available);
            prop_assert_eq!(host.available(0), available);
            prop_assert!(host.available(kept.saturating_add(1)) <= left);
        }

        #[test]
        fn an_estimate_never_exceeds_its_parts(free in 0_u64..1 << 40, file in 0_u64..1 << 40, slab in 0_u64..1 << 40,
                                               min_free in any::<u64>()) {
            let meminfo = format!("MemFree: {free} kB\nActive(file): {file} kB\nInactive(file): 0 kB\nSReclaimable: {slab} kB");
            if let Some(bytes) = estimate(&meminfo, min_free) {
                prop_assert!(bytes <= (free + file + slab) << 10);
                prop_assert!(bytes >= (file / 2 + slab / 2) << 10);
            }
        }
    }
}
