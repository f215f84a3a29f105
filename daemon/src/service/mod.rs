//! The daemon: one driver takes events, asks the pure rooms what to do, and carries it out.

mod driver;
mod error;
mod finish;
mod intake;
mod jobs;
mod models;
mod status;
mod systemd;
mod wiring;

pub use driver::run;
pub use error::ServiceError;
