//! Which machine this is, for those who look after many.

use schemars::JsonSchema;
use serde::Serialize;
use sysinfo::{CpuRefreshKind, System};

use super::{Board, Roots};

/// What does not change while the daemon runs. What can't be read is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Machine {
    /// The board's name in its device tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// Release of Jetson Linux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l4t: Option<String>,
    /// The processor's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Processors of the machine, whoever may use them.
    #[serde(skip)]
    pub processors: usize,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The operating system, such as `Debian GNU/Linux 12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The kernel's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Whether this process runs in a container.
    pub container: bool,
}

impl Machine {
    /// The machine that this process runs on.
    pub fn this() -> Self {
        let Board { model, l4t, container, .. } = Board::detect(&Roots::this());
        let system = System::new().ok().map(|mut system| {
            system.refresh_memory();
            system.refresh_cpu_list(CpuRefreshKind::nothing());
            system
        });
        let named = |text: String| Some(text).filter(|text| !text.trim().is_empty());
        Self {
            board: model,
            l4t,
            cpu: system.as_ref().and_then(|system| named(system.cpus().first()?.brand().to_owned())),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processors: system.as_ref().map_or(0, |system| system.cpus().len()),
            memory_bytes: system.map(|system| system.total_memory()).filter(|bytes| *bytes > 0),
            os: System::long_os_version().ok().and_then(named),
            kernel: System::kernel_version().ok().and_then(named),
            container,
        }
    }
}

impl Machine {
    /// Which kind of machine it is: what was measured on one of a kind holds for the others. All its processors count, however
    /// few this process may use.
    pub fn name(&self) -> String {
        let name = self.board.as_deref().or(self.cpu.as_deref()).unwrap_or("unknown");
        format!("{name}, {} processors", self.processors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_memory_and_a_kernel() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && machine.memory_bytes > Some(1 << 20) && machine.kernel.is_some(), "{machine:?}");
    }
}
