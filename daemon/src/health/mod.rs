//! Sensors: what the machine has left, and which machine it is.
//!
//! Nearly everything comes from small text files of the kernel below [`Roots`], so that tests read recorded trees. No vendor
//! library is needed; NVIDIA's is asked where it is. Nothing here decides: it reads, and the rooms above judge.
//!
//! Architecture invariant: what can't be read is unknown, `None`, and never 0. A file that is missing, empty, cut off or
//! full of garbage is no fault of ours and no reason to stop.

mod board;
mod clock;
mod cores;
mod file;
mod gpu_nodes;
mod machine;
mod memory;
mod mount;
mod processor;
mod profile;
mod reading;
mod roots;
mod sensors;

pub use board::{Board, BoardKind};
pub use clock::{Clock, clock};
pub use gpu_nodes::gpu_nodes;
pub use machine::Machine;
pub use memory::{
    CgroupMemory, FileCache, HostMemory, MemoryEvents, MemoryReading, MemorySensors, ProcessMemory, Psi, process_memory,
};
pub use mount::Mount;
pub use processor::cpu_features;
pub use profile::profile;
pub use reading::{CpuReading, Fan, GpuReading, HealthReading, Rail, Room, Temperature, Throttling};
pub use roots::Roots;
pub use sensors::HealthSensors;

#[cfg(test)]
mod tests;
