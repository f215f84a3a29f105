//! What the broker lets this node hear and say.

use std::time::Duration;

use super::daemon::ACL;
use super::{Check, Finding, RELOAD};
use crate::job::{ClientName, RequestId};
use crate::mqtt::{Fault, Probe, PublishAnswer, SubscribeAnswer, Topics};

/// The client that the doctor is on topics.
const CLIENT: &str = "doctor";

/// How long a message may be on its way to us.
const ARRIVAL: Duration = Duration::from_secs(3);

/// Asks the broker about every topic that may be tried without disturbing anybody.
pub(super) async fn topics(node: &Topics, probe: &mut Probe) -> Result<Vec<Finding>, Fault> {
    let nonce = format!("doctor-{:08x}", fastrand::u32(..));
    let mut findings = vec![answers(node, probe, &nonce).await?];
    for filter in node.subscriptions() {
        findings.push(requests(&filter, probe, &nonce).await?);
    }
    Ok(findings)
}

/// A round trip on the topics of answers.
async fn answers(node: &Topics, probe: &mut Probe, nonce: &str) -> Result<Finding, Fault> {
    let client = ClientName::new(CLIENT).expect("letters only");
    let (filter, id) = (node.responses(&client), RequestId::new(nonce).expect("letters, digits and a dash"));
    let topic = node.response(&client, &id);
    let subscribed = probe.subscribe(&filter).await?;
    if let PublishAnswer::Refused(reason) = probe.publish(&topic, "{}").await? {
        return Ok(denied(&topic, "topic write", &all(&filter), &reason));
    }
    let unread = format!("let the daemon's user read {filter} if you want to see the round trip");
    Ok(match subscribed {
        SubscribeAnswer::Refused(reason) => Finding::warn(
            Check::Topics,
            format!("answers can be published; no round trip: the subscription {filter} is refused: {reason}"),
            unread,
        ),
        SubscribeAnswer::Granted(_) => match probe.arrival(&topic, ARRIVAL).await? {
            Some(took) => Finding::pass(Check::Topics, format!("{topic}: there and back in {took:.1?}")),
            None => Finding::warn(
                Check::Topics,
                format!("answers can be published; no round trip: nothing comes back on {filter} within {ARRIVAL:?}"),
                unread,
            ),
        },
    })
}

/// Whether requests would arrive. Some brokers, mosquitto with an `acl_file` among them, grant every subscription and then
/// deliver nothing: only a message tells.
async fn requests(filter: &str, probe: &mut Probe, nonce: &str) -> Result<Finding, Fault> {
    match probe.subscribe(filter).await? {
        SubscribeAnswer::Refused(reason) => return Ok(denied(filter, "topic read", filter, &reason)),
        SubscribeAnswer::Granted(0) => {
            let what = format!("{filter} is granted at QoS 0 only: requests may be lost");
            return Ok(Finding::warn(Check::Topics, what, "allow QoS 1 there (mosquitto: max_qos)"));
        }
        SubscribeAnswer::Granted(_) => {}
    }
    let topic = filter.replace('+', CLIENT);
    Ok(match probe.publish(&topic, format!("{{\"id\":\"{nonce}\"}}")).await? {
        // As it should be: clients send requests, and not the node.
        PublishAnswer::Refused(_) => Finding::pass(
            Check::Topics,
            format!("{filter} is granted; that it is delivered can't be tried, as this user may not publish there"),
        ),
        PublishAnswer::Taken => match probe.arrival(&topic, ARRIVAL).await? {
            Some(took) => Finding::pass(Check::Topics, format!("{filter}: there and back in {took:.1?}")),
            None => {
                denied(filter, "topic read", filter, &format!("it is granted, but nothing arrives within {ARRIVAL:?}"))
            }
        },
    })
}

/// The connection broke in the middle.
pub(super) fn unheard(fault: &Fault) -> Finding {
    let what = format!("the broker ended the connection while its topics were looked at: {fault}");
    Finding::fail(Check::Topics, what, "the broker's log tells why")
}

/// `line` and `filter` make the line of mosquitto's access control list that is missing.
fn denied(topic: &str, line: &str, filter: &str, reason: &str) -> Finding {
    Finding::fail(
        Check::Topics,
        format!("{topic}: {reason}"),
        format!("give the daemon's user `{line} {filter}` in the broker's access control ({ACL}), then: {RELOAD}"),
    )
}

/// Answers to all clients instead of one.
fn all(filter: &str) -> String {
    filter.replace(&format!("/{CLIENT}/"), "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_line_is_for_all_clients() {
        assert_eq!(all("promptd/gw/response/doctor/#"), "promptd/gw/response/#");
        let found = denied("promptd/gw/response/doctor/1", "topic write", "promptd/gw/response/#", "not authorized");
        assert!(found.remedy().unwrap().contains("`topic write promptd/gw/response/#`"), "{found:?}");
    }
}
