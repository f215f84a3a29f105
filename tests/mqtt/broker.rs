//! A mosquitto of our own on a free port.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const MOSQUITTO: &str = "/usr/sbin/mosquitto";

pub struct Broker {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Broker {
    /// Anybody may do anything.
    pub fn open() -> Self {
        Self::start("allow_anonymous true")
    }

    /// With lines of configuration; `{folder}` stands for the folder of [`Broker::write`].
    pub fn start(settings: &str) -> Self {
        Self::start_on(free_port(), settings, &[])
    }

    /// With files that the settings name.
    pub fn start_with(settings: &str, files: &[(&str, &str)]) -> Self {
        Self::start_on(free_port(), settings, files)
    }

    pub fn start_on(port: u16, settings: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let settings = format!("listener {port} 127.0.0.1\nset_tcp_nodelay true\n{settings}");
        Self::start_in(folder, port, &settings)
    }

    /// With every line of configuration but those on logs, in a folder with the files that they name.
    pub fn start_in(folder: TempDir, port: u16, settings: &str) -> Self {
        let settings = settings.replace("{folder}", folder.path().to_str().unwrap());
        let config =
            format!("user root\nlog_dest stderr\nlog_type error\nlog_type warning\nlog_type information\n{settings}\n");
        std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
        let child = launch(&folder.path().join("mosquitto.conf"));
        Self { child, port, folder }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As a power cut does it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same port, after [`Broker::kill`]; without persistence it has forgotten everything.
    pub fn restart(&mut self) {
        self.child = launch(&self.path("mosquitto.conf"));
    }

    /// It no longer answers, and its connections stay open.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// It reads its certificates again, some time soon.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns when the broker listens.
fn launch(config: &Path) -> Child {
    let mut child = Command::new(MOSQUITTO)
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mosquitto is needed: apt install mosquitto");
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.ends_with("running\n") {
        assert!(log.read_line(&mut said).unwrap() > 0, "mosquitto does not start:\n{said}");
    }
    // The broker would wait for somebody to read on.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    child
}
