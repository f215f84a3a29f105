//! The same questions over MQTT, to a node anywhere.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use promptd::config::Config;
use promptd::job::{NodeName, RequestId};
use promptd::mqtt::{LinkConfig, Publication, Reader, ReaderEvent, Topics};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::socket::{LOOKUP_TIMEOUT, Question, heard};
use crate::cli::Failure;
use crate::cli::client::{Broker, Connection};

/// How long the broker may take to say whether the node is there.
const PRESENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a node that is there says on its topic `availability`.
const ONLINE: &str = "online";

/// Asks a node, hands each step of progress with the share that is done to `progress`, and gives the output.
pub fn ask(
    broker: &Broker,
    node: Option<&NodeName>,
    question: &Question<'_>,
    progress: impl FnMut(&str, Option<f64>),
) -> Result<Value, Failure> {
    let config = broker.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
    let node = node.unwrap_or(&config.node.name);
    let topics = Topics::new(&config.mqtt.root, node).map_err(Failure::configuration)?;
    runtime.block_on(async {
        find(broker, &config, &topics, node).await.map_err(Failure::unavailable)?;
        let mut call = Call::open(broker, &config, topics, node).await.map_err(Failure::unavailable)?;
        call.ask(question, progress).await
    })
}

/// Nothing is asked of a node that is away: the broker would keep the question, and the node would do it some day.
async fn find(broker: &Broker, config: &Config, topics: &Topics, node: &NodeName) -> anyhow::Result<()> {
    let topic = topics.availability();
    let way = broker.link_config(&config.mqtt)?;
    let connected = Reader::connect(&way).await;
    let mut reader = connected.with_context(|| format!("the broker {}:{}", way.host, way.port))?;
    reader.subscribe(&topic)?;
    let until = Instant::now() + PRESENCE_TIMEOUT;
    loop {
        let event = timeout_at(until, reader.next()).await;
        let event = event.map_err(|_| {
            anyhow!("the broker knows of no node {node}: is the name right, and may this user read {topic}?")
        })??;
        match event {
            ReaderEvent::Message { payload, .. } if payload == ONLINE => return Ok(()),
            ReaderEvent::Message { .. } => bail!("the node {node} is offline"),
            ReaderEvent::Answered { refused: Some(reason), .. } => bail!("the broker refuses {topic}: {reason}"),
            ReaderEvent::Answered { refused: None, .. } => {}
        }
    }
}

/// One question to one node.
struct Call {
    connection: Connection,
    topics: Topics,
    node: NodeName,
    id: RequestId,
}

impl Call {
    /// The answer, and that the node goes away, are subscribed before anything is asked.
    async fn open(broker: &Broker, config: &Config, topics: Topics, node: &NodeName) -> anyhow::Result<Self> {
        let id = RequestId::new(format!("cli-{:016x}", fastrand::u64(..)))?;
        let subscriptions = vec![topics.control_response(&id), topics.availability()];
        let connection = Connection::open(LinkConfig { subscriptions, ..broker.link_config(&config.mqtt)? }).await?;
        Ok(Self { connection, topics, node: node.clone(), id })
    }

    async fn ask(
        &mut self,
        question: &Question<'_>,
        mut progress: impl FnMut(&str, Option<f64>),
    ) -> Result<Value, Failure> {
        self.send(question).await.map_err(Failure::unavailable)?;
        let wait = question.timeout().unwrap_or(Duration::MAX);
        loop {
            let message = timeout(wait, self.connection.message()).await.map_err(|_| {
                Failure::unavailable(anyhow!("the node {} did not answer within {LOOKUP_TIMEOUT:?}", self.node))
            })?;
            let message = message.map_err(Failure::unavailable)?;
            if message.topic == self.topics.availability() {
                if message.payload == ONLINE {
                    continue;
                }
                let text = "went offline before it answered; it may still do what was asked";
                return Err(Failure::unavailable(anyhow!("the node {} {text}", self.node)));
            }
            let answer: Value = serde_json::from_slice(&message.payload)
                .context("an answer that is not JSON")
                .map_err(Failure::unavailable)?;
            if let Some(end) = heard(&answer, &mut progress) {
                return end;
            }
        }
    }

    async fn send(&self, question: &Question<'_>) -> anyhow::Result<()> {
        let mut fields = serde_json::to_value(question)?;
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("verb");
            fields.insert("id".to_owned(), json!(self.id));
        }
        let (topic, payload) = (self.topics.control(question.verb), serde_json::to_vec(&fields)?.into());
        let content_type = Some("application/json".into());
        self.connection.publish(Publication { topic, payload, content_type, correlation: None, parts: None }).await;
        Ok(())
    }
}
