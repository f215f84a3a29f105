//! The sensors on whole trees, recorded and built, and on this machine.

mod fixtures;
mod real;
