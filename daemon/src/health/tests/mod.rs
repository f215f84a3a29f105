//! The sensors on whole trees, recorded and built, and on this machine.

mod boards;
mod faults;
mod fixtures;
mod profiles;
mod real;
mod tree;
