//! `promptd model`: models come to this machine and leave it.

mod add;
mod download;
mod entry;
mod meter;
mod remove;
mod source;

use super::Failure;

/// Bring a model to this machine, or take one away.
#[derive(Debug, clap::Args)]
pub struct Model {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ModelCommand {
    /// Copy or download a GGUF file to this machine, check it, and have the daemon serve it.
    ///
    /// The file appears under its name when it is complete and its hash is right; an interrupted import leaves nothing. A
    /// broken download goes on where it stopped. The model is entered in conf.d beside the configuration, and a daemon that
    /// runs reads it at once.
    Add(add::Add),
    /// Take a model that `promptd model add` has brought away again: out of the configuration, and off the disk.
    Remove(remove::Remove),
}

impl Model {
    /// Does it.
    pub fn execute(self) -> Result<(), Failure> {
        match self.command {
            ModelCommand::Add(add) => add.execute(),
            ModelCommand::Remove(remove) => remove.execute(),
        }
    }
}
