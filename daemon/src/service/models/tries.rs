//! Which strategies of a model may be tried.

use super::ModelEntry;
use crate::plan::{Candidate, Strategy};

/// Which of the failed strategies are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    /// None of them.
    Fresh,
    /// Those that failed in an earlier run.
    All,
}

impl ModelEntry {
    /// The candidates, with what is known against some of them.
    pub fn candidates_now(&self, tries: Tries) -> Vec<Candidate> {
        let against = |strategy: Strategy| {
            if let Some(only) = self.only.filter(|only| *only != strategy) {
                return Some(format!("an operator chose {only}"));
            }
            let failure = self.failures.iter().find(|failure| failure.strategy == strategy)?;
            (tries == Tries::Fresh || !failure.earlier).then(|| failure.reason.clone())
        };
        let judged = |candidate: &Candidate| Candidate {
            strategy: candidate.strategy,
            options: against(candidate.strategy).map_or_else(|| candidate.options.clone(), Err),
        };
        self.candidates.iter().map(judged).collect()
    }

    /// Whether no dry run has told how any of its strategies would run.
    pub fn is_unmeasured(&self) -> bool {
        self.candidates.iter().all(|candidate| candidate.options.is_err())
    }
}
