//! The choice of the best way to run a model that fits, and why every better one does not.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Bytes, Headroom, HostHeadroom, LoadShape, Need, Shortage, Strategy};

/// How many layers lie on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuLayers {
    /// None: placement `cpu`.
    None,
    /// The last so many: placement `partial`.
    Some(u32),
    /// All of them: placement `gpu`.
    All,
}

/// One way to carry out a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOption {
    /// Context, sequences, keys and values.
    pub shape: LoadShape,
    /// What lies on a GPU.
    pub gpu_layers: GpuLayers,
    /// The memory it needs.
    pub need: Need,
}

/// A strategy that may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub strategy: Strategy,
    /// The ways to carry it out, best first; or why it can't be tried at all.
    pub options: Result<Vec<LoadOption>, String>,
}

/// The place of an option among all candidates. A smaller one is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rank {
    /// Which candidate, from 0.
    pub candidate: usize,
    /// Which of its options, from 0.
    pub option: usize,
}

/// What to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its place among the candidates.
    pub rank: Rank,
    /// Its strategy.
    pub strategy: Strategy,
    /// The way to carry it out.
    pub option: LoadOption,
    /// Whether it is smaller than was wanted: the shape is not that of the strategy's first option.
    pub squeezed: bool,
    /// Whether nobody knows if it fits, because the host's memory can't be read.
    pub assumed: bool,
}

/// Why a strategy was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No option fits. The numbers are those of the option that lacks least.
    TooLarge {
        /// What it needs of the limit.
        need: Bytes,
        /// What may be had of it.
        headroom: Bytes,
        /// The limit's name.
        limit: String,
    },
    /// It can't be tried.
    Failed(String),
    /// It would fit by the numbers, but the model was told to step down from it.
    SteppedDown,
}

/// A strategy that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which.
    pub strategy: Strategy,
    /// Why.
    pub why: Why,
}

/// The best that fits, and every strategy that would have been better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What to load; none if nothing fits.
    pub chosen: Option<Chosen>,
    /// The strategies before the chosen one, in their order; all of them if none was chosen.
    pub rejected: Vec<Rejection>,
}

/// The first option of the first candidate that fits into `headroom`.
pub fn choose(candidates: &[Candidate], headroom: &Headroom) -> Choice {
    choose_from(candidates, headroom, |_| true)
}

/// The first option after `than` that fits: where to step down to.
pub fn choose_worse(candidates: &[Candidate], headroom: &Headroom, than: Rank) -> Choice {
    choose_from(candidates, headroom, |rank| rank > than)
}

fn choose_from(candidates: &[Candidate], headroom: &Headroom, allowed: impl Fn(Rank) -> bool) -> Choice {
    let mut rejected = Vec::new();
    for (candidate, Candidate { strategy, options }) in candidates.iter().enumerate() {
        let rank = |option| Rank { candidate, option };
        let picked = match options {
            Ok(options) => pick(options, headroom, |option| allowed(rank(option))),
            Err(reason) => Err(Why::Failed(reason.clone())),
        };
        match picked {
            Ok(Picked { index, option, squeezed }) => {
                let assumed = headroom.host == HostHeadroom::Unknown;
                let chosen = Chosen { rank: rank(index), strategy: *strategy, option, squeezed, assumed };
                return Choice { chosen: Some(chosen), rejected };
            }
            Err(why) => rejected.push(Rejection { strategy: *strategy, why }),
        }
    }
    Choice { chosen: None, rejected }
}

struct Picked {
    index: usize,
    option: LoadOption,
    squeezed: bool,
}

/// The first allowed option that fits.
fn pick(options: &[LoadOption], headroom: &Headroom, allowed: impl Fn(usize) -> bool) -> Result<Picked, Why> {
    let mut least: Option<Shortage> = None;
    let mut stepped_down = false;
    for (index, option) in options.iter().enumerate() {
        match headroom.shortage(&option.need) {
            None if allowed(index) => {
                let squeezed = options.first().is_some_and(|wanted| wanted.shape != option.shape);
                return Ok(Picked { index, option: *option, squeezed });
            }
            None => stepped_down = true,
            Some(shortage) if least.as_ref().is_none_or(|least| shortage.missing() < least.missing()) => {
                least = Some(shortage);
            }
            Some(_) => {}
        }
    }
    Err(match least {
        _ if stepped_down => Why::SteppedDown,
        Some(Shortage { need, headroom, limit }) => Why::TooLarge { need, headroom, limit },
        None => Why::Failed("there is no way to carry it out".to_owned()),
    })
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { strategy, why } = self;
        match why {
            Why::TooLarge { need, headroom, limit } => {
                write!(f, "{strategy} needs {need}; {headroom} are available ({limit})")
            }
            Why::Failed(reason) => write!(f, "{strategy} can't be tried: {reason}"),
            Why::SteppedDown => write!(f, "{strategy} had to give memory back"),
        }
    }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
