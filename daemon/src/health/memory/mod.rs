//! Memory: of the machine, of the cgroups that hold this process, of one process; and the pressure on it.

mod cgroup;
mod events;
mod host;
mod membership;
mod pressure;
mod process;

use std::path::PathBuf;

pub use cgroup::{CgroupMemory, FileCache};
pub use events::MemoryEvents;
pub use host::HostMemory;
pub use pressure::Psi;
pub use process::{ProcessMemory, process_memory};

use self::cgroup::Reading;
use self::membership::{Lineage, Version};
use super::Roots;
use super::file::text;
use crate::plan::{Bytes, MemoryLimit};

/// The sensors of memory. Where the files are is found once; limits themselves are read anew each time, so that one that
/// an operator sets at run time counts at once.
#[derive(Debug, Clone)]
pub struct MemorySensors {
    roots: Roots,
    /// The cgroups that may limit memory; none if this process is in none that it can see.
    lineage: Option<Lineage>,
    /// Where pressure is told, best first.
    pressure: Vec<PathBuf>,
}

/// What the sensors say at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryReading {
    /// The whole machine; none if its kernel doesn't tell.
    pub host: Option<HostMemory>,
    /// Every cgroup with a limit on the path from this process to the top of what it can see, nearest first.
    pub cgroups: Vec<CgroupMemory>,
    /// Paths of cgroups that are there or were, and whose limit or usage can't be read: it is unknown whether they limit.
    /// If there are any, [`MemorySensors::discover`] may find where this process is now.
    pub unreadable: Vec<String>,
    /// Pressure: of this process' own cgroup where the kernel tells it, else of the machine.
    pub psi: Option<Psi>,
    /// What happened since boot.
    pub events: MemoryEvents,
    /// Processes of the whole machine that the kernel killed for memory since boot (`oom_kill` of `/proc/vmstat`).
    pub host_kills: Option<u64>,
}

impl MemorySensors {
    /// Finds the cgroups of this process. It never fails: what isn't there is unknown in each reading.
    pub fn discover(roots: Roots) -> Self {
        Self::of_process(roots, "self")
    }

    /// The same for a process that is named as below `/proc`, by its number.
    pub fn of_process(roots: Roots, process: &str) -> Self {
        let folder = roots.proc.join(process);
        let cgroup = text(&folder.join("cgroup")).unwrap_or_default();
        let mountinfo = text(&folder.join("mountinfo")).unwrap_or_default();
        let unified = Lineage::of(Version::V2, &cgroup, &mountinfo, &roots);
        let own = unified.iter().filter_map(|lineage| lineage.levels.first());
        let pressure = own.map(|level| level.folder.join("memory.pressure"));
        Self {
            pressure: pressure.chain([roots.proc.join("pressure/memory")]).collect(),
            lineage: Lineage::of_memory(&cgroup, &mountinfo, &roots),
            roots,
        }
    }

    /// Where the files of the cgroups are, nearest first.
    #[cfg(test)]
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.lineage.iter().flat_map(|lineage| &lineage.levels).map(|level| level.folder.clone()).collect()
    }

    /// Reads everything: the machine's three or fewer files, and up to five for each cgroup with a limit.
    pub fn read(&self) -> MemoryReading {
        let groups = self.lineage.as_ref().map(Reading::of).unwrap_or_default();
        MemoryReading {
            host: HostMemory::read(&self.roots),
            cgroups: groups.limited,
            unreadable: groups.unreadable,
            psi: self.pressure.iter().find_map(|path| Psi::read(path)),
            events: groups.events,
            host_kills: host::kills(&self.roots),
        }
    }
}

impl MemoryReading {
    /// Everything that limits memory, the machine first, when loaded models keep `kept_file` bytes of their files mapped.
    pub fn limits(&self, kept_file: u64) -> Vec<MemoryLimit> {
        let host = self.host.iter().map(|host| MemoryLimit {
            name: "host".to_owned(),
            total: Bytes(host.total),
            available: Bytes(host.available(kept_file)),
        });
        let cgroups = self.cgroups.iter().map(|group| MemoryLimit {
            name: format!("cgroup {}", group.path),
            total: Bytes(group.limit),
            available: Bytes(group.available(kept_file)),
        });
        host.chain(cgroups).collect()
    }
}
