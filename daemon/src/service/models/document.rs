//! What the fleet reads about a model.

use super::{Active, Down, DownWhy, ModelEntry, Stage, Then};
use crate::plan::{Bytes, Rejection, Why};
use crate::telemetry::{ModelDocument, ModelMemory, ModelStage, RejectedStrategy};

impl ModelEntry {
    /// `model/<name>`.
    pub fn document(&self) -> ModelDocument {
        let active = self.active();
        let report = self.serving().and_then(|active| active.report.as_deref());
        let file = active.map(|active| &active.file);
        let shape = active.map(|active| active.chosen.option.shape);
        ModelDocument {
            name: self.name().clone(),
            state: self.stage_word(),
            progress: if let Stage::Loading(active) = &self.stage { Some(active.share) } else { None },
            reason: self.failure().map(|reason| self.without_folders(reason)),
            strategy: active.map(|active| active.chosen.strategy.to_string()),
            squeezed: active.filter(|active| active.chosen.squeezed).map(|_| true),
            rejected: self.rejected().iter().map(|rejection| self.rejected_strategy(rejection)).collect(),
            unusable: self.unusable().iter().map(|reason| self.without_folders(reason)).collect(),
            file: self.file_name(active),
            sha256: file.map(|file| file.sha256.clone()),
            precision: file.map(|file| file.facts.file_type.clone()),
            description: report.map(|report| report.description.clone()),
            context: report.map(|report| report.context).or(shape.map(|shape| shape.context)),
            sequences: report.map(|report| report.sequences).or(shape.map(|shape| shape.sequences)),
            kv_type: shape.map(|shape| shape.kv_type),
            threads: report.map(|report| report.threads),
            tuning: active.and_then(|active| active.tuning),
            chat_template: report.map(|report| report.chat_template),
            devices: report.map(|report| report.devices.clone()),
            cpu_features: report.map(|report| report.cpu_features.clone()),
            load_seconds: report.map(|report| report.load_time.as_secs_f32()),
            memory: active.map(memory),
        }
    }

    fn stage_word(&self) -> ModelStage {
        match &self.stage {
            Stage::Preparing { .. } | Stage::Loading(_) => ModelStage::Loading,
            Stage::Serving(_) => ModelStage::Ready,
            Stage::Down(Down { why: DownWhy::Idle | DownWhy::Operator, .. })
            | Stage::Ending { then: Then::Unload(DownWhy::Idle, _), .. } => ModelStage::Unloaded,
            Stage::Ending { .. } | Stage::Down(_) => ModelStage::Unavailable,
        }
    }

    fn file_name(&self, active: Option<&Active>) -> String {
        let path =
            active.map(|active| active.file.path.as_path()).or(self.config.files.first().map(|f| f.path.as_path()));
        let name = path.and_then(|path| path.file_name()).unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn rejected_strategy(&self, rejection: &Rejection) -> RejectedStrategy {
        let (need, headroom) = match &rejection.why {
            Why::TooLarge { need, headroom, .. } => (Some(*need), Some(*headroom)),
            Why::Failed(_) | Why::SteppedDown => (None, None),
        };
        let reason = match &rejection.why {
            Why::TooLarge { limit, .. } => format!("too large for what is available ({limit})"),
            Why::Failed(reason) => self.without_folders(reason),
            Why::SteppedDown => "it had to give memory back".to_owned(),
        };
        RejectedStrategy { strategy: rejection.strategy.to_string(), need, headroom, reason }
    }
}

/// The estimate without its margin, and what the kernel says.
fn memory(active: &Active) -> ModelMemory {
    let estimate = active.chosen.option.need.expected();
    let real = active.report.as_ref().map(|report| {
        let memory = report.memory;
        Bytes(memory.host().0.saturating_add(memory.device.0))
    });
    let error = real.filter(|real| real.0 > 0).map(|real| (estimate.0 as f64 - real.0 as f64) / real.0 as f64);
    // Thousandths are more than anybody can use.
    let error = error.map(|error| (error * 1000.0).round() / 1000.0);
    ModelMemory { estimate, real, error }
}
