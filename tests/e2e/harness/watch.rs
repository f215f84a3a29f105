//! What a node says of itself, collected as it comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::{Broker, Device, until};

/// Everything that was said since it was started, and the retained documents before.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    events: Vec<Value>,
    models: BTreeMap<String, Vec<Value>>,
    states: Vec<Value>,
}

impl Watch {
    /// Listens to the documents and events of the node.
    pub async fn start(broker: &Broker) -> Self {
        let mut device = Device::connect(broker, "watch").await;
        for topic in ["promptd/gw/model/+", "promptd/gw/event", "promptd/gw/status"] {
            device.subscribe(topic).await;
        }
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(message) = device.try_next().await {
                let mut seen = shared.lock().unwrap();
                match message.topic.strip_prefix("promptd/gw/").unwrap() {
                    "event" => seen.events.push(message.json),
                    "status" => seen.states.push(message.json),
                    topic => {
                        let model = topic.strip_prefix("model/").unwrap().to_owned();
                        seen.models.entry(model).or_default().push(message.json);
                    }
                }
            }
        });
        Self { seen, task }
    }

    /// All events of a model, in order.
    pub fn events(&self, model: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        seen.events.iter().filter(|event| event["model"] == model).cloned().collect()
    }

    /// All events of a kind about the node itself, in order.
    pub fn node_events(&self, kind: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        seen.events.iter().filter(|event| event["model"].is_null() && event["event"] == kind).cloned().collect()
    }

    /// All documents of a model, in order.
    pub fn documents(&self, model: &str) -> Vec<Value> {
        self.seen.lock().unwrap().models.get(model).cloned().unwrap_or_default()
    }

    /// The last document of a model; null before the first.
    pub fn model(&self, model: &str) -> Value {
        self.documents(model).pop().unwrap_or_default()
    }

    /// All states of the node, in order.
    pub fn states(&self) -> Vec<Value> {
        self.seen.lock().unwrap().states.clone()
    }

    /// Waits until the last document of a model is so.
    pub async fn until_model(&self, model: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(&format!("document of {model}"), || Some(self.model(model)).filter(&is_so)).await
    }

    /// Waits until a model has had so many events of a kind; gives the last of them.
    pub async fn until_event(&self, model: &str, kind: &str, count: usize) -> Value {
        let of_kind = || self.events(model).into_iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
        until(&format!("{kind} of {model}"), || of_kind().get(count - 1).cloned()).await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
