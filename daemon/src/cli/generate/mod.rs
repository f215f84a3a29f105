//! `promptd generate`: the files of the package that follow from the command line and from the example configuration.

mod example;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::{Arguments, Failure};

/// Shells that get completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Write man pages, shell completions and the configuration of a fresh installation into a folder.
///
/// Packages are built with it: man pages in man/, completions in completions/, and promptd.toml, which sets nothing.
#[derive(Debug, clap::Args)]
pub struct Generate {
    /// The folder; it is made if it does not exist.
    folder: PathBuf,
}

impl Generate {
    /// Writes every file, over older ones.
    pub fn execute(self) -> Result<(), Failure> {
        let folder = &self.folder;
        write(folder).with_context(|| format!("cannot write into {}", folder.display())).map_err(Failure::software)
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(Arguments::command(), &man)?;
    fs::write(man.join("promptd.toml.5"), example::man_page())?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut for_people(), "promptd", &completions)?;
    }
    fs::write(folder.join("promptd.toml"), example::setting_nothing())
}

/// The command line without what is hidden, which `clap_complete` would offer.
fn for_people() -> clap::Command {
    let whole = Arguments::command();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    clap::Command::new("promptd").version(env!("CARGO_PKG_VERSION")).propagate_version(true).subcommands(shown)
}

#[cfg(test)]
mod tests {
    use promptd::config::Config;
    use promptd::plan::Profile;

    use super::*;

    fn generated() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        Generate { folder: folder.path().join("new") }.execute().unwrap();
        folder
    }

    #[test]
    fn a_fresh_installation_has_every_default_and_no_model() {
        let folder = generated();
        let profile = Profile::default();
        let (loaded, invalid) = Config::examine(&folder.path().join("new/promptd.toml"), &profile).unwrap();
        assert!(invalid.is_none(), "{invalid:?}");
        assert_eq!(loaded.config, Config::defaults(&profile));
    }

    #[test]
    fn each_command_for_people_has_a_man_page() {
        let folder = generated();
        let page = |name: &str| fs::read_to_string(folder.path().join("new/man").join(name));
        for command in Arguments::command().get_subcommands() {
            let name = format!("promptd-{}.1", command.get_name());
            assert_eq!(page(&name).is_ok(), !command.is_hide_set(), "{name}");
        }
        assert!(page("promptd.1").unwrap().contains("promptd\\-run(1)"));
        let configuration = page("promptd.toml.5").unwrap();
        for part in
            [".SS [mqtt]", "\\fBkeep_alive\\fR = \"30s\"", ".SS [[policy]]", ".SS [[model.files]]", "\\fBpath\\fR = "]
        {
            assert!(configuration.contains(part), "{part} is missing in {configuration}");
        }
    }

    #[test]
    fn each_shell_completes_the_commands_for_people_only() {
        let folder = generated();
        for file in ["promptd.bash", "_promptd", "promptd.fish"] {
            let text = fs::read_to_string(folder.path().join("new/completions").join(file)).unwrap();
            assert!(text.contains("quantize") && text.contains("requantize"), "{file}");
            // An option of the engine process.
            assert!(!text.contains("parent"), "{file} offers what is hidden");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let folder = file.path().join("below");
        let failure = Generate { folder: folder.clone() }.execute().unwrap_err();
        assert!(failure.text().contains(&folder.display().to_string()), "{}", failure.text());
    }
}
