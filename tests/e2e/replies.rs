//! The forms that requests and replies may have.

use rumqttc::v5::mqttbytes::QoS;
use serde_json::json;

use crate::harness::{Broker, CAPITAL, Device, Node, Send, Setup};

#[tokio::test]
async fn requests_and_replies_in_every_form() {
    let broker = Broker::start().await;
    let setup = Setup { sequences: 2, mqtt: "reply_allow = [\"line/+/answers\"]".into(), ..Setup::default() };
    let _node = Node::ready(&broker, setup).await;
    let mut device = Device::connect(&broker, "plc").await;
    device.subscribe("line/7/answers").await;

    plain_text_is_a_prompt(&mut device).await;
    a_text_reply_is_the_output_alone(&mut device).await;
    response_topic_comes_before_reply_to(&mut device).await;
    accepted_comes_first_when_asked_for(&mut device).await;
    chat_takes_messages(&mut device).await;
    the_same_request_twice_gets_one_answer(&mut device).await;
    every_quality_of_service_is_served(&mut device).await;
    anonymous_requests_are_answered(&broker, &mut device).await;
    mosquitto_clients_suffice(&broker);
}

async fn plain_text_is_a_prompt(device: &mut Device) {
    device.send(Send::new("promptd/gw/request/generate/plc", "Say hello.")).await;
    let reply = device.next().await;
    assert_eq!(reply.json["event"], "result", "{}", reply.json);
    let id = reply.json["id"].as_str().unwrap();
    assert_eq!(reply.topic, format!("promptd/gw/response/plc/{id}"), "promptd made an id");
}

async fn a_text_reply_is_the_output_alone(device: &mut Device) {
    let ask =
        |id: &str, more: &str| format!(r#"{{"id":"{id}","prompt":"Say hello.","reply":"text","max_tokens":8{more}}}"#);
    let json = device.answer("generate", json!({ "id": "j", "prompt": "Say hello.", "max_tokens": 8 })).await;
    device.send(Send::new("promptd/gw/request/generate/plc", ask("t", ""))).await;
    let reply = device.next().await;
    assert_eq!(reply.payload, json["output"].as_str().unwrap().as_bytes());
    assert_eq!(reply.content_type.as_deref(), Some("text/plain"));
    device.send(Send::new("promptd/gw/request/generate/plc", ask("u", r#","model":"none""#))).await;
    assert_eq!(device.next().await.payload, "error: unknown_model");
}

async fn response_topic_comes_before_reply_to(device: &mut Device) {
    let request =
        json!({ "id": "r", "prompt": "Hi", "max_tokens": 1, "reply_to": "promptd/gw/response/plc/elsewhere" });
    let mut message = Send::new("promptd/gw/request/generate/plc", request.to_string());
    message.properties.response_topic = Some("line/7/answers".into());
    device.send(message).await;
    assert_eq!(device.next().await.topic, "line/7/answers");
    device.ask("generate", &request).await;
    assert_eq!(device.next().await.topic, "promptd/gw/response/plc/elsewhere");
}

async fn accepted_comes_first_when_asked_for(device: &mut Device) {
    device.ask("generate", &json!({ "id": "a", "prompt": "Hi", "max_tokens": 1, "ack": true })).await;
    let accepted = device.next().await;
    assert_eq!(
        (&accepted.json["event"], &accepted.json["position"]),
        (&json!("accepted"), &json!(0)),
        "{}",
        accepted.json
    );
    assert_eq!(accepted.qos, 1);
    assert_eq!(device.next().await.json["event"], "result");
}

async fn chat_takes_messages(device: &mut Device) {
    let messages = json!([
        { "role": "system", "content": "You are a helpful assistant." },
        { "role": "user", "content": CAPITAL },
    ]);
    let reply = device.answer("chat", json!({ "id": "c", "messages": messages, "max_tokens": 16 })).await;
    assert_eq!((&reply["event"], &reply["task"]), (&json!("result"), &json!("chat")), "{reply}");
    assert!(reply["output"].as_str().unwrap().contains("Paris"), "{reply}");
}

async fn the_same_request_twice_gets_one_answer(device: &mut Device) {
    let request = json!({ "id": "twice", "prompt": "Count to ten.", "max_tokens": 32, "ignore_eos": true });
    device.ask("generate", &request).await;
    device.ask("generate", &request).await;
    let other = json!({ "id": "twice", "prompt": "Count to eleven.", "max_tokens": 32 });
    device.ask("generate", &other).await;
    assert_eq!(device.next().await.json["code"], "id_conflict");
    assert_eq!(device.next().await.json["event"], "result");
    // A second answer would come before this one.
    assert_eq!(
        device.answer("generate", json!({ "id": "after", "prompt": "Hi", "max_tokens": 1 })).await["id"],
        "after"
    );
}

async fn every_quality_of_service_is_served(device: &mut Device) {
    for (id, qos) in [("q0", QoS::AtMostOnce), ("q1", QoS::AtLeastOnce), ("q2", QoS::ExactlyOnce)] {
        let request = json!({ "id": id, "prompt": "Hi", "max_tokens": 1 });
        let message = Send { qos, ..Send::new("promptd/gw/request/generate/plc", request.to_string()) };
        device.send(message).await;
        assert_eq!(device.outcome(id).await["event"], "result", "{qos:?}");
    }
}

async fn anonymous_requests_are_answered(broker: &Broker, device: &mut Device) {
    let mut anonymous = Device::connect(broker, "anonymous").await;
    device.send(Send::new("promptd/gw/request/generate", r#"{"id":"n","prompt":"Hi","max_tokens":1}"#)).await;
    assert_eq!(anonymous.next().await.topic, "promptd/gw/response/anonymous/n");
}

fn mosquitto_clients_suffice(broker: &Broker) {
    let arguments = [
        "-V",
        "mqttv5",
        "-t",
        "promptd/gw/request/generate/shell",
        "-e",
        "promptd/gw/response/shell/r",
        "-m",
        r#"{"prompt":"Hi","max_tokens":1,"reply":"text"}"#,
        "-W",
        "120",
    ];
    let output = broker.client("mosquitto_rr", &arguments);
    assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
}

#[tokio::test]
async fn anonymous_requests_can_be_switched_off() {
    let broker = Broker::start().await;
    let setup = Setup { mqtt: "anonymous = false".into(), with_model: false, ..Setup::default() };
    let node = Node::start(&broker, &setup);
    node.wait_for_state(&broker, "no_model").await;
    let mut device = Device::connect(&broker, "anonymous").await;
    device.send(Send::new("promptd/gw/request/generate", r#"{"id":"n","prompt":"Hi"}"#)).await;
    assert_eq!(device.outcome("n").await["code"], "forbidden");
}
