//! `promptd model remove`.

use std::fs;
use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use promptd::config::Config;
use promptd::job::ModelName;
use serde_json::json;

use super::entry::Entry;
use crate::cli::exit::Code;
use crate::cli::{ConfigFile, Failure, node};

/// Take a model that `promptd model add` has brought away again.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// Which.
    name: ModelName,
    /// Leave the file on the disk.
    #[arg(long)]
    keep_file: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: ConfigFile,
}

impl Remove {
    /// Takes the entry away, has a daemon that runs let the model go, and removes its files.
    pub fn execute(self) -> Result<(), Failure> {
        let failed = |error: anyhow::Error| Failure::new(Code::Failed, error);
        let config = self.file.load()?;
        let entry = self.file.path().map(|main| Entry::of(&main, &self.name));
        let entry = entry.filter(|entry| entry.path().exists()).ok_or_else(|| {
            let known = config.models.iter().any(|model| model.name == self.name);
            let why =
                if known { "was not added by `promptd model add`: change the configuration" } else { "is unknown" };
            failed(anyhow!("the model {} {why}", self.name))
        })?;
        let files = if self.keep_file { Vec::new() } else { self.files(&config) };
        let shown = entry.path().display().to_string();
        let before = entry.read().map_err(|e| failed(e.into()))?;
        entry.put(None).with_context(|| format!("cannot remove {shown}")).map_err(failed)?;
        if let (_, Some(invalid)) = self.file.examine()? {
            entry.put(before.as_deref()).map_err(|e| failed(e.into()))?;
            return Err(Failure::configuration(anyhow!("the configuration would be wrong without it: {invalid}")));
        }
        // While a daemon runs the model, its file stays open whatever becomes of the name.
        let reloaded = node::reload(&config.service.control_socket)?.is_some();
        for file in &files {
            fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display())).map_err(failed)?;
        }
        self.print(&files, reloaded).map_err(Failure::software)
    }

    /// Its files in promptd's own folder that no other model uses.
    fn files(&self, config: &Config) -> Vec<PathBuf> {
        let folder = config.service.state_dir.join("models");
        let (ours, others): (Vec<_>, Vec<_>) = config.models.iter().partition(|model| model.name == self.name);
        let ours = ours.iter().flat_map(|model| &model.files).map(|file| file.path.clone());
        let used = |path: &PathBuf| others.iter().any(|model| model.files.iter().any(|file| file.path == *path));
        ours.filter(|path| path.parent() == Some(&folder) && path.exists() && !used(path)).collect()
    }

    fn print(&self, files: &[PathBuf], reloaded: bool) -> std::io::Result<()> {
        let mut out = stdout().lock();
        if self.json {
            let report = json!({ "name": self.name, "files": files, "reloaded": reloaded });
            return writeln!(out, "{report:#}");
        }
        writeln!(out, "model {} is gone", self.name)?;
        files.iter().try_for_each(|file| writeln!(out, "removed {}", file.display()))
    }
}
