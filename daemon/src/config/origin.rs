//! Where a daemon's configuration comes from.

use std::io;
use std::path::{Path, PathBuf};

use super::last_good::LastGood;
use super::machine::Machine;
use super::{Config, ConfigError, Loaded};
use crate::plan::Profile;

/// Where the packaged configuration lies.
const PACKAGED: &str = "/etc/promptd/promptd.toml";

/// The files of a daemon's configuration, and the copy of the last ones that were good.
///
/// The copy is `last-good.json` in `$STATE_DIRECTORY`, which systemd sets, else in `/var/lib/promptd`. It can't lie where
/// `service.state_dir` says: that stands in the very files that may be broken.
#[derive(Debug, Clone)]
pub struct Origin {
    named: Option<PathBuf>,
    last_good: LastGood,
    /// The same for as long as the daemon runs, so that a reload changes only what the files say.
    profile: Profile,
}

impl Origin {
    /// The file that the command line names, or the packaged one if it names none. A relative path is taken from the
    /// current folder, now and later.
    pub fn new(named: Option<&Path>, profile: Profile) -> io::Result<Self> {
        let named = named.map(std::path::absolute).transpose()?;
        Ok(Self { named, last_good: LastGood::in_folder(&Machine::this(&profile).state_dir()), profile })
    }

    /// The file that is read now: the one that was named, else the packaged one if it exists, else none, which leaves
    /// every setting at its default.
    pub fn file(named: Option<&Path>) -> Option<PathBuf> {
        match named {
            Some(path) => Some(path.to_owned()),
            None => Some(PathBuf::from(PACKAGED)).filter(|path| path.exists()),
        }
    }

    /// Reads the configuration as it is now.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        match Self::file(self.named.as_deref()) {
            Some(path) => Config::load(&path, &self.profile),
            None => Ok(Loaded::defaults(&self.profile)),
        }
    }

    /// The last configuration that was good, for when the one that is there now is broken. One of another file, or one that
    /// this version can't use, is none.
    pub fn last_good(&self) -> Result<Loaded, ConfigError> {
        self.last_good.load(self.named.as_deref().unwrap_or(Path::new(PACKAGED)), &self.profile)
    }

    /// Keeps a configuration that is in force as the last good one.
    pub fn keep(&self, loaded: &Loaded) -> Result<(), ConfigError> {
        self.last_good.save(loaded)
    }
}
