//! Where the broker's password is.

use std::env;
use std::path::{Path, PathBuf};

use crate::config::{Config, Mqtt};

/// Where systemd puts what the unit loads, while it runs.
const LOADED: &str = "/run/credentials/promptd.service";

/// Where systemd looks for what the unit loads, systemd.exec(5); the unit puts its name in front of each.
const STORES: [&str; 3] = ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"];

/// The same configuration with the password's file by its path. A name stands for a file that systemd hands to the service
/// only; whoever is not the service finds it where systemd takes it from.
pub fn with_credential(config: &Config) -> Config {
    let found = config.mqtt.password_credential.as_deref().and_then(locate);
    let mqtt = Mqtt { password_credential: found.or(config.mqtt.password_credential.clone()), ..config.mqtt.clone() };
    Config { mqtt, ..config.clone() }
}

/// The file of a credential, if there is one.
pub(super) fn locate(name: &Path) -> Option<PathBuf> {
    candidates(name).into_iter().find(|path| path.exists())
}

/// Where the file of a credential may be, first the one that counts.
pub(super) fn candidates(name: &Path) -> Vec<PathBuf> {
    if name.is_absolute() {
        return vec![name.to_owned()];
    }
    let handed = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let stored = STORES.map(|store| Path::new(store).join(format!("promptd.{}", name.display())));
    handed.into_iter().chain([LOADED.into()]).map(|folder| folder.join(name)).chain(stored).collect()
}

/// Whether it is up to the operator that the service may open the file. What systemd takes, and hands over, is its own.
pub(super) fn is_operators(path: &Path) -> bool {
    let handed = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let systemds = STORES.into_iter().chain([LOADED]).map(PathBuf::from).chain(handed);
    !systemds.into_iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Profile;

    #[test]
    fn names_are_looked_for_where_systemd_has_them() {
        let places = candidates(Path::new("mqtt-password"));
        assert!(places.contains(&PathBuf::from("/run/credentials/promptd.service/mqtt-password")), "{places:?}");
        assert!(places.contains(&PathBuf::from("/etc/credstore/promptd.mqtt-password")), "{places:?}");
        assert_eq!(candidates(Path::new("/run/secrets/x")), [PathBuf::from("/run/secrets/x")]);
        assert!(!is_operators(Path::new("/etc/credstore/promptd.x")) && is_operators(Path::new("/run/x")));
    }

    #[test]
    fn a_password_that_is_nowhere_stays_as_it_is_named() {
        let mut config = Config::defaults(&Profile::default());
        assert_eq!(with_credential(&config), config);
        config.mqtt.password_credential = Some("no-such-password".into());
        assert_eq!(with_credential(&config), config);
        let file = tempfile::NamedTempFile::new().unwrap();
        config.mqtt.password_credential = Some(file.path().to_owned());
        assert_eq!(with_credential(&config).mqtt.password_credential.as_deref(), Some(file.path()));
    }
}
