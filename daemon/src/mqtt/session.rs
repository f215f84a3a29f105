//! One connection, from the attempt to its end.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use tokio::time::{self, Instant};

use super::connect::{keep_alive, window};
use super::outbox::{Next, OutOfStep, Outgoing, RetainedTurn, Room};
use super::poller::Poller;
use super::worker::Worker;
use super::{Delivery, Fault, ShutdownEnd};

/// How long the broker may take for a SUBACK.
const SUBACK_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the broker may take for a PUBACK.
const PUBACK_TIMEOUT: Duration = Duration::from_mins(1);

/// How long the end of what is on its way is waited for when the connection is to be made with other settings.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long rumqttc may take to say why it takes nothing.
const DEAF_TIMEOUT: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(super) enum Ended {
    /// On purpose.
    Left(ShutdownEnd),
    /// The driver has dropped the receiver.
    Abandoned,
    /// To get what did not fit, on a new connection.
    Renewed,
    /// It failed.
    Fault { fault: Fault, up: Option<Up> },
}

/// What is known of a connection that the broker had accepted.
pub(super) struct Up {
    pub since: Instant,
    pub last_publish: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Subscribing,
    Ready,
    Leaving,
}

/// Why the turn of the session stops.
pub(super) enum Stop {
    Fault(Fault),
    Left(ShutdownEnd),
    Renew,
    Abandoned,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<OutOfStep> for Stop {
    fn from(_: OutOfStep) -> Self {
        Self::Fault(Fault::Protocol("an acknowledgement fits nothing that was sent".to_owned()))
    }
}

pub(super) struct Session<'w> {
    pub worker: &'w mut Worker,
    pub client: AsyncClient,
    poller: Poller,
    pub phase: Phase,
    pub up: Option<Instant>,
    pub last_packet: Instant,
    pub last_publish: Option<Instant>,
    pub keep_alive: Duration,
    pub window: usize,
    /// Filters whose SUBACK has not come.
    pub subscribing: VecDeque<Vec<String>>,
    pub subscribed_at: Instant,
    /// When the retained documents are published again.
    pub republish_at: Option<Instant>,
    /// When a shutdown has to be over.
    pub closing: Option<Instant>,
    /// A new connection is needed: the broker sent more than fits, or the driver wants it, perhaps with other settings.
    pub renew: bool,
    /// When a connection with other settings is made, whatever is on its way.
    renew_until: Option<Instant>,
    /// rumqttc takes nothing any more: its event loop has ended, and its error follows, or it never does.
    pub deaf_until: Option<Instant>,
    /// Our DISCONNECT is written. Closing the connection now, with something unread, would reset it, and the broker
    /// would lose our last acknowledgements and the DISCONNECT itself: it has to close first, but within this time.
    pub leaving_until: Option<Instant>,
    /// The timer stands at a time that no longer counts.
    pub rearm: bool,
}

impl<'w> Session<'w> {
    pub fn new(worker: &'w mut Worker, client: AsyncClient, poller: Poller) -> Self {
        let keep_alive = keep_alive(&worker.config);
        let now = Instant::now();
        Self {
            worker,
            client,
            poller,
            phase: Phase::Connecting,
            up: None,
            last_packet: now,
            last_publish: None,
            keep_alive,
            window: window(None),
            subscribing: VecDeque::new(),
            subscribed_at: now,
            republish_at: None,
            closing: None,
            renew: false,
            renew_until: None,
            deaf_until: None,
            leaving_until: None,
            rearm: false,
        }
    }

    pub async fn run(mut self) -> Ended {
        match self.turn().await {
            Stop::Fault(fault) => {
                let up = self.up.map(|since| Up { since, last_publish: self.last_publish });
                Ended::Fault { fault, up }
            }
            Stop::Renew => Ended::Renewed,
            Stop::Left(end) => Ended::Left(end),
            Stop::Abandoned => Ended::Abandoned,
        }
    }

    async fn turn(&mut self) -> Stop {
        let shared = Arc::clone(&self.worker.shared);
        let events = self.worker.events.clone();
        let mut timer = pin!(time::sleep_until(self.next_deadline()));
        loop {
            let step = tokio::select! {
                event = self.poller.next() => match event {
                    Some(event) => self.on_event(event),
                    None if self.leaving_until.is_some() => Err(self.left()),
                    None => Err(self.poller.fault(self.up.is_some()).await.into()),
                },
                () = shared.wake.notified() => Ok(()),
                permit = events.reserve(), if !self.worker.inbound.is_empty() => {
                    self.worker.deliver(permit);
                    Ok(())
                }
                () = events.closed() => Err(Stop::Abandoned),
                () = &mut timer => {
                    self.rearm = true;
                    self.on_timer()
                }
            };
            if let Err(stop) = step.and_then(|()| self.pump()) {
                return stop;
            }
            if std::mem::take(&mut self.rearm) {
                timer.as_mut().reset(self.next_deadline());
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let subscribe = (self.phase == Phase::Subscribing).then(|| self.subscribed_at + SUBACK_TIMEOUT);
        let silence = self.last_packet + 2 * self.keep_alive;
        [self.republish_at, self.closing, self.deaf_until, self.leaving_until, self.renew_until, subscribe]
            .into_iter()
            .flatten()
            .fold(silence, Instant::min)
    }

    /// Checks everything that takes too long. The timer is set anew only when it fires, so that messages cost none.
    fn on_timer(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        if self.leaving_until.is_some_and(|until| until <= now) {
            return Err(self.left());
        }
        if self.closing.is_some_and(|deadline| deadline <= now) {
            return Err(Stop::Left(ShutdownEnd::TimedOut));
        }
        if self.renew_until.is_some_and(|until| until <= now) {
            return Err(Stop::Renew);
        }
        if self.deaf_until.is_some_and(|until| until <= now) {
            return Err(Fault::Lost("rumqttc takes no requests".to_owned()).into());
        }
        if now >= self.last_packet + 2 * self.keep_alive {
            return Err(Fault::Silent(now - self.last_packet).into());
        }
        if self.phase == Phase::Subscribing && now >= self.subscribed_at + SUBACK_TIMEOUT {
            return Err(Fault::Protocol("a subscription was not answered".to_owned()).into());
        }
        let mut state = self.worker.shared.state();
        if state.outbox.waiting_since().is_some_and(|since| since.elapsed() >= PUBACK_TIMEOUT) {
            return Err(Fault::Protocol("a message was not acknowledged".to_owned()).into());
        }
        if self.republish_at.is_some_and(|at| at <= now) {
            self.republish_at = None;
            state.outbox.republish();
        }
        Ok(())
    }

    /// Gives rumqttc all that it may have now.
    fn pump(&mut self) -> Result<(), Stop> {
        if self.phase == Phase::Leaving {
            return Ok(());
        }
        let shared = Arc::clone(&self.worker.shared);
        let mut state = shared.state();
        for token in state.acks.drain(..) {
            self.worker.receipts.done(token);
        }
        while let Some(pkid) = self.worker.receipts.next() {
            let publish = Publish { qos: QoS::AtLeastOnce, pkid, ..Publish::default() };
            let taken = self.client.try_ack(&publish);
            self.note(&taken);
        }
        let deadline = state.closing.as_ref().map(|closing| closing.deadline);
        if deadline.is_some() && self.closing.is_none() {
            if self.phase == Phase::Connecting {
                return Err(Stop::Left(ShutdownEnd::NotConnected));
            }
            self.closing = deadline;
            self.rearm = true;
        }
        let next = state.renewal.as_ref().filter(|_| self.closing.is_none());
        if next.is_some() && self.phase != Phase::Ready {
            return Err(Stop::Renew);
        }
        if next.is_some() && self.renew_until.is_none() {
            self.renew = true;
            self.renew_until = Some(Instant::now() + RENEWAL_TIMEOUT);
            self.rearm = true;
        }
        if self.phase != Phase::Ready {
            return Ok(());
        }
        let elsewhere = next.is_some_and(|next| !next.is_same_broker(&self.worker.config));
        let retained = match (self.republish_at, self.closing) {
            (_, Some(_)) => RetainedTurn::Last,
            (Some(_), None) => RetainedTurn::NotYet,
            (None, None) => RetainedTurn::First,
        };
        self.renew |= std::mem::take(&mut state.renew);
        let renew = self.renew && self.closing.is_none() && self.worker.receipts.open() == 0;
        if renew {
            // Nothing new is sent, so that nothing has to be sent twice.
            match state.outbox.unacknowledged() {
                // Without a DISCONNECT the will speaks: we don't come back.
                0 if elsewhere => return Err(Stop::Renew),
                0 => self.leave(),
                _ => {}
            }
            return Ok(());
        }
        let room = Room { window: self.window, packet_max: shared.packet_max(), retained };
        while let Some(next) = state.outbox.next(room) {
            match next {
                Next::Send(outgoing) => self.send(outgoing),
                Next::Drop(gone) => {
                    let reason = "larger than the broker's maximum, or no valid topic".to_owned();
                    self.worker.publication_refused(&gone, reason);
                    self.worker.settle(&gone, Delivery::Refused);
                }
            }
        }
        if self.closing.is_some() && state.outbox.is_settled() {
            self.leave();
        }
        Ok(())
    }

    /// With a DISCONNECT, which withdraws the will and keeps the session.
    fn leave(&mut self) {
        let taken = self.client.try_disconnect();
        self.note(&taken);
        self.phase = Phase::Leaving;
    }

    /// The DISCONNECT is with the broker.
    fn left(&self) -> Stop {
        if self.closing.is_some() { Stop::Left(ShutdownEnd::Clean) } else { Stop::Renew }
    }

    fn send(&mut self, outgoing: Outgoing) {
        let publication = outgoing.publication;
        let properties = PublishProperties {
            content_type: publication.content_type.map(Cow::into_owned),
            correlation_data: publication.correlation.map(Into::into),
            ..PublishProperties::default()
        };
        let qos = if outgoing.reliable { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let retain = outgoing.retain && self.worker.retain;
        let (topic, payload) = (publication.topic, publication.payload);
        let taken = self.client.try_publish_with_properties(topic, qos, retain, payload, properties);
        self.note(&taken);
    }

    /// By its size, rumqttc's channel is never full. So an error means that the event loop has ended; why, its own error
    /// says in a moment, and nothing is lost: what was not sent is still in the outbox.
    pub(super) fn note<E>(&mut self, taken: &Result<(), E>) {
        if taken.is_err() && self.deaf_until.is_none() {
            self.deaf_until = Some(Instant::now() + DEAF_TIMEOUT);
            self.rearm = true;
        }
    }
}
