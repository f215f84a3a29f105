//! From the configuration to what the rooms need of it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::governor::GovernorSettings;
use super::thermal::{ThermalSettings, Trips};
use crate::config::Config;
use crate::control::{ControlCall, ControlServer};
use crate::engine::protocol::ENCODER_JOBS;
use crate::health::{BoardKind, Roots, clock};
use crate::mqtt::{LinkConfig, ReplyPolicy, RequestLimits, RequestReader, TopicError, TopicFilter, Topics};
use crate::queue::QueueLimits;

/// Who may use the control socket besides the daemon's own user.
const CONTROL_GROUP: &str = "promptd";

/// What the availability topic says when we are gone.
pub(super) const OFFLINE: &[u8] = b"offline";

/// How the broker is reached.
pub fn link_config(config: &Config, topics: &Topics) -> LinkConfig {
    let mqtt = config.mqtt.clone();
    let password = mqtt.clone();
    LinkConfig {
        host: mqtt.url.host.clone(),
        port: mqtt.url.port,
        tls: mqtt.tls,
        clock_synced: || believed_time().is_some(),
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
        outbox_max: outbox_places(config),
        backoff_min: mqtt.backoff_min,
        backoff_max: mqtt.backoff_max,
        subscriptions: [topics.subscriptions(), topics.group_controls(&config.node.groups), bound(config)].concat(),
        will: Some((topics.availability(), Bytes::from_static(OFFLINE))),
    }
}

/// What bindings subscribe.
fn bound(config: &Config) -> Vec<String> {
    config.bindings.iter().map(|binding| binding.subscribe.clone()).collect()
}

/// Places of the outbox: besides the messages that wait, each running job holds that of its answer.
pub(super) fn outbox_places(config: &Config) -> usize {
    // Which of them are encoders is not known yet.
    let running: usize = config.models.iter().map(|model| model.sequences.max(ENCODER_JOBS) as usize).sum();
    config.mqtt.outbox_max + running
}

/// By which rules requests are read.
pub fn request_reader(config: &Config, topics: &Topics) -> Result<RequestReader, TopicError> {
    let filters = config.mqtt.reply_allow.iter().map(|filter| TopicFilter::new(filter.as_str()));
    let reply_allow = filters.collect::<Result<_, _>>()?;
    let bound = bound(config).into_iter().map(TopicFilter::new).collect::<Result<_, _>>()?;
    let limits = &config.limits;
    Ok(RequestReader {
        topics: topics.clone(),
        reply_policy: ReplyPolicy::new(topics.root(), reply_allow, bound),
        limits: RequestLimits {
            request_bytes: limits.request,
            max_tokens_default: limits.max_tokens,
            max_tokens_cap: limits.max_tokens_cap,
            deadline_default: limits.deadline,
            deadline_cap: limits.deadline_cap,
            inputs: limits.inputs,
            schema_bytes: limits.schema,
            pipeline_steps: limits.pipeline_steps,
        },
        tasks: config.tasks.clone(),
        pipelines: config.pipelines.clone(),
        now: believed_time,
    })
}

/// The time, if a time server has set the clock.
fn believed_time() -> Option<SystemTime> {
    let now = SystemTime::now();
    (clock(&Roots::this(), now).synced == Some(true)).then_some(now)
}

/// How many requests may wait.
pub(super) fn queue_limits(config: &Config) -> QueueLimits {
    QueueLimits { jobs: config.limits.queue_jobs, jobs_per_client: config.limits.queue_jobs_per_client }
}

/// When the governor acts.
pub(super) fn governor_settings(config: &Config) -> GovernorSettings {
    GovernorSettings { pressure_psi: config.memory.pressure_psi.as_f32(), recover_after: config.memory.recover_after }
}

/// When it is too hot.
pub(super) fn thermal_settings(config: &Config, board: &BoardKind) -> ThermalSettings {
    let thermal = &config.thermal;
    ThermalSettings {
        soft: thermal.soft_celsius.map(f32::from),
        hard: thermal.hard_celsius.map(f32::from),
        margin: f32::from(thermal.margin_celsius),
        hysteresis: f32::from(thermal.hysteresis_celsius),
        board: Trips::of_board(board),
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
