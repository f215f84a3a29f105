//! The configured models: what is known of their files, which engine runs them, and what became of it.

mod active;
mod document;
mod entry;
mod failures;
mod prepare;
mod tries;

pub use active::{Active, EngineSettings};
pub use entry::{Down, DownWhy, ModelEntry, Review, Stage, Then, Ticket, unavailable};
pub use failures::{Failure, Failures};
pub use prepare::{Gpu, Preparation, Prepared, Usable, Variant, prepare};
pub(super) use prepare::{missing, one_of_each};
pub use tries::Tries;
