//! What memory limits have done to this process.

/// Counters since the cgroups were made, summed over the cgroups with a limit. None is unknown or not counted by this
/// kernel's cgroup version. They only grow while limits stay where they are; take differences that stop at 0.
///
/// `high` and `max` also count when the kernel had only to drop page cache, which is how a cgroup that reads large files
/// lives: they tell that a limit is near, and only `oom` and `oom_kill` that something failed
/// (Documentation/admin-guide/cgroup-v2.rst, `memory.events`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// A process was slowed down because `memory.high` was exceeded. Not in version 1.
    pub high: Option<u64>,
    /// Memory was about to exceed the limit; in version 1 `memory.failcnt` and `memory.memsw.failcnt`.
    pub max: Option<u64>,
    /// The limit was reached and nothing could be dropped: an allocation failed or somebody was killed. Not in version 1.
    pub oom: Option<u64>,
    /// Processes of this process' own cgroup that the kernel killed for memory, whosever limit it was.
    pub oom_kill: Option<u64>,
}

impl MemoryEvents {
    pub(super) fn plus(self, other: Self) -> Self {
        let add = |left: Option<u64>, right: Option<u64>| match (left, right) {
            (Some(left), Some(right)) => Some(left.saturating_add(right)),
            (known, None) | (None, known) => known,
        };
        Self {
            high: add(self.high, other.high),
            max: add(self.max, other.max),
            oom: add(self.oom, other.oom),
            oom_kill: add(self.oom_kill, other.oom_kill),
        }
    }
}
