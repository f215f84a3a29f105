//! What is found out about a model: as the daemon does, or by the formula.

use std::path::{Path, PathBuf};

use promptd::config::{Config, Engine, Model};
use promptd::engine::ModelFile;
use promptd::gguf::ModelFacts;
use promptd::health::{MemorySensors, Roots};
use promptd::job::Precision;
use promptd::plan::{
    Budget, Bytes, Candidate, Choice, Devices, GpuLayers, Headroom, LoadOption, LoadShape, Strategy, choose, ladder,
    squeezes,
};
use promptd::service::{self, Gpu};

/// A file of the model.
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its rung of the ladder and what its header tells; or why it can't be used.
    pub content: Result<(Precision, ModelFacts), String>,
}

/// Files, strategies, and the choice among them.
pub struct Survey {
    /// Whether the needs were measured by dry runs.
    pub measured: bool,
    /// Every file, derived ones last.
    pub files: Vec<Found>,
    /// The GPU, if one was looked for and found.
    pub gpu: Option<Gpu>,
    /// The strategies, best first.
    pub candidates: Vec<Candidate>,
    /// What the machine has for it.
    pub headroom: Headroom,
    /// What the daemon would load.
    pub choice: Choice,
}

impl From<service::Fit> for Survey {
    fn from(fit: service::Fit) -> Self {
        let service::Fit { variants, gpu, candidates, headroom, choice } = fit;
        let files = variants.into_iter().map(|variant| {
            let content = variant.file.map(|usable| (usable.precision, usable.file.facts.clone()));
            Found { path: variant.path, content }
        });
        Self { measured: true, files: files.collect(), gpu, candidates, headroom, choice }
    }
}

impl Survey {
    /// Reads the headers, estimates what every strategy on the CPU needs, and chooses.
    pub fn by_formula(config: &Config, model: &Model) -> Self {
        let files: Vec<Found> = model.files.iter().map(|file| Found::read(&file.path)).collect();
        let usable: Vec<&(Precision, ModelFacts)> =
            files.iter().filter_map(|file| file.content.as_ref().ok()).collect();
        let precisions: Vec<Precision> = usable.iter().map(|(precision, _)| *precision).collect();
        let candidate = |strategy: Strategy| {
            let (_, facts) = usable.iter().find(|(precision, _)| *precision == strategy.precision)?;
            Some(Candidate { strategy, options: Ok(options(model, facts, &config.engine)) })
        };
        let steps = ladder(model.ladder.as_deref(), &precisions, Devices::None);
        let candidates: Vec<Candidate> = steps.into_iter().filter_map(candidate).collect();
        let headroom = headroom(config);
        let choice = choose(&candidates, &headroom);
        Self { measured: false, files, gpu: None, candidates, headroom, choice }
    }

    /// Why no file can be used; none if one can.
    pub fn unusable(&self) -> Option<String> {
        let reasons: Vec<&str> =
            self.files.iter().filter_map(|file| Some(file.content.as_ref().err()?.as_str())).collect();
        (reasons.len() == self.files.len()).then(|| reasons.join("; "))
    }
}

impl Found {
    fn read(path: &Path) -> Self {
        let content = ModelFile::facts(path).map(|facts| (facts.precision, facts)).map_err(|e| e.to_string());
        Self { path: path.to_owned(), content }
    }
}

/// The shapes that the daemon would measure.
fn options(model: &Model, facts: &ModelFacts, engine: &Engine) -> Vec<LoadOption> {
    let trained = facts.n_ctx_train.max(1);
    let wanted = LoadShape { context: model.context.min(trained), sequences: model.sequences, kv_type: model.kv_type };
    let shapes = squeezes(wanted, model.min_context.min(trained), !engine.reproducible);
    let option =
        |shape| LoadOption { shape, gpu_layers: GpuLayers::None, need: service::estimate(facts, shape, engine) };
    shapes.into_iter().map(option).collect()
}

fn headroom(config: &Config) -> Headroom {
    let limits = MemorySensors::discover(Roots::this()).read().limits(0);
    let budget = config.memory.budget.map(|total| Budget { total, used: Bytes(0) });
    Headroom::of(&limits, config.memory.reserve, budget, None)
}
