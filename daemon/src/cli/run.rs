//! `promptd run`, and `promptd engine` that it starts.

use anyhow::anyhow;
use promptd::config::{ConfigError, Loaded, Origin};
use promptd::engine::EngineError;
use promptd::service::{self, ServiceError, Startup};

use super::exit::Code;
use super::{ConfigFile, Failure, logs};

/// Run the daemon: load the models and serve requests until SIGTERM.
///
/// The log goes to journald under systemd, else to standard error; the variable `PROMPTD_LOG` (such as `debug`)
/// overrides `service.log_level`. The variable `PROMPTD_SENSORS_ROOT` names a folder that stands for / wherever sensors are
/// read (memory, heat, power, the clock): a recorded or made-up machine, for tests. With a broken configuration it starts
/// with the last good one; exit code 78 means that there is none, and that the configuration must be mended first.
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    file: ConfigFile,
}

impl Run {
    /// Runs until a signal.
    pub fn execute(self) -> Result<(), Failure> {
        let origin = self.file.origin()?;
        let (loaded, broken) = good(&origin)?;
        let config = &loaded.config;
        let set_log_level = logs::init(config.service.log_level);
        tracing::info!(node = %config.node.name, version = env!("CARGO_PKG_VERSION"), "starting");
        // One thread: the daemon waits, the children compute. They die with the thread that starts them, this one.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        let outcome = runtime.block_on(service::run(Startup { loaded, origin, broken, set_log_level }));
        // A large model that is being hashed, or a name that is looked up, should not hold up the end.
        runtime.shutdown_background();
        outcome.map_err(|error| {
            let code = match &error {
                ServiceError::Topic(_) => Code::Configuration,
                ServiceError::Engine(EngineError::Replaced | EngineError::NoBackends(_)) => Code::Unavailable,
                ServiceError::Engine(_)
                | ServiceError::Journal(_)
                | ServiceError::JournalPanicked
                | ServiceError::Signals(_) => Code::Software,
            };
            Failure::new(code, error)
        })?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The configuration that is there, or the last good one and what is wrong with the other.
fn good(origin: &Origin) -> Result<(Loaded, Option<ConfigError>), Failure> {
    let broken = match origin.load() {
        Ok(loaded) => return Ok((loaded, None)),
        Err(broken) => broken,
    };
    match origin.last_good() {
        Ok(loaded) => Ok((loaded, Some(broken))),
        Err(none) => Err(Failure::configuration(anyhow!("{broken}\n{none}"))),
    }
}

/// The process that loads one model; started by the daemon only.
#[derive(Debug, clap::Args)]
pub struct EngineChild {
    /// The model's name, for the list of processes.
    #[arg(long)]
    model: String,
    /// Process id of the daemon.
    #[arg(long)]
    parent: u32,
}

impl EngineChild {
    /// Serves until the daemon goes away.
    pub fn execute(self) -> Result<(), Failure> {
        let Self { model: _shown_by_ps, parent } = self;
        promptd::engine::child::run(parent).map_err(Failure::software)
    }
}
