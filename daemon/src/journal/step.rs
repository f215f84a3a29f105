//! What has come of a step, as it stands in the file.

use serde::{Deserialize, Serialize};

use crate::job::Outcome;

/// Raised when what is kept changes: steps of another version are done again.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Record<T> {
    version: u32,
    outcome: T,
}

pub(super) fn write(outcome: &Outcome) -> Vec<u8> {
    // Only maps with keys that are no strings can fail, and there are none.
    serde_json::to_vec(&Record { version: VERSION, outcome }).unwrap_or_default()
}

/// None if it can't be read.
pub(super) fn read(bytes: &[u8]) -> Option<Outcome> {
    let Record { version, outcome } = serde_json::from_slice::<Record<Outcome>>(bytes).ok()?;
    (version == VERSION).then_some(outcome)
}
