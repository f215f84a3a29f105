//! Files and folders besides the models': whether the daemon may use them, and others may not.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::account::Want;
use super::credential::{candidates, is_operators, locate};
use super::{Account, Check, Finding, RESTART};
use crate::config::Config;
use crate::health::{Mount, Roots};

/// Others may change it.
const OTHERS_WRITE: u32 = 0o002;

/// Others may read it.
const OTHERS_READ: u32 = 0o004;

/// File systems that are empty after a restart of the machine.
const FLEETING: [&str; 2] = ["tmpfs", "ramfs"];

/// Looks at the files of the configuration, the state folder and the password, for the user that the daemon runs as.
pub fn files(config: &Config, configuration: &[PathBuf], account: &Account, roots: &Roots) -> Vec<Finding> {
    let read = configuration.iter().filter_map(|path| configuration_file(path, account));
    let password = config.mqtt.password_credential.as_deref().map(|name| password(config, name, account));
    read.chain([state_folder(&config.service.state_dir, account, roots)]).chain(password).collect()
}

/// What is wrong with a file of the configuration. That it can be parsed is another check.
fn configuration_file(path: &Path, account: &Account) -> Option<Finding> {
    let shown = path.display();
    if let Ok(Some(place)) = account.kept_from(path, Want::Read) {
        return Some(Finding::fail(
            Check::Files,
            kept(account, &shown.to_string(), "read", &place),
            open_up(&place, 'r'),
        ));
    }
    let mode = mode(path)?;
    (mode & OTHERS_WRITE != 0).then(|| {
        let what = format!("{shown} may be changed by every user of this machine (mode {mode:04o})");
        Finding::warn(Check::Files, what, format!("sudo chmod o-w {shown}"))
    })
}

fn state_folder(path: &Path, account: &Account, roots: &Roots) -> Finding {
    let shown = path.display();
    let name = &account.name;
    let make = format!("sudo install -d -m 750 -o {name} -g {name} {shown}");
    let fail = |what: String, remedy: String| Finding::fail(Check::Files, what, remedy);
    let blocked = match account.kept_from(path, Want::Write) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return fail(format!("the state folder {shown} is not there"), make);
        }
        Err(error) => return unseen(&format!("the state folder {shown}"), &error),
        Ok(blocked) => blocked,
    };
    if let Some(place) = blocked {
        return fail(kept(account, &format!("the state folder {shown}"), "write to", &place), make);
    }
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match Mount::of(roots, &real) {
        Some(mount) if mount.read_only => fail(
            format!("the state folder {shown} lies on {} ({}), which is read-only", mount.point.display(), mount.kind),
            format!("set service.state_dir to a folder that can be written, then: {RESTART}"),
        ),
        Some(mount) if FLEETING.contains(&mount.kind.as_str()) => Finding::warn(
            Check::Files,
            format!(
                "the state folder {shown} lies in memory ({}): it is empty after a restart of the machine",
                mount.kind
            ),
            format!("set service.state_dir to a folder on a disk, then: {RESTART}"),
        ),
        mount => {
            let kind = mount.map_or_else(|| "an unknown file system".to_owned(), |mount| mount.kind);
            Finding::pass(Check::Files, format!("{name} may write to the state folder {shown}, on {kind}"))
        }
    }
}

fn password(config: &Config, name: &Path, account: &Account) -> Finding {
    let Some(path) = locate(name) else {
        let place = candidates(name).pop().unwrap_or_default();
        // What a package ships is the last to be looked at, and no place for a secret.
        let place = if name.is_absolute() {
            place
        } else {
            Path::new("/etc/credstore").join(place.file_name().unwrap_or_default())
        };
        return Finding::fail(
            Check::Files,
            format!("there is no file for mqtt.password_credential = {:?}", name.display().to_string()),
            format!("write the password into {} with mode 0600, then: {RESTART}", place.display()),
        );
    };
    let shown = path.display();
    let mode = mode(&path).unwrap_or_default();
    if mode & OTHERS_READ != 0 {
        let what = format!("every user of this machine may read the password in {shown} (mode {mode:04o})");
        return Finding::warn(Check::Files, what, format!("sudo chmod 600 {shown}"));
    }
    match account.kept_from(&path, Want::Read) {
        Err(error) => return unseen(&format!("the password in {shown}"), &error),
        Ok(Some(place)) if is_operators(&path) => {
            return Finding::fail(
                Check::Files,
                kept(account, &format!("the password in {shown}"), "read", &place),
                format!("sudo chown {} {shown}", account.name),
            );
        }
        Ok(_) => {}
    }
    let mut mqtt = config.mqtt.clone();
    mqtt.password_credential = Some(path.clone());
    match mqtt.password() {
        Ok(_) => Finding::pass(Check::Files, format!("the password in {shown} can be read, and not by everybody")),
        Err(_) if fs::File::open(&path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) => {
            unseen(&format!("the password in {shown}"), &ErrorKind::PermissionDenied.into())
        }
        Err(error) => Finding::fail(Check::Files, error.to_string(), format!("write it again, then: {RESTART}")),
    }
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o7777)
}

/// Something that this process may not look at.
pub(super) fn unseen(what: &str, error: &std::io::Error) -> Finding {
    Finding::warn(Check::Files, format!("{what} can't be looked at: {error}"), "ask as root: sudo promptd doctor")
}

/// What keeps a user from a file.
pub(super) fn kept(account: &Account, what: &str, verb: &str, place: &Path) -> String {
    let mode = mode(place).map(|mode| format!(" (mode {mode:04o})")).unwrap_or_default();
    format!("the user {} may not {verb} {what}: {}{mode} forbids it", account.name, place.display())
}

/// The command that lets everybody in.
pub(super) fn open_up(place: &Path, want: char) -> String {
    let bit = if place.is_dir() { 'x' } else { want };
    format!("sudo chmod o+{bit} {}", place.display())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;
    use crate::doctor::Level;
    use crate::plan::Profile;

    fn config(folder: &Path, password: Option<&Path>) -> Config {
        let mut config = Config::defaults(&Profile::default());
        folder.clone_into(&mut config.service.state_dir);
        config.mqtt.username = Some("gw".to_owned());
        config.mqtt.password_credential = password.map(Path::to_owned);
        config
    }

    fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(Finding::level).collect()
    }

    #[test]
    fn a_password_is_for_the_daemon_only() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        let look = || {
            let config = config(folder.path(), Some(&secret));
            files(&config, &[], &Account::this(), &Roots::default()).pop().unwrap()
        };
        let missing = look();
        assert!(missing.level() == Level::Fail && missing.remedy().unwrap().contains("mode 0600"), "{missing:?}");
        fs::write(&secret, "word").unwrap();
        for (mode, expected) in [(0o600, Level::Pass), (0o640, Level::Pass), (0o644, Level::Warn)] {
            fs::set_permissions(&secret, Permissions::from_mode(mode)).unwrap();
            assert_eq!(look().level(), expected, "{mode:o}");
        }
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        fs::write(&secret, "").unwrap();
        let empty = look();
        assert!(empty.level() == Level::Fail && empty.what.contains("is empty"), "{empty:?}");
    }

    #[test]
    fn a_state_folder_is_there_and_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let found = files(&config(&missing, None), &[], &Account::this(), &Roots::default());
        assert_eq!(levels(&found), [Level::Fail]);
        assert!(found[0].remedy().unwrap().starts_with("sudo install -d"), "{found:?}");
        let roots = Roots::under(folder.path());
        let with = |kind: &str, options: &str| {
            fs::create_dir_all(roots.proc.join("self")).unwrap();
            let line = format!("1 1 0:1 / / {options} - {kind} none rw\n");
            fs::write(roots.proc.join("self/mountinfo"), line).unwrap();
            files(&config(folder.path(), None), &[], &Account::this(), &roots).remove(0)
        };
        assert!(with("ext4", "rw").what.contains("ext4"));
        assert_eq!(with("ext4", "rw").level(), Level::Pass);
        assert_eq!(with("tmpfs", "rw").level(), Level::Warn);
        assert_eq!(with("ext4", "ro").level(), Level::Fail);
    }

    #[test]
    fn a_configuration_that_everybody_may_change_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("promptd.toml");
        fs::write(&file, "").unwrap();
        let look = |mode| {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            levels(&files(
                &config(folder.path(), None),
                std::slice::from_ref(&file),
                &Account::this(),
                &Roots::default(),
            ))
        };
        assert_eq!(look(0o644).len(), 1, "only the state folder");
        assert_eq!(look(0o666)[0], Level::Warn);
    }
}
