//! Which profile suits this machine.

use super::cores::cores;
use super::file::{kib, strings, text};
use super::{Board, BoardKind, Roots};
use crate::plan::{Bytes, Family, MachineFacts, Profile};

/// What suits the machine that this process runs on.
pub fn profile() -> Profile {
    let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
    Profile::of(&facts(&Roots::this(), u32::try_from(parallelism).unwrap_or(u32::MAX)))
}

/// What a profile is chosen by.
pub(super) fn facts(roots: &Roots, parallelism: u32) -> MachineFacts {
    let memory = text(&roots.proc.join("meminfo")).and_then(|meminfo| kib(&meminfo, "MemTotal")).map(Bytes);
    MachineFacts { family: family(roots), memory, cores: cores(roots), parallelism }
}

fn family(roots: &Roots) -> Family {
    match Board::detect(roots).kind {
        BoardKind::Tegra { module, .. } => module.as_deref().map_or(Family::Jetson, jetson),
        BoardKind::RaspberryPi => {
            let compatible = text(&roots.proc.join("device-tree/compatible")).unwrap_or_default();
            raspberry_pi(&compatible)
        }
        BoardKind::Other if is_x86(roots) => Family::X86,
        BoardKind::Other => Family::Other,
    }
}

/// By the part number of the module (NVIDIA Jetson Linux Developer Guide).
fn jetson(module: &str) -> Family {
    match module {
        "p3767-0000" | "p3767-0001" => Family::OrinNx,
        "p3767-0003" | "p3767-0004" | "p3767-0005" => Family::OrinNano,
        _ if module.starts_with("p3701-") => Family::AgxOrin,
        _ => Family::Jetson,
    }
}

/// By the board's or its chip's name (Linux, Documentation/devicetree/bindings/arm/bcm2835.yaml).
fn raspberry_pi(compatible: &str) -> Family {
    let is = |chip: &str| strings(compatible).any(|name| name == chip);
    if is("brcm,bcm2712") {
        Family::RaspberryPi5
    } else if is("brcm,bcm2711") {
        Family::RaspberryPi4
    } else {
        Family::RaspberryPi
    }
}

/// Only x86 processors have a line for their vendor.
fn is_x86(roots: &Roots) -> bool {
    text(&roots.proc.join("cpuinfo")).is_some_and(|cpuinfo| cpuinfo.lines().any(|line| line.starts_with("vendor_id")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_profile() {
        let profile = profile();
        assert!(profile.threads > 0 && profile.why.len() >= 4, "{profile:?}");
        let expected = if cfg!(target_arch = "x86_64") { "x86" } else { profile.name };
        assert_eq!(profile.name, expected);
    }

    #[test]
    fn modules_are_of_a_family() {
        for (module, family) in [
            ("p3767-0000", Family::OrinNx),
            ("p3767-0004", Family::OrinNano),
            ("p3701-0005", Family::AgxOrin),
            ("p3767-0009", Family::Jetson),
            ("p3834-0008", Family::Jetson),
        ] {
            assert_eq!(jetson(module), family, "{module}");
        }
    }
}
