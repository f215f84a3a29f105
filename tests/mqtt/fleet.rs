//! A broker set up with what an operator gets in `packaging/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::broker::{Broker, free_port};
use crate::client::Client;

/// What Debian's `mosquitto.conf` says about where things are, before it includes the folder that `promptd.conf` is for.
const DEBIAN: &str = "pid_file {folder}/mosquitto.pid\npersistence true\npersistence_location {folder}/\n";

/// The users of a broker, before it runs.
pub struct Users {
    folder: TempDir,
}

/// A broker with them.
pub struct FleetBroker {
    pub broker: Broker,
}

/// A file of the project.
pub fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

impl Users {
    /// Each is `ROLE USER [ARGUMENT...]`.
    pub fn new(users: &[&str]) -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        for user in users {
            let output = made.script(&user.split(' ').collect::<Vec<_>>());
            assert!(output.status.success(), "{user}: {output:?}");
        }
        made
    }

    /// Runs `users.sh`.
    pub fn script(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(packaging("mosquitto/users.sh"));
        for (option, name) in [("--acl", "acl"), ("--passwords", "passwords"), ("--secrets", "secrets")] {
            command.arg(option).arg(self.path(name));
        }
        command.args(arguments).output().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Appends lines of the operator's own to the ACL file.
    pub fn own(&self, lines: &str) {
        std::fs::write(self.path("acl"), self.read("acl") + lines).unwrap();
    }

    /// Starts a broker with `promptd.conf`, and more lines.
    pub fn broker(self, more: &str) -> FleetBroker {
        let port = free_port();
        let settings = here(&std::fs::read_to_string(packaging("mosquitto/promptd.conf")).unwrap(), 1883, port);
        FleetBroker { broker: Broker::start_in(self.folder, port, &format!("{DEBIAN}{settings}{more}")) }
    }
}

impl FleetBroker {
    pub fn password(&self, user: &str) -> String {
        std::fs::read_to_string(self.broker.path("secrets").join(user)).unwrap().trim_end().to_owned()
    }

    pub async fn log_in(&self, user: &str) -> Client {
        Client::log_in(self.broker.port(), user, &self.password(user)).await
    }
}

/// A configuration of the packaging with the files of this test, on a port of its own.
pub fn here(settings: &str, default_port: u16, port: u16) -> String {
    let listener = format!("listener {default_port}");
    assert!(settings.contains(&listener), "no {listener} in {settings}");
    settings
        .replace(&listener, &format!("listener {port}"))
        .replace("/etc/mosquitto/promptd.", "{folder}/")
        .replace("/etc/mosquitto/", "{folder}/")
}
