//! The back end that computes on the CPU, and what it makes of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Check, Finding};
use crate::engine::protocol::CpuBackend;

/// The back ends of this build, each for other processors.
const BUILT: &str = env!("PROMPTD_CPU_BACKENDS");

/// Features that make a difference: the kernel's name, and ggml's (`ggml_backend_cpu_get_features`).
const FEATURES: [(&str, &str); 15] = [
    ("ssse3", "SSSE3"),
    ("avx", "AVX"),
    ("f16c", "F16C"),
    ("fma", "FMA"),
    ("bmi2", "BMI2"),
    ("avx2", "AVX2"),
    ("avx_vnni", "AVX_VNNI"),
    ("avx512f", "AVX512"),
    ("avx512vbmi", "AVX512_VBMI"),
    ("avx512_vnni", "AVX512_VNNI"),
    ("avx512_bf16", "AVX512_BF16"),
    ("amx_int8", "AMX_INT8"),
    ("asimddp", "DOTPROD"),
    ("sve", "SVE"),
    ("i8mm", "MATMUL_INT8"),
];

/// How a broken installation is mended.
const REINSTALL: &str = "sudo apt install --reinstall promptd";

/// The files of the back ends for the CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    missing: Vec<String>,
    count: usize,
}

impl Installed {
    /// Looks into the folder.
    pub fn look(folder: &Path) -> Self {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let there: BTreeSet<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        Self::of(&there)
    }

    fn of(there: &BTreeSet<String>) -> Self {
        let built: Vec<&str> = BUILT.split(',').filter(|name| !name.is_empty()).collect();
        let missing = built.iter().filter(|name| !there.contains(**name)).map(|name| (*name).to_owned()).collect();
        Self { missing, count: built.len() }
    }

    /// Whether all back ends of this build are there.
    pub fn finding(&self) -> Finding {
        let Self { missing, count } = self;
        if missing.is_empty() {
            return Finding::pass(Check::Cpu, format!("all {count} back ends for CPUs are installed"));
        }
        let what = format!("{} of {count} back ends for CPUs are missing: {}", missing.len(), missing.join(", "));
        if missing.len() == *count {
            return Finding::fail(Check::Cpu, what, REINSTALL);
        }
        Finding::warn(Check::Cpu, format!("{what}; another may compute more slowly"), REINSTALL)
    }
}

/// Compares what the chosen back end uses with what the CPU has, in the kernel's words.
pub fn cpu(installed: &Installed, chosen: &Result<CpuBackend, String>, has: &BTreeSet<String>) -> Vec<Finding> {
    let chosen = match chosen {
        Ok(CpuBackend { library, features }) => {
            let library = library.as_deref().unwrap_or("a back end without a name");
            let unused = unused(features, has);
            let rest = if unused.is_empty() {
                "it uses all that the CPU has".to_owned()
            } else {
                format!("the CPU has {}, which it does not use", unused.join(", "))
            };
            Finding::pass(Check::Cpu, format!("{library} is loaded; {rest}"))
        }
        Err(reason) => Finding::fail(Check::Cpu, format!("the back ends can't be loaded: {reason}"), REINSTALL),
    };
    vec![installed.finding(), chosen]
}

/// What the CPU has and the back end does not use.
fn unused(features: &str, has: &BTreeSet<String>) -> Vec<&'static str> {
    let features = features.strip_prefix("CPU :").unwrap_or(features);
    let used: BTreeSet<&str> = features.split('|').filter_map(|item| item.trim().strip_suffix(" = 1")).collect();
    let unused = FEATURES.iter().filter(|(kernel, ggml)| has.contains(*kernel) && !used.contains(ggml));
    unused.map(|(_, ggml)| *ggml).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn set(names: &str) -> BTreeSet<String> {
        names.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_lies_idle_is_named() {
        let features = "CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | AVX512 = 1 | LLAMAFILE = 1 | REPACK = 1 |";
        let has = set("fpu ssse3 avx avx2 avx512f avx512_vnni");
        assert_eq!(unused(features, &has), ["AVX512_VNNI"]);
        let backend = CpuBackend { library: Some("libggml-cpu-skylakex.so".to_owned()), features: features.to_owned() };
        let whole = Installed { missing: Vec::new(), count: 3 };
        let found = cpu(&whole, &Ok(backend), &has);
        assert!(found.iter().all(|finding| finding.level() == Level::Pass));
        assert_eq!(found[1].what, "libggml-cpu-skylakex.so is loaded; the CPU has AVX512_VNNI, which it does not use");
        assert!(unused("CPU : NEON = 1 | DOTPROD = 1 | SVE = 0", &set("asimddp i8mm")) == ["MATMUL_INT8"]);
    }

    #[test]
    fn an_installation_is_whole_or_not() {
        let mut all: BTreeSet<String> = BUILT.split(',').map(str::to_owned).collect();
        assert!(all.len() > 1 && all.iter().all(|name| name.starts_with("libggml-cpu")), "{all:?}");
        assert_eq!(Installed::of(&all).finding().level(), Level::Pass);
        let lost = all.pop_first().unwrap();
        let found = Installed::of(&all).finding();
        assert!(found.level() == Level::Warn && found.what.contains(&lost), "{found:?}");
        let nothing = Installed::look(Path::new("/nowhere"));
        assert_eq!(nothing.finding().level(), Level::Fail);
        let failed = cpu(&nothing, &Err("no back end".to_owned()), &BTreeSet::new());
        assert_eq!(failed[1].level(), Level::Fail);
    }
}
