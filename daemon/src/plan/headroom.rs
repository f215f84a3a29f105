//! The memory that a model may take now: what the machine has left, less what stays free.

use serde::Serialize;

use super::{Bytes, Need, Reserve};

/// Memory of a discrete GPU that stays free.
///
/// llama.cpp's buffers are counted in a model's need. What comes on top is its pool for intermediate results of matrix
/// products (ggml-cuda takes it from the device as it computes), and whoever else draws on the device. llama.cpp itself
/// leaves 1 GiB (`fit_params_target` in common.h), a quarter of a small card; a quarter of that is kept here, and a load
/// that fails for it is a step down the ladder.
pub const DEVICE_MARGIN: Bytes = Bytes(256 << 20);

/// Name of the limit that the operator's budget sets: its key in the configuration.
const BUDGET: &str = "memory.budget";

/// Name of the limit that a discrete GPU sets.
const DEVICE: &str = "GPU";

/// Name of the limit where a GPU is needed and none is there.
const NO_DEVICE: &str = "no GPU";

/// One thing that limits memory of the host: the host itself, or a cgroup on the path to this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryLimit {
    /// What it is, in plain words: `host`, `cgroup /system.slice/promptd.service`.
    pub name: String,
    /// All of it.
    pub total: Bytes,
    /// What can be had without pushing anything out. Pages of model files that loaded engines keep mapped are not in it,
    /// although the kernel counts them as reclaimable.
    pub available: Bytes,
}

/// The most that all models together may take, as the operator set it. Counts memory of the host, and of a GPU that
/// shares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The most.
    pub total: Bytes,
    /// What the loaded models take of it, without the one that is being planned.
    pub used: Bytes,
}

/// Whether a GPU has memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// It has: what lies there is not on the host.
    Discrete,
    /// It shares the host's, as on a Jetson: everything counts there, once.
    Unified,
}

/// Memory of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceMemory {
    /// Whose it is.
    pub kind: DeviceKind,
    /// All of it.
    pub total: Bytes,
    /// What is free. On unified memory it tells nothing (drivers leave out what the kernel could reclaim) and isn't used.
    pub free: Bytes,
}

/// What a model may take of the host's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostHeadroom {
    /// Neither host nor cgroups can be read, and there is no budget.
    Unknown,
    /// So much, by the tightest of all limits.
    Known {
        /// How much.
        bytes: Bytes,
        /// The name of the tightest limit.
        limit: String,
    },
}

/// What a model may take now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Headroom {
    /// Of the host's memory.
    pub host: HostHeadroom,
    /// The GPU, if there is one.
    pub device: Option<DeviceMemory>,
}

/// A need that is larger than a headroom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// What is needed of the limit.
    pub need: Bytes,
    /// What may be had of it; less than the need.
    pub headroom: Bytes,
    /// Its name.
    pub limit: String,
}

impl Shortage {
    /// How much is missing.
    pub fn missing(&self) -> Bytes {
        Bytes(self.need.0.saturating_sub(self.headroom.0))
    }
}

impl Headroom {
    /// What `limits` leave above `reserve`, and `budget` if there is one. The tightest counts; of equal ones the first.
    pub fn of(limits: &[MemoryLimit], reserve: Reserve, budget: Option<Budget>, device: Option<DeviceMemory>) -> Self {
        let left = |limit: &MemoryLimit| limit.available.0.saturating_sub(reserve.of(limit.total).0);
        let budget = budget.map(|budget| (budget.total.0.saturating_sub(budget.used.0), BUDGET));
        let all = limits.iter().map(|limit| (left(limit), limit.name.as_str())).chain(budget);
        let host = match all.min_by_key(|(bytes, _)| *bytes) {
            Some((bytes, limit)) => HostHeadroom::Known { bytes: Bytes(bytes), limit: limit.to_owned() },
            None => HostHeadroom::Unknown,
        };
        Self { host, device }
    }

    /// What is missing for `need`: of the limit that lacks most. None if it fits. An unknown host lacks nothing.
    pub fn shortage(&self, need: &Need) -> Option<Shortage> {
        let unified = self.device.is_some_and(|device| device.kind == DeviceKind::Unified);
        let host = if unified { need.total() } else { need.host() };
        let host = match &self.host {
            HostHeadroom::Known { bytes, limit } => shortage(host, *bytes, limit),
            HostHeadroom::Unknown => None,
        };
        let device = match self.device {
            Some(DeviceMemory { kind: DeviceKind::Unified, .. }) => None,
            Some(DeviceMemory { kind: DeviceKind::Discrete, free, .. }) => {
                shortage(need.device(), Bytes(free.0.saturating_sub(DEVICE_MARGIN.0)), DEVICE)
            }
            None => shortage(need.device(), Bytes(0), NO_DEVICE),
        };
        host.into_iter().chain(device).max_by_key(Shortage::missing)
    }
}

fn shortage(need: Bytes, headroom: Bytes, limit: &str) -> Option<Shortage> {
    (need > headroom).then(|| Shortage { need, headroom, limit: limit.to_owned() })
}

#[cfg(test)]
#[path = "headroom_tests.rs"]
mod tests;
