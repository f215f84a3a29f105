//! A running promptd.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Instant, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Broker, Device, PATIENCE, model, until};

/// The binary, without the environment of the test: it must need none.
pub fn promptd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promptd"));
    command.env_clear();
    command
}

/// What a node is configured with. Engines of concurrent tests share the cores, hence one thread by default.
pub struct Setup {
    /// The node's name.
    pub node: &'static str,
    pub sequences: u32,
    pub context: u32,
    pub threads: u32,
    /// Lines for the table `[node]`.
    pub node_lines: &'static str,
    /// Lines for the table `[[model]]`.
    pub model: String,
    /// Whole tables.
    pub tables: String,
    /// Lines for the table `[mqtt]`.
    pub mqtt: String,
    /// Where the broker is; none is its plain port.
    pub url: Option<String>,
    /// Without a model there is no `[[model]]` at all.
    pub with_model: bool,
    /// Files of the model.
    pub files: Vec<PathBuf>,
    /// Where it keeps its state; none is a folder of its own.
    pub state_dir: Option<PathBuf>,
    /// A cgroup of memory to run in.
    pub cgroup: Option<PathBuf>,
    /// A network namespace to run in.
    pub namespace: Option<PathBuf>,
    /// Environment variables.
    pub environment: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            node: "gw",
            sequences: 8,
            context: 1024,
            threads: 1,
            node_lines: "",
            model: String::new(),
            tables: String::new(),
            mqtt: String::new(),
            url: None,
            with_model: true,
            files: vec![model()],
            state_dir: None,
            cgroup: None,
            namespace: None,
            environment: Vec::new(),
        }
    }
}

/// A daemon that is killed when it is dropped.
pub struct Node {
    name: &'static str,
    process: Child,
    folder: TempDir,
    /// Milliseconds since 1970: documents of an earlier node on the same broker are older.
    started: u128,
}

impl Node {
    /// Starts a node and waits until it answers.
    pub async fn ready(broker: &Broker, setup: Setup) -> Self {
        let node = Self::start(broker, &setup);
        node.wait_for_state(broker, "ready").await;
        node
    }

    /// Starts a node.
    pub fn start(broker: &Broker, setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("promptd.toml");
        let state = folder.path().display();
        let kept = setup.state_dir.as_deref().unwrap_or(folder.path()).display();
        let service = format!("state_dir = \"{kept}\"\ncontrol_socket = \"{state}/control.sock\"\n");
        std::fs::write(&config, configuration(broker, setup)).unwrap();
        let text = format!("[service]\n{service}");
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        std::fs::write(folder.path().join("conf.d/service.toml"), text).unwrap();
        let started = UNIX_EPOCH.elapsed().unwrap().as_millis();
        let process = run(folder.path(), setup);
        Self { name: setup.node, process, folder, started }
    }

    /// Gives it another configuration, which it has not read yet.
    pub fn configure(&self, broker: &Broker, setup: &Setup) {
        std::fs::write(self.config(), configuration(broker, setup)).unwrap();
    }

    /// Spoils its configuration by these lines.
    pub fn spoil(&self, lines: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), format!("{text}\n{lines}\n")).unwrap();
    }

    /// Kills it as a power cut would, and starts it again with what it has kept; the next documents are the new ones'.
    pub fn restart(&mut self, setup: &Setup) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.started = UNIX_EPOCH.elapsed().unwrap().as_millis();
        self.process = run(self.folder.path(), setup);
    }

    /// The folder with its state.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks it over its control socket, as an operator on the machine does.
    pub fn operator(&self, arguments: &[&str]) -> Output {
        promptd().args(arguments).arg("--config").arg(self.config()).output().unwrap()
    }

    /// The answer of such a command that must succeed.
    pub fn operator_json(&self, arguments: &[&str]) -> Value {
        let output = self.operator(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("promptd.toml")
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// How often it has warned of something other than its machine.
    pub fn warnings(&self) -> usize {
        self.log().lines().filter(|line| line.contains("WARN") && !line.contains("self-test")).count()
    }

    /// Waits until `status` says so.
    pub async fn wait_for_state(&self, broker: &Broker, state: &str) -> Value {
        let mut device = Device::connect(broker, "watcher").await;
        device.subscribe(&format!("promptd/{}/status", self.name)).await;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let Some(reply) = device.try_next().await else { break };
            let fresh = reply.json["epoch"].as_u64().is_some_and(|epoch| u128::from(epoch) >= self.started);
            if fresh && reply.json["state"] == state {
                return reply.json;
            }
        }
        panic!("the node was never {state}");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Process ids of its engine children.
    pub fn engines(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = std::fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Bytes of files that its engines have mapped and in memory.
    pub fn mapped_files(&self) -> u64 {
        let of = |pid: &u32| process_status(*pid, "RssFile").unwrap_or_default();
        self.engines().iter().map(of).sum()
    }

    /// The process that loads a strategy now: dry runs are over, and it is the engine's program by now.
    pub async fn loading(&self, strategy: &str) -> u32 {
        let line = format!("loading {strategy}");
        until(&line, || {
            let loading = self.log().contains(&line).then(|| self.engines())?;
            let own = std::fs::read(format!("/proc/{}/cmdline", self.pid())).ok()?;
            loading.into_iter().find(|pid| {
                std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty() && line != own)
            })
        })
        .await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits for its end; gives the exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        until("the node ends", || self.process.try_wait().unwrap()).await.code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the node:\n{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Appends to the log of an earlier run, if there was one.
fn run(folder: &Path, setup: &Setup) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = match (&setup.cgroup, &setup.namespace) {
        (None, None) => promptd(),
        // It becomes the daemon: the process id stays.
        (None, Some(namespace)) => {
            let mut nsenter = Command::new("/usr/bin/nsenter");
            nsenter.env_clear().arg(format!("--net={}", namespace.display())).arg(env!("CARGO_BIN_EXE_promptd"));
            nsenter
        }
        (Some(cgroup), _) => {
            let mut shell = Command::new("/bin/sh");
            let join = "echo $$ > \"$1/cgroup.procs\" && shift && exec \"$@\"";
            shell.env_clear().args(["-c", join, "sh"]).arg(cgroup).arg(env!("CARGO_BIN_EXE_promptd"));
            shell
        }
    };
    // Where it keeps the last good configuration; the folder that a service has is not for tests.
    command.env("STATE_DIRECTORY", setup.state_dir.as_deref().unwrap_or(folder));
    command.args(["run", "--config"]).arg(folder.join("promptd.toml")).envs(setup.environment.clone());
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Whether any thread of a process still runs: while one does, the process holds its files, even if its first thread is a
/// zombie already. A zombie of a killed parent's child is as good as gone; who collects it is not ours to say.
pub fn alive(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default())
        .any(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X')))
}

/// Sends a signal to a process by its number.
pub fn signal_pid(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A size in `/proc/<pid>/status`, in bytes; none if the process is gone.
pub fn process_status(pid: u32, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

/// How many seconds a process has computed so far, on all processors together.
pub fn processor_seconds(pid: u32) -> f64 {
    // The kernel counts in hundredths of a second here, on every architecture that we know (USER_HZ).
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // `utime` and `stime`, the 14th and 15th field of proc_pid_stat(5); the third one is the first here.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

fn configuration(broker: &Broker, setup: &Setup) -> String {
    let url = setup.url.clone().unwrap_or_else(|| format!("mqtt://127.0.0.1:{}", broker.port));
    let mut text = format!(
        "[node]\nname = \"{}\"\n{}\n[mqtt]\nurl = \"{url}\"\nbackoff_min = \"100ms\"\nbackoff_max = \"1s\"\n{}\n{}\n",
        setup.node, setup.node_lines, setup.mqtt, setup.tables
    );
    if setup.with_model {
        let files: Vec<String> =
            setup.files.iter().map(|path| format!("{{ path = {:?} }}", path.display().to_string())).collect();
        let files = files.join(", ");
        let Setup { sequences, context, threads, model, .. } = setup;
        let sizes = format!("sequences = {sequences}\ncontext = {context}\nthreads = {threads}\n{model}\n");
        let table = format!("[[model]]\nname = \"main\"\nfiles = [{files}]\n{sizes}");
        text.push_str(&table);
    }
    text
}
