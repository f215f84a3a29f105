//! The files for TLS.

use std::path::Path;

use super::super::{ClientCertificate, Tls};
use super::*;

#[test]
fn files_come_with_mqtts_only() {
    assert_eq!(good("").mqtt.tls, None);
    assert_eq!(good("mqtt.url = 'mqtts://broker'").mqtt.tls, Some(Tls::default()));
    let tls = good("[mqtt]\nurl = 'mqtts://broker'\nca_file = 'ca.pem'\ncert_file = '/c'\nkey_credential = 'mqtt-key'")
        .mqtt
        .tls
        .unwrap();
    assert_eq!(tls.ca_file.as_deref(), Some(Path::new("/etc/promptd/ca.pem")), "beside the file that names it");
    let client = ClientCertificate { cert_file: "/c".into(), key_credential: "mqtt-key".into() };
    assert_eq!(tls.client, Some(client));
}

#[test]
fn what_makes_no_sense_together_is_told_once_each() {
    const PLAIN: &str = "is for TLS: write mqtt.url with mqtts:// in front";
    for (text, expected) in [
        ("ca_file = '/ca'", vec![format!("0.toml:2:11: mqtt.ca_file = \"/ca\": {PLAIN}")]),
        (
            "url = 'mqtt://broker'\ncert_file = '/c'\nkey_credential = '/k'",
            vec![
                format!("0.toml:3:13: mqtt.cert_file = \"/c\": {PLAIN}"),
                format!("0.toml:4:18: mqtt.key_credential = \"/k\": {PLAIN}"),
            ],
        ),
        (
            "url = 'mqtts://broker'\ncert_file = '/c'",
            vec!["0.toml:3:13: mqtt.cert_file = \"/c\": needs mqtt.key_credential beside it".to_owned()],
        ),
        (
            "url = 'mqtts://broker'\nkey_credential = 'k'",
            vec!["0.toml:3:18: mqtt.key_credential = \"k\": needs mqtt.cert_file beside it".to_owned()],
        ),
    ] {
        assert_eq!(problems(&[&format!("[mqtt]\n{text}")]), expected);
    }
    // Which of the two would be wrong, nobody knows.
    assert_eq!(problems(&["[mqtt]\nurl = 'foo'\nca_file = '/ca'"]).len(), 1);
    // A path that is wrong is not missing as well.
    assert_eq!(problems(&["[mqtt]\nurl = 'mqtts://b'\ncert_file = ''\nkey_credential = 'k'"]).len(), 1);
}

#[test]
fn the_key_is_read_anew_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let client = ClientCertificate { cert_file: "/c".into(), key_credential: folder.path().join("key") };
    let error = client.key().unwrap_err().to_string();
    assert!(error.starts_with("mqtt.key_credential: cannot read"), "{error}");
    for content in ["one", "two"] {
        std::fs::write(&client.key_credential, content).unwrap();
        assert_eq!(client.key().unwrap().expose(), content);
    }
}
