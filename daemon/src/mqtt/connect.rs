//! The options of one connection.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill};
use rumqttc::v5::{AsyncClient, MqttOptions};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};

use super::poller::Poller;
use super::{Fault, LinkConfig, tls};

/// Messages at QoS 1 in flight. rumqttc counts packet ids up to it, so that a small number costs little memory, and
/// with a window one smaller an id is never in use when its turn comes again.
pub(super) const INFLIGHT_MAX: u16 = 16;
/// rumqttc panics below it.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// MQTT has 16 bits for it.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(u16::MAX as u64);
/// Seconds to connect, from the name look-up to the CONNACK.
const CONNECT_TIMEOUT_S: u64 = 5;

/// Starts a connection, with secrets and certificates as they are now.
pub(super) async fn open(config: &LinkConfig, clean_start: bool, retain: bool) -> Result<(AsyncClient, Poller), Fault> {
    let password = (config.password)().map_err(Fault::Password)?;
    let mut options = options(config, password, clean_start, retain);
    if let Some(transport) = transport(config).await? {
        options.set_transport(transport);
    }
    Ok(Poller::spawn(options, requests_max(config)))
}

/// TLS with the files as they are now, if the broker wants it.
pub(super) async fn transport(config: &LinkConfig) -> Result<Option<Transport>, Fault> {
    let Some(files) = &config.tls else { return Ok(None) };
    let connector = tls::connector(files).await?;
    Ok(Some(Transport::tls_with_config(TlsConfiguration::Rustls(connector))))
}

/// `host:port`; an IPv6 address needs brackets.
pub(super) fn address(config: &LinkConfig) -> String {
    format!("{}:{}", host(config), config.port)
}

/// The name or address, with the brackets of IPv6.
pub(super) fn host(config: &LinkConfig) -> String {
    if config.host.contains(':') && !config.host.starts_with('[') {
        format!("[{}]", config.host)
    } else {
        config.host.clone()
    }
}

/// The host as rumqttc wants it: for TLS it takes it as the name in the certificate, where an address has no brackets; it can look
/// it up so.
pub(super) fn name(config: &LinkConfig) -> String {
    if config.tls.is_some() { config.host.clone() } else { host(config) }
}

/// The keep-alive that is asked for.
pub(super) fn keep_alive(config: &LinkConfig) -> Duration {
    config.keep_alive.clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX)
}

/// Most messages of ours at QoS 1 in flight. One less than rumqttc's own limit, at which it stops to take anything,
/// acknowledgements included.
pub(super) fn window(broker_receive_maximum: Option<u16>) -> usize {
    let limit = INFLIGHT_MAX.min(broker_receive_maximum.unwrap_or(INFLIGHT_MAX));
    usize::from(limit.saturating_sub(1).max(1))
}

/// Most received messages that wait for our acknowledgement, for brokers that do not keep to `receive_maximum`.
pub(super) const UNACKNOWLEDGED_MAX: usize = 4096;

/// Most subscriptions that are ended on one connection; messages on others are acknowledged and ignored.
pub(super) const OBSOLETE_MAX: usize = 256;

/// Room for all that can be given to rumqttc before it is written, so that `try_*` never finds it full: a window of
/// messages, a few transients, all acknowledgements, subscriptions, what ends earlier ones, and the disconnect.
fn requests_max(config: &LinkConfig) -> usize {
    usize::from(INFLIGHT_MAX) + 64 + UNACKNOWLEDGED_MAX + config.subscriptions.len() + OBSOLETE_MAX + 1
}

fn options(config: &LinkConfig, password: Option<String>, clean_start: bool, retain: bool) -> MqttOptions {
    let mut options = MqttOptions::new(&config.client_id, name(config), config.port);
    let mut network = NetworkOptions::new();
    // Without it an answer within 40 ms of its request waits for a delayed ACK.
    network.set_tcp_nodelay(true);
    options
        .set_network_options(network)
        .set_connection_timeout(CONNECT_TIMEOUT_S)
        .set_keep_alive(keep_alive(config))
        .set_clean_start(clean_start)
        .set_manual_acks(true)
        .set_outgoing_inflight_upper_limit(INFLIGHT_MAX)
        .set_connect_properties(ConnectProperties {
            session_expiry_interval: Some(u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX)),
            receive_maximum: Some(config.receive_maximum.max(1)),
            max_packet_size: Some(config.packet_max),
            ..ConnectProperties::new()
        });
    if let Some((topic, payload)) = &config.will {
        options.set_last_will(LastWill::new(topic, payload.to_vec(), QoS::AtLeastOnce, retain, None));
    }
    if config.username.is_some() || password.is_some() {
        options.set_credentials(config.username.as_deref().unwrap_or_default(), password.unwrap_or_default());
    }
    options
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn config(host: &str) -> LinkConfig {
        LinkConfig {
            host: host.to_owned(),
            port: 1883,
            tls: None,
            clock_synced: || true,
            client_id: "node".to_owned(),
            username: Some("user".to_owned()),
            password: Arc::new(|| Ok(None)),
            keep_alive: Duration::from_secs(1),
            session_expiry: Duration::from_hours(1),
            receive_maximum: 0,
            packet_max: 1 << 20,
            outbox_max: 10,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(1),
            subscriptions: Vec::new(),
            will: Some(("availability".to_owned(), "offline".into())),
        }
    }

    #[test]
    fn addresses_of_ip_version_6_get_brackets() {
        assert_eq!(address(&config("::1")), "[::1]:1883");
        assert_eq!(address(&config("[::1]")), "[::1]:1883");
        assert_eq!(address(&config("broker.local")), "broker.local:1883");
    }

    #[test]
    fn without_a_will_there_is_none() {
        let silent = LinkConfig { will: None, ..config("::1") };
        assert!(options(&config("::1"), None, false, true).last_will().is_some());
        assert!(options(&silent, None, false, true).last_will().is_none());
    }

    #[test]
    fn values_that_rumqttc_would_panic_over_are_cut() {
        let options = options(&config("::1"), Some("secret".to_owned()), false, true);
        assert_eq!(options.keep_alive(), KEEP_ALIVE_MIN);
        assert_eq!(options.receive_maximum(), Some(1));
        assert!(!options.clean_start() && options.manual_acks());
        assert_eq!(options.credentials().map(|login| login.password).as_deref(), Some("secret"));
    }

    #[test]
    fn the_window_stays_below_rumqttc_s() {
        for (broker, expected) in
            [(None, 15), (Some(65_535), 15), (Some(20), 15), (Some(16), 15), (Some(5), 4), (Some(2), 1)]
        {
            assert_eq!(window(broker), expected);
        }
        assert_eq!(window(Some(1)), 1, "rumqttc then stops until the PUBACK, which needs nothing from us");
    }
}
