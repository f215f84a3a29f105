//! A node behind a bridge that knows no properties: mosquitto's default, MQTT 3.1.1.

use serde_json::{Value, json};

use crate::harness::{Broker, Device, Node, Reply, Send, Setup};

/// The site's side of a bridge to another broker.
fn bridge(centre: &Broker) -> String {
    format!(
        "allow_anonymous true\npersistence false\nconnection centre\naddress 127.0.0.1:{}\n\
         bridge_protocol_version mqttv311\nrestart_timeout 1 1\ntry_private true\nnotifications false\n\
         topic promptd/gw/request/+/+ in 1\ntopic promptd/gw/cancel/+ in 1\ntopic promptd/gw/response/# out 1\n",
        centre.port
    )
}

/// Asks until the line is up: the broker keeps nothing for a bridge that it does not know yet.
async fn first_answer(device: &mut Device) -> Value {
    let request = json!({ "id": "first", "prompt": "Hi", "max_tokens": 1 });
    loop {
        device.ask("generate", &request).await;
        if let Some(reply) = device.soon().await {
            return reply.json;
        }
    }
}

#[tokio::test]
async fn what_is_in_the_payload_suffices_where_properties_are_lost() {
    let centre = Broker::start().await;
    let site = Broker::with(&bridge(&centre)).await;
    let _node = Node::ready(&site, Setup { sequences: 1, ..Setup::default() }).await;
    let mut device = Device::connect(&centre, "dev").await;
    assert_eq!(first_answer(&mut device).await["event"], "result");

    // `ref` and `reply_to` cross, and their counterparts of MQTT 5 do not.
    let elsewhere = "promptd/gw/response/dev/elsewhere";
    let request = json!({
        "id": "1", "prompt": "Count.", "max_tokens": 8, "ignore_eos": true, "stream": true, "ack": true, "ref": "r",
        "x_line": 7, "reply_to": elsewhere,
    });
    let mut message = Send::new("promptd/gw/request/generate/dev", request.to_string());
    message.properties.response_topic = Some("promptd/gw/response/dev/property".to_owned());
    message.properties.correlation_data = Some("corr".into());
    device.send(message).await;
    let mut events = Vec::new();
    while events.last() != Some(&json!("result")) {
        let Reply { topic, json, correlation, .. } = device.next().await;
        if json["id"] == "first" {
            continue;
        }
        assert_eq!((topic.as_str(), correlation), (elsewhere, None), "{json}");
        assert_eq!((&json["ref"], &json["x_line"]), (&json!("r"), &json!(7)), "{json}");
        events.push(json["event"].clone());
    }
    // `accepted` waits for the disk, and a delta does not.
    assert!(events.contains(&json!("accepted")) && events.contains(&json!("delta")), "{events:?}");

    // So do cancels, and that a message is retained.
    let endless = json!({ "id": "2", "prompt": "Count.", "max_tokens": 4000, "ignore_eos": true, "stream": true });
    device.ask("generate", &endless).await;
    assert_eq!(device.next().await.json["event"], "delta");
    device.send(Send::new("promptd/gw/cancel/dev", r#"{"id":"2"}"#)).await;
    assert_eq!(device.outcome("2").await["code"], "cancelled");
    let kept = Send::new("promptd/gw/request/generate/dev", r#"{"id":"3","prompt":"Hi"}"#);
    device.send(Send { retain: true, ..kept }).await;
    assert_eq!(device.outcome("3").await["code"], "retained");
}

/// A device that knows no MQTT 5 either, at the other side of such a bridge.
#[tokio::test]
async fn clients_of_mqtt_3_1_1_are_answered_through_it() {
    let centre = Broker::start().await;
    let site = Broker::with(&bridge(&centre)).await;
    let _node = Node::ready(&site, Setup { sequences: 1, ..Setup::default() }).await;
    let mut device = Device::connect(&centre, "dev").await;
    first_answer(&mut device).await;
    for qos in ["0", "1", "2"] {
        let payload = json!({ "id": qos, "prompt": "Hi", "max_tokens": 1, "ref": "r" }).to_string();
        let topic = "promptd/gw/request/generate/dev";
        let sent = centre.client("mosquitto_pub", &["-V", "mqttv311", "-q", qos, "-t", topic, "-m", &payload]);
        assert!(sent.status.success(), "{sent:?}");
        let reply = device.outcome(qos).await;
        assert_eq!((&reply["event"], &reply["ref"]), (&json!("result"), &json!("r")), "{reply}");
    }
}
