//! How the node, its link and its models stand.

use super::{Labels, Writer, measured, one, plain};
use crate::mqtt::Counters;
use crate::telemetry::snapshot::ModelReading;
use crate::telemetry::{LinkReading, ModelStage, NodeState, Snapshot};

pub(super) fn write(to: &mut Writer<'_>, now: &Snapshot) -> std::fmt::Result {
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    to.gauges(plain("build_info", "Always 1; the version is a label"), [(version, 1.0)])?;
    to.gauge(measured("uptime", "seconds", "Time since the daemon started"), now.uptime.as_secs_f64())?;
    let states = NodeState::ALL.map(|state| (vec![("state", state.as_str().to_owned())], one(state == now.state)));
    to.gauges(plain("state", "1 for the state that the node is in, 0 for the others"), states)?;
    to.gauge(plain("ready", "1 if requests are answered, as on /readyz"), one(now.is_ready()))?;
    to.gauge(plain("clock_synced", "1 if a time server has set the clock"), now.clock_synced.map(one))?;
    to.gauge(plain("jobs_waiting", "Jobs in the queue"), now.jobs.waiting as f64)?;
    to.gauge(plain("jobs_running", "Jobs in engines"), now.jobs.running as f64)?;
    let governors =
        now.governors.iter().map(|governor| (one_label("governor", governor.name), f64::from(governor.level)));
    to.gauges(plain("governor_level", "How far a governor has gone; 0 is nowhere"), governors)?;
    let help = "Share of the time in which engines may compute; less than 1 when it is hot";
    to.gauge(measured("engine_duty", "ratio", help), now.duty)?;
    to.gauge(measured("daemon_resident", "bytes", "Memory of the daemon's own process"), now.resident.map(float))?;
    to.counter(measured("energy", "joules", "What the board has drawn"), now.energy.total)?;
    to.counter(measured("job_energy", "joules", "What the board has drawn while jobs ran"), now.energy.jobs)?;
    write_links(to, now)
}

/// What is counted of a link.
type Count = fn(&Counters) -> u64;

const MESSAGES: [(&str, &str, Count); 8] = [
    ("received", "Messages received", |counters| counters.received),
    ("redelivered", "Of these, messages that the broker sent again", |counters| counters.redelivered),
    ("dropped", "Messages received at QoS 0 and dropped because too many came", |counters| counters.dropped_qos0),
    ("deferred", "Messages left to the broker to send again, because it sent too many", |counters| counters.deferred),
    ("published", "Messages at QoS 1 that the broker has taken", |counters| counters.published),
    ("undelivered", "Of these, messages that nobody was subscribed to", |counters| counters.undelivered),
    ("refused", "Messages at QoS 1 that the broker refused", |counters| counters.refused),
    ("transient_dropped", "Messages at QoS 0 that were not sent", |counters| counters.dropped_transients),
];

fn write_links(to: &mut Writer<'_>, now: &Snapshot) -> std::fmt::Result {
    let links = || [("node", Some(&now.link)), ("groups", now.group_link.as_ref())].into_iter();
    let each = |value: &dyn Fn(&LinkReading) -> f64| -> Vec<(Labels, f64)> {
        links().filter_map(|(name, link)| Some((one_label("link", name), value(link?)))).collect()
    };
    to.gauges(plain("mqtt_connected", "1 if the broker can be reached"), each(&|link| one(link.connected)))?;
    let help = "Messages that the broker has not taken yet, and places reserved for one";
    to.gauges(plain("mqtt_outbox_messages", help), each(&|link| link.outbox as f64))?;
    for (name, help, count) in MESSAGES {
        to.counters(plain(&format!("mqtt_messages_{name}"), help), each(&|link| float(count(&link.counters))))?;
    }
    let reconnects = each(&|link| float(link.counters.reconnects));
    to.counters(plain("mqtt_reconnects", "Connections after the first"), reconnects)
}

pub(super) fn write_models(to: &mut Writer<'_>, models: &[ModelReading]) -> std::fmt::Result {
    let info = |model: &ModelReading| {
        let document = &model.document;
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        let labels = vec![
            ("model", document.name.to_string()),
            ("state", document.state.as_str().to_owned()),
            ("strategy", or_none(&document.strategy)),
            ("precision", or_none(&document.precision)),
        ];
        (labels, 1.0)
    };
    to.gauges(plain("model_info", "Always 1; how a model stands and runs is in the labels"), models.iter().map(info))?;
    let mut each = |name, value: &dyn Fn(&ModelReading) -> Option<f64>| {
        let series =
            models.iter().filter_map(|model| Some((one_label("model", model.document.name.as_str()), value(model)?)));
        to.gauges(name, series)
    };
    let is_ready = |model: &ModelReading| Some(one(model.document.state == ModelStage::Ready));
    each(plain("model_ready", "1 if a model answers at once"), &is_ready)?;
    each(plain("model_jobs_running", "Jobs in the engines of a model"), &|model| Some(model.running as f64))?;
    each(plain("model_sequences", "Jobs that a model can run at once"), &|model| {
        model.document.sequences.map(f64::from)
    })?;
    let help = "Context of each of them: prompt and answer together";
    each(measured("model_context", "tokens", help), &|model| model.document.context.map(f64::from))?;
    let help = "Share of the context memory of a model that holds tokens";
    each(measured("model_context_used", "ratio", help), &|model| model.context_used)?;
    let help = "Threads that compute a model now";
    each(plain("model_threads", help), &|model| model.threads.map(f64::from))?;
    let help = "Memory that a model keeps of prompts, so that they are not computed again";
    each(measured("model_prefix_cache", "bytes", help), &|model| Some(float(model.prefix_bytes)))?;
    let help = "Memory that a model was expected to take";
    each(measured("model_memory_estimate", "bytes", help), &|model| Some(float(model.document.memory?.estimate.0)))?;
    let help = "Memory that it took after its largest step";
    each(measured("model_memory_real", "bytes", help), &|model| Some(float(model.document.memory?.real?.0)))?;
    let help = "Memory of the engine processes of a model now, mapped weights included";
    each(measured("engine_resident", "bytes", help), &|model| model.resident.map(float))
}

pub(super) fn one_label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

pub(super) fn float(number: u64) -> f64 {
    number as f64
}
