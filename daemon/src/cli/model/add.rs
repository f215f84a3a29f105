//! `promptd model add`.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use promptd::config::{self, Config};
use promptd::engine::{EngineError, Import, ImportSpec, Imported, ModelFile};
use promptd::job::ModelName;
use promptd::plan::Bytes;
use serde_json::{Value, json};

use super::entry::{self, Entry};
use super::meter::Meter;
use super::source::Source;
use crate::cli::exit::Code;
use crate::cli::{ConfigFile, Failure, node, signals};

/// What a model is called when it is the only one.
const FIRST: &str = "main";

/// Copy or download a GGUF file to this machine, check it, and have the daemon serve it.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// A GGUF file, or where a web server has one: https://…, http://…
    #[arg(value_name = "FILE|URL", value_parser = Source::parse)]
    source: Source,
    /// What the content must hash to, 64 hexadecimal digits as sha256sum prints them. Must be given with http://.
    #[arg(long, value_name = "HEX", value_parser = config::sha256)]
    sha256: Option<[u8; 32]>,
    /// What requests call it. By default main, and beside other models what the file is called.
    #[arg(long, value_name = "NAME")]
    name: Option<ModelName>,
    /// Replace a file, or an entry in the configuration, that is there already.
    #[arg(long)]
    force: bool,
    /// Only bring the file; the configuration stays as it is.
    #[arg(long)]
    only_file: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: ConfigFile,
}

/// What was done.
struct Outcome {
    model: Imported,
    /// False if it was there already.
    is_new: bool,
    entered: Option<Entered>,
}

/// A model that the configuration knows now.
struct Entered {
    name: ModelName,
    entry: Entry,
    daemon: Daemon,
}

/// What the daemon makes of it.
enum Daemon {
    /// Nothing has changed.
    Untouched,
    /// None runs.
    Absent,
    /// It has read the configuration; its models.
    Told(Value),
}

impl Add {
    /// Imports, enters and reloads.
    pub fn execute(self) -> Result<(), Failure> {
        if self.source.is_open_to_others() && self.sha256.is_none() {
            let text = "http:// lets anybody on the way exchange the model: give its --sha256, or use https://";
            return Err(Failure::new(Code::Failed, anyhow!(text)));
        }
        let (loaded, invalid) = self.file.examine()?;
        let config = loaded.config;
        let folder = config.service.state_dir.join("models");
        let name = self.name(&config, &folder)?;
        let entry = if self.only_file { None } else { Some(self.entry(&config, &name)?) };
        if let Some(invalid) = invalid.filter(|_| entry.is_some()) {
            return Err(Failure::configuration(anyhow!(
                "{invalid}\nmend it first, or bring the file with --only-file"
            )));
        }
        let target = folder.join(self.source.file_name().unwrap_or_else(|| format!("{name}.gguf")));
        let (model, is_new) = match self.found(&target)? {
            Some(model) => (model, false),
            None => (self.import(&config, &folder, target)?, true),
        };
        let entered = entry.map(|entry| self.enter(&config, name, entry, &model, is_new)).transpose()?;
        self.print(&Outcome { model, is_new, entered }).map_err(Failure::software)
    }

    fn name(&self, config: &Config, folder: &Path) -> Result<ModelName, Failure> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        if config.models.is_empty() {
            return ModelName::new(FIRST).map_err(Failure::software);
        }
        let file = self.source.file_name().unwrap_or_default();
        // Whoever adds a model again means the same one.
        let path = folder.join(&file);
        if let Some(model) = config.models.iter().find(|model| model.files.iter().any(|known| known.path == path)) {
            return Ok(model.name.clone());
        }
        let stem = Path::new(&file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        ModelName::new(stem.as_str()).map_err(|_| {
            let text = "the source has no name that a model could have: --name gives it one";
            Failure::new(Code::Failed, anyhow!(text))
        })
    }

    /// The file of the configuration that is to name the model.
    fn entry(&self, config: &Config, name: &ModelName) -> Result<Entry, Failure> {
        let failed = |text: String| Failure::new(Code::Failed, anyhow!(text));
        let Some(main) = self.file.path() else {
            let text = "there is no configuration to enter the model in: --config names one, --only-file does without";
            return Err(failed(text.to_owned()));
        };
        let entry = Entry::of(&main, name);
        let ours = entry.read().with_context(|| entry.path().display().to_string());
        let ours = ours.map_err(|error| Failure::new(Code::Failed, error))?.is_some();
        if config.models.iter().any(|model| model.name == *name) && !(ours && (self.force || self.sha256.is_some())) {
            let way = if ours { "--force replaces it" } else { "its entry is not ours to change" };
            return Err(failed(format!(
                "the model {name} is configured already; {way}, --name calls the new one otherwise"
            )));
        }
        Ok(entry)
    }

    /// The file, if it was brought before.
    fn found(&self, target: &Path) -> Result<Option<Imported>, Failure> {
        let Some(expected) = self.sha256.as_ref().filter(|_| target.exists()) else { return Ok(None) };
        match ModelFile::open(target, Some(expected)) {
            Ok(file) => {
                let ModelFile { path, sha256, size, facts, .. } = file;
                Ok(Some(Imported { path, sha256, size, facts }))
            }
            Err(EngineError::WrongHash { .. } | EngineError::Malformed { .. }) if self.force => Ok(None),
            Err(error) => Err(Failure::new(code(&error), error)),
        }
    }

    fn import(&self, config: &Config, folder: &Path, target: PathBuf) -> Result<Imported, Failure> {
        let made = fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()));
        made.map_err(|error| Failure::new(Code::Failed, error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        runtime.block_on(async {
            tokio::select! {
                biased;
                stopped = signals::any() => {
                    stopped.map_err(Failure::software)?;
                    Err(Failure::new(Code::Failed, anyhow!("interrupted; nothing was written")))
                }
                model = self.bring(config, target) => model,
            }
        })
    }

    async fn bring(&self, config: &Config, target: PathBuf) -> Result<Imported, Failure> {
        let mut content = self.source.open().await.map_err(Failure::unavailable)?;
        let reserve = config.disk.reserve.of(disk_size(&target)?);
        let spec = ImportSpec { target, size: content.size(), sha256: self.sha256, replace: self.force, reserve };
        let failed = |error: EngineError| Failure::new(code(&error), error);
        let mut meter = Meter::new(spec.size);
        let mut import = Import::create(spec).map_err(failed)?;
        while let Some(bytes) = content.next().await.map_err(Failure::unavailable)? {
            import.write(&bytes).map_err(failed)?;
            meter.show(import.written());
        }
        import.finish().map_err(failed)
    }

    /// Names the model in the configuration, and has a daemon that runs read it. A configuration that this would break stays
    /// as it was.
    fn enter(
        &self,
        config: &Config,
        name: ModelName,
        entry: Entry,
        model: &Imported,
        is_new: bool,
    ) -> Result<Entered, Failure> {
        let before = entry.read().map_err(Failure::software)?;
        let path = &model.path;
        let text = entry::text(&name, path, &model.sha256);
        if !is_new && before.as_ref() == Some(&text) {
            return Ok(Entered { name, entry, daemon: Daemon::Untouched });
        }
        let put = |text: Option<&str>| {
            let put = entry.put(text).with_context(|| format!("cannot write {}", entry.path().display()));
            put.map_err(|error| Failure::new(Code::Failed, error))
        };
        put(Some(&text))?;
        if let (_, Some(invalid)) = self.file.examine()? {
            put(before.as_deref())?;
            let text = format!("{} is there, but the configuration would be wrong with it: {invalid}", path.display());
            return Err(Failure::configuration(anyhow!(text)));
        }
        let daemon = node::reload(&config.service.control_socket)?.map_or(Daemon::Absent, Daemon::Told);
        Ok(Entered { name, entry, daemon })
    }

    fn print(&self, outcome: &Outcome) -> std::io::Result<()> {
        let Outcome { model, is_new, entered } = outcome;
        let mut out = stdout().lock();
        if self.json {
            let report = json!({
                "path": model.path, "sha256": model.sha256, "size": model.size, "new": is_new,
                "file_type": model.facts.file_type, "architecture": model.facts.architecture,
                "name": entered.as_ref().map(|entered| &entered.name),
                "entry": entered.as_ref().map(|entered| entered.entry.path()),
                "models": entered.as_ref().and_then(|entered| match &entered.daemon {
                    Daemon::Told(models) => Some(models),
                    Daemon::Untouched | Daemon::Absent => None,
                }),
            });
            return writeln!(out, "{report:#}");
        }
        let there = if *is_new { "" } else { ", which was there already" };
        writeln!(out, "{} {}  {}{there}", model.facts.file_type, Bytes(model.size), model.path.display())?;
        writeln!(out, "SHA-256 {}", model.sha256)?;
        let Some(Entered { name, entry, daemon }) = entered else { return Ok(()) };
        writeln!(out, "model {name} stands in {}", entry.path().display())?;
        match daemon {
            Daemon::Untouched => Ok(()),
            Daemon::Told(models) => write!(out, "{}", node::show_models(models)),
            Daemon::Absent => writeln!(out, "no daemon runs here: `systemctl start promptd` starts it"),
        }
    }
}

/// The size of the file system that a file will lie on.
fn disk_size(target: &Path) -> Result<Bytes, Failure> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(folder).map_err(Failure::software)?;
    Ok(Bytes(disk.f_blocks.saturating_mul(disk.f_frsize)))
}

fn code(error: &EngineError) -> Code {
    match error {
        EngineError::Malformed { .. } | EngineError::WrongHash { .. } | EngineError::WrongSize { .. } => Code::Data,
        _ => Code::Failed,
    }
}
