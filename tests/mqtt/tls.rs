//! The link over TLS.

use std::path::Path;
use std::time::Duration;

use promptd::config::{ClientCertificate, Tls};
use promptd::mqtt::{Fault, LinkConfig, ShutdownEnd};
use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::authority::{Authority, Identity, SETTINGS, write};
use crate::broker::{Broker, free_port};
use crate::client::PATIENCE;
use crate::node::{Node, config};

/// Names of the broker on this machine.
const HERE: &[&str] = &["127.0.0.1", "localhost", "::1"];

/// The settings of a broker that lets in whoever has a certificate of its authority.
fn mutual() -> String {
    format!("allow_anonymous true\n{SETTINGS}require_certificate true\n")
}

fn broker(settings: &str, authority: &Authority, server: &Identity) -> Broker {
    let files = [("ca.pem", &*authority.pem), ("server.pem", &*server.cert), ("server.key", &*server.key)];
    Broker::start_with(settings, &files)
}

/// A broker with TLS that takes everybody.
fn open(authority: &Authority, server: &Identity) -> Broker {
    broker(&format!("allow_anonymous true\n{SETTINGS}"), authority, server)
}

/// What the node has: files in a folder of its own.
struct Files(TempDir);

impl Files {
    fn with(authority: &Authority, client: Option<&Identity>) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.replace(authority, client);
        files
    }

    fn replace(&self, authority: &Authority, client: Option<&Identity>) {
        write(self.0.path(), &[("trusted.pem", &authority.pem)]);
        if let Some(client) = client {
            write(self.0.path(), &[("client.pem", &client.cert), ("client.key", &client.key)]);
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn tls(&self) -> Tls {
        let file = |name: &str| self.path().join(name);
        let client = file("client.pem").exists();
        let client =
            client.then(|| ClientCertificate { cert_file: file("client.pem"), key_credential: file("client.key") });
        Tls { ca_file: Some(file("trusted.pem")), client }
    }

    fn config(&self, port: u16) -> LinkConfig {
        LinkConfig { tls: Some(self.tls()), ..config(port) }
    }
}

/// Words that help, and nothing of rustls's insides.
fn assert_words(fault: &Fault, parts: &[&str]) {
    let text = fault.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert!(!text.contains(['{', '"', '[']) && !text.contains("Error"), "a debug dump: {text}");
}

/// A message of its own goes to the broker and back.
async fn assert_works(node: &mut Node) {
    node.publish("in/a", "there and back");
    assert_eq!(node.take().await, "there and back");
}

#[tokio::test]
async fn messages_go_through_tls() {
    let authority = Authority::new("ours");
    let broker = open(&authority, &authority.sign(HERE));
    let files = Files::with(&authority, None);
    for host in ["127.0.0.1", "localhost"] {
        let config = LinkConfig { host: host.to_owned(), ..files.config(broker.port()) };
        assert_works(&mut Node::connected(config).await).await;
    }
}

#[tokio::test]
async fn an_address_of_ip_version_6_is_a_name_without_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let authority = Authority::new("ours");
    let port = free_port();
    let settings = format!("listener {port} ::1\nallow_anonymous true\n{SETTINGS}");
    let _broker = broker(&settings, &authority, &authority.sign(HERE));
    let files = Files::with(&authority, None);
    let config = LinkConfig { host: "::1".to_owned(), ..files.config(port) };
    assert_works(&mut Node::connected(config).await).await;
}

#[tokio::test]
async fn the_broker_sees_who_we_are() {
    let authority = Authority::new("ours");
    let settings = format!("{SETTINGS}require_certificate true\nuse_identity_as_username true\n");
    let broker = broker(&settings, &authority, &authority.sign(HERE));
    let files = Files::with(&authority, Some(&authority.sign(&["gw1"])));
    assert_works(&mut Node::connected(files.config(broker.port())).await).await;
}

#[tokio::test]
async fn a_broker_that_cannot_be_trusted_is_told_apart() {
    let authority = Authority::new("ours");
    let files = Files::with(&authority, None);
    let other = Authority::new("somebody else's");
    let impostor = Authority::new("ours");
    let expired = authority.sign_with(HERE, |params| params.not_after = date_time_ymd(2020, 1, 31));
    let nameless = authority.sign_with(&["gw"], |params| params.subject_alt_names.clear());
    let deputy = authority.sign_with(HERE, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    for (signer, server, parts) in [
        (&other, other.sign(HERE), &["authority that is not trusted", "mqtt.ca_file"][..]),
        (&impostor, impostor.sign(HERE), &["the broker's certificate", "mqtt.ca_file"]),
        (
            &authority,
            authority.sign(&["broker.example", "10.0.0.1"]),
            &["not for 127.0.0.1: it names broker.example, 10.0.0.1", "mqtt.url"],
        ),
        (&authority, nameless, &["not for 127.0.0.1", "only subject alternative names count"]),
        (&authority, deputy, &["the broker's certificate is that of an authority"]),
        (&authority, expired, &["has expired on 2020-01-31T00:00:00Z"]),
    ] {
        let broker = open(signer, &server);
        let fault = Node::start(files.config(broker.port())).disconnected().await;
        assert!(matches!(fault, Fault::Tls { .. }), "{fault:?}");
        assert_words(&fault, parts);
    }
}

#[tokio::test]
async fn a_refused_client_certificate_is_told_apart() {
    let authority = Authority::new("ours");
    let other = Authority::new("somebody else's");
    let expired = authority.sign_with(&["gw1"], |params| params.not_after = date_time_ymd(2020, 1, 31));
    for version in ["tlsv1.3", "tlsv1.2"] {
        let broker = broker(&format!("{}tls_version {version}\n", mutual()), &authority, &authority.sign(HERE));
        for (client, parts) in [
            (None, &["a client certificate", "mqtt.cert_file"][..]),
            (Some(&other.sign(&["gw1"])), &["does not know the authority", "mqtt.cert_file"]),
            (Some(&expired), &["our client certificate has expired", "mqtt.cert_file"]),
        ] {
            let files = Files::with(&authority, client);
            let fault = Node::start(files.config(broker.port())).disconnected().await;
            assert!(matches!(fault, Fault::Tls { .. }), "{version}: {fault:?}");
            assert_words(&fault, parts);
        }
    }
}

#[tokio::test]
async fn a_port_without_tls_is_named_and_so_is_one_with() {
    let authority = Authority::new("ours");
    let files = Files::with(&authority, None);
    // mosquitto closes the connection over a handshake; others answer in their own way.
    let plain = Broker::open();
    let fault = Node::start(files.config(plain.port())).disconnected().await;
    assert_words(&fault, &["in the middle of the handshake", "must speak TLS on this port"]);
    let secured = open(&authority, &authority.sign(HERE));
    let fault = Node::start(config(secured.port())).disconnected().await;
    assert_words(&fault, &["with TLS for mqtts://"]);
}

#[tokio::test]
async fn rotated_certificates_are_taken_up_by_the_running_link() {
    let old = Authority::new("old");
    let mut broker = broker(&mutual(), &old, &old.sign(HERE));
    let files = Files::with(&old, Some(&old.sign(&["gw1"])));
    let mut node = Node::connected(files.config(broker.port())).await;
    let new = Authority::new("new");
    files.replace(&new, Some(&new.sign(&["gw1"])));
    new.equip_broker(&broker.path(""), &new.sign(HERE));
    broker.kill();
    node.disconnected().await;
    broker.restart();
    node.ready().await;
    assert_works(&mut node).await;
    assert_eq!(node.link.counters().reconnects, 1);
}

#[tokio::test]
async fn a_broken_file_is_named_and_taken_up_when_it_is_mended() {
    let authority = Authority::new("ours");
    let broker = broker(&mutual(), &authority, &authority.sign(HERE));
    let client = authority.sign(&["gw1"]);
    let stranger = authority.sign(&["gw2"]);
    let half = &client.cert[..client.cert.len() / 2];
    for (name, content, part) in [
        ("trusted.pem", "", "trusted.pem holds no certificate in PEM form"),
        ("trusted.pem", half, "trusted.pem is damaged: a certificate has no end"),
        ("client.pem", half, "client.pem is damaged: a certificate has no end"),
        ("client.key", "", "client.key is empty"),
        ("client.key", &client.cert, "client.key holds no private key in PEM form"),
        ("client.key", &stranger.key, "client.key is not the key of the certificate in "),
    ] {
        let files = Files::with(&authority, Some(&client));
        let mut node = Node::start(files.config(broker.port()));
        node.ready().await;
        drop(node);
        let good = std::fs::read(files.path().join(name)).unwrap();
        write(files.path(), &[(name, content)]);
        let mut node = Node::start(files.config(broker.port()));
        let fault = node.disconnected().await;
        assert!(matches!(fault, Fault::Certificates(_)), "{fault:?}");
        assert_words(&fault, &[part]);
        std::fs::write(files.path().join(name), good).unwrap();
        node.ready().await;
    }
}

#[tokio::test]
async fn a_clock_that_is_behind_is_waited_for() {
    let authority = Authority::new("ours");
    let later = authority.sign_with(HERE, |params| params.not_before = date_time_ymd(3000, 1, 1));
    let broker = open(&authority, &later);
    let files = Files::with(&authority, None);
    // With the pause of a broker that is away, this would not end in time.
    let hour = Duration::from_hours(1);
    let mut node = Node::start(LinkConfig {
        clock_synced: || false,
        backoff_min: hour,
        backoff_max: hour,
        ..files.config(broker.port())
    });
    let fault = node.disconnected().await;
    assert_eq!(fault, Fault::NotYetValid("3000-01-01T00:00:00Z".to_owned()));
    // Other clocks can't be set here; another certificate does the same.
    authority.equip_broker(&broker.path(""), &authority.sign(HERE));
    broker.reload();
    node.ready().await;
}

#[tokio::test]
async fn a_silent_broker_does_not_hold_up_the_end() {
    let authority = Authority::new("ours");
    let files = Files::with(&authority, None);
    let broker = open(&authority, &authority.sign(HERE));
    broker.freeze();
    let node = Node::start(files.config(broker.port()));
    let end = timeout(PATIENCE, node.link.shutdown(Vec::new(), Duration::from_hours(1))).await;
    assert_eq!(end, Ok(ShutdownEnd::NotConnected));
}
