//! The daemon: one driver takes events, asks the pure rooms what to do, and carries it out.

mod certificates;
mod cooling;
mod deriving;
mod driver;
mod endings;
mod error;
mod event_loop;
mod finish;
mod fit;
mod governing;
mod governor;
mod intake;
mod jobs;
mod kills;
mod lifecycle;
mod memory;
mod models;
mod operator;
mod reload;
mod removal;
mod self_test;
mod startup;
mod status;
mod switching;
mod systemd;
mod thermal;
mod waiting;
mod wiring;

pub use error::ServiceError;
pub use event_loop::run;
pub use fit::{Fit, fit};
pub use models::{Gpu, Usable, Variant};
pub use startup::{SetLogLevel, Startup};
pub use wiring::link_config;
