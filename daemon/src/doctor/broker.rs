//! The way to the broker, and what it allows.
//!
//! The doctor connects beside the daemon, with its credentials and a client id of its own: the daemon's would throw the
//! daemon out. What it sends disturbs nobody: no retained topic is written, and messages go only to topics of the client
//! `doctor`. Those on request, cancel and control topics name a task, a job and a verb that don't exist: a daemon that
//! hears them answers with an error. Of what the daemon publishes, only answers are tried; the rest it knows itself, and
//! tells in its state.

use super::topics::{topics, unheard};
use super::{Check, Finding, RELOAD};
use crate::config::Config;
use crate::mqtt::{BrokerLimits, Fault, LinkConfig, Probe, ProbeError, Topics};
use crate::plan::Bytes;

/// Topic and properties of an answer come on top of its text.
const ENVELOPE: u64 = 4 * 1024;

/// Longest retained document in bytes.
const DOCUMENT: u64 = 4 * 1024;

/// Connects with `link`, which names a client id of the doctor's own, and looks at everything that the node uses there.
pub async fn broker(config: &Config, node: &Topics, link: &LinkConfig) -> Vec<Finding> {
    let mut probe = match Probe::connect(link).await {
        Ok(probe) => probe,
        Err(error) => return vec![unreachable(config, &error)],
    };
    let url = &config.mqtt.url;
    let user = config.mqtt.username.as_deref().map_or_else(|| "without a user".to_owned(), |user| format!("as {user}"));
    let mut findings = vec![Finding::pass(Check::Broker, format!("{url} lets this node in {user}"))];
    findings.extend(limits(config, probe.limits()));
    match topics(node, &mut probe).await {
        Ok(found) => findings.extend(found),
        Err(fault) => findings.push(unheard(&fault)),
    }
    probe.leave().await;
    findings
}

fn unreachable(config: &Config, error: &ProbeError) -> Finding {
    let url = &config.mqtt.url;
    let remedy = match error {
        ProbeError::NoAddress { host, .. } => {
            format!("correct mqtt.url, or the name server: `getent hosts {host}` must tell an address")
        }
        ProbeError::Fault(Fault::OldVersion) => "use a broker that speaks MQTT 5, such as mosquitto 2".to_owned(),
        // The text of a refusal ends with its remedy.
        ProbeError::Fault(Fault::Refused { remedy, .. }) => (*remedy).to_owned(),
        ProbeError::Fault(Fault::Unreachable(_)) => {
            format!(
                "start the broker, correct mqtt.url, or open the firewall: `nc -zv {} {}` must succeed",
                url.host, url.port
            )
        }
        ProbeError::Fault(Fault::Password(_)) => "mend the file of mqtt.password_credential".to_owned(),
        ProbeError::Fault(_) => "the broker's log tells more".to_owned(),
    };
    let what = match error {
        ProbeError::Fault(Fault::Refused { reason, .. }) => format!("{url} refuses the connection: {reason}"),
        error => format!("{url}: {error}"),
    };
    Finding::fail(Check::Broker, what, remedy)
}

/// What the broker allows, against what the configuration promises.
fn limits(config: &Config, limits: &BrokerLimits) -> Vec<Finding> {
    let BrokerLimits { packet_max, qos_max, retain, wildcards, shared } = *limits;
    let mut findings = vec![packets(config, packet_max)];
    if qos_max == 0 {
        let what = "the broker allows QoS 0 only: no answer could be known to have arrived";
        findings.push(Finding::fail(Check::Broker, what, "allow QoS 1 there (mosquitto: max_qos)"));
    }
    if !retain {
        let what = "the broker keeps no retained messages: whoever subscribes later sees no state of this node";
        findings.push(Finding::warn(Check::Broker, what, "allow them there (mosquitto: retain_available true)"));
    }
    if !wildcards {
        let what = "the broker allows no wildcards in subscriptions: no request could arrive";
        findings.push(Finding::fail(Check::Broker, what, "allow them there"));
    }
    if findings.iter().all(|finding| finding.remedy().is_none()) {
        let groups = if shared { "" } else { ", but no shared subscriptions, which fleets need" };
        let what = format!("it allows QoS {qos_max}, retained messages and wildcards{groups}");
        findings.push(Finding::pass(Check::Broker, what));
    }
    findings
}

fn packets(config: &Config, packet_max: Option<u32>) -> Finding {
    let Some(max) = packet_max.map(u64::from) else {
        return Finding::pass(Check::Broker, "it names no limit to the size of packets");
    };
    let (request, result) = (config.limits.request as u64, config.limits.result as u64);
    let wanted = request.max(result) + ENVELOPE;
    let what = format!("it takes packets of at most {}", Bytes(max));
    let remedy = format!(
        "set max_packet_size {wanted} in mosquitto.conf, or lower limits.request and limits.result; then: {RELOAD}"
    );
    if max < DOCUMENT {
        return Finding::fail(
            Check::Broker,
            format!("{what}: the node's own documents have up to {}", Bytes(DOCUMENT)),
            remedy,
        );
    }
    if max < wanted {
        let what = format!(
            "{what}; limits.request is {} and limits.result {}: what is larger does not arrive, or is answered with \
             result_too_large, or in parts to who asks for them",
            Bytes(request),
            Bytes(result)
        );
        return Finding::warn(Check::Broker, what, remedy);
    }
    Finding::pass(Check::Broker, format!("{what}; mqtt.packet_max is {}", Bytes(config.mqtt.packet_max.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::plan::Profile;

    const ALL: BrokerLimits =
        BrokerLimits { packet_max: None, qos_max: 2, retain: true, wildcards: true, shared: true };

    fn worst(given: &BrokerLimits) -> Level {
        limits(&Config::defaults(&Profile::default()), given).iter().map(Finding::level).max().unwrap()
    }

    #[test]
    fn limits_are_compared_with_what_is_promised() {
        assert_eq!(worst(&ALL), Level::Pass);
        assert_eq!(worst(&BrokerLimits { shared: false, ..ALL }), Level::Pass);
        assert_eq!(worst(&BrokerLimits { qos_max: 0, ..ALL }), Level::Fail);
        assert_eq!(worst(&BrokerLimits { wildcards: false, ..ALL }), Level::Fail);
        assert_eq!(worst(&BrokerLimits { retain: false, ..ALL }), Level::Warn);
        for (max, expected) in [(1 << 20, Level::Pass), (20_000, Level::Warn), (1000, Level::Fail)] {
            assert_eq!(worst(&BrokerLimits { packet_max: Some(max), ..ALL }), expected, "{max}");
        }
    }

    #[test]
    fn each_way_to_fail_has_its_remedy() {
        let config = Config::defaults(&Profile::default());
        let refused = Fault::Refused { reason: "not authorized".to_owned(), remedy: "check mqtt.username" };
        for (error, text) in [
            (
                ProbeError::NoAddress { host: "broker.local".to_owned(), reason: "unknown".to_owned() },
                "getent hosts broker.local",
            ),
            (Fault::OldVersion.into(), "MQTT 5"),
            (refused.into(), "check mqtt.username"),
            (Fault::Unreachable("refused".to_owned()).into(), "nc -zv 127.0.0.1 1883"),
            (Fault::Password("x is empty".to_owned()).into(), "password_credential"),
            (Fault::Crashed.into(), "log"),
        ] {
            let found = unreachable(&config, &error);
            assert!(found.level() == Level::Fail && found.remedy().unwrap().contains(text), "{found:?}");
        }
    }
}
