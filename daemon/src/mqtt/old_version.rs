//! Brokers that speak only the version of MQTT before ours.
//!
//! MQTT 3.1.1 wants such a broker to answer our CONNECT with a CONNACK that refuses the version (3.1.4 of that standard). That one
//! is too short for MQTT 5, so that rumqttc waits for the rest of it, and other brokers only close the connection. So whoever gave no
//! answer that could be understood is asked in the old version. A broker of our version answers that, too, and may only have been
//! slow: so it is asked in our version once more.

use std::time::Duration;

use rumqttc::v5::Event;
use rumqttc::v5::mqttbytes::v5::Packet;
use tokio::time::timeout;

use super::{Fault, LinkConfig, connect};

/// How long the broker may take for an answer in the old version, from the look-up of its name on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no connection came up that failed with this fault.
pub(super) async fn look(config: &LinkConfig, fault: Fault) -> Fault {
    // Under the node's own id the broker would end the node's session, with the requests in it.
    let client_id = format!("promptd{:016x}", fastrand::u64(..));
    let config = LinkConfig { client_id, session_expiry: Duration::ZERO, will: None, ..config.clone() };
    if fault.is_mute() && answers(&config).await && does_not_answer_ours(&config).await {
        Fault::OldVersion
    } else {
        fault
    }
}

/// Whether there is an answer in the old version, whatever it is.
async fn answers(config: &LinkConfig) -> bool {
    let Ok(transport) = connect::transport(config).await else { return false };
    let mut options = rumqttc::MqttOptions::new(&config.client_id, connect::name(config), config.port);
    if let Some(transport) = transport {
        options.set_transport(transport);
    }
    let (_client, mut old) = rumqttc::AsyncClient::new(options, 1);
    let answer = timeout(ANSWER_TIMEOUT, old.poll()).await;
    matches!(answer, Ok(Ok(_) | Err(rumqttc::ConnectionError::ConnectionRefused(_))))
}

/// Whether there is still no answer in our version, or one that refuses it.
async fn does_not_answer_ours(config: &LinkConfig) -> bool {
    let Ok((_client, mut poller)) = connect::open(config, true, true).await else { return false };
    while let Some(event) = poller.next().await {
        if matches!(event, Event::Incoming(Packet::ConnAck(_))) {
            return false;
        }
    }
    let fault = poller.fault(false).await;
    fault == Fault::OldVersion || fault.is_mute()
}
