//! What becomes of each strategy.

use promptd::plan::{Bytes, Candidate, GpuLayers, Headroom, LoadOption, LoadShape, Need, Shortage, Strategy, choose};
use serde::Serialize;

use crate::cli::fit::survey::Survey;

/// A strategy.
#[derive(Debug, Serialize)]
pub struct StrategyReport {
    /// Which.
    pub strategy: Strategy,
    /// What becomes of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What becomes of a strategy.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Outcome {
    /// The daemon would load it so.
    Chosen(Way),
    /// It fits as well, but comes after the chosen one.
    Fits(Way),
    /// It doesn't fit, not even in the way that lacks least.
    TooLarge {
        /// That way.
        #[serde(flatten)]
        way: Way,
        /// What is needed of the limit.
        needed: Bytes,
        /// What may be had of it.
        available: Bytes,
        /// Its name.
        limit: String,
    },
    /// It can't be tried.
    Impossible {
        /// Why.
        reason: String,
    },
}

/// One way to carry out a strategy, and its need.
#[derive(Debug, Serialize)]
pub struct Way {
    /// Context, sequences, keys and values.
    #[serde(flatten)]
    pub shape: LoadShape,
    /// Whether this is less than was wanted.
    pub squeezed: bool,
    /// What lies on a GPU.
    pub gpu_layers: GpuLayers,
    /// The need in parts.
    pub need: Need,
    /// What must be free on the host.
    pub host: Bytes,
    /// What must be free on the GPU.
    pub device: Bytes,
    /// Both together.
    pub total: Bytes,
}

/// All of them.
pub fn strategies(survey: &Survey) -> Vec<StrategyReport> {
    let chosen = survey.choice.chosen.as_ref().map(|chosen| chosen.rank.candidate);
    let report = |(index, candidate): (usize, &Candidate)| StrategyReport {
        strategy: candidate.strategy,
        outcome: Outcome::of(candidate, &survey.headroom, chosen == Some(index)),
    };
    survey.candidates.iter().enumerate().map(report).collect()
}

impl Outcome {
    /// Judges a candidate by itself, with the rules of the choice among all.
    fn of(candidate: &Candidate, headroom: &Headroom, is_chosen: bool) -> Self {
        let options = match &candidate.options {
            Ok(options) => options,
            Err(reason) => return Self::Impossible { reason: reason.clone() },
        };
        if let Some(chosen) = choose(std::slice::from_ref(candidate), headroom).chosen {
            let way = Way::of(&chosen.option, chosen.squeezed);
            return if is_chosen { Self::Chosen(way) } else { Self::Fits(way) };
        }
        let shortages = options.iter().filter_map(|option| Some((option, headroom.shortage(&option.need)?)));
        match shortages.min_by_key(|(_, shortage)| shortage.missing()) {
            Some((option, Shortage { need, headroom, limit })) => {
                let squeezed = options.first().is_some_and(|wanted| wanted.shape != option.shape);
                Self::TooLarge { way: Way::of(option, squeezed), needed: need, available: headroom, limit }
            }
            None => Self::Impossible { reason: "there is no way to carry it out".to_owned() },
        }
    }

    /// The way in question, if there is one.
    pub fn way(&self) -> Option<&Way> {
        match self {
            Self::Chosen(way) | Self::Fits(way) | Self::TooLarge { way, .. } => Some(way),
            Self::Impossible { .. } => None,
        }
    }
}

impl Way {
    fn of(option: &LoadOption, squeezed: bool) -> Self {
        let LoadOption { shape, gpu_layers, need } = *option;
        Self { shape, squeezed, gpu_layers, need, host: need.host(), device: need.device(), total: need.total() }
    }
}
