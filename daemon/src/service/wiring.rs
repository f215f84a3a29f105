//! From the configuration to what the rooms need of it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::{Config, Model};
use crate::engine::protocol::{Golden, LoadParams};
use crate::engine::{EngineError, EngineSpec, ModelFile, default_threads};
use crate::job::ModelName;
use crate::mqtt::{LinkConfig, Topics};

/// What the availability topic says when we are gone.
pub(super) const OFFLINE: &[u8] = b"offline";

/// How the broker is reached.
pub(super) fn link_config(config: &Config, topics: &Topics) -> LinkConfig {
    let mqtt = config.mqtt.clone();
    let password = mqtt.clone();
    // Besides those that wait, each running job holds the place of its answer.
    let running: usize = config.models.iter().map(|model| model.sequences as usize).sum();
    LinkConfig {
        host: mqtt.url.host.clone(),
        port: mqtt.url.port,
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

/// Opens, checks and hashes a model file, which takes a while for a large one.
pub(super) fn open_in_background(
    model: ModelName,
    file: &crate::config::ModelFile,
    files: mpsc::Sender<(ModelName, Result<Box<ModelFile>, EngineError>)>,
) {
    let file = file.clone();
    tokio::task::spawn_blocking(move || {
        let opened = ModelFile::open(&file.path, file.sha256.as_ref()).map(Box::new);
        // The driver is gone only when the daemon ends.
        let _ = files.blocking_send((model, opened));
    });
}

/// How a model is run.
pub(super) fn engine_spec(config: &Config, model: &Model, file: Arc<ModelFile>, backends: &str) -> EngineSpec {
    let golden = match (&model.golden_prompt, &model.golden_expect) {
        (Some(prompt), expect) => {
            Golden::Answer { prompt: prompt.clone(), expect: expect.clone().unwrap_or_else(|| r"\S".to_owned()) }
        }
        (None, _) => Golden::Loss,
    };
    EngineSpec {
        model: model.name.clone(),
        file,
        load: LoadParams {
            backends: format!("{backends}/cpu"),
            context: model.context,
            sequences: model.sequences,
            kv_type: model.kv_type,
            threads: model.threads.unwrap_or_else(default_threads),
            max_stall: config.engine.max_stall,
            reproducible: config.engine.reproducible,
            prompt_bytes: config.limits.request as u64,
            golden,
        },
        load_timeout: config.load.timeout,
        heartbeat_timeout: config.engine.heartbeat_timeout,
    }
}
