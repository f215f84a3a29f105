//! The connection to the broker: made, kept, and made again.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{self, Instant};
use tracing::{debug, error, info, warn};

use super::fault::Blame;
use super::handle::Shared;
use super::inbound::Inbound;
use super::outbox::Gone;
use super::pacing::{Ending, Pacing, Takeover};
use super::receipts::Receipts;
use super::session::{Ended, Session, Up};
use super::{Delivery, Fault, LinkConfig, LinkEvent, ShutdownEnd, TopicFilter, connect, old_version};

/// How long the broker has to accept the connection with which we ask whether it is still there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A broker that closes the connection over something that we sent does so within this time.
const QUIET: Duration = Duration::from_millis(300);
/// After so many connections that ended over something unreadable, the broker's session is given up with what waits
/// in it: a message that breaks its reader would break it for ever.
const UNREADABLE_MAX: u32 = 3;
/// A broker is looked at more closely at the first of attempts that fail alike, and again after so many: it may have been about to
/// start.
const LOOK_EVERY: u32 = 5;

/// What outlives a connection.
pub(super) struct Worker {
    pub config: LinkConfig,
    pub shared: Arc<Shared>,
    pub events: mpsc::Sender<LinkEvent>,
    pub inbound: Inbound,
    pub receipts: Receipts,
    /// Filters that the broker's session may still have and that are wanted no more.
    pub obsolete: Vec<String>,
    /// Filters that are known to be refused.
    pub refused_filters: HashSet<String>,
    /// A connection has been up before.
    pub was_connected: bool,
    /// The broker takes retained messages.
    pub retain: bool,
    /// What the broker does not take, and whether the driver has heard of it since the last connect.
    refused_topics: HashMap<String, Told>,
    reported: Option<Fault>,
    /// Attempts since the first of those in a row that failed alike.
    alike: u32,
    /// Connections in a row that ended over something unreadable while nothing of ours was in flight.
    unreadable: u32,
}

/// Whether the driver has heard of something in this connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    NotYet,
}

/// What comes after a pause.
enum AfterPause {
    Connect,
    End,
}

impl Worker {
    pub fn new(config: LinkConfig, shared: Arc<Shared>, events: mpsc::Sender<LinkEvent>) -> Self {
        Self {
            config,
            shared,
            events,
            inbound: Inbound::default(),
            receipts: Receipts::default(),
            obsolete: Vec::new(),
            refused_filters: HashSet::new(),
            was_connected: false,
            retain: true,
            refused_topics: HashMap::new(),
            reported: None,
            alike: 0,
            unreadable: 0,
        }
    }

    pub async fn run(mut self) {
        self.refuse_invalid_filters();
        let mut pacing = self.pacing();
        loop {
            if self.take_renewal() {
                pacing = self.pacing();
            }
            let (fault, ending) = match self.connection().await {
                Ended::Left(end) => return self.end(end),
                Ended::Abandoned => return,
                Ended::Renewed => {
                    self.forget(Blame::None);
                    continue;
                }
                Ended::Fault { fault, up: None } => {
                    let fault = self.looked_at(fault).await;
                    let ending = self.failed(&fault);
                    (fault, ending)
                }
                Ended::Fault { fault, up: Some(up) } => {
                    let takeover = self.takeover(&fault, &up).await;
                    (fault, Ending::Lost { up: up.since.elapsed(), takeover })
                }
            };
            self.lost(&fault, ending);
            let pause = pacing.after(ending, std::time::Instant::now(), fastrand::f64());
            if pause.duplicate {
                error!(
                    client_id = self.config.client_id,
                    pause_s = pause.delay.as_secs(),
                    "another client uses our client id: two nodes with one name? give one of them another node name"
                );
                self.tell(LinkEvent::DuplicateClient { pause: pause.delay });
            }
            if let AfterPause::End = self.pause(pause.delay).await {
                return;
            }
        }
    }

    fn pacing(&self) -> Pacing {
        Pacing::new(self.config.backoff_min, self.config.backoff_max)
    }

    /// rumqttc would not even send them, and the others with them.
    fn refuse_invalid_filters(&mut self) {
        let subscriptions = &mut self.config.subscriptions;
        let invalid: Vec<String> =
            subscriptions.extract_if(.., |filter| TopicFilter::new(filter.as_str()).is_err()).collect();
        for filter in invalid {
            self.subscription_refused(filter, "no valid filter".to_owned());
        }
    }

    /// Goes on with other settings, if the driver wants it. What was learnt of another broker is forgotten.
    fn take_renewal(&mut self) -> bool {
        let config = {
            let mut state = self.shared.state();
            let Some(config) = state.renewal.take() else { return false };
            state.renew = false;
            config
        };
        self.reported = None;
        if config.is_same_broker(&self.config) {
            self.obsolete.append(&mut self.config.subscriptions);
        } else {
            self.retain = true;
            self.unreadable = 0;
            self.refused_filters.clear();
            self.refused_topics.clear();
            self.obsolete.clear();
        }
        self.obsolete.retain(|filter| !config.subscriptions.contains(filter));
        self.obsolete.truncate(connect::OBSOLETE_MAX);
        self.config = config;
        self.refuse_invalid_filters();
        true
    }

    async fn connection(&mut self) -> Ended {
        self.shared.state().renew = false;
        let clean_start = self.unreadable >= UNREADABLE_MAX;
        if clean_start {
            error!("giving up the broker's session, and what waits in it: something there cannot be read");
            self.unreadable = 0;
        }
        match connect::open(&self.config, clean_start, self.retain).await {
            Ok((client, poller)) => Session::new(self, client, poller).run().await,
            Err(fault) => Ended::Fault { fault, up: None },
        }
    }

    /// A fault is looked at more closely, now and then: a broker that gives no answer may speak another version.
    async fn looked_at(&mut self, fault: Fault) -> Fault {
        self.alike = if self.reported.as_ref() == Some(&fault) { self.alike.saturating_add(1) } else { 0 };
        if !self.alike.is_multiple_of(LOOK_EVERY) || !fault.is_mute() || !self.broker_is_there().await {
            return fault;
        }
        let shared = Arc::clone(&self.shared);
        let mut look = pin!(old_version::look(&self.config, fault.clone()));
        loop {
            {
                let state = shared.state();
                if state.closing.is_some() || state.renewal.is_some() {
                    return fault;
                }
            }
            tokio::select! {
                found = &mut look => return found,
                () = shared.wake.notified() => {}
            }
        }
    }

    /// How the attempt at a connection failed.
    fn failed(&self, fault: &Fault) -> Ending {
        match fault {
            Fault::OldVersion => Ending::OldVersion,
            Fault::NotYetValid(_) if !(self.config.clock_synced)() => Ending::TooEarly,
            _ => Ending::Failed,
        }
    }

    /// Whether another client took the connection over. Without a word from the broker, it has to be the only
    /// explanation: nothing of ours can have displeased the broker, and it is still there.
    async fn takeover(&self, fault: &Fault, up: &Up) -> Takeover {
        let quiet = self.shared.state().outbox.unacknowledged() == 0
            && up.last_publish.is_none_or(|last| last.elapsed() >= QUIET);
        match fault {
            Fault::TakenOver => Takeover::Certain,
            Fault::Closed if quiet && self.broker_is_there().await => Takeover::Likely,
            _ => Takeover::No,
        }
    }

    /// What belonged to the last connection is over.
    fn forget(&mut self, blame: Blame) {
        self.shared.connected.store(false, Ordering::Relaxed);
        let guilty = {
            let mut state = self.shared.state();
            state.epoch += 1;
            state.acks.clear();
            state.outbox.connection_lost(blame)
        };
        self.inbound.hold();
        for gone in guilty {
            error!(topic = gone.topic, "a message is dropped: the broker ends each connection over it");
            self.settle(&gone, Delivery::Refused);
        }
    }

    /// A connection, or the attempt at one, has failed.
    fn lost(&mut self, fault: &Fault, ending: Ending) {
        let idle = self.shared.state().outbox.unacknowledged() == 0;
        self.forget(fault.blame());
        if *fault == Fault::NoRetained {
            self.retain = false;
        }
        let was_up = matches!(ending, Ending::Lost { .. });
        // With something of ours in flight, that is the first suspect.
        self.unreadable = if was_up && idle && fault.is_our_reader() { self.unreadable + 1 } else { 0 };
        if self.reported.as_ref() == Some(fault) && !was_up {
            debug!(%fault, "no connection yet");
            return;
        }
        let (host, port) = (&self.config.host, self.config.port);
        match fault {
            Fault::Refused { .. }
            | Fault::OldVersion
            | Fault::Password(_)
            | Fault::Certificates(_)
            | Fault::Tls { .. }
            | Fault::Crashed => {
                error!(host, port, "{fault}");
            }
            _ => warn!(host, port, "{fault}"),
        }
        self.reported = Some(fault.clone());
        self.tell(LinkEvent::Disconnected { reason: fault.clone() });
    }

    /// The broker has accepted the connection.
    pub fn connected(&mut self, session_present: bool) {
        let (host, port) = (&self.config.host, self.config.port);
        info!(host, port, session_present, "connected to the broker");
        self.reported = None;
        self.refused_topics.values_mut().for_each(|told| *told = Told::NotYet);
        if self.was_connected {
            self.shared.tallies.reconnects.one();
        }
        self.tell(LinkEvent::Connected { session_present });
    }

    /// A subscription is not served. The driver hears of it at each connect, the log once.
    pub fn subscription_refused(&mut self, filter: String, reason: String) {
        if self.refused_filters.insert(filter.clone()) {
            error!(filter, reason, "a subscription is refused: no request on it can arrive");
        }
        self.tell(LinkEvent::SubscriptionRefused { filter, reason });
    }

    /// Hands an event to the driver, now or when it has room. False: it was a QoS 0 message and is dropped.
    pub fn tell(&mut self, event: LinkEvent) -> bool {
        if !self.inbound.is_empty() {
            return self.inbound.push(event);
        }
        match self.events.try_send(event) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) => {
                self.inbound.push(event)
            }
        }
    }

    /// A message has left the outbox.
    pub fn settle(&mut self, gone: &Gone, delivery: Delivery) {
        let tallies = &self.shared.tallies;
        match delivery {
            Delivery::Taken => tallies.published.one(),
            // Nobody needs to be there for a retained document.
            Delivery::NoSubscribers if gone.retained => tallies.published.one(),
            Delivery::NoSubscribers => {
                tallies.published.one();
                tallies.undelivered.one();
            }
            Delivery::Refused => tallies.refused.one(),
        }
        if let Some(tag) = gone.tag {
            // Its place is free at once: what is ahead of this event may wait for one.
            self.tell(LinkEvent::Settled { tag, delivery });
        }
    }

    /// The broker does not take a message, and others like it: ids of requests do not count as different topics. The
    /// driver hears of it at each connect, the log once.
    pub fn publication_refused(&mut self, gone: &Gone, reason: String) {
        const TOPICS_MAX: usize = 256;
        let topic = gone.topic.as_str();
        let parent = topic.rsplit_once('/').map(|(parent, _)| parent).filter(|_| !gone.retained);
        if self.refused_topics.len() >= TOPICS_MAX {
            self.refused_topics.clear();
        }
        let before = self.refused_topics.insert(format!("{} {reason}", parent.unwrap_or(topic)), Told::Yes);
        if before.is_none() {
            error!(topic, reason, "a message is dropped, and others like it: the broker does not take it");
        }
        if before != Some(Told::Yes) {
            self.tell(LinkEvent::PublicationRefused { topic: gone.topic.clone(), reason });
        }
    }

    /// Waits, but not longer than the driver wants.
    async fn pause(&mut self, delay: Duration) -> AfterPause {
        let events = self.events.clone();
        let shared = Arc::clone(&self.shared);
        let until = Instant::now() + delay;
        loop {
            if shared.state().closing.is_some() {
                self.end(ShutdownEnd::NotConnected);
                return AfterPause::End;
            }
            {
                let state = shared.state();
                if state.renewal.is_some() || state.renew {
                    return AfterPause::Connect;
                }
            }
            tokio::select! {
                () = time::sleep_until(until) => return AfterPause::Connect,
                () = shared.wake.notified() => {}
                () = events.closed() => return AfterPause::End,
                permit = events.reserve(), if !self.inbound.is_empty() => self.deliver(permit),
            }
        }
    }

    /// Gives the oldest waiting event to the driver.
    pub fn deliver(&mut self, permit: Result<mpsc::Permit<'_, LinkEvent>, mpsc::error::SendError<()>>) {
        if let Ok(permit) = permit
            && let Some(event) = self.inbound.pop()
        {
            permit.send(event);
        }
    }

    fn end(&self, end: ShutdownEnd) {
        if let Some(closing) = self.shared.state().closing.take() {
            // Nobody may be waiting for it any more.
            let _ = closing.done.send(end);
        }
    }

    /// Whether the broker still accepts connections at this moment. One that stops closes its port first.
    async fn broker_is_there(&self) -> bool {
        let address = connect::address(&self.config);
        matches!(time::timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_)))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.connected.store(false, Ordering::Relaxed);
        let mut state = self.shared.state();
        state.ended = true;
        state.closing = None;
    }
}
