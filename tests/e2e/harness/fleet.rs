//! What a fleet sees of a node: its retained documents and its events.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Broker, Device};

/// Reads the documents and events of a node as they come.
pub struct Fleet {
    device: Device,
    /// The last document of each topic.
    documents: BTreeMap<String, Value>,
    /// Every event, oldest first.
    events: Vec<Value>,
}

impl Fleet {
    /// Subscribes; what is retained comes first.
    pub async fn watch(broker: &Broker) -> Self {
        let mut device = Device::connect(broker, "fleet").await;
        for topic in ["promptd/gw/event", "promptd/gw/model/+", "promptd/gw/status"] {
            device.subscribe(topic).await;
        }
        Self { device, documents: BTreeMap::new(), events: Vec::new() }
    }

    /// Waits until the node's status is of this kind.
    pub async fn status(&mut self, check: impl Fn(&Value) -> bool) -> Value {
        self.document("promptd/gw/status", check).await
    }

    /// Waits until a model's document is of this kind.
    pub async fn model(&mut self, name: &str, check: impl Fn(&Value) -> bool) -> Value {
        self.document(&format!("promptd/gw/model/{name}"), check).await
    }

    /// Waits until the document of a model is gone.
    pub async fn removed(&mut self, name: &str) {
        let topic = format!("promptd/gw/model/{name}");
        while self.documents.contains_key(&topic) {
            self.take().await.expect("the document is removed");
        }
    }

    /// Waits for the first event of this name that nobody has asked for.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            if let Some(index) = self.events.iter().position(|event| event["event"] == name) {
                return self.events.remove(index);
            }
            let seen = format!("no event {name:?}; there were {:?}", self.events);
            self.take().await.expect(&seen);
        }
    }

    /// Forgets what was seen: what follows is new.
    pub fn forget(&mut self) {
        while self.device.now().is_some() {}
        self.documents.clear();
        self.events.clear();
    }

    async fn document(&mut self, topic: &str, check: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(document) = self.documents.get(topic).filter(|document| check(document)) {
                return document.clone();
            }
            let seen = format!("{topic} never was as expected; the last was {:?}", self.documents.get(topic));
            self.take().await.expect(&seen);
        }
    }

    async fn take(&mut self) -> Option<()> {
        let reply = self.device.try_next().await?;
        if reply.topic == "promptd/gw/event" {
            self.events.push(reply.json);
        } else if reply.payload.is_empty() {
            self.documents.remove(&reply.topic);
        } else {
            assert!(reply.payload.len() < 4096, "{} is too large: {}", reply.topic, reply.json);
            self.documents.insert(reply.topic, reply.json);
        }
        Some(())
    }
}
