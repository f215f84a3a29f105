//! Starting the link.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::handle::Shared;
use super::worker::Worker;
use super::{LinkConfig, LinkEvent, LinkHandle};

/// Events in the channel to the driver; more wait in the link.
const EVENTS_MAX: usize = 16;

/// The link: a task that owns the connection.
#[derive(Debug)]
pub struct Link;

impl Link {
    /// Starts the link on the current runtime. It ends after [`LinkHandle::shutdown`] or when the receiver is dropped.
    pub fn spawn(config: LinkConfig) -> (LinkHandle, mpsc::Receiver<LinkEvent>) {
        let shared = Arc::new(Shared::new(config.outbox_max));
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let handle = LinkHandle::new(Arc::clone(&shared));
        tokio::spawn(Worker::new(config, shared, events).run());
        (handle, receiver)
    }
}
