//! Which board this is.

use super::Roots;
use super::file::{strings, text};

/// The board, as far as it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// Its name, such as `Raspberry Pi 5 Model B Rev 1.0`; boards without a device tree, such as a PC, have none.
    pub model: Option<String>,
    /// Its family.
    pub kind: BoardKind,
    /// Release of NVIDIA's Jetson Linux, such as `36.4.7`.
    pub l4t: Option<String>,
    /// Whether the board's own GPU computes in the machine's memory, so that both are one and count once. True for every
    /// Tegra. On other machines only the engine can tell, by the type of the device that it finds there: a GPU in the
    /// processor of a PC shares memory as well.
    pub unified_memory: bool,
    /// Whether this process runs in a container. Many hide the device tree.
    pub container: bool,
}

/// Families of boards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoardKind {
    /// NVIDIA Tegra: the Jetsons.
    Tegra {
        /// The chip, such as `tegra234`, which is Orin.
        soc: Option<String>,
        /// Part number of the module, such as `p3767-0005`.
        module: Option<String>,
    },
    /// A Raspberry Pi.
    RaspberryPi,
    /// Anything else.
    Other,
}

/// Part numbers of the modules that Jetsons are made of, in NVIDIA's device trees; other numbers are carriers'.
/// In this order: Orin NX and Nano, AGX Orin, Thor, Xavier NX, AGX Xavier, TX2, Nano.
const MODULES: [&str; 7] = ["p3767", "p3701", "p3834", "p3668", "p2888", "p3310", "p3448"];

/// Files that container engines leave: Docker, Podman, and systemd for the others.
const CONTAINER_MARKS: [&str; 3] = [".dockerenv", "run/.containerenv", "run/systemd/container"];

impl Board {
    /// Looks what this is. It never fails: what the board doesn't tell is unknown.
    pub fn detect(roots: &Roots) -> Self {
        let property = |name: &str| text(&roots.proc.join("device-tree").join(name));
        let model = property("model").and_then(|model| strings(&model).next().map(str::to_owned));
        let compatible = property("compatible").unwrap_or_default();
        let release = text(&roots.root.join("etc/nv_tegra_release"));
        let soc = strings(&compatible).find_map(tegra).map(str::to_owned);
        // Containers hide the device tree; the chip's own folder (Documentation/ABI/testing/sysfs-devices-soc) they don't.
        let family = text(&roots.sys.join("devices/soc0/family"));
        let kind = if soc.is_some() || family.is_some_and(|family| family.trim() == "Tegra") || release.is_some() {
            let sources = [Some(compatible), property("nvidia,dtsfilename"), property("nvidia,boardids")];
            BoardKind::Tegra { soc, module: sources.iter().flatten().find_map(|source| module(source)) }
        } else if strings(&compatible).any(|name| name.starts_with("raspberrypi,")) {
            BoardKind::RaspberryPi
        } else {
            BoardKind::Other
        };
        Self {
            model,
            unified_memory: matches!(kind, BoardKind::Tegra { .. }),
            kind,
            l4t: release.as_deref().and_then(l4t),
            container: in_container(roots),
        }
    }
}

/// The chip in a name of the device tree: `nvidia,tegra234`.
fn tegra(compatible: &str) -> Option<&str> {
    let chip = compatible.strip_prefix("nvidia,")?;
    let number = chip.strip_prefix("tegra")?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(chip)
}

/// The part number of a module in names such as `nvidia,p3768-0000+p3767-0005` or `…/tegra234-p3767-0003-p3768-0000-a0.dts`,
/// or `3767-0005` among board ids.
fn module(text: &str) -> Option<String> {
    MODULES.iter().find_map(|module| {
        // Board ids come with and without the letter.
        text.match_indices(&module[1..]).find_map(|(at, part)| {
            let number = text[at + part.len()..].strip_prefix(['-', ':'])?.get(..4)?;
            let bounded = !text[..at].ends_with(|before: char| before.is_ascii_digit());
            (bounded && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| format!("{module}-{number}"))
        })
    })
}

/// `36.4.7` of `# R36 (release), REVISION: 4.7, GCID: …`.
fn l4t(release: &str) -> Option<String> {
    let (major, rest) = release.lines().next()?.strip_prefix("# R")?.split_once(' ')?;
    let revision = rest.split_once("REVISION: ")?.1.split(',').next()?.trim();
    let numbers = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (numbers(major) && numbers(revision)).then(|| format!("{major}.{revision}"))
}

/// Besides by its marks, a container shows in a file of names that its engine mounts for it: Docker, Podman and kubelet do.
fn in_container(roots: &Roots) -> bool {
    let mountinfo = text(&roots.proc.join("self/mountinfo")).unwrap_or_default();
    let mounted = |line: &str| line.split(' ').nth(4) == Some("/etc/hosts");
    CONTAINER_MARKS.iter().any(|mark| roots.root.join(mark).exists()) || mountinfo.lines().any(mounted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn modules_are_found_among_carriers() {
        for (text, expected) in [
            ("nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0", Some("p3767-0005")),
            ("/dvs/kernel-dts/tegra234-p3767-0003-p3768-0000-a0.dts", Some("p3767-0003")),
            ("3767-0001:3768-0000", Some("p3767-0001")),
            ("3767:0000:300", Some("p3767-0000")),
            ("nvidia,p3768-0000", None),
            ("p3767-000", None),
            ("13767-0001", None),
            ("p3767-00ü1", None),
        ] {
            assert_eq!(module(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn releases_are_versions() {
        let text = "# R36 (release), REVISION: 4.7, GCID: 1, BOARD: generic, EABI: aarch64\n# KERNEL_VARIANT: oot\n";
        assert_eq!(l4t(text).as_deref(), Some("36.4.7"));
        for wrong in ["", "R36", "# R36 (release)", "# R (release), REVISION: 4", "# R36 (x), REVISION: , GCID"] {
            assert_eq!(l4t(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_container_without_device_tree_still_shows_its_chip() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::under(folder.path());
        let unknown = Board::detect(&roots);
        assert_eq!((&unknown.kind, unknown.unified_memory, unknown.container), (&BoardKind::Other, false, false));
        std::fs::create_dir_all(roots.sys.join("devices/soc0")).unwrap();
        std::fs::write(roots.sys.join("devices/soc0/family"), "Tegra\n").unwrap();
        std::fs::write(folder.path().join(".dockerenv"), "").unwrap();
        let board = Board::detect(&roots);
        assert_eq!(board.kind, BoardKind::Tegra { soc: None, module: None });
        assert!(board.unified_memory && board.container);
        assert_eq!((board.model, board.l4t), (None, None));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>(), tail in "\\PC{0,6}") {
            let _ = (module(&text), l4t(&text), tegra(&text));
            for prefix in ["3767", "3767-", "# R36 ", "# R36 REVISION: ", "nvidia,tegra"] {
                let text = format!("{prefix}{tail}");
                let _ = (module(&text), l4t(&text), tegra(&text));
            }
        }
    }
}
