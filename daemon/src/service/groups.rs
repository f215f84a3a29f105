//! Work for groups of nodes. It comes on a connection of its own, whose session ends with it: the broker deals requests out
//! among those who are there, and one that is away, or should do less, must not be dealt any.

use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc;

use super::driver::Driver;
use super::wiring::link_config;
use crate::config::Config;
use crate::mqtt::{Link, LinkConfig, LinkEvent, LinkHandle, Slot, Topics};
use crate::telemetry::NodeState;

/// Requests that the broker may deal to this node ahead of their acknowledgements: what is on its way when the node is lost is
/// lost with it, and its clients must ask again.
const AHEAD: u16 = 8;

/// Nothing is published there.
const OUTBOX: usize = 16;

/// How long the good-bye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// The connection, while there is one.
#[derive(Default)]
pub(super) struct Groups {
    link: Option<(LinkHandle, mpsc::Receiver<LinkEvent>)>,
}

impl Groups {
    /// What happens on it, with a place for an answer, which goes out on the node's other connection.
    pub(super) async fn next(&mut self, answers: &LinkHandle) -> (Slot, LinkEvent) {
        let Some((_, events)) = &mut self.link else { return pending().await };
        let slot = answers.reserve().await;
        match events.recv().await {
            Some(event) => (slot, event),
            None => pending().await,
        }
    }
}

impl Driver {
    /// Takes part in the work of the node's groups while the node is well, and leaves it to the others when it is not.
    pub(super) fn follow_groups(&mut self) {
        let wanted = !self.config.node.groups.is_empty() && self.board.state().0 == NodeState::Ready;
        if wanted && self.groups.link.is_none() {
            tracing::info!("work for groups is taken");
            self.groups.link = Some(Link::spawn(group_config(&self.config, &self.topics)));
        } else if !wanted {
            self.leave_groups();
        }
    }

    /// Ends the connection; what has come on it is still answered.
    pub(super) fn leave_groups(&mut self) {
        let Some((link, mut events)) = self.groups.link.take() else { return };
        tracing::info!("work for groups is left to other nodes");
        while let Ok(event) = events.try_recv() {
            match self.link.try_reserve() {
                Some(slot) => self.on_group(slot, event, &link),
                None => break,
            }
        }
        tokio::spawn(async move {
            link.shutdown(Vec::new(), GOODBYE).await;
        });
    }

    /// The broker has something for a group.
    pub(super) fn on_groups(&mut self, slot: Slot, event: LinkEvent) {
        if let Some((link, _)) = &self.groups.link {
            let link = link.clone();
            self.on_group(slot, event, &link);
        }
    }

    fn on_group(&mut self, slot: Slot, event: LinkEvent, link: &LinkHandle) {
        match event {
            LinkEvent::Message(message) => self.on_message(slot, message, link),
            // The node's other connection has the same troubles, and tells of them.
            LinkEvent::SubscriptionRefused { filter, reason } => {
                tracing::warn!("the broker refuses the subscription {filter}: {reason}");
            }
            _ => {}
        }
    }
}

fn group_config(config: &Config, topics: &Topics) -> LinkConfig {
    let link = link_config(config, topics);
    LinkConfig {
        client_id: format!("{}-groups", link.client_id),
        session_expiry: Duration::ZERO,
        receive_maximum: link.receive_maximum.min(AHEAD),
        outbox_max: OUTBOX,
        subscriptions: topics.group_requests(&config.node.groups),
        will: None,
        ..link
    }
}
