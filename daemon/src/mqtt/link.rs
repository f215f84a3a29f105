//! Starting the link.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::handle::Shared;
use super::worker::Worker;
use super::{LinkConfig, LinkEvent, LinkHandle, TopicFilter};

/// Events in the channel to the driver; more wait in the link.
const EVENTS_MAX: usize = 16;

/// The link: a task that owns the connection.
#[derive(Debug)]
pub struct Link;

impl Link {
    /// Starts the link on the current runtime. It ends after [`LinkHandle::shutdown`] or when the receiver is dropped.
    pub fn spawn(mut config: LinkConfig) -> (LinkHandle, mpsc::Receiver<LinkEvent>) {
        let shared = Arc::new(Shared::new(config.outbox_max));
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let handle = LinkHandle::new(Arc::clone(&shared));
        // rumqttc would not even send them, and the others with them.
        let invalid: Vec<String> =
            config.subscriptions.extract_if(.., |filter| TopicFilter::new(filter.as_str()).is_err()).collect();
        let mut worker = Worker::new(config, shared, events);
        for filter in invalid {
            worker.subscription_refused(filter, "no valid filter".to_owned());
        }
        tokio::spawn(worker.run());
        (handle, receiver)
    }
}
