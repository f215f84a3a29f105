//! The engine: one child process per loaded model, the only place where llama.cpp runs.
//!
//! The parent side ([`Engine`], [`measure()`]) spawns and watches the child and speaks [`protocol`] with it; the child side
//! ([`child`]) holds the batch loop. They share nothing but the protocol.

#[cfg(feature = "engine-child")]
pub mod child;
mod connection;
pub mod derive;
mod duty;
mod errand;
mod error;
mod handle;
mod import;
mod log;
mod measure;
mod model_file;
mod process;
pub mod protocol;
mod real_memory;
mod session;
mod tune;
mod tuned;

pub use duty::Duty;
pub use error::EngineError;
pub use handle::{Engine, EngineEnd, EngineEvent, EngineId, EngineReport, EngineSpec, PARKED_PER_SEQUENCE};
pub use import::{Import, ImportSpec, Imported};
pub use measure::{measure, probe};
pub use model_file::ModelFile;
pub use process::{CPU_BACKENDS, GPU_BACKENDS, backends_folder};
pub use tune::tune;
pub use tuned::Tuned;
