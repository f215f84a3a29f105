//! The parent side of a dry run.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Launch;
use super::protocol::{FromChild, MeasureParams, MeasureReport, ModelKind, ToChild};
use super::{EngineError, ModelFile, errand};
use crate::job::ModelName;
use crate::plan::Tuning;

/// A dry run reads the header and the vocabulary only.
const LONGEST: Duration = Duration::from_mins(2);

/// Back ends are loaded and no model. A GPU's driver may take seconds to wake up.
const PROBE: Duration = Duration::from_mins(1);

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

/// Where a child that needs no model finds one.
const NO_MODEL: &str = "/dev/null";

/// Finds out in a child what the back ends of some folders find on this machine. Needs no model.
///
/// Must be called within a runtime on the main thread.
pub async fn probe(folders: &[PathBuf]) -> Result<MeasureReport, EngineError> {
    let model = nameless();
    let file = File::open(NO_MODEL).map_err(EngineError::Spawn)?.into();
    let backends = folders.iter().map(|folder| folder.to_string_lossy().into_owned()).collect();
    let params = MeasureParams {
        backends,
        kind: ModelKind::Decoder,
        points: Vec::new(),
        reproducible: false,
        tuning: Tuning::default(),
    };
    let launch = Launch { model: &model, file, output: None, heartbeat_timeout: PROBE };
    match errand::run(launch, &ToChild::Measure(params), PROBE, |_| {}).await? {
        FromChild::Measured(report) => Ok(report),
        other => Err(EngineError::unexpected(&other)),
    }
}

/// What a child without a model is called in the list of processes.
fn nameless() -> ModelName {
    ModelName::new("probe").expect("letters only")
}
