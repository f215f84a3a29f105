//! What is told about the files for TLS.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use promptd::config::{ClientCertificate, Tls};
use promptd::mqtt::{CertificateKind, certificates};
use rcgen::date_time_ymd;

use crate::authority::{Authority, write};

fn tls(folder: &Path) -> Tls {
    let [ca, cert_file, key_credential] = ["ca.pem", "client.pem", "client.key"].map(|name| folder.join(name));
    Tls { ca_file: Some(ca), client: Some(ClientCertificate { cert_file, key_credential }) }
}

fn problems(tls: &Tls) -> Vec<String> {
    certificates(tls, SystemTime::now()).into_iter().flat_map(|file| file.problems).collect()
}

/// At midnight UTC.
fn day(year: i32, month: u8, day: u8) -> SystemTime {
    let seconds = date_time_ymd(year, month, day).unix_timestamp();
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap())
}

#[test]
fn the_first_end_in_each_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let long = Authority::new("long");
    let short = Authority::until("short", 2040, 5, 6);
    let client = long.sign_with(&["gw1"], |params| params.not_after = date_time_ymd(2041, 7, 8));
    let chain = format!("{}{}", client.cert, long.pem);
    let authorities = format!("# ours\n{}# theirs\n{}", long.pem, short.pem);
    write(folder.path(), &[("ca.pem", &authorities), ("client.pem", &chain), ("client.key", &client.key)]);
    let files = certificates(&tls(folder.path()), day(2039, 1, 1));
    let facts: Vec<_> = files.iter().map(|file| (file.kind, file.subject.as_deref(), file.expires)).collect();
    assert_eq!(
        facts,
        [
            (CertificateKind::Authorities, Some("CN=long"), Some(day(2040, 5, 6))),
            (CertificateKind::Client, Some("CN=gw1"), Some(day(2041, 7, 8))),
            (CertificateKind::Key, None, None),
        ]
    );
    assert!(files.iter().all(|file| file.problems.is_empty()), "{files:?}");

    let files = certificates(&tls(folder.path()), day(2042, 1, 1));
    let ca = folder.path().join("ca.pem").display().to_string();
    assert_eq!(
        files[0].problems,
        [format!("mqtt.ca_file: {ca}: the certificate of CN=short has expired on 2040-05-06T00:00:00Z")]
    );
    assert_eq!((files[1].problems.len(), files[2].problems.len()), (1, 0));

    let none = Tls { ca_file: None, client: None };
    assert_eq!(certificates(&none, SystemTime::now()), []);
}

#[test]
fn each_problem_is_told_with_its_key_and_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let (client, other) = (authority.sign(&["gw1"]), authority.sign(&["gw2"]));
    let tls = tls(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let missing = problems(&tls);
    for (problem, (key, name)) in missing.iter().zip([
        ("mqtt.ca_file", "ca.pem"),
        ("mqtt.cert_file", "client.pem"),
        ("mqtt.key_credential", "client.key"),
    ]) {
        assert!(problem.starts_with(&format!("{key}: cannot read {}: No such file", path(name))), "{missing:?}");
    }
    assert_eq!(missing.len(), 3);

    let later = authority.sign_with(&["gw1"], |params| params.not_before = date_time_ymd(3000, 1, 1));
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let passphrase = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let good = [("ca.pem", &*authority.pem), ("client.pem", &*client.cert), ("client.key", &*client.key)];
    for (name, content, expected) in [
        ("ca.pem", no_certificate, "mqtt.ca_file: certificate 1 in "),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "a certificate is not base64"),
        ("client.pem", no_certificate, "mqtt.cert_file: certificate 1 in "),
        (
            "client.pem",
            &*later.cert,
            "the certificate of CN=gw1 is not valid before 3000-01-01T00:00:00Z; is the clock",
        ),
        ("client.key", &*other.key, "client.key is not the key of the certificate in "),
        ("client.key", passphrase, "client.key is encrypted, and nobody is there to type a passphrase"),
        ("client.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "client.key is no usable key"),
        ("client.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n", "client.key is damaged"),
    ] {
        write(folder.path(), &good);
        assert_eq!(problems(&tls), [""; 0]);
        write(folder.path(), &[(name, content)]);
        // A certificate that is not that of its key is not blamed on both.
        let found: Vec<String> =
            problems(&tls).into_iter().filter(|problem| !problem.contains("not the key of")).collect();
        let found = if found.is_empty() { problems(&tls) } else { found };
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected) && found[0].starts_with("mqtt."), "{found:?}");
    }
    let endless = Tls { ca_file: Some("/dev/zero".into()), client: None };
    assert_eq!(problems(&endless), ["mqtt.ca_file: /dev/zero has more than 4194304 bytes"]);
}
