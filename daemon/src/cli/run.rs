//! `promptd run`, and `promptd engine` that it starts.

use promptd::engine::EngineError;
use promptd::service::{self, ServiceError};

use super::exit::Code;
use super::{ConfigFile, Failure, logs};

/// Run the daemon.
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    file: ConfigFile,
}

impl Run {
    /// Runs until a signal.
    pub fn execute(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        logs::init(config.service.log_level);
        tracing::info!(node = %config.node.name, version = env!("CARGO_PKG_VERSION"), "starting");
        // One thread: the daemon waits, the children compute. They die with the thread that starts them, this one.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        let outcome = runtime.block_on(service::run(config));
        // A large model that is being hashed, or a name that is looked up, should not hold up the end.
        runtime.shutdown_background();
        outcome.map_err(|error| {
            let code = match &error {
                ServiceError::Topic(_) => Code::Configuration,
                ServiceError::Engine(EngineError::Replaced | EngineError::NoBackends(_)) => Code::Unavailable,
                ServiceError::Engine(_) | ServiceError::Signals(_) => Code::Software,
            };
            Failure::new(code, error)
        })?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The process that loads one model.
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
