//! The processor: how much it does, and how fast.

use std::path::PathBuf;

use super::super::file::{number, text};
use super::super::{CpuReading, Roots};
use super::listing::{existing, numbered};
use super::reader::Reader;

/// Where its clocks are told, and its highest one. Cores that share a clock share a policy
/// (Documentation/admin-guide/pm/cpufreq.rst).
#[derive(Debug, Default)]
pub(super) struct Clocks {
    now: Vec<PathBuf>,
    max_hz: Option<u64>,
}

/// What `/proc/stat` counted when it was read last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CpuTimes {
    busy: u64,
    all: u64,
}

impl Clocks {
    /// Finds them.
    pub(super) fn find(roots: &Roots) -> Self {
        let policies = numbered(&roots.sys.join("devices/system/cpu/cpufreq"), "policy", "");
        let highest =
            policies.iter().filter_map(|(_, folder)| hertz(number(&text(&folder.join("cpuinfo_max_freq"))?)?));
        let max_hz = highest.max();
        let now = policies.iter().filter_map(|(_, folder)| existing(folder.join("scaling_cur_freq")));
        Self { now: now.collect(), max_hz }
    }

    /// Reads them; the load is that since `before`.
    pub(super) fn read(&self, reader: &mut Reader, roots: &Roots, before: &mut Option<CpuTimes>) -> CpuReading {
        let times = text(&roots.proc.join("stat")).and_then(|stat| CpuTimes::parse(&stat));
        let load = times.and_then(|now| now.load_since(before.as_ref()?));
        *before = times;
        let clocks = self.now.iter().filter_map(|path| hertz(reader.number(path)?));
        CpuReading { load, clock_hz: clocks.max(), clock_max_hz: self.max_hz }
    }
}

/// cpufreq counts in kHz.
fn hertz(kilohertz: u64) -> Option<u64> {
    kilohertz.checked_mul(1000).filter(|hertz| *hertz > 0)
}

impl CpuTimes {
    /// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal guest guest_nice`, where `user` and
    /// `nice` contain the guests' time (`proc_stat(5)`).
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let fields: Option<Vec<u64>> = line.split_ascii_whitespace().take(8).map(number).collect();
        let fields = fields.filter(|fields| fields.len() >= 4)?;
        let all = fields.iter().try_fold(0_u64, |sum, field| sum.checked_add(*field))?;
        let idle = fields[3].checked_add(fields.get(4).copied().unwrap_or(0))?;
        Some(Self { busy: all.checked_sub(idle)?, all })
    }

    /// None if no time has passed; the time spent waiting may also be counted backwards, by a little.
    fn load_since(self, before: &Self) -> Option<f32> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let busy = self.busy.saturating_sub(before.busy).min(all);
        Some(busy as f32 / all as f32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(line: &str) -> Option<CpuTimes> {
        CpuTimes::parse(&format!("{line}\ncpu0 1 2 3 4\n"))
    }

    #[test]
    fn load_is_the_time_that_was_not_idle() {
        let before = times("cpu  100 0 100 700 100 0 0 0 50 0").unwrap();
        let after = times("cpu  150 0 120 720 110 0 0 0 50 0").unwrap();
        assert_eq!(after.load_since(&before), Some(0.7));
        assert_eq!(after.load_since(&after), None, "no time has passed");
        assert_eq!(before.load_since(&after), None, "counters don't fall");
    }

    #[test]
    fn old_kernels_count_less() {
        assert_eq!(times("cpu 1 2 3 4").map(|times| (times.busy, times.all)), Some((6, 10)));
        for wrong in ["", "cpu", "cpu 1 2 3", "cpu 1 2 3 x", "cpu0 1 2 3 4", "cpu 18446744073709551615 1 1 1"] {
            assert!(times(wrong).is_none(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_load_is_a_share(before in any::<[u32; 8]>(), after in any::<[u32; 8]>()) {
            let line = |fields: [u32; 8]| times(&format!("cpu  {}", fields.map(|field| field.to_string()).join(" "))).unwrap();
            if let Some(load) = line(after).load_since(&line(before)) {
                prop_assert!((0.0..=1.0).contains(&load));
            }
        }
    }
}
