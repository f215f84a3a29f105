//! Brings together what the checks need, and runs them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use promptd::config::{Config, Loaded};
use promptd::doctor::{self, Account, Check, Daemon, Finding, Gpus, Hashing, Installed};
use promptd::engine::protocol::MeasureReport;
use promptd::engine::{CPU_BACKENDS, EngineError, backends_folder, probe};
use promptd::health::{MemorySensors, Roots, clock, cpu_features, gpu_nodes};
use promptd::mqtt::{LinkConfig, Topics};
use promptd::service::link_config;
use tokio::runtime::Runtime;

use super::ask;
use crate::cli::Failure;
use crate::cli::fit::{Survey, measure};

/// Ends the doctor's client id: with the daemon's own it would throw the daemon out.
const CLIENT_ID_END: &str = "-doctor";

/// What is looked at, and how closely.
pub struct Look<'a> {
    /// The configuration; values that are wrong have their defaults.
    pub loaded: &'a Loaded,
    /// Whether to take time.
    pub deep: bool,
}

impl Look<'_> {
    /// Everything but whether the configuration is valid.
    pub fn everything(&self) -> Result<Vec<Finding>, Failure> {
        let config = &self.loaded.config;
        let roots = Roots::this();
        let socket = &config.service.control_socket;
        let daemon = ask::daemon(socket);
        let account = Account::of_daemon(socket);
        let mut findings = doctor::daemon(&daemon, socket, &config.fingerprint());
        findings.extend(broker(config)?);
        let now = SystemTime::now();
        findings.extend(doctor::certificates(&config.mqtt, now));
        findings.extend(doctor::clock(clock(&roots, now)));
        findings.extend(doctor::files(config, &self.loaded.files(), &account, &roots));
        findings.extend(self.models(&account));
        findings.extend(computing(config)?);
        findings.extend(self.memory(&daemon, roots)?);
        findings.extend(doctor::disk(config));
        findings.extend(doctor::journal(config, daemon.status(), &account));
        Ok(findings)
    }

    fn models(&self, account: &Account) -> Vec<Finding> {
        let config = &self.loaded.config;
        if !self.deep {
            return doctor::models(config, account, None);
        }
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {bytes_per_sec} {msg}");
        let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let mut watch = |path: &Path, done: u64, size: u64| {
            bar.set_length(size);
            bar.set_position(done);
            bar.set_message(path.display().to_string());
        };
        let findings = doctor::models(config, account, Some(&mut watch as &mut Hashing<'_>));
        bar.finish_and_clear();
        findings
    }

    /// The machine's memory as the daemon meets it, and how each model that it has not loaded would run.
    fn memory(&self, daemon: &Daemon, roots: Roots) -> Result<Vec<Finding>, Failure> {
        let config = &self.loaded.config;
        let sensors = match daemon.pid() {
            Some(pid) => MemorySensors::of_process(roots, &pid.to_string()),
            None => MemorySensors::discover(roots),
        };
        let mut findings = doctor::memory(&sensors.read(), &config.memory);
        for model in config.models.iter().filter(|model| !daemon.has_loaded(model.name.as_str())) {
            let survey = if self.deep { measure(config, model.clone())? } else { Survey::by_formula(config, model) };
            // What is wrong with its files is another check.
            if survey.unusable().is_none() {
                findings.push(doctor::fit(&model.name, &survey.candidates, &survey.headroom, &survey.choice));
            }
        }
        Ok(findings)
    }
}

/// The back ends: what they find and what they make of it.
pub fn computing(config: &Config) -> Result<Vec<Finding>, Failure> {
    let roots = Roots::this();
    let folder = match backends_folder() {
        Ok(folder) => folder,
        Err(error) => {
            let remedy = "sudo apt install --reinstall promptd";
            return Ok(vec![Finding::fail(Check::Cpu, error.to_string(), remedy)]);
        }
    };
    let account = Account::of_daemon(&config.service.control_socket);
    let cpu = folder.join(CPU_BACKENDS);
    let runtime = runtime()?;
    let ask = |folders: &[_]| -> Result<MeasureReport, EngineError> { runtime.block_on(probe(folders)) };
    let chosen = ask(std::slice::from_ref(&cpu)).map(|report| report.cpu).map_err(|error| error.to_string());
    let mut gpus = Gpus::installed(gpu_nodes(&roots), &folder);
    for backend in &mut gpus.backends {
        let report = ask(&[cpu.clone(), folder.join(backend.kind)]);
        backend.found = Some(report.map(|report| report.devices).map_err(|error| error.to_string()));
    }
    let mut findings = doctor::cpu(&Installed::look(&cpu), &chosen, &cpu_features(&roots));
    findings.extend(doctor::devices(&gpus, config, &account));
    Ok(findings)
}

fn broker(config: &Config) -> Result<Vec<Finding>, Failure> {
    // The root is one of the configuration's checks.
    let Ok(topics) = Topics::new(&config.mqtt.root, &config.node.name) else { return Ok(Vec::new()) };
    let config = doctor::with_credential(config);
    let daemons = link_config(&config, &topics);
    let link = LinkConfig {
        client_id: daemons.client_id.clone() + CLIENT_ID_END,
        session_expiry: Duration::ZERO,
        will: None,
        subscriptions: Vec::new(),
        ..daemons
    };
    let spinner = ProgressBar::new_spinner().with_message(format!("asking {}", config.mqtt.url));
    spinner.enable_steady_tick(Duration::from_millis(200));
    let findings = runtime()?.block_on(doctor::broker(&config, &topics, &link));
    spinner.finish_and_clear();
    Ok(findings)
}

/// One thread: children die with the one that starts them.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)
}
