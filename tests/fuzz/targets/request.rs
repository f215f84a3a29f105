//! A message of a client, an operator or a device: all the way to a job, and what the job is made of.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use promptd_fuzz::{Node, message};

static NODE: LazyLock<Node> = LazyLock::new(Node::new);

fuzz_target!(|bytes: &[u8]| {
    NODE.take(&message(bytes, &NODE.base()));
});
