//! The state of a node in one word.

use schemars::JsonSchema;
use serde::Serialize;

/// How a node is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Before the first look at the models.
    Starting,
    /// No model is configured.
    NoModel,
    /// A model is being loaded and none is in trouble.
    Loading,
    /// Every model serves.
    Ready,
    /// Something is wrong, and the rest serves.
    Degraded,
    /// It is hot, and computes only a part of the time.
    Throttled,
    /// It is too hot: nothing is computed, and no new work is taken.
    Paused,
    /// The broker or the configuration keeps it from its work.
    Misconfigured,
    /// Open jobs are finished, new ones refused.
    Draining,
    /// The daemon ended on purpose.
    Stopped,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Starting,
        Self::NoModel,
        Self::Loading,
        Self::Ready,
        Self::Degraded,
        Self::Throttled,
        Self::Paused,
        Self::Misconfigured,
        Self::Draining,
        Self::Stopped,
    ];

    /// Whether requests are taken, be it by some models only or slowly.
    pub fn takes_work(self) -> bool {
        matches!(self, Self::Loading | Self::Ready | Self::Degraded | Self::Throttled)
    }

    /// The state that a document's word stands for; none if a later version has told it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeState::Starting => "starting",
            NodeState::NoModel => "no_model",
            NodeState::Loading => "loading",
            NodeState::Ready => "ready",
            NodeState::Degraded => "degraded",
            NodeState::Throttled => "throttled",
            NodeState::Paused => "paused",
            NodeState::Misconfigured => "misconfigured",
            NodeState::Draining => "draining",
            NodeState::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_what_serde_writes() {
        for state in NodeState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(NodeState::parse(state.as_str()), Some(state));
        }
    }
}
