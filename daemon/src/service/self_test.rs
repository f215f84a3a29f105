//! The daemon's look at itself and its machine when it starts, beside everything else.

use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::driver::Driver;
use super::waiting::{Awaited, Waiter};
use crate::doctor::{self, Finding, Level};
use crate::health::{Roots, clock};
use crate::job::{ErrorCode, JobError};
use crate::telemetry::{SelfTest, timestamp};

/// How long it may take: a file system that hangs holds up nobody, and is no reason to wait.
const LONGEST: Duration = Duration::from_secs(30);

/// What a look has found; none if it broke off or took too long.
pub(super) type Findings = Option<Vec<Finding>>;

impl Driver {
    /// Looks at itself, on a thread of its own and once at a time.
    pub(super) fn look_at_itself(&mut self) {
        if self.looks_at_itself {
            return;
        }
        self.looks_at_itself = true;
        let (config, done) = (self.config.clone(), self.tested.clone());
        tokio::spawn(async move {
            let findings = match timeout(LONGEST, spawn_blocking(move || doctor::self_test(&config))).await {
                Ok(Ok(findings)) => Some(findings),
                Ok(Err(error)) => {
                    tracing::error!("the self-test broke off: {error}");
                    None
                }
                Err(_) => {
                    tracing::warn!("the self-test is not done after {LONGEST:?}: does a file system hang?");
                    None
                }
            };
            // The driver is gone only when the daemon ends.
            let _ = done.send(findings).await;
        });
    }

    /// Tells the operator in the log, who has asked, and the fleet in `info`.
    pub(super) fn on_self_tested(&mut self, findings: Findings) {
        self.looks_at_itself = false;
        let answer = match &findings {
            Some(findings) => Ok(serde_json::to_value(findings).unwrap_or_default()),
            None => {
                Err(JobError::new(ErrorCode::Internal, "the node could not look at itself; its log has the reason"))
            }
        };
        let asked = self.waiters.extract_if(.., |waiter| matches!(waiter.awaited, Awaited::Findings));
        for Waiter { operator, verb, .. } in asked.collect::<Vec<_>>() {
            self.answer(operator, verb, answer.clone());
        }
        let Some(findings) = findings else { return };
        for finding in &findings {
            let (check, what, remedy) = (finding.check.as_str(), &finding.what, finding.remedy().unwrap_or_default());
            match finding.level() {
                Level::Pass => tracing::debug!(check, "self-test: {what}"),
                Level::Warn => tracing::warn!(check, remedy, "self-test: {what}"),
                Level::Fail => tracing::error!(check, remedy, "self-test: {what}"),
            }
        }
        self.board.set_self_test(summary(&findings));
        self.board.publish_info(&self.link, &self.topics, &self.config);
    }
}

fn summary(findings: &[Finding]) -> SelfTest {
    let clock = clock(&Roots::this(), SystemTime::now());
    SelfTest {
        pass: findings.iter().filter(|finding| finding.level() == Level::Pass).count(),
        warn: checks(findings, Level::Warn),
        fail: checks(findings, Level::Fail),
        at: (clock.synced == Some(true) && !clock.is_behind()).then(|| timestamp(SystemTime::now())),
    }
}

fn checks(findings: &[Finding], level: Level) -> Vec<&'static str> {
    let mut names: Vec<&str> = findings.iter().filter(|f| f.level() == level).map(|f| f.check.as_str()).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Check;

    #[test]
    fn each_check_is_named_once() {
        let findings = [
            Finding::pass(Check::Clock, ""),
            Finding::warn(Check::Models, "", ""),
            Finding::warn(Check::Models, "", ""),
            Finding::fail(Check::Models, "", ""),
            Finding::warn(Check::Disk, "", ""),
        ];
        let found = summary(&findings);
        assert_eq!((found.pass, found.warn, found.fail), (1, vec!["models", "disk"], vec!["models"]));
    }
}
