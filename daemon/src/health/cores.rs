//! Cores that are worth a thread each.

use std::collections::BTreeSet;
use std::path::Path;

use super::Roots;
use super::file::{number, text};
use crate::plan::Cores;

/// Most processors that are counted; Linux knows no more by default.
const PROCESSORS_MAX: usize = 8192;

/// The processors that this process may run on, and how many of their cores are big ones. None if the kernel doesn't tell.
pub(super) fn cores(roots: &Roots) -> Option<Cores> {
    let folder = roots.sys.join("devices/system/cpu");
    let allowed = text(&roots.proc.join("self/status")).and_then(|status| allowed(&status));
    let online = text(&folder.join("online")).and_then(|list| numbers(&list));
    let processors: Vec<usize> = match (allowed, online) {
        (Some(allowed), Some(online)) => allowed.intersection(&online).copied().collect(),
        (Some(only), None) | (None, Some(only)) => only.into_iter().collect(),
        (None, None) => return None,
    };
    let folders: Vec<_> = processors.iter().map(|number| folder.join(format!("cpu{number}"))).collect();
    let speeds = ["cpu_capacity", "cpufreq/cpuinfo_max_freq"].into_iter().find_map(|file| {
        let speed = |folder: &std::path::PathBuf| number(&text(&folder.join(file))?);
        folders.iter().map(speed).collect::<Option<Vec<u64>>>()
    });
    let fastest = speeds.iter().flatten().max().copied().unwrap_or(0);
    let is_big = |index: usize| speeds.as_ref().is_none_or(|speeds| Cores::is_big(speeds[index], fastest));
    let big = folders.iter().zip(&processors).enumerate().filter(|(index, _)| is_big(*index));
    let cores: BTreeSet<usize> = big.map(|(_, (folder, number))| core(folder).unwrap_or(*number)).collect();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Cores { logical: count(processors.len()), big: count(cores.len()) }).filter(|cores| cores.big > 0)
}

/// The processors in `Cpus_allowed_list` of `/proc/<pid>/status`.
fn allowed(status: &str) -> Option<BTreeSet<usize>> {
    numbers(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

/// What names a core: the first of the processors that share it.
fn core(folder: &Path) -> Option<usize> {
    // The second is the name up to Linux 5.1.
    let names = ["core_cpus_list", "thread_siblings_list"];
    let siblings = names.iter().find_map(|name| text(&folder.join("topology").join(name)))?;
    numbers(&siblings)?.into_iter().next()
}

/// A list of rising numbers such as `0-3,6`.
fn numbers(list: &str) -> Option<BTreeSet<usize>> {
    let (mut found, mut least) = (BTreeSet::new(), 0);
    for part in list.trim().split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let bound = |text: &str| usize::try_from(number(text)?).ok().filter(|number| *number < PROCESSORS_MAX);
        let (low, high) = (bound(low).filter(|low| *low >= least)?, bound(high)?);
        found.extend(low..=high);
        least = high + 1;
    }
    Some(found).filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Processors as capacity or clock, and the first of those that share the core.
    fn machine(processors: &[(Option<u64>, Option<u64>, usize)], allowed: Option<&str>) -> Option<Cores> {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        let cpus = roots.sys.join("devices/system/cpu");
        for (number, (capacity, clock, first)) in processors.iter().enumerate() {
            let cpu = cpus.join(format!("cpu{number}"));
            fs::create_dir_all(cpu.join("topology")).unwrap();
            fs::create_dir_all(cpu.join("cpufreq")).unwrap();
            fs::write(cpu.join("topology/thread_siblings_list"), format!("{first},{number}\n")).unwrap();
            if let Some(capacity) = capacity {
                fs::write(cpu.join("cpu_capacity"), format!("{capacity}\n")).unwrap();
            }
            if let Some(clock) = clock {
                fs::write(cpu.join("cpufreq/cpuinfo_max_freq"), format!("{clock}\n")).unwrap();
            }
        }
        fs::write(cpus.join("online"), format!("0-{}\n", processors.len() - 1)).unwrap();
        if let Some(allowed) = allowed {
            fs::create_dir_all(roots.proc.join("self")).unwrap();
            fs::write(roots.proc.join("self/status"), format!("Name:\tx\nCpus_allowed_list:\t{allowed}\n")).unwrap();
        }
        cores(&roots)
    }

    fn counted(logical: u32, big: u32) -> Cores {
        Cores { logical, big }
    }

    #[test]
    fn equal_cores_all_count() {
        assert_eq!(machine(&[(Some(1024), None, 0), (Some(1024), None, 1)], None), Some(counted(2, 2)));
        assert_eq!(machine(&[(None, None, 0), (None, None, 1)], None), Some(counted(2, 2)), "nothing is known of them");
        // The best cores of a processor reach a higher clock than their equals.
        assert_eq!(machine(&[(None, Some(5_100_000), 0), (None, Some(4_700_000), 1)], None), Some(counted(2, 2)));
    }

    #[test]
    fn little_cores_do_not_count() {
        // Rockchip RK3588: four Cortex-A55 and four Cortex-A76.
        let little = [(Some(530), None); 4].into_iter().chain([(Some(1024), None); 4]);
        let little: Vec<_> = little.enumerate().map(|(number, (capacity, clock))| (capacity, clock, number)).collect();
        assert_eq!(machine(&little, None), Some(counted(8, 4)));
        // One whose speed isn't told: nothing is compared.
        assert_eq!(machine(&[(Some(530), None, 0), (None, None, 1)], None), Some(counted(2, 2)));
    }

    #[test]
    fn threads_of_a_core_count_once() {
        let pairs = [(None, Some(4_400_000), 0), (None, Some(4_400_000), 0), (None, Some(3_300_000), 2)];
        assert_eq!(machine(&pairs, None), Some(counted(3, 1)));
    }

    #[test]
    fn only_allowed_processors_count() {
        let four = [0, 1, 2, 3].map(|number| (Some(1024), None, number));
        assert_eq!(machine(&four, Some("1-2")), Some(counted(2, 2)));
        assert_eq!(machine(&four, Some("3,9")), Some(counted(1, 1)));
        assert_eq!(machine(&four, Some("garbage")), Some(counted(4, 4)));
        assert_eq!(machine(&four, Some("9")), None);
        // Allowed only on little ones, those are the big ones.
        let mixed = [(Some(1024), None, 0), (Some(300), None, 1), (Some(300), None, 2)];
        assert_eq!(machine(&mixed, Some("1-2")), Some(counted(2, 2)));
    }

    #[test]
    fn lists_are_of_numbers_and_ranges() {
        assert_eq!(numbers("0-2,5\n").map(|found| found.into_iter().collect()), Some(vec![0, 1, 2, 5]));
        for wrong in ["", "a", "1-", "-1", "3-1", "0-99999999999", "1,,2", "1,1", "2,0-1"] {
            assert_eq!(numbers(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn this_machine_has_cores() {
        let cores = cores(&Roots::default()).unwrap();
        assert!((1..=cores.logical).contains(&cores.big), "{cores:?}");
    }
}
