//! The parent side of a dry run.

use std::sync::Arc;
use std::time::Duration;

use super::connection::Launch;
use super::protocol::{FromChild, MeasureParams, MeasureReport, ToChild};
use super::{EngineError, ModelFile, errand};
use crate::job::ModelName;

/// A dry run reads the header and the vocabulary only.
const LONGEST: Duration = Duration::from_mins(2);

/// Finds out in a child what loading a model would take, without reading its weights or taking memory for them.
///
/// Must be called within a runtime on the daemon's main thread.
pub async fn measure(
    model: &ModelName,
    file: &Arc<ModelFile>,
    params: MeasureParams,
    heartbeat_timeout: Duration,
) -> Result<MeasureReport, EngineError> {
    let points = params.points.len();
    let file = file.descriptor().map_err(EngineError::Spawn)?;
    let launch = Launch { model, file, output: None, heartbeat_timeout };
    match errand::run(launch, &ToChild::Measure(params), LONGEST, |_| {}).await? {
        FromChild::Measured(report) if report.buffers.len() == points => Ok(report),
        other => Err(EngineError::unexpected(&other)),
    }
}
