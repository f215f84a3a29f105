//! What the processor can do.

use std::collections::BTreeSet;

use super::Roots;
use super::file::text;

/// The names of the lines that list features: on x86, and on ARM.
const LINES: [&str; 2] = ["flags", "Features"];

/// Features of the first processor, in the kernel's words, such as `avx2` and `asimddp`. Empty if it doesn't tell.
pub fn cpu_features(roots: &Roots) -> BTreeSet<String> {
    let cpuinfo = text(&roots.proc.join("cpuinfo")).unwrap_or_default();
    let listed = cpuinfo.lines().find_map(|line| {
        let (name, list) = line.split_once(':')?;
        LINES.contains(&name.trim()).then_some(list)
    });
    listed.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(cpuinfo: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        std::fs::create_dir_all(&roots.proc).unwrap();
        std::fs::write(roots.proc.join("cpuinfo"), cpuinfo).unwrap();
        cpu_features(&roots).into_iter().collect()
    }

    #[test]
    fn features_stand_in_one_line_of_each_processor() {
        assert_eq!(
            features("processor\t: 0\nflags\t\t: fpu avx2\nvmx flags\t: vnmi\n\nflags\t\t: sse\n"),
            ["avx2", "fpu"]
        );
        assert_eq!(features("processor: 0\nFeatures: fp asimd asimddp\n"), ["asimd", "asimddp", "fp"]);
        assert!(features("model name: x\n").is_empty());
        assert!(!cpu_features(&Roots::default()).is_empty());
    }
}
