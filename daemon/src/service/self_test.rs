//! The daemon's look at itself and its machine when it starts, beside everything else.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::driver::Driver;
use crate::config::Config;
use crate::doctor::{self, Finding, Level};
use crate::health::{Roots, clock};
use crate::telemetry::{SelfTest, timestamp};

/// How long it may take: a file system that hangs holds up nobody, and is no reason to wait.
const LONGEST: Duration = Duration::from_secs(30);

/// Starts it on a thread of its own; gives where its findings come from.
pub(super) fn start(config: Config) -> mpsc::Receiver<Vec<Finding>> {
    let (done, findings) = mpsc::channel(1);
    tokio::spawn(async move {
        match timeout(LONGEST, spawn_blocking(move || doctor::self_test(&config))).await {
            // The driver is gone only when the daemon ends.
            Ok(Ok(findings)) => _ = done.send(findings).await,
            Ok(Err(error)) => tracing::error!("the self-test broke off: {error}"),
            Err(_) => tracing::warn!("the self-test is not done after {LONGEST:?}: does a file system hang?"),
        }
    });
    findings
}

impl Driver {
    /// Tells the operator in the log, and the fleet in `info`.
    pub(super) fn on_self_tested(&mut self, findings: &[Finding]) {
        for finding in findings {
            let (check, what, remedy) = (finding.check.as_str(), &finding.what, finding.remedy().unwrap_or_default());
            match finding.level() {
                Level::Pass => tracing::debug!(check, "self-test: {what}"),
                Level::Warn => tracing::warn!(check, remedy, "self-test: {what}"),
                Level::Fail => tracing::error!(check, remedy, "self-test: {what}"),
            }
        }
        self.board.set_self_test(summary(findings));
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
