//! Work for groups of nodes. It comes on a connection of its own, whose session ends with it: the broker deals requests out
//! among those who have subscribed, and a node that is away, or should do less, must not be dealt any.

use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc;

use super::driver::Driver;
use super::models::{ModelEntry, Stage};
use super::status::NodeFault;
use super::wiring::link_config;
use crate::mqtt::{Link, LinkConfig, LinkEvent, LinkHandle, Slot};
use crate::telemetry::NodeState;

/// Requests that the broker may deal to this node ahead of their acknowledgements: what is on its way when the node is lost is
/// lost with it, and its clients must ask again.
const AHEAD: u16 = 8;

/// Nothing is published there.
const OUTBOX: usize = 16;

/// How long the good-bye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// The connection, once there was work to take, and whether it is taken now.
#[derive(Default)]
pub(super) struct Groups {
    link: Option<(LinkHandle, mpsc::Receiver<LinkEvent>)>,
    takes_work: bool,
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

    /// The connection.
    pub(super) fn link(&self) -> Option<&LinkHandle> {
        self.link.as_ref().map(|(link, _)| link)
    }

    /// Leaves the broker as it should be left. What has come was acknowledged before.
    pub(super) async fn say_goodbye(&mut self) {
        if let Some((link, _events)) = &self.link {
            link.shutdown(Vec::new(), GOODBYE).await;
        }
    }
}

impl Driver {
    /// Takes part in the work of the node's groups while the node is well, and leaves it to the others when it is not.
    pub(super) fn follow_groups(&mut self) {
        let takes_work = !self.config.node.groups.is_empty() && self.may_share_work();
        if takes_work != self.groups.takes_work {
            let what = if takes_work { "taken" } else { "left to other nodes" };
            tracing::info!("work for groups is {what}");
            self.groups.takes_work = takes_work;
            self.renew_group_link();
        }
    }

    /// A model that was let go because nobody used it comes back for a job: that is no reason to leave.
    fn may_share_work(&self) -> bool {
        let comes_back = |entry: &ModelEntry| match &entry.stage {
            Stage::Preparing { .. } | Stage::Loading(_) => entry.has_served,
            _ => true,
        };
        match self.board.state().0 {
            NodeState::Ready => true,
            NodeState::Loading => self.groups.takes_work && self.models.iter().all(comes_back),
            _ => false,
        }
    }

    /// Subscribes, or does so no more, on a connection that is made anew when all that is on its way has been acknowledged.
    pub(super) fn renew_group_link(&mut self) {
        let config = self.group_config();
        match &self.groups.link {
            Some((link, _)) => link.reconnect(config),
            None if self.groups.takes_work => self.groups.link = Some(Link::spawn(config)),
            None => {}
        }
    }

    fn group_config(&self) -> LinkConfig {
        let link = link_config(&self.config, &self.topics);
        let groups = if self.groups.takes_work { self.config.node.groups.as_slice() } else { &[] };
        LinkConfig {
            client_id: format!("{}-groups", link.client_id),
            session_expiry: Duration::ZERO,
            receive_maximum: link.receive_maximum.min(AHEAD),
            outbox_max: OUTBOX,
            subscriptions: self.topics.group_requests(groups),
            will: None,
            ..link
        }
    }

    /// The broker has something for a group. The node's other connection has the same troubles, and tells of them.
    pub(super) fn on_groups(&mut self, slot: Slot, event: LinkEvent) {
        let Some((link, _)) = &self.groups.link else { return };
        match event {
            LinkEvent::Message(message) => {
                let link = link.clone();
                self.on_message(slot, message, &link);
            }
            LinkEvent::SubscriptionRefused { filter, .. } => {
                self.faults.insert(NodeFault::SubscriptionRefused(filter));
                self.publish_status();
            }
            _ => {}
        }
    }
}
