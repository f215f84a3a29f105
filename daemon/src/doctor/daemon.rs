//! The running daemon, as it says itself over its control socket.

use std::path::Path;

use serde_json::Value;

use super::{Check, Finding, RELOAD, RESTART};

/// The template of an access control list for mosquitto, which the package brings as an example.
pub(super) const ACL: &str = "the template promptd.acl stands in /usr/share/doc/promptd/examples";

/// What became of the questions to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Daemon {
    /// Its answers.
    Answers {
        /// To `status`.
        status: Value,
        /// To `info`.
        info: Value,
        /// To `models`.
        models: Value,
    },
    /// Nobody listens at the socket.
    Absent,
    /// This user may not open the socket.
    Forbidden,
    /// It did not answer as it should.
    Broken(String),
}

impl Daemon {
    /// Its process id, if it tells.
    pub fn pid(&self) -> Option<u64> {
        match self {
            Self::Answers { status, .. } => status["pid"].as_u64(),
            _ => None,
        }
    }

    /// What it says of itself, if it answers.
    pub fn status(&self) -> Option<&Value> {
        match self {
            Self::Answers { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Whether a model is loaded there, so that its memory is known and taken.
    pub fn has_loaded(&self, model: &str) -> bool {
        match self {
            Self::Answers { models, .. } => {
                let mut models = models.as_array().into_iter().flatten();
                models.any(|found| found["name"] == model && found["state"] == "ready")
            }
            _ => false,
        }
    }
}

/// Judges the daemon behind `socket`. `fingerprint` is that of the configuration that was read here.
pub fn daemon(daemon: &Daemon, socket: &Path, fingerprint: &str) -> Vec<Finding> {
    let shown = socket.display();
    let (status, info, models) = match daemon {
        Daemon::Answers { status, info, models } => (status, info, models),
        Daemon::Absent => {
            let what = format!("no daemon listens at {shown}; what it may publish could not be tested");
            let remedy = "sudo systemctl start promptd; `systemctl status promptd` and `journalctl -u promptd -e` tell why it ended";
            return vec![Finding::fail(Check::Daemon, what, remedy)];
        }
        Daemon::Forbidden => {
            let what = format!("this user may not open {shown}, so that the daemon could not be asked");
            return vec![Finding::warn(
                Check::Daemon,
                what,
                "sudo usermod -aG promptd $USER, and log in again; or: sudo promptd doctor",
            )];
        }
        Daemon::Broken(reason) => {
            return vec![Finding::fail(Check::Daemon, reason, format!("journalctl -u promptd -e; then: {RESTART}"))];
        }
    };
    let mut findings = vec![configuration(info, fingerprint)];
    findings.extend(state(status));
    findings.extend(models.as_array().into_iter().flatten().filter_map(model));
    findings
}

/// Whether it runs with the configuration that was read here.
fn configuration(info: &Value, fingerprint: &str) -> Finding {
    let version = info["version"].as_str().unwrap_or("an unknown version");
    let own = env!("CARGO_PKG_VERSION");
    if version != own {
        let what = format!("the daemon is promptd {version}, this command {own}");
        return Finding::warn(Check::Daemon, what, RESTART);
    }
    if info["config"] == fingerprint {
        return Finding::pass(Check::Configuration, "the daemon runs with it");
    }
    Finding::warn(
        Check::Configuration,
        "the daemon runs with another one than was read here",
        format!("{RELOAD}, or name the daemon's own file with --config"),
    )
}

fn state(status: &Value) -> Vec<Finding> {
    let state = status["state"].as_str().unwrap_or("in an unknown state");
    let since = status["since"].as_str().map(|since| format!(" since {since}")).unwrap_or_default();
    let what = format!("the daemon is {state}{since}");
    let reasons: Vec<&str> = status["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut findings = match state {
        "misconfigured" => reasons.iter().map(|reason| Finding::fail(Check::Daemon, *reason, mend(reason))).collect(),
        "degraded" => reasons.iter().map(|reason| Finding::warn(Check::Daemon, *reason, mend(reason))).collect(),
        "draining" => {
            vec![Finding::warn(Check::Daemon, format!("{what}: {}", reasons.join("; ")), "promptd resume")]
        }
        _ => {
            let restart = reasons.iter().filter(|reason| reason.starts_with("needs_restart: "));
            restart.map(|reason| Finding::warn(Check::Daemon, *reason, mend(reason))).collect()
        }
    };
    if findings.is_empty() {
        findings.push(Finding::pass(Check::Daemon, what));
    }
    if status["connected"] == false {
        let remedy = "see the findings about the broker; `journalctl -u promptd -e` has the daemon's own";
        findings.push(Finding::fail(Check::Daemon, "the daemon has no connection to the broker", remedy));
    }
    findings
}

/// What to do about a reason; those about the configuration and the broker begin with a code.
fn mend(reason: &str) -> String {
    let (code, text) = reason.split_once(": ").unwrap_or_default();
    match code {
        "duplicate_node" => format!("give one of the two nodes another node.name or mqtt.client_id, then: {RESTART}"),
        "old_broker" => format!("use a broker that speaks MQTT 5, such as mosquitto 2, then: {RELOAD}"),
        "subscription_refused" => {
            let filter = text.rsplit(' ').next().unwrap_or_default();
            format!("let the daemon's user read {filter} in the broker's access control ({ACL}), then: {RELOAD}")
        }
        "publication_refused" => {
            format!("let the daemon's user write there in the broker's access control ({ACL}), then: {RELOAD}")
        }
        "broken_configuration" => format!("`promptd check` tells everything that is wrong; mend it, then: {RELOAD}"),
        "needs_restart" => RESTART.to_owned(),
        _ => "`promptd models` tells more, and so does `journalctl -u promptd -e`".to_owned(),
    }
}

fn model(model: &Value) -> Option<Finding> {
    let name = model["name"].as_str()?;
    let reason = model["reason"].as_str().unwrap_or("it says not why");
    match model["state"].as_str()? {
        "ready" => {
            let strategy = model["strategy"].as_str().unwrap_or("an unknown strategy");
            Some(Finding::pass(Check::Daemon, format!("{name} runs as {strategy}")))
        }
        "unavailable" => {
            let remedy = format!("promptd models {name}; when that is mended: promptd reload {name}");
            Some(Finding::fail(Check::Daemon, format!("{name} can't serve: {reason}"), remedy))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Level;

    fn look(status: Value, models: Value) -> Vec<(Level, String)> {
        let info = json!({"version": env!("CARGO_PKG_VERSION"), "config": "abc"});
        let found = daemon(&Daemon::Answers { status, info, models }, Path::new("/s"), "abc");
        found.into_iter().map(|finding| (finding.level(), format!("{} {:?}", finding.what, finding.remedy()))).collect()
    }

    #[test]
    fn a_healthy_daemon_passes() {
        let status = json!({"state": "ready", "reasons": [], "since": "2025-06-15T15:06:40Z", "connected": true});
        let found = look(status, json!([{"name": "main", "state": "ready", "strategy": "cpu:int4"}]));
        assert!(found.iter().all(|(level, _)| *level == Level::Pass), "{found:?}");
        assert!(found.iter().any(|(_, text)| text.starts_with("main runs as cpu:int4")), "{found:?}");
    }

    #[test]
    fn each_reason_has_its_remedy() {
        let status = json!({"state": "misconfigured", "connected": true, "reasons": [
            "duplicate_node: another client uses this client id",
            "old_broker: the broker speaks MQTT 3.1.1 only",
            "subscription_refused: the broker refuses the subscription promptd/gw/control/+",
            "publication_refused: the broker takes nothing on promptd/gw/event: not authorized",
            "broken_configuration: 1 problem at promptd.toml:3:8; the running one stays in force",
            "needs_restart: node.name",
        ]});
        let found = look(status, json!([]));
        for (reason, remedy) in [
            ("another client", "node.name"),
            ("3.1.1", "mosquitto 2"),
            ("control/+", "read promptd/gw/control/+"),
            ("gw/event", "write there"),
            ("promptd.toml:3:8", "promptd check"),
            ("needs_restart", "systemctl restart"),
        ] {
            let matching = |(level, text): &&(Level, String)| {
                *level == Level::Fail && text.contains(reason) && text.contains(remedy)
            };
            assert_eq!(found.iter().filter(matching).count(), 1, "{reason}: {found:?}");
        }
    }

    #[test]
    fn a_daemon_that_waits_for_a_restart_is_told_so_although_it_is_ready() {
        let found =
            look(json!({"state": "ready", "reasons": ["needs_restart: mqtt.root"], "connected": true}), json!([]));
        assert!(found[1].0 == Level::Warn && found[1].1.contains("mqtt.root"), "{found:?}");
    }

    #[test]
    fn trouble_is_told_as_bad_as_it_is() {
        let found = look(
            json!({"state": "degraded", "reasons": ["main: no room"], "connected": false}),
            json!([
                {"name": "main", "state": "unavailable", "reason": "no room"}, {"name": "b", "state": "loading"}, 7
            ]),
        );
        let levels: Vec<Level> = found.iter().map(|(level, _)| *level).collect();
        assert_eq!(levels, [Level::Pass, Level::Warn, Level::Fail, Level::Fail]);
        assert_eq!(look(json!({"state": "draining", "reasons": []}), json!([]))[1].0, Level::Warn);
    }

    #[test]
    fn a_daemon_that_is_not_there_or_another_one() {
        let level = |found: &Daemon| daemon(found, Path::new("/s"), "abc")[0].level();
        assert_eq!(level(&Daemon::Absent), Level::Fail);
        assert_eq!(level(&Daemon::Forbidden), Level::Warn);
        assert_eq!(level(&Daemon::Broken("it closed".to_owned())), Level::Fail);
        for info in
            [json!({"version": "9.9", "config": "abc"}), json!({"version": env!("CARGO_PKG_VERSION"), "config": "x"})]
        {
            let answers = Daemon::Answers { status: json!({"state": "ready"}), info, models: json!([]) };
            assert_eq!(level(&answers), Level::Warn);
        }
    }
}
