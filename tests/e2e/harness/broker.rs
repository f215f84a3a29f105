//! mosquitto on a loopback port of its own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{signal_pid, until};

/// A broker that can be stopped and started again on the same port.
pub struct Broker {
    pub port: u16,
    folder: TempDir,
    settings: String,
    /// Messages that it keeps for a client that is away or slow.
    queue: u32,
    process: Option<Child>,
}

impl Broker {
    /// A broker that lets everybody in and forgets everything when it stops.
    pub async fn start() -> Self {
        Self::with("allow_anonymous true\npersistence false\n").await
    }

    /// A broker with these lines of configuration.
    pub async fn with(settings: &str) -> Self {
        let mut broker = Self::absent(settings);
        broker.up().await;
        broker
    }

    /// A broker that is not running yet.
    pub fn absent(settings: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        Self { port, folder, settings: settings.to_owned(), queue: 10_000, process: None }
    }

    /// Other lines of configuration, from the next start on.
    pub fn settings(&mut self, settings: &str) {
        settings.clone_into(&mut self.settings);
    }

    /// The same lines but for one, from the next start on.
    pub fn replace(&mut self, line: &str, other: &str) {
        assert!(self.settings.contains(line), "no {line:?} in {}", self.settings);
        self.settings = self.settings.replace(line, other);
    }

    /// How many messages it keeps for a client, from the next start on.
    pub fn queues(&mut self, messages: u32) {
        self.queue = messages;
    }

    /// Its folder, for password and ACL files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A broker set up as an operator of a fleet does it, with users of these roles: `ROLE USER [ARGUMENT...]`.
    pub async fn of_fleet(users: &[&str]) -> Self {
        let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/mosquitto");
        let mut broker = Self::absent("");
        let file = |name: &str| broker.folder().join(name);
        for user in users {
            let mut command = Command::new(packaging.join("users.sh"));
            command.arg("--acl").arg(file("promptd.acl")).arg("--passwords").arg(file("promptd.passwords"));
            let output = command.arg("--secrets").arg(file("secrets")).args(user.split(' ')).output().unwrap();
            assert!(output.status.success(), "{user}: {output:?}");
        }
        let settings = std::fs::read_to_string(packaging.join("promptd.conf")).unwrap();
        let folder = format!("{}/", broker.folder().display());
        let settings = settings.replace("listener 1883 127.0.0.1\n", "").replace("/etc/mosquitto/", &folder);
        broker.settings(&settings);
        broker.up().await;
        broker
    }

    /// The file with a user's password, of a broker with users.
    pub fn password_of(&self, user: &str) -> PathBuf {
        self.folder.path().join("secrets").join(user)
    }

    /// A user's password, if there is such a user.
    pub fn password(&self, user: &str) -> Option<String> {
        std::fs::read_to_string(self.password_of(user)).ok().map(|password| password.trim_end().to_owned())
    }

    /// Starts it.
    pub async fn up(&mut self) {
        let config = self.folder.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nset_tcp_nodelay true\nuser root\nmax_queued_messages {}\n{}",
            self.port, self.queue, self.settings
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(mosquitto()).arg("-c").arg(&config).stderr(Stdio::null()).spawn().unwrap();
        let port = self.port;
        until("mosquitto listens", || {
            assert!(child.try_wait().unwrap().is_none(), "mosquitto ended at once: is port {port} taken?");
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        self.process = Some(child);
    }

    /// Kills it: nothing is said to anybody.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Runs a mosquitto client with its standard output.
    pub fn client(&self, program: &str, arguments: &[&str]) -> std::process::Output {
        let port = self.port.to_string();
        Command::new(program).args(["-h", "127.0.0.1", "-p", &port]).args(arguments).output().unwrap()
    }

    /// Writes an access control list; gives the settings for it.
    pub fn acl(&self, lines: &str) -> String {
        let file = self.folder.path().join("acl");
        std::fs::write(&file, lines).unwrap();
        format!("acl_file {}\n", file.display())
    }

    /// Has it read password and ACL files again.
    pub fn reload(&self) {
        signal_pid(self.process.as_ref().expect("it is up").id(), Signal::HUP);
    }

    /// Makes a password file for one user.
    pub fn password_file(&self, user: &str, password: &str) -> PathBuf {
        let file = self.folder.path().join("passwords");
        let status = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args([user, password]).status();
        assert!(status.unwrap().success());
        file
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn mosquitto() -> &'static str {
    // Debian keeps it out of the path of ordinary users.
    if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" }
}
