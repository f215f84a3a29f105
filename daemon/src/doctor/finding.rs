//! What a check has found.

use serde::{Serialize, Serializer};

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// The files of the configuration, and whether the daemon runs with them.
    Configuration,
    /// The daemon on this machine.
    Daemon,
    /// The way to the broker, and what it allows.
    Broker,
    /// What the broker lets this node hear and say.
    Topics,
    /// The files for TLS.
    Certificates,
    /// The machine's clock.
    Clock,
    /// Files, folders and who may use them.
    Files,
    /// The files of the models.
    Models,
    /// What computes on the CPU.
    Cpu,
    /// GPUs.
    Devices,
    /// The machine's memory.
    Memory,
    /// The file system with the state folder.
    Disk,
    /// The journal of jobs and their outcomes.
    Journal,
    /// What systemd allows the service.
    Unit,
}

impl Check {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Daemon => "daemon",
            Self::Broker => "broker",
            Self::Topics => "topics",
            Self::Certificates => "certificates",
            Self::Clock => "clock",
            Self::Files => "files",
            Self::Models => "models",
            Self::Cpu => "cpu",
            Self::Devices => "devices",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Journal => "journal",
            Self::Unit => "unit",
        }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Pass,
    /// The node works, less well than it could or not for long.
    Warn,
    /// Something does not work.
    Fail,
}

impl Level {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// How it is; what is not as it should be has a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Pass,
    Warn(String),
    Fail(String),
}

/// One thing that a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// What was found, with its numbers.
    pub what: String,
    verdict: Verdict,
}

impl Finding {
    /// Something is as it should be.
    pub fn pass(check: Check, what: impl Into<String>) -> Self {
        Self { check, what: what.into(), verdict: Verdict::Pass }
    }

    /// The node works all the same. `remedy` is a sentence, or a command to paste.
    pub fn warn(check: Check, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, what: what.into(), verdict: Verdict::Warn(remedy.into()) }
    }

    /// Something does not work. `remedy` is a sentence, or a command to paste.
    pub fn fail(check: Check, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, what: what.into(), verdict: Verdict::Fail(remedy.into()) }
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        match self.verdict {
            Verdict::Pass => Level::Pass,
            Verdict::Warn(_) => Level::Warn,
            Verdict::Fail(_) => Level::Fail,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Pass => None,
            Verdict::Warn(remedy) | Verdict::Fail(remedy) => Some(remedy),
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    check: Check,
    level: Level,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown { check: self.check, level: self.level(), what: &self.what, remedy: self.remedy() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_wrong_has_a_remedy() {
        let pass = serde_json::to_value(Finding::pass(Check::Clock, "synchronised")).unwrap();
        assert_eq!(pass, json!({"check": "clock", "level": "pass", "what": "synchronised"}));
        let fail = serde_json::to_value(Finding::fail(Check::Broker, "refused", "start it")).unwrap();
        assert_eq!(fail, json!({"check": "broker", "level": "fail", "what": "refused", "remedy": "start it"}));
    }

    #[test]
    fn names_are_what_serde_writes() {
        for check in [Check::Configuration, Check::Topics, Check::Cpu, Check::Unit] {
            assert_eq!(serde_json::to_value(check).unwrap(), check.as_str());
        }
        for level in [Level::Pass, Level::Warn, Level::Fail] {
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
        assert!(Level::Pass < Level::Warn && Level::Warn < Level::Fail);
    }
}
