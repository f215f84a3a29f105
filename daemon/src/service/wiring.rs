//! From the configuration to what the rooms need of it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::config::Config;
use crate::control::{ControlCall, ControlServer};
use crate::health::{Roots, clock};
use crate::mqtt::{LinkConfig, Topics};

/// Who may use the control socket besides the daemon's own user.
const CONTROL_GROUP: &str = "promptd";

/// What the availability topic says when we are gone.
pub(super) const OFFLINE: &[u8] = b"offline";

/// How the broker is reached.
pub fn link_config(config: &Config, topics: &Topics) -> LinkConfig {
    let mqtt = config.mqtt.clone();
    let password = mqtt.clone();
    // Besides those that wait, each running job holds the place of its answer.
    let running: usize = config.models.iter().map(|model| model.sequences as usize).sum();
    LinkConfig {
        host: mqtt.url.host.clone(),
        port: mqtt.url.port,
        tls: mqtt.tls,
        clock_synced: || clock(&Roots::default(), SystemTime::now()).synced == Some(true),
        client_id: mqtt.client_id,
        username: mqtt.username,
        password: Arc::new(move || match password.password() {
            Ok(secret) => Ok(secret.map(|secret| secret.expose().to_owned())),
            Err(e) => Err(e.to_string()),
        }),
        keep_alive: mqtt.keep_alive,
        session_expiry: mqtt.session_expiry,
        receive_maximum: mqtt.receive_maximum,
        packet_max: mqtt.packet_max,
        outbox_max: mqtt.outbox_max + running,
        backoff_min: mqtt.backoff_min,
        backoff_max: mqtt.backoff_max,
        subscriptions: topics.subscriptions(),
        will: Some((topics.availability(), Bytes::from_static(OFFLINE))),
    }
}

/// The server of the control socket. A machine on which it can't be made still serves its devices.
pub(super) async fn control_server(config: &Config) -> Option<ControlServer> {
    let path = &config.service.control_socket;
    match ControlServer::bind(path, Some(CONTROL_GROUP)).await {
        Ok(server) => Some(server),
        Err(e) => {
            tracing::warn!("no control socket, so that commands such as `promptd status` don't work here: {e}");
            None
        }
    }
}

/// The next request on the control socket; waits for ever without one.
pub(super) async fn next_call(server: &mut Option<ControlServer>) -> Option<ControlCall> {
    match server {
        Some(server) => server.next().await,
        None => std::future::pending().await,
    }
}
