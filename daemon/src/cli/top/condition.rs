//! How a node is, in one word: what it says of itself, unless it can't say it any more.

use promptd::telemetry::NodeState;

/// A node's condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The broker has told that it is gone.
    Offline,
    /// It is there and does not tell its numbers as often as it has promised.
    Silent,
    /// It has told nothing of its state.
    Unknown,
    /// What it says.
    Told(NodeState),
    /// What a node of a later version says, in a word that this one does not know.
    Other(String),
}

/// How much a condition matters to an operator; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It does not serve.
    Bad,
    /// It serves worse than it should, or nobody knows.
    Doubtful,
    /// It will serve, or was told not to.
    Busy,
    /// It was stopped on purpose.
    Gone,
    /// All is well.
    Good,
}

impl Condition {
    /// Every condition but the unknown words, worst first: the order in which an operator wants to see them.
    const ORDER: [Self; 13] = [
        Self::Offline,
        Self::Told(NodeState::Misconfigured),
        Self::Told(NodeState::NoModel),
        Self::Told(NodeState::Paused),
        Self::Silent,
        Self::Told(NodeState::Degraded),
        Self::Told(NodeState::Throttled),
        Self::Unknown,
        Self::Told(NodeState::Draining),
        Self::Told(NodeState::Starting),
        Self::Told(NodeState::Loading),
        Self::Told(NodeState::Stopped),
        Self::Told(NodeState::Ready),
    ];

    /// The word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Offline => "offline",
            Self::Silent => "silent",
            Self::Unknown => super::text::UNKNOWN,
            Self::Told(state) => state.as_str(),
            Self::Other(word) => word,
        }
    }

    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Self::Offline | Self::Silent => Level::Bad,
            Self::Unknown | Self::Other(_) => Level::Doubtful,
            Self::Told(state) => match state {
                NodeState::Misconfigured | NodeState::NoModel | NodeState::Paused => Level::Bad,
                NodeState::Degraded | NodeState::Throttled => Level::Doubtful,
                NodeState::Draining | NodeState::Starting | NodeState::Loading => Level::Busy,
                NodeState::Stopped => Level::Gone,
                NodeState::Ready => Level::Good,
            },
        }
    }

    /// Its place among all, the worst first. Words that are not known stand where nothing is known.
    pub fn rank(&self) -> usize {
        let like = if let Self::Other(_) = self { &Self::Unknown } else { self };
        Self::ORDER.iter().position(|other| other == like).unwrap_or(Self::ORDER.len())
    }

    /// Whether the node's last numbers still stand for it.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::Offline | Self::Silent | Self::Told(NodeState::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_place_and_worse_ones_come_first() {
        for state in NodeState::ALL {
            assert!(Condition::Told(state).rank() < Condition::ORDER.len(), "{state:?}");
        }
        let levels: Vec<Level> = Condition::ORDER.iter().map(Condition::level).collect();
        assert!(levels.is_sorted(), "{levels:?}");
        assert_eq!(Condition::Other("later".to_owned()).rank(), Condition::Unknown.rank());
    }
}
