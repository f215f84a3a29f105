//! Chips with sensors, as hwmon knows them (Documentation/hwmon/sysfs-interface.rst).

use std::path::PathBuf;

use super::super::Roots;
use super::listing::{name, numbered};

/// Drivers of GPUs. What their chips tell belongs to the GPU, which is not to be woken for it.
const GPUS: [&str; 5] = ["amdgpu", "i915", "nouveau", "radeon", "xe"];

/// A chip.
#[derive(Debug, Clone)]
pub(super) struct Chip {
    /// Its driver's name.
    pub(super) name: String,
    /// Where its files are.
    pub(super) folder: PathBuf,
}

impl Chip {
    /// All of them, apart from those in GPUs.
    pub(super) fn all(roots: &Roots) -> Vec<Self> {
        let chips = numbered(&roots.sys.join("class/hwmon"), "hwmon", "");
        let chips =
            chips.into_iter().filter_map(|(_, folder)| Some(Self { name: name(&folder.join("name"))?, folder }));
        chips.filter(|chip| !GPUS.contains(&chip.name.as_str())).collect()
    }

    /// The file of one of its values, such as `temp1_input`.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a value is called, by a label such as `temp1_label`; else the chip's own name.
    pub(super) fn label(&self, value: &str) -> String {
        name(&self.file(&format!("{value}_label"))).unwrap_or_else(|| self.name.clone())
    }
}
