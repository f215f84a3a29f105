//! What is wrong with this node and what to do about it: the checks of `promptd doctor`, and of the daemon's self-test.
//!
//! Each check gives findings. Most are functions of what somebody has read already; those about files, the broker and the
//! machine look for themselves. Nothing here changes anything, but for a few messages at the broker: see [`broker()`].

mod account;
mod broker;
mod certificates;
mod clock;
mod configuration;
mod cpu;
mod credential;
mod daemon;
mod devices;
mod disk;
mod files;
mod finding;
mod journal;
mod memory;
mod models;
mod self_test;
mod topics;
mod unit;

pub use account::Account;
pub use broker::broker;
pub use certificates::certificates;
pub use clock::clock;
pub use configuration::configuration;
pub use cpu::{Installed, cpu};
pub use credential::with_credential;
pub use daemon::{Daemon, daemon};
pub use devices::{Gpus, devices};
pub use disk::disk;
pub use files::files;
pub use finding::{Check, Finding, Level};
pub use journal::journal;
pub use memory::{fit, memory};
pub use models::{Hashing, models};
pub use self_test::self_test;

/// How an operator has the daemon read its configuration again, and ask the broker again.
const RELOAD: &str = "sudo systemctl reload-or-restart promptd";

/// How an operator has a daemon begin anew.
const RESTART: &str = "sudo systemctl restart promptd";
