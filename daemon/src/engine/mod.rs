//! The engine: one child process per loaded model, the only place where llama.cpp runs.
//!
//! The parent side ([`Engine`]) spawns and supervises the child and speaks [`protocol`] with it; the child side
//! ([`child`]) holds the batch loop. They share nothing but the protocol.

pub mod child;
mod error;
mod model_file;
mod process;
pub mod protocol;
mod session;
mod supervisor;

pub use error::EngineError;
pub use model_file::ModelFile;
pub use process::{backends_folder, default_threads};
pub use supervisor::{Engine, EngineEvent, EngineReport, EngineSpec};
