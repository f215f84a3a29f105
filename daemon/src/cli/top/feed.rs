//! What nodes tell, from the broker to the fleet: a task that keeps a connection, and makes a new one when it breaks.

use std::time::{Duration, Instant};

use bytes::Bytes;
use promptd::job::NodeName;
use promptd::mqtt::{Fault, FleetTopics, LinkConfig, NodeTopic, ProbeError, Reader, ReaderEvent};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::fleet::{Fleet, Message};

/// Events on their way: more wait with the broker.
const EVENTS_MAX: usize = 256;

/// When all subscriptions are answered and nothing that the broker had kept has come for so long, all of it has. mosquitto
/// sends it before the answer to the next subscription; brokers that replay beside their answers do so at once.
const QUIET: Duration = Duration::from_millis(500);

/// Longest pause before a new attempt: somebody sits and waits.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The fleet's topics.
    pub topics: FleetTopics,
    /// One node only.
    pub node: Option<NodeName>,
    /// Whether the sensors of every node are wanted: they tell at once, numbers come when it is time.
    pub health: bool,
}

/// Something that happened.
#[derive(Debug)]
pub enum FeedEvent {
    /// A node told something.
    Told(NodeName, NodeTopic, Bytes),
    /// The broker refuses a filter.
    Refused { filter: String, reason: String },
    /// All that the broker had kept has come.
    Complete,
    /// The connection broke.
    Down(String),
    /// There is a new one.
    Up,
}

/// The connection as the reader of its events sees it. Dropped, it ends.
pub struct Feed {
    /// The events.
    pub events: mpsc::Receiver<FeedEvent>,
    /// The node whose sensors are to be told as well.
    watched: watch::Sender<Option<NodeName>>,
}

impl Feed {
    /// Connects; from then on the connection is kept.
    pub async fn start(config: LinkConfig, scope: Scope) -> Result<Self, ProbeError> {
        let reader = Reader::connect(&config).await?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (watched, watching) = watch::channel(None);
        tokio::spawn(Task { config, scope, events, watching }.run(reader));
        Ok(Self { events: receiver, watched })
    }

    /// From now on this node's sensors are told, and no other's.
    pub fn watch(&self, node: Option<&NodeName>) {
        self.watched.send_if_modified(|watched| {
            let changed = watched.as_ref() != node;
            *watched = node.cloned();
            changed
        });
    }
}

impl FeedEvent {
    /// Lets the fleet know. What a broker refuses is not about the fleet.
    pub fn tell(self, fleet: &mut Fleet, now: Instant) {
        match self {
            Self::Told(node, topic, payload) => fleet.take(Message { node, topic, payload: &payload }, now),
            Self::Complete => fleet.complete(),
            Self::Down(reason) => fleet.disconnected(reason),
            Self::Up => fleet.connected(now),
            Self::Refused { .. } => {}
        }
    }
}

struct Task {
    config: LinkConfig,
    scope: Scope,
    events: mpsc::Sender<FeedEvent>,
    watching: watch::Receiver<Option<NodeName>>,
}

/// Nobody reads any more.
struct Closed;

impl Task {
    async fn run(mut self, reader: Reader) {
        let mut next = Some(reader);
        while let Some(reader) = next.take() {
            let Ok(reason) = self.read(reader).await else { return };
            next = self.again(reason).await.ok();
        }
    }

    async fn tell(&self, event: FeedEvent) -> Result<(), Closed> {
        self.events.send(event).await.map_err(|_| Closed)
    }

    /// Tries until there is a connection.
    async fn again(&self, mut reason: String) -> Result<Reader, Closed> {
        let longest = self.config.backoff_max.min(PAUSE_MAX);
        let mut pause = self.config.backoff_min.min(longest);
        loop {
            self.tell(FeedEvent::Down(reason)).await?;
            tokio::select! {
                () = sleep(pause) => {}
                () = self.events.closed() => return Err(Closed),
            }
            match Reader::connect(&self.config).await {
                Ok(reader) => {
                    self.tell(FeedEvent::Up).await?;
                    return Ok(reader);
                }
                Err(error) => reason = error.to_string(),
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Reads a connection to its end; gives why it ended.
    async fn read(&mut self, reader: Reader) -> Result<String, Closed> {
        let mut session = Session { reader, watched: None, quiet_at: None, complete: false };
        if let Err(fault) = session.subscribe(&self.scope) {
            return Ok(fault.to_string());
        }
        self.watching.mark_changed();
        loop {
            let quiet_at = session.quiet_at.unwrap_or_else(tokio::time::Instant::now);
            let event = tokio::select! {
                event = session.reader.next() => event,
                () = tokio::time::sleep_until(quiet_at), if session.quiet_at.is_some() => {
                    session.quiet_at = None;
                    session.complete = true;
                    self.tell(FeedEvent::Complete).await?;
                    continue;
                }
                changed = self.watching.changed() => {
                    changed.map_err(|_| Closed)?;
                    let wanted = self.watching.borrow_and_update().clone();
                    match session.watch(&self.scope, wanted) {
                        Ok(()) => continue,
                        Err(fault) => Err(fault),
                    }
                }
                () = self.events.closed() => return Err(Closed),
            };
            match event {
                Ok(event) => {
                    if let Some(event) = session.on_event(&self.scope, event) {
                        self.tell(event).await?;
                    }
                }
                Err(fault) => return Ok(fault.to_string()),
            }
        }
    }
}

/// One connection.
struct Session {
    reader: Reader,
    watched: Option<NodeName>,
    /// When all that the broker had kept has come, if nothing more does.
    quiet_at: Option<tokio::time::Instant>,
    complete: bool,
}

impl Session {
    /// Numbers come last: nothing of them is replayed, so that the answer means that the rest was.
    fn subscribe(&mut self, scope: &Scope) -> Result<(), Fault> {
        let node = scope.node.as_ref();
        for filter in scope.topics.documents(node) {
            self.reader.subscribe(&filter)?;
        }
        if scope.health {
            self.reader.subscribe(&scope.topics.health(node))?;
        }
        self.reader.subscribe(&scope.topics.telemetry(node))
    }

    fn watch(&mut self, scope: &Scope, wanted: Option<NodeName>) -> Result<(), Fault> {
        if self.watched == wanted {
            return Ok(());
        }
        if let Some(old) = &self.watched {
            self.reader.unsubscribe(&scope.topics.health(Some(old)))?;
        }
        if let Some(new) = &wanted {
            self.reader.subscribe(&scope.topics.health(Some(new)))?;
        }
        self.watched = wanted;
        Ok(())
    }

    fn on_event(&mut self, scope: &Scope, event: ReaderEvent) -> Option<FeedEvent> {
        let quiet_at = tokio::time::Instant::now() + QUIET;
        match event {
            ReaderEvent::Answered { filter, refused } => {
                if !self.complete && self.reader.is_answered() {
                    self.quiet_at = Some(quiet_at);
                }
                refused.map(|reason| FeedEvent::Refused { filter, reason })
            }
            ReaderEvent::Message { topic, payload, replayed } => {
                if replayed && let Some(at) = &mut self.quiet_at {
                    *at = quiet_at;
                }
                let (node, topic) = scope.topics.read(&topic)?;
                Some(FeedEvent::Told(node, topic, payload))
            }
        }
    }
}
