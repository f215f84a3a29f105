//! The parent side of a measurement of speed and quality.

use std::sync::Arc;
use std::time::Duration;

use super::connection::Launch;
use super::protocol::{FromChild, ToChild, TuneParams, TuneReport};
use super::{EngineError, ModelFile, errand};
use crate::job::ModelName;

/// Longest time for one measurement: a large model on a small board computes some tokens a second.
const LONGEST: Duration = Duration::from_mins(30);

/// Longest time without a sign of life.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_mins(2);

/// Measures in a child how fast a decoder is with some settings, and what it says about a text. Ends the child.
///
/// Must be called within a runtime on the main thread.
pub async fn tune(model: &ModelName, file: &Arc<ModelFile>, params: TuneParams) -> Result<TuneReport, EngineError> {
    let file = file.descriptor().map_err(EngineError::Spawn)?;
    let launch = Launch { model, file, output: None, heartbeat_timeout: HEARTBEAT_TIMEOUT };
    match errand::run(launch, &ToChild::Tune(params), LONGEST, |_| {}).await? {
        FromChild::Tuned(report) => Ok(*report),
        other => Err(EngineError::unexpected(&other)),
    }
}
