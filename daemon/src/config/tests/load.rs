use std::fs;
use std::path::Path;

use super::*;
use crate::plan::Profile;

#[test]
fn reads_the_main_file_then_the_drop_ins_in_name_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    write("promptd.toml", "limits.max_tokens = 1\nnode.name = 'cellar'");
    write("conf.d/20-b.toml", "limits.max_tokens = 3");
    write("conf.d/10-a.toml", "limits.max_tokens = 2\nlimits.queue_jobs = 99");
    write("conf.d/30-c.toml", "");
    write("conf.d/.hidden.toml", "not toml");
    write("conf.d/40-d.toml.bak", "not toml");
    let loaded = Config::load(&folder.path().join("promptd.toml"), &Profile::default()).unwrap();
    assert_eq!((loaded.config.limits.max_tokens, loaded.config.limits.queue_jobs), (3, 99));
    let files = loaded.files();
    let names: Vec<&Path> = files.iter().map(|file| file.strip_prefix(folder.path()).unwrap()).collect();
    assert_eq!(names, ["promptd.toml", "conf.d/10-a.toml", "conf.d/20-b.toml", "conf.d/30-c.toml"].map(Path::new));
}

#[test]
fn a_missing_main_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("promptd.toml");
    let error = Config::load(&path, &Profile::default()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read {}: ", path.display())), "{error}");
}

#[test]
fn an_unreadable_drop_in_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("promptd.toml");
    fs::write(&path, "").unwrap();
    fs::create_dir_all(folder.path().join("conf.d/10-folder.toml")).unwrap();
    assert!(
        matches!(Config::load(&path, &Profile::default()), Err(ConfigError::Unreadable { path, .. }) if path.ends_with("10-folder.toml"))
    );
}

#[test]
fn an_empty_file_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("promptd.toml");
    fs::write(&path, "\u{feff}").unwrap();
    assert_eq!(Config::load(&path, &Profile::default()).unwrap().config, Config::defaults(&Profile::default()));
}

#[test]
fn the_password_is_read_each_time_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let config = good("mqtt.username = 'user'\nmqtt.password_credential = 'broker'");
    let password = || config.mqtt.password_from(Some(folder.path()));
    let missing = password().unwrap_err().to_string();
    assert!(missing.starts_with("mqtt.password_credential: cannot read "), "{missing}");
    for word in ["hunter2", "hunter3"] {
        fs::write(folder.path().join("broker"), format!("{word}\n")).unwrap();
        let secret = password().unwrap().unwrap();
        assert_eq!(secret.expose(), word);
        assert!(!format!("{secret:?} {config:?}").contains(word));
    }
    assert_eq!(good("").mqtt.password().unwrap(), None);
}

#[test]
fn the_hash_of_the_credentials_follows_the_content_of_each_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let files = ["password", "ca", "cert", "key"];
    for name in files {
        fs::write(path(name), "one").unwrap();
    }
    let mqtt = good(&format!(
        "[mqtt]\nurl = 'mqtts://b'\nusername = 'u'\npassword_credential = '{}'\nca_file = '{}'\ncert_file = '{}'\n\
         key_credential = '{}'",
        path("password"),
        path("ca"),
        path("cert"),
        path("key")
    ))
    .mqtt;
    let mut known = vec![mqtt.credentials_hash().unwrap()];
    assert_eq!(mqtt.credentials_hash().unwrap(), known[0]);
    for name in files {
        fs::write(path(name), "two").unwrap();
        let hash = mqtt.credentials_hash().unwrap();
        assert!(!known.contains(&hash), "{name}");
        known.push(hash);
    }
    fs::remove_file(path("ca")).unwrap();
    assert!(mqtt.credentials_hash().unwrap_err().to_string().starts_with("cannot read "));
    assert_eq!(
        good("").mqtt.credentials_hash().unwrap(),
        good("limits.result = 9999").mqtt.credentials_hash().unwrap()
    );
}
