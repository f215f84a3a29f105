//! A site's broker joined to a central one with `packaging/mosquitto/bridge.conf`.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{PubAckReason, PublishProperties};
use tokio::time::{Instant, interval};

use crate::client::{Client, PATIENCE, text};
use crate::fleet::{FleetBroker, Users, packaging};
use crate::gate::Gate;

const REQUEST: &str = "promptd/gw1/request/chat/dev";
const RESPONSE: &str = "promptd/gw1/response/dev/7";
/// Asks whether the line is up; not meant for anybody.
const PROBE: &str = "promptd/gw1/cancel/dev";

/// Two brokers and the line between them.
struct Joined {
    centre: FleetBroker,
    site: FleetBroker,
    line: Gate,
}

impl Joined {
    async fn new() -> Self {
        let centre = Users::new(&["device dev", "operator op", "monitor mon", "node site-a gw1"]).broker("");
        let line = Gate::to(centre.broker.port()).await;
        let site = Users::new(&["node gw1", "monitor mon", "device dev"]).broker(&bridge(&line, &centre));
        Self { centre, site, line }
    }

    /// The site's node and the centre's device, each with its subscriptions, when the line is up.
    async fn node_and_device(&self) -> (Client, Client) {
        let mut node = self.site.log_in("gw1").await;
        for filter in ["request/+/+", "cancel/+", "control/+"] {
            node.subscribe(&format!("promptd/gw1/{filter}")).await;
        }
        let mut device = self.centre.log_in("dev").await;
        device.subscribe("promptd/+/response/dev/#").await;
        arrives(&mut device, &mut node).await;
        (node, device)
    }
}

/// The file as an operator fills it in, without TLS: both ends are this machine.
fn bridge(line: &Gate, centre: &FleetBroker) -> String {
    let template = std::fs::read_to_string(packaging("mosquitto/bridge.conf")).unwrap();
    let without_tls = |line: &&str| !line.starts_with("bridge_cafile ") && !line.starts_with("bridge_insecure ");
    let mut settings = template.lines().filter(without_tls).collect::<Vec<_>>().join("\n");
    for (placeholder, value) in [
        ("broker.example.org:8883", format!("127.0.0.1:{}", line.port())),
        ("promptd-site-SITE", "promptd-site-a".to_owned()),
        ("remote_username SITE-USER", "remote_username site-a".to_owned()),
        ("remote_password SECRET", format!("remote_password {}", centre.password("site-a"))),
        ("restart_timeout 5 60", "restart_timeout 1 1".to_owned()),
    ] {
        assert!(settings.contains(placeholder), "no {placeholder:?} in bridge.conf");
        settings = settings.replace(placeholder, &value);
    }
    settings
}

/// Sends probes until one has come through, and takes those that are left.
async fn arrives(device: &mut Client, node: &mut Client) {
    let start = Instant::now();
    let mut turn = interval(Duration::from_millis(50));
    let mut sent = 0;
    let mut last = None;
    while last.is_none() {
        assert!(start.elapsed() < PATIENCE, "the line is not up");
        sent += 1;
        device.publish(PROBE, format!("probe {sent}")).await;
        turn.tick().await;
        last = node.now();
    }
    while text(&last.as_ref().unwrap().payload) != format!("probe {sent}") {
        last = Some(node.next().await);
    }
}

fn asked() -> PublishProperties {
    PublishProperties {
        response_topic: Some(RESPONSE.to_owned()),
        correlation_data: Some("corr".into()),
        message_expiry_interval: Some(3600),
        content_type: Some("text/plain".to_owned()),
        user_properties: vec![("trace".to_owned(), "42".to_owned())],
        ..PublishProperties::default()
    }
}

#[tokio::test]
async fn a_request_and_its_answer_cross_with_their_properties() {
    let joined = Joined::new().await;
    let (mut node, mut device) = joined.node_and_device().await;
    device.publish_with(REQUEST, "hello", asked()).await;
    let request = node.next().await;
    assert_eq!((text(&request.topic), text(&request.payload)), (REQUEST.to_owned(), "hello".to_owned()));
    let properties = request.properties.expect("properties");
    let expiry = properties.message_expiry_interval.expect("a message expiry");
    assert!((3500..=3600).contains(&expiry), "{expiry}");
    assert_eq!(PublishProperties { message_expiry_interval: Some(3600), ..properties }, asked());

    let answer = PublishProperties {
        correlation_data: Some("corr".into()),
        content_type: Some("application/json".to_owned()),
        ..PublishProperties::default()
    };
    node.publish_with(RESPONSE, "answer", answer.clone()).await;
    let response = device.next().await;
    assert_eq!((text(&response.topic), text(&response.payload)), (RESPONSE.to_owned(), "answer".to_owned()));
    assert_eq!(response.properties, Some(answer));

    // A retained request is seen as one at the site, so that it can be refused; nothing keeps it there for later.
    device.publish_retained(REQUEST, "kept").await;
    let kept = node.next().await;
    assert_eq!((text(&kept.payload), kept.retain), ("kept".to_owned(), true));
}

#[tokio::test]
async fn in_an_outage_answers_wait_and_who_asks_is_told() {
    let joined = Joined::new().await;
    let (mut node, mut device) = joined.node_and_device().await;
    joined.line.shut();
    let start = Instant::now();
    let mut turn = interval(Duration::from_millis(50));
    while device.try_publish(PROBE, "in the dark").await != PubAckReason::NoMatchingSubscribers {
        assert!(start.elapsed() < PATIENCE, "the centre does not see that the line is down");
        turn.tick().await;
    }
    let answer = PublishProperties { correlation_data: Some("corr".into()), ..PublishProperties::default() };
    node.publish_with(RESPONSE, "late", answer.clone()).await;
    joined.line.open();
    let response = device.next().await;
    assert_eq!((text(&response.payload), response.properties), ("late".to_owned(), Some(answer)));
    arrives(&mut device, &mut node).await;
}

#[tokio::test]
async fn what_nodes_say_goes_out_and_what_others_do_stays_where_it_is() {
    let joined = Joined::new().await;
    let (mut node, mut device) = joined.node_and_device().await;
    node.publish_retained("promptd/gw1/status", "{}").await;
    node.publish_retained("promptd/gw1/model/main", "{}").await;
    // Only the last of the node's answers is for the centre's device; it comes after everything before it.
    node.publish("promptd/gw1/request/chat/other", "the site's own").await;
    node.publish(RESPONSE, "done").await;
    assert_eq!(device.next_text().await, (RESPONSE.to_owned(), "done".to_owned()));
    let mut monitor = joined.centre.log_in("mon").await;
    monitor.subscribe("promptd/+/status").await;
    monitor.subscribe("promptd/+/model/+").await;
    for topic in ["promptd/gw1/status", "promptd/gw1/model/main"] {
        let document = monitor.next().await;
        assert_eq!((text(&document.topic), document.retain), (topic.to_owned(), true), "a late monitor sees it");
    }

    let mut operator = joined.centre.log_in("op").await;
    operator.subscribe("promptd/+/response/control/#").await;
    assert_eq!(node.next_text().await.1, "the site's own");
    operator.publish("promptd/gw1/control/drain", "{}").await;
    assert_eq!(node.next_text().await.0, "promptd/gw1/control/drain");
    node.publish("promptd/gw1/response/control/op1", "drained").await;
    assert_eq!(operator.next_text().await.1, "drained");
    // Once each, in both directions: nothing goes round in circles.
    device.publish(REQUEST, "last").await;
    assert_eq!(node.next_text().await, (REQUEST.to_owned(), "last".to_owned()));
    node.publish(RESPONSE, "end").await;
    assert_eq!(device.next_text().await.1, "end");
}
