//! Whether a model fits, and how: what it needs of the machine's memory, what the machine can give, and the best way to
//! run it within that.
//!
//! Architecture invariant: everything here is arithmetic. Sizes come in as plain numbers, from the file's header and
//! from measurements; nothing here reads a file, a sensor or a clock.

mod bytes;
mod choose;
mod headroom;
mod ladder;
mod memory;
mod need;
mod profile;
mod reserve;
mod slack;
mod squeeze;
mod strategy;
mod tuning;

pub use bytes::Bytes;
pub use choose::{Candidate, Choice, Chosen, GpuLayers, LoadOption, Rank, Rejection, Why, choose, choose_worse};
pub use headroom::{Budget, DEVICE_MARGIN, DeviceKind, DeviceMemory, Headroom, HostHeadroom, MemoryLimit, Shortage};
pub use ladder::{Devices, ladder, wanted_precisions};
pub use memory::{Attention, ContextShape, KvType, ModelShape, compute_bytes, kv_bytes, output_bytes, process_bytes};
pub use need::{DeviceNeed, HostNeed, Need};
pub use profile::{Cores, Family, HeatMargins, MachineFacts, Profile};
pub use reserve::{Percent, Reserve};
pub use slack::Slack;
pub use squeeze::{LoadShape, squeezes};
pub use strategy::{Placement, Strategy};
pub use tuning::Tuning;
