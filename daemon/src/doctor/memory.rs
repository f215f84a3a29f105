//! What the machine has left for the models.

use super::{Check, Finding};
use crate::config::Memory;
use crate::health::MemoryReading;
use crate::job::ModelName;
use crate::plan::{Bytes, Candidate, Choice, Chosen, Headroom, LoadShape, MemoryLimit, Rejection, Shortage, Strategy};

/// Judges the machine, and every cgroup with a limit, by the reserve.
pub fn memory(reading: &MemoryReading, config: &Memory) -> Vec<Finding> {
    let mut findings: Vec<Finding> = reading.limits(0).iter().map(|limit| one(limit, config)).collect();
    if let (Some(finding), Some(host)) = (findings.first_mut(), &reading.host)
        && let Some(swap) = host.swap_free
    {
        finding.what = format!("{}; {} of swap are free, which models don't use", finding.what, Bytes(swap));
    }
    findings.extend(reading.unreadable.iter().map(|path| {
        let remedy = "start the daemon where it can read its own cgroup; without, its limit is found by being killed";
        Finding::warn(Check::Memory, format!("the limit of the cgroup {path} can't be read"), remedy)
    }));
    if findings.is_empty() {
        let remedy = "mount /proc where promptd runs (ProcSubset=all in a unit)";
        findings.push(Finding::warn(Check::Memory, "neither machine nor cgroups tell: enough is assumed", remedy));
    }
    findings
}

fn one(limit: &MemoryLimit, config: &Memory) -> Finding {
    let MemoryLimit { name, total, available } = limit;
    let reserve = config.reserve.of(*total);
    let what = format!("{name}: {available} of {total} are available; {reserve} stay free (memory.reserve)");
    if *available > reserve {
        return Finding::pass(Check::Memory, what);
    }
    let remedy =
        "end what takes memory (`systemd-cgtop -m` tells), raise MemoryMax= of the unit, or lower memory.reserve";
    Finding::warn(Check::Memory, format!("{what}: the daemon gives way to others"), remedy)
}

/// Judges how a model would run now, with nothing else loaded.
pub fn fit(model: &ModelName, candidates: &[Candidate], headroom: &Headroom, choice: &Choice) -> Finding {
    let remedy = format!(
        "`promptd fit {model}` shows every way; end what takes memory, lower min_context, or use a file of fewer bits"
    );
    let better: Vec<String> = choice.rejected.iter().map(Rejection::to_string).collect();
    let better = if better.is_empty() { String::new() } else { format!("; {}", better.join("; ")) };
    let Some(Chosen { strategy, option, squeezed, .. }) = &choice.chosen else {
        let what = match lack(candidates, headroom) {
            Some((strategy, Shortage { need, headroom, limit })) => format!(
                "{model}: nothing fits: the smallest way, {strategy}, needs {need}; {headroom} may be had ({limit})"
            ),
            None => format!("{model}: there is no way to run it{better}"),
        };
        return Finding::fail(Check::Memory, what, remedy);
    };
    let LoadShape { context, sequences, .. } = option.shape;
    let need = option.need.total();
    let what = format!("{model}: {strategy} fits with {sequences} × {context} tokens of context and needs {need}");
    if *squeezed {
        Finding::warn(Check::Memory, format!("{what}, which is less than configured{better}"), remedy)
    } else {
        Finding::pass(Check::Memory, format!("{what}{better}"))
    }
}

/// The smallest of all ways, and what it lacks.
fn lack(candidates: &[Candidate], headroom: &Headroom) -> Option<(Strategy, Shortage)> {
    let smallest = candidates.iter().filter_map(|candidate| {
        let option = candidate.options.as_ref().ok()?.iter().min_by_key(|option| option.need.total())?;
        Some((candidate.strategy, headroom.shortage(&option.need)?))
    });
    smallest.min_by_key(|(_, shortage)| shortage.need)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::doctor::Level;
    use crate::health::{MemorySensors, Roots};
    use crate::plan::{DeviceNeed, GpuLayers, HostHeadroom, HostNeed, KvType, LoadOption, Need, Profile, choose};

    fn reading(meminfo: &str) -> MemoryReading {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        std::fs::create_dir_all(&roots.proc).unwrap();
        std::fs::write(roots.proc.join("meminfo"), meminfo).unwrap();
        MemorySensors::discover(roots).read()
    }

    #[test]
    fn the_reserve_decides() {
        let config = Config::defaults(&Profile::default()).memory;
        let level = |available: u64| {
            let text = format!("MemTotal: 1000000 kB\nMemAvailable: {available} kB\nSwapFree: 1024 kB\n");
            let found = memory(&reading(&text), &config);
            assert!(found[0].what.contains("1.0 MiB of swap"), "{found:?}");
            found[0].level()
        };
        assert_eq!(level(500_000), Level::Pass);
        assert_eq!(level(100_000), Level::Warn);
        let unknown = memory(&reading(""), &config);
        assert!(unknown.len() == 1 && unknown[0].level() == Level::Warn, "{unknown:?}");
    }

    #[test]
    fn a_model_fits_fits_with_less_or_does_not() {
        let name = ModelName::new("main").unwrap();
        let option = |context: u32, mib: u64| LoadOption {
            shape: LoadShape { context, sequences: 1, kv_type: KvType::F16 },
            gpu_layers: GpuLayers::None,
            need: Need::new(HostNeed { weights: Bytes(mib << 20), ..HostNeed::default() }, DeviceNeed::default()),
        };
        let candidates = [Candidate {
            strategy: Strategy::parse("cpu:int4").unwrap(),
            options: Ok(vec![option(2048, 200), option(512, 100)]),
        }];
        let judge = |mib: u64| {
            let host = HostHeadroom::Known { bytes: Bytes(mib << 20), limit: "host".to_owned() };
            let headroom = Headroom { host, device: None };
            fit(&name, &candidates, &headroom, &choose(&candidates, &headroom))
        };
        assert_eq!(judge(1000).level(), Level::Pass);
        let squeezed = judge(150);
        assert!(squeezed.level() == Level::Warn && squeezed.what.contains("1 × 512"), "{squeezed:?}");
        let nothing = judge(50);
        assert!(nothing.level() == Level::Fail && nothing.what.contains("50.0 MiB may be had (host)"), "{nothing:?}");
    }
}
