//! An operator who is somewhere else: control messages over MQTT.

use serde_json::{Value, json};

use super::{Broker, Device, Send};

/// A client that sends control messages.
pub struct Operator {
    device: Device,
    asked: u32,
    /// The `progress` messages of the answers that were waited for.
    pub progress: Vec<Value>,
}

impl Operator {
    /// Connects.
    pub async fn connect(broker: &Broker) -> Self {
        Self::connect_as(broker, "control").await
    }

    /// Connects as a user of the broker.
    pub async fn connect_as(broker: &Broker, user: &str) -> Self {
        let mut device = Device::connect(broker, user).await;
        if user != "control" {
            device.subscribe("promptd/gw/response/control/#").await;
        }
        Self { device, asked: 0, progress: Vec::new() }
    }

    /// Asks for something; gives the id of the answer.
    pub async fn ask(&mut self, verb: &str, fields: Value) -> String {
        self.asked += 1;
        let id = format!("op{}", self.asked);
        let mut request = json!({ "id": id });
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.device.send(Send::new(&format!("promptd/gw/control/{verb}"), request.to_string())).await;
        id
    }

    /// The message that ends a request.
    pub async fn answer(&mut self, id: &str) -> Value {
        loop {
            let reply = self.device.next().await;
            assert_eq!(reply.topic, format!("promptd/gw/response/control/{id}"), "{}", reply.json);
            match reply.json["event"].as_str() {
                Some("progress") => self.progress.push(reply.json),
                _ => return reply.json,
            }
        }
    }

    /// Asks and waits for what must be a result; gives what came out.
    pub async fn does(&mut self, verb: &str, fields: Value) -> Value {
        let id = self.ask(verb, fields).await;
        let answer = self.answer(&id).await;
        assert_eq!((&answer["event"], &answer["verb"]), (&json!("result"), &json!(verb)), "{answer}");
        answer["output"].clone()
    }

    /// Asks and waits for what must be an error.
    pub async fn fails(&mut self, verb: &str, fields: Value) -> Value {
        let id = self.ask(verb, fields).await;
        let answer = self.answer(&id).await;
        assert_eq!(answer["event"], "error", "{answer}");
        answer
    }

    /// The client itself.
    pub fn device(&mut self) -> &mut Device {
        &mut self.device
    }
}
