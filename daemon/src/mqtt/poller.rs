//! The task that turns rumqttc's event loop.
//!
//! `EventLoop::poll` must never be cancelled, never wait for us, and never publish: so it runs alone in a task, its
//! events go through a bounded channel to the link, which always takes them, and the link only ever uses `try_*`.

use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Fault;

/// Enough that the two tasks need not alternate for each packet.
const EVENTS_MAX: usize = 64;

/// One connection, from the attempt to its end.
pub(super) struct Poller {
    events: mpsc::Receiver<Event>,
    task: JoinHandle<ConnectionError>,
}

impl Poller {
    /// `requests_max` bounds what may be given to the client before it is written.
    pub fn spawn(options: MqttOptions, requests_max: usize) -> (AsyncClient, Self) {
        let (client, event_loop) = AsyncClient::new(options, requests_max);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let task = tokio::spawn(poll(event_loop, sender));
        (client, Self { events, task })
    }

    /// The next event; none when the connection has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Why it ended. Only after [`Poller::next`] returned none.
    pub async fn fault(&mut self, was_up: bool) -> Fault {
        match (&mut self.task).await {
            Ok(error) => Fault::from_rumqttc(error, was_up),
            // A panic, or a runtime that shuts down.
            Err(_) => Fault::Crashed,
        }
    }
}

/// The event loop dies with its connection: a new one starts without rumqttc's memory of the last.
impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn poll(mut event_loop: EventLoop, events: mpsc::Sender<Event>) -> ConnectionError {
    let keep_alive = event_loop.options.keep_alive();
    loop {
        match event_loop.poll().await {
            Ok(event) => {
                // A broker may switch keep-alive off; rumqttc would then ping without a pause.
                if event_loop.options.keep_alive().is_zero() {
                    event_loop.options.set_keep_alive(keep_alive);
                }
                if events.send(event).await.is_err() {
                    return ConnectionError::RequestsDone;
                }
            }
            Err(error) => {
                // Packets read together with the end of the connection, acknowledgements among them.
                for event in std::mem::take(&mut event_loop.state.events) {
                    if events.send(event).await.is_err() {
                        break;
                    }
                }
                return error;
            }
        }
    }
}
