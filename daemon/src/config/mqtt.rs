//! `[mqtt]`: the way to the broker.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::job::NodeName;

use super::credential::{self, Secret};
use super::error::ConfigError;
use super::section::Section;
use super::tls::Tls;
use super::topic;
use super::unit::{Size, Span};
use super::url::BrokerUrl;
use super::value;

/// Brokers must take 23 bytes and most take far more; longer ids only fill logs.
const CLIENT_ID_MAX: usize = 128;
/// Cloud brokers put whole key-value lists into it.
const USERNAME_MAX: usize = 1024;
const REPLY_ALLOW_MAX: usize = 64;

/// The way to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Where the broker is.
    pub url: BrokerUrl,
    /// The files for TLS; none if the URL does without TLS.
    pub tls: Option<Tls>,
    /// The name of the session at the broker; unique there.
    pub client_id: String,
    /// What every topic starts with; `<root>/<node>` is this node's root.
    pub root: String,
    /// The user to log in as.
    pub username: Option<String>,
    /// The file with the password: absolute, or a name in systemd's credentials folder. Only with a username.
    pub password_credential: Option<PathBuf>,
    /// Longest silence on the connection; whole seconds, never less than 5.
    pub keep_alive: Duration,
    /// How long the broker keeps the session of a node that is away; whole seconds.
    pub session_expiry: Duration,
    /// How many unacknowledged messages the broker may have on the way to us.
    pub receive_maximum: u16,
    /// Bytes of the largest packet that is taken; more than `limits.request`.
    pub packet_max: u32,
    /// How many messages wait for the broker before new ones are refused.
    pub outbox_max: usize,
    /// Wait before the first new attempt to connect.
    pub backoff_min: Duration,
    /// Longest wait between attempts; at least `backoff_min`.
    pub backoff_max: Duration,
    /// Valid topic filters for replies that go elsewhere than to the client's own response topic.
    pub reply_allow: Vec<String>,
    /// Whether requests without a client in their topic are served.
    pub anonymous: bool,
}

impl Mqtt {
    pub(super) fn read(section: &mut Section<'_, '_, '_>, node: &NodeName) -> Self {
        let client_id = section.optional("client_id", |id| value::line(id, CLIENT_ID_MAX).map(str::to_owned));
        let packet_max = section.size("packet_max", Size::mib(1), Size::kib(8)..=Size::mib(16));
        let written = section.optional("url", |url| BrokerUrl::parse(value::text(url)?));
        let url = written.or_else(|| (!section.is_set("url")).then(BrokerUrl::default));
        let mqtt = Self {
            tls: Tls::read(section, url.as_ref()),
            url: url.unwrap_or_default(),
            client_id: client_id.unwrap_or_else(|| format!("promptd-{node}")),
            root: section.optional("root", topic::root).unwrap_or_else(|| "promptd".to_owned()),
            username: section.optional("username", |name| value::line(name, USERNAME_MAX).map(str::to_owned)),
            password_credential: section.optional("password_credential", credential::name),
            keep_alive: section.seconds("keep_alive", Span::seconds(30), Span::seconds(5)..=Span::seconds(65535)),
            session_expiry: section.seconds("session_expiry", Span::hours(1), Span::seconds(0)..=Span::days(365)),
            receive_maximum: section.number("receive_maximum", 64, 1..=u16::MAX),
            packet_max: u32::try_from(packet_max.0).unwrap_or(u32::MAX),
            outbox_max: section.number("outbox_max", 1024, 16..=131_072),
            backoff_min: section.span("backoff_min", Span::millis(500), Span::millis(100)..=Span::minutes(1)),
            backoff_max: section.span("backoff_max", Span::minutes(1), Span::seconds(1)..=Span::hours(1)),
            reply_allow: section.list("reply_allow", REPLY_ALLOW_MAX, topic::filter),
            anonymous: section.flag("anonymous", true),
        };
        if mqtt.password_credential.is_some() && !section.is_set("username") {
            section.blame_key("password_credential", "needs mqtt.username beside it");
        }
        section
            .report
            .at_most(("mqtt.backoff_min", Span(mqtt.backoff_min)), ("mqtt.backoff_max", Span(mqtt.backoff_max)));
        mqtt
    }

    /// Reads the password from its file, each time anew, so that a rotated one is seen. None if none is configured.
    ///
    /// A name that is no absolute path is looked up in `$CREDENTIALS_DIRECTORY`, where systemd's `LoadCredential=` puts
    /// it. One newline at the end does not count.
    pub fn password(&self) -> Result<Option<Secret>, ConfigError> {
        let folder = env::var_os("CREDENTIALS_DIRECTORY");
        self.password_from(folder.as_deref().map(Path::new))
    }

    /// A hash of what stands in the files that are read at each connect: another one tells that they have changed.
    pub fn credentials_hash(&self) -> Result<[u8; 32], ConfigError> {
        let mut hash = Sha256::new();
        if let Some(password) = self.password()? {
            hash.update(Sha256::digest(password.expose()));
        }
        if let Some(tls) = &self.tls {
            tls.hash_files(&mut hash)?;
        }
        Ok(hash.finalize().into())
    }

    pub(super) fn password_from(&self, folder: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
        let name = self.password_credential.as_deref();
        name.map(|name| credential::read("mqtt.password_credential", name, folder)).transpose()
    }
}
