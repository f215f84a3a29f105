//! The limits of cgroups, and what is left below them.

use std::path::Path;

use super::super::file::{Content, flat_keyed, number};
use super::MemoryEvents;
use super::membership::{Level, Lineage, Version};

/// From here on a limit is none: version 1 writes the kernel's largest number of pages (`PAGE_COUNTER_MAX`), in bytes, for
/// pages of up to 64 KiB.
const UNLIMITED: u64 = i64::MAX as u64 / 65_536 * 65_536;

/// A cgroup with a limit, in bytes. Its numbers include all cgroups below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMemory {
    /// Its path, as this process' cgroup namespace names it.
    pub path: String,
    /// Whether it is this process' own, and not one above it.
    pub own: bool,
    /// The least of its limits: `memory.max` and `memory.high`; in version 1 `memory.limit_in_bytes` and, at the top of
    /// what can be seen, the limits above it (`hierarchical_memory_limit`).
    pub limit: u64,
    /// What is charged to it, page cache included.
    pub usage: u64,
    /// Its page cache; none where the kernel doesn't tell.
    pub file: Option<FileCache>,
    /// `memory.high`, at which the kernel slows its processes down instead of killing one.
    pub high: Option<u64>,
}

/// Page cache of a cgroup in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileCache {
    /// Not used lately: first to be dropped.
    pub inactive: u64,
    /// Used again since it was read.
    pub active: u64,
}

impl CgroupMemory {
    /// What is left for new work when `kept_file` bytes of mapped files must stay in memory: limit − usage + cache that may
    /// be dropped.
    ///
    /// Usage includes page cache, which the kernel drops before it kills anyone (Documentation/admin-guide/cgroup-v2.rst,
    /// `memory.stat`). The inactive part is counted back, but not more than all cache without the weights of loaded models,
    /// which may stand in either part: dropping them would have every token read them from disk again. In its own cgroup
    /// the active part counts, too: those are the weights of models that were unloaded, which stay there until somebody
    /// needs the memory. Above it, active cache is what other services use. Model pages that another cgroup read first are
    /// charged there, and then this is too little by as much: the safe side.
    pub fn available(&self, kept_file: u64) -> u64 {
        let droppable = self.file.map_or(0, |FileCache { inactive, active }| {
            let without_kept = inactive.saturating_add(active).saturating_sub(kept_file);
            if self.own { without_kept } else { inactive.min(without_kept) }
        });
        self.limit.saturating_sub(self.usage.saturating_sub(droppable))
    }
}

/// A file is there and can't be understood.
struct Unknown;

/// What the cgroups of a lineage say.
#[derive(Default)]
pub(super) struct Reading {
    pub limited: Vec<CgroupMemory>,
    pub unreadable: Vec<String>,
    pub events: MemoryEvents,
}

impl Reading {
    pub(super) fn of(lineage: &Lineage) -> Self {
        let (mut limited, mut unreadable) = (Vec::new(), Vec::new());
        let mut events: Result<_, Unknown> = Ok(MemoryEvents::default());
        for (index, level) in lineage.levels.iter().enumerate() {
            let memory = match lineage.version {
                Version::V1 => v1(level, index == 0, index + 1 == lineage.levels.len()),
                Version::V2 => v2(level, index == 0),
            };
            let own = index == 0;
            if own || !matches!(memory, Ok(None)) {
                events = events.and_then(|sum| Ok(sum.plus(level_events(lineage.version, &level.folder, own)?)));
            }
            match memory {
                Ok(memory) => limited.extend(memory),
                Err(Unknown) => unreadable.push(level.name.clone()),
            }
        }
        Self { limited, unreadable, events: events.unwrap_or_default() }
    }
}

fn v2(level: &Level, own: bool) -> Result<Option<CgroupMemory>, Unknown> {
    let max = limit(&level.folder, "memory.max")?;
    let high = limit(&level.folder, "memory.high")?;
    let Some(limit) = max.into_iter().chain(high).min() else { return Ok(None) };
    let usage = required(&level.folder.join("memory.current"))?;
    let stat = read(&level.folder.join("memory.stat"))?.unwrap_or_default();
    let file = file_cache(&stat, "inactive_file", "active_file");
    Ok(Some(CgroupMemory { path: level.name.clone(), own, limit, usage, file, high }))
}

/// Cgroups above the top that can be seen limit as well: what of them is used is unknown, so that their limit counts for
/// the top.
fn v1(level: &Level, own: bool, top: bool) -> Result<Option<CgroupMemory>, Unknown> {
    let set = limit(&level.folder, "memory.limit_in_bytes")?;
    if set.is_none() && !top {
        return Ok(None);
    }
    let stat = read(&level.folder.join("memory.stat"))?.unwrap_or_default();
    let above = flat_keyed(&stat, "hierarchical_memory_limit").filter(|limit| top && *limit < UNLIMITED);
    let Some(limit) = set.into_iter().chain(above).min() else { return Ok(None) };
    let usage = required(&level.folder.join("memory.usage_in_bytes"))?;
    let file = file_cache(&stat, "total_inactive_file", "total_active_file");
    Ok(Some(CgroupMemory { path: level.name.clone(), own, limit, usage, file, high: None }))
}

fn file_cache(stat: &str, inactive: &str, active: &str) -> Option<FileCache> {
    Some(FileCache { inactive: flat_keyed(stat, inactive)?, active: flat_keyed(stat, active)? })
}

/// The limit in a file; none if it is unlimited or the controller isn't on here: roots have no such files. A cgroup that
/// is gone is not one without a limit.
fn limit(folder: &Path, file: &str) -> Result<Option<u64>, Unknown> {
    match read(&folder.join(file))?.as_deref().map(str::trim_ascii) {
        None if folder.is_dir() => Ok(None),
        Some("max") => Ok(None),
        None => Err(Unknown),
        Some(text) => number(text).map(|limit| Some(limit).filter(|limit| *limit < UNLIMITED)).ok_or(Unknown),
    }
}

/// What happened in a cgroup. Of its own cgroup everything counts; of one above only that its own limit was hit, because
/// events of version 2 bubble up and may be some other service's.
fn level_events(version: Version, folder: &Path, own: bool) -> Result<MemoryEvents, Unknown> {
    if version == Version::V1 {
        return level_events_v1(folder, own);
    }
    let file = if own { "memory.events" } else { "memory.events.local" };
    let Some(text) = read(&folder.join(file))? else { return Ok(MemoryEvents::default()) };
    let count = |key| flat_keyed(&text, key).ok_or(Unknown);
    let oom_kill = if own { Some(count("oom_kill")?) } else { None };
    Ok(MemoryEvents { high: Some(count("high")?), max: Some(count("max")?), oom: Some(count("oom")?), oom_kill })
}

/// Where memory with swap has the same limit as memory alone, as in a container without swap, that limit is hit first, and
/// only it counts. Linux 6.18 was seen to count it nowhere: then the kill is all that tells.
fn level_events_v1(folder: &Path, own: bool) -> Result<MemoryEvents, Unknown> {
    let hits = |file| read(&folder.join(file))?.map(|text| number(&text).ok_or(Unknown)).transpose();
    let sum = |max| MemoryEvents { max, ..MemoryEvents::default() };
    let both = sum(hits("memory.failcnt")?).plus(sum(hits("memory.memsw.failcnt")?));
    let oom_control = if own { read(&folder.join("memory.oom_control"))? } else { None };
    Ok(MemoryEvents { oom_kill: oom_control.and_then(|text| flat_keyed(&text, "oom_kill")), ..both })
}

fn read(path: &Path) -> Result<Option<String>, Unknown> {
    match Content::of(path) {
        Content::Text(text) => Ok(Some(text)),
        Content::Absent => Ok(None),
        Content::Unreadable => Err(Unknown),
    }
}

fn required(path: &Path) -> Result<u64, Unknown> {
    read(path)?.as_deref().and_then(number).ok_or(Unknown)
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
