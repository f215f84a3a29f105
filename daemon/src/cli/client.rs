//! A client of a running daemon, for `ask` and `bench`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use promptd::config::{BrokerUrl, ClientCertificate, Config, Mqtt, Scheme, Tls};
use promptd::job::{ClientName, NodeName, RequestId};
use promptd::mqtt::{Link, LinkConfig, LinkEvent, LinkHandle, Publication, Topics};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Failure;

/// How long a broker may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest password: what MQTT has room for.
const PASSWORD_MAX: u64 = 65_535;

/// Where the daemon is.
#[derive(Debug, clap::Args)]
pub struct Target {
    #[command(flatten)]
    file: super::ConfigFile,
    /// The broker, such as `mqtt://gateway.local:1883` or, with TLS, `mqtts://gateway.local`; the configuration's by default.
    #[arg(long, value_name = "URL", value_parser = BrokerUrl::parse)]
    url: Option<BrokerUrl>,
    /// The node to ask; the configuration's by default.
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    /// The client to appear as in topics.
    #[arg(long, value_name = "NAME", default_value = "cli")]
    client: ClientName,
    /// User name at the broker; the configuration's by default.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with the password for that user.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// File with the authorities that may vouch for a broker at mqtts://; the configuration's by default, else the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File with the client certificate to show to the broker; the configuration's by default.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// File with the private key for it.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

/// A connection to one node.
pub struct Client {
    link: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    topics: Topics,
    name: ClientName,
}

impl Client {
    /// Connects; the replies to this client's requests are subscribed before the first is sent.
    pub async fn connect(target: &Target) -> Result<Self, Failure> {
        let config = target.file.load()?;
        Self::connect_with(target, config).await.map_err(Failure::unavailable)
    }

    async fn connect_with(target: &Target, config: Config) -> anyhow::Result<Self> {
        let node = target.node.clone().unwrap_or_else(|| config.node.name.clone());
        let topics = Topics::new(&config.mqtt.root, &node)?;
        let filter = topics.responses(&target.client);
        let link_config = link_config(target, config, filter)?;
        let (host, port) = (link_config.host.clone(), link_config.port);
        let (link, mut events) = Link::spawn(link_config);
        let connected = timeout(CONNECT_TIMEOUT, events.recv()).await;
        match connected {
            Ok(Some(LinkEvent::Connected { .. })) => {}
            Ok(Some(LinkEvent::Disconnected { reason })) => bail!("the broker {host}:{port}: {reason}"),
            Ok(_) => bail!("the broker {host}:{port} ended the connection"),
            Err(_) => bail!("the broker {host}:{port} did not answer within {CONNECT_TIMEOUT:?}"),
        }
        Ok(Self { link, events, topics, name: target.client.clone() })
    }

    /// Sends a request of a task.
    pub async fn send(&self, task: &str, request: &Value) -> anyhow::Result<()> {
        let topic = self.topics.request(task, &self.name);
        let payload = serde_json::to_vec(request)?.into();
        let slot = self.link.reserve().await;
        slot.publish(Publication { topic, payload, content_type: Some("application/json".into()), correlation: None });
        Ok(())
    }

    /// Asks the daemon to stop a request.
    pub async fn cancel(&self, id: &RequestId) -> anyhow::Result<()> {
        let payload = serde_json::to_vec(&serde_json::json!({ "id": id }))?.into();
        let topic = self.topics.cancel(&self.name);
        self.link.reserve().await.publish(Publication { topic, payload, content_type: None, correlation: None });
        Ok(())
    }

    /// The next reply to one of our requests.
    pub async fn reply(&mut self, wait: Duration) -> anyhow::Result<Value> {
        loop {
            let event = timeout(wait, self.events.recv()).await;
            let event = event.map_err(|_| anyhow!("no reply within {wait:?}: is the node running and connected?"))?;
            match event.context("the connection ended")? {
                LinkEvent::Message(mut message) => {
                    if let Some(ack) = message.ack.take() {
                        self.link.ack(ack);
                    }
                    return serde_json::from_slice(&message.payload).context("a reply that is not JSON");
                }
                LinkEvent::Disconnected { reason } => bail!("the connection to the broker broke: {reason}"),
                LinkEvent::SubscriptionRefused { filter, reason } => bail!("the broker refuses {filter}: {reason}"),
                LinkEvent::DuplicateClient { .. } => bail!("another client uses our client id"),
                LinkEvent::PublicationRefused { topic, reason } => {
                    bail!("the broker takes nothing on {topic}: {reason}")
                }
                LinkEvent::Connected { .. } | LinkEvent::Settled { .. } => {}
            }
        }
    }
}

fn link_config(target: &Target, config: Config, filter: String) -> anyhow::Result<LinkConfig> {
    let mqtt = config.mqtt;
    let url = target.url.clone().unwrap_or_else(|| mqtt.url.clone());
    let tls = tls(target, url.scheme, &mqtt)?;
    let own_password = target.password_file.clone();
    let from_config = mqtt.clone();
    Ok(LinkConfig {
        host: url.host,
        port: url.port,
        tls,
        // One attempt is made, and its error shown.
        clock_synced: || true,
        client_id: format!("promptd-cli-{:08x}", fastrand::u32(..)),
        username: target.username.clone().or_else(|| mqtt.username.clone()),
        password: Arc::new(move || match &own_password {
            Some(path) => read_password(path).map(Some),
            None => match from_config.password() {
                Ok(secret) => Ok(secret.map(|secret| secret.expose().to_owned())),
                Err(e) => Err(e.to_string()),
            },
        }),
        keep_alive: mqtt.keep_alive,
        session_expiry: Duration::ZERO,
        receive_maximum: mqtt.receive_maximum,
        packet_max: mqtt.packet_max,
        outbox_max: 64,
        backoff_min: mqtt.backoff_min,
        backoff_max: mqtt.backoff_max,
        subscriptions: vec![filter],
        will: None,
    })
}

/// The files for TLS: those of the command line before those of the configuration.
fn tls(target: &Target, scheme: Scheme, mqtt: &Mqtt) -> anyhow::Result<Option<Tls>> {
    let Target { ca_file, cert_file, key_file, .. } = target;
    match scheme {
        Scheme::Mqtt if ca_file.is_some() || cert_file.is_some() => {
            bail!("--ca-file, --cert-file and --key-file are for brokers at mqtts://")
        }
        Scheme::Mqtt => Ok(None),
        Scheme::Mqtts => {
            let configured = mqtt.tls.clone().unwrap_or_default();
            let client = match (cert_file, key_file) {
                // A name without a path would be looked up among systemd's credentials.
                (Some(cert_file), Some(key_file)) => Some(ClientCertificate {
                    cert_file: cert_file.clone(),
                    key_credential: std::path::absolute(key_file)?,
                }),
                _ => configured.client,
            };
            Ok(Some(Tls { ca_file: ca_file.clone().or(configured.ca_file), client }))
        }
    }
}

fn read_password(path: &Path) -> Result<String, String> {
    let said = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut text = String::new();
    File::open(path).map_err(said)?.take(PASSWORD_MAX).read_to_string(&mut text).map_err(said)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
