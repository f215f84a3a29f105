//! The way to a broker, for every command that goes there, and a client of a running daemon.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use promptd::config::{BrokerUrl, ClientCertificate, Config, Mqtt, Scheme, Tls};
use promptd::job::{ClientName, NodeName, RequestId};
use promptd::mqtt::{InboundMessage, Link, LinkConfig, LinkEvent, LinkHandle, Publication, Topics};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Failure;
use super::exit::Code;

/// How long a broker may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest password: what MQTT has room for.
const PASSWORD_MAX: u64 = 65_535;

// Where the broker is, and as whom to go there. No doc comment: it would be the help of commands that have none.
#[derive(Debug, clap::Args)]
pub struct Broker {
    #[command(flatten)]
    file: super::ConfigFile,
    /// The broker, such as `mqtt://gateway.local:1883` or, with TLS, `mqtts://gateway.local`; the configuration's by default.
    #[arg(long, visible_alias = "broker", value_name = "URL", value_parser = BrokerUrl::parse)]
    url: Option<BrokerUrl>,
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

// Where the daemon is.
#[derive(Debug, clap::Args)]
pub struct Target {
    #[command(flatten)]
    broker: Broker,
    /// The node to ask; the configuration's by default.
    #[arg(long, value_name = "NAME")]
    node: Option<NodeName>,
    /// The client to appear as in topics.
    #[arg(long, value_name = "NAME", default_value = "cli")]
    client: ClientName,
}

/// What the node says against a request.
pub fn refused(error: &Value) -> Failure {
    let [code, message] = ["code", "message"].map(|field| error[field].as_str().unwrap_or_default());
    Failure::new(Code::Failed, anyhow!("{code}: {message}"))
}

/// A connection to a broker.
pub struct Connection {
    link: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
}

impl Connection {
    /// Connects; what `config` subscribes is subscribed before anything is sent.
    pub async fn open(config: LinkConfig) -> anyhow::Result<Self> {
        let (host, port) = (config.host.clone(), config.port);
        let (link, mut events) = Link::spawn(config);
        match timeout(CONNECT_TIMEOUT, events.recv()).await {
            Ok(Some(LinkEvent::Connected { .. })) => Ok(Self { link, events }),
            Ok(Some(LinkEvent::Disconnected { reason })) => bail!("the broker {host}:{port}: {reason}"),
            Ok(_) => bail!("the broker {host}:{port} ended the connection"),
            Err(_) => bail!("the broker {host}:{port} did not answer within {CONNECT_TIMEOUT:?}"),
        }
    }

    /// Sends a message at QoS 1.
    pub async fn publish(&self, publication: Publication) {
        self.link.reserve().await.publish(publication);
    }

    /// The next message; an error if there will be none, or if the broker refuses what it was asked for.
    pub async fn message(&mut self) -> anyhow::Result<InboundMessage> {
        loop {
            match self.events.recv().await.context("the connection ended")? {
                LinkEvent::Message(mut message) => {
                    if let Some(ack) = message.ack.take() {
                        self.link.ack(ack);
                    }
                    return Ok(message);
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

/// A connection to one node.
pub struct Client {
    connection: Connection,
    topics: Topics,
    name: ClientName,
}

impl Client {
    /// Connects; the replies to this client's requests are subscribed before the first is sent.
    pub async fn connect(target: &Target) -> Result<Self, Failure> {
        let config = target.broker.load()?;
        Self::connect_with(target, config).await.map_err(Failure::unavailable)
    }

    async fn connect_with(target: &Target, config: Config) -> anyhow::Result<Self> {
        let node = target.node.clone().unwrap_or_else(|| config.node.name.clone());
        let topics = Topics::new(&config.mqtt.root, &node)?;
        let filter = topics.responses(&target.client);
        let link_config = LinkConfig { subscriptions: vec![filter], ..target.broker.link_config(&config.mqtt)? };
        let connection = Connection::open(link_config).await?;
        Ok(Self { connection, topics, name: target.client.clone() })
    }

    /// Sends a request of a task.
    pub async fn send(&self, task: &str, request: &Value) -> anyhow::Result<()> {
        let topic = self.topics.request(task, &self.name);
        let payload = serde_json::to_vec(request)?.into();
        let content_type = Some("application/json".into());
        self.connection.publish(Publication { topic, payload, content_type, correlation: None, parts: None }).await;
        Ok(())
    }

    /// Asks the daemon to stop a request.
    pub async fn cancel(&self, id: &RequestId) -> anyhow::Result<()> {
        let payload = serde_json::to_vec(&serde_json::json!({ "id": id }))?.into();
        let topic = self.topics.cancel(&self.name);
        self.connection
            .publish(Publication { topic, payload, content_type: None, correlation: None, parts: None })
            .await;
        Ok(())
    }

    /// Passes over what has come that nobody waits for any more: late replies, and that the connection broke and was made anew
    /// while somebody was typing.
    pub fn catch_up(&mut self) {
        while let Ok(event) = self.connection.events.try_recv() {
            if let LinkEvent::Message(mut message) = event
                && let Some(ack) = message.ack.take()
            {
                self.connection.link.ack(ack);
            }
        }
    }

    /// The next reply to one of our requests.
    pub async fn reply(&mut self, wait: Duration) -> anyhow::Result<Value> {
        let message = timeout(wait, self.connection.message()).await;
        let message =
            message.map_err(|_| anyhow!("no reply within {wait:?}: is the node running and connected?"))??;
        serde_json::from_slice(&message.payload).context("a reply that is not JSON")
    }
}

impl Broker {
    /// Whether the command line says anything of a broker.
    pub fn is_named(&self) -> bool {
        let Self { file: _, url, username, password_file: _, ca_file, cert_file, key_file: _ } = self;
        url.is_some() || username.is_some() || ca_file.is_some() || cert_file.is_some()
    }

    /// Which configuration it takes the rest from.
    pub(super) fn file(&self) -> &super::ConfigFile {
        &self.file
    }

    /// The configuration, which says what the command line does not.
    pub fn load(&self) -> Result<Config, Failure> {
        self.file.load()
    }

    /// How to connect, without a session, a subscription or a will.
    pub fn link_config(&self, mqtt: &Mqtt) -> anyhow::Result<LinkConfig> {
        let url = self.url.clone().unwrap_or_else(|| mqtt.url.clone());
        let own_password = self.password_file.clone();
        let from_config = mqtt.clone();
        Ok(LinkConfig {
            tls: self.tls(url.scheme, mqtt)?,
            host: url.host,
            port: url.port,
            // An error is shown at once, and whoever sees it looks after the clock.
            clock_synced: || true,
            client_id: format!("promptd-cli-{:08x}", fastrand::u32(..)),
            username: self.username.clone().or_else(|| mqtt.username.clone()),
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
            subscriptions: Vec::new(),
            will: None,
        })
    }

    /// The files for TLS: those of the command line before those of the configuration.
    fn tls(&self, scheme: Scheme, mqtt: &Mqtt) -> anyhow::Result<Option<Tls>> {
        let Self { ca_file, cert_file, key_file, .. } = self;
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
}

fn read_password(path: &Path) -> Result<String, String> {
    let said = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut text = String::new();
    File::open(path).map_err(said)?.take(PASSWORD_MAX).read_to_string(&mut text).map_err(said)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
