//! The journal: whether accepted jobs are safe, whether there is room, and what nobody has got.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::account::Want;
use super::files::kept;
use super::{Account, Check, Finding, RESTART};
use crate::config::{Config, Durability, Journal, OnUnwritable};
use crate::journal::Files;
use crate::plan::Bytes;

/// Prompts and answers are in it: nobody else may read or change it.
const OTHERS: u32 = 0o077;

/// From this share on, in percent, it is nearly full.
const NEARLY_FULL: u64 = 90;

/// Judges the journal by its files, and by what the daemon says of it in `status`, if it answers. The files are not
/// opened: the daemon has them.
pub fn journal(config: &Config, status: Option<&Value>, account: &Account) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(status) = status {
        findings.push(promise(&config.journal, status));
        findings.extend(room(&status["journal"]));
        findings.extend(undelivered(&config.journal, status));
    }
    if config.journal.durability == Durability::Full {
        let is_used = status.is_some_and(|status| status["durability"] == "full");
        findings.extend(files(config, is_used, account));
    } else if status.is_none() {
        findings.push(pass(IN_MEMORY));
    }
    findings
}

const IN_MEMORY: &str = "accepted jobs end with the daemon, as journal.durability = \"memory\" wants it";

fn pass(what: impl Into<String>) -> Finding {
    Finding::pass(Check::Journal, what)
}

fn warn(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::warn(Check::Journal, what, remedy)
}

fn fail(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::fail(Check::Journal, what, remedy)
}

/// Whether what is accepted outlives the daemon.
fn promise(wanted: &Journal, status: &Value) -> Finding {
    if let Some(trouble) = status["journal"]["trouble"].as_str() {
        let now = match wanted.on_unwritable {
            OnUnwritable::Refuse => "new requests get storage_full",
            OnUnwritable::Memory => "new jobs end with the daemon",
        };
        let remedy = "make room, or mend the file system; the daemon tries it again by itself";
        return fail(format!("nothing can be written, and {now}: {trouble}"), remedy);
    }
    match (wanted.durability, status["durability"].as_str()) {
        (Durability::Full, Some("full")) => pass("accepted jobs outlive the daemon and a loss of power"),
        (Durability::Memory, Some("memory")) => pass(IN_MEMORY),
        (_, found) => {
            let found = found.unwrap_or("unknown");
            warn(format!("the daemon runs with the durability {found}, and another one is configured"), RESTART)
        }
    }
}

fn room(journal: &Value) -> Option<Finding> {
    let number = |name: &str| journal[name].as_u64();
    let (used, max) = (number("used_bytes")?, number("max_bytes")?);
    let what = format!(
        "{} of {} are taken or set aside, for {} open jobs and {} outcomes",
        Bytes(used),
        Bytes(max),
        number("open")?,
        number("outcomes")?
    );
    Some(if used >= max / 100 * NEARLY_FULL {
        let remedy = format!("raise journal.size_max or shorten journal.keep, then: {RESTART}");
        warn(format!("{what}: soon new requests get storage_full"), remedy)
    } else {
        pass(what)
    })
}

/// Outcomes that nobody has got. Those that are on their way to a broker that is there are none of them.
fn undelivered(wanted: &Journal, status: &Value) -> Vec<Finding> {
    let number = |name: &str| status["journal"][name].as_u64().unwrap_or(0);
    let (missed, unsettled) = (number("missed"), number("unsettled"));
    let mut findings = Vec::new();
    if missed > 0 {
        let what = format!("{missed} outcomes were given to nobody, because no client was subscribed");
        let remedy = format!(
            "clients subscribe before they ask, and keep their sessions; within journal.keep ({:?}) `promptd fetch CLIENT` \
             publishes them again",
            wanted.keep
        );
        findings.push(warn(what, remedy));
    }
    if unsettled > 0 && status["connected"] == false {
        let remedy = "see the findings about the broker; they go out when it is back";
        findings.push(warn(format!("{unsettled} outcomes wait for the broker"), remedy));
    }
    findings
}

/// `is_used`: a daemon writes them now.
fn files(config: &Config, is_used: bool, account: &Account) -> Vec<Finding> {
    // That the folder is there, and may be written to, is another check.
    let Ok(files) = Files::of(&config.service.state_dir) else { return Vec::new() };
    let mut findings = Vec::new();
    if let Some(last) = files.set_aside.last() {
        let shown = last.display();
        let what = format!("a damaged journal was moved to {shown}: what only it had is lost");
        let remedy = format!("look for faults of the disk (journalctl -k); when nobody needs it: sudo rm {shown}*");
        findings.push(warn(what, remedy));
    }
    let faults: Vec<Finding> =
        [&files.journal, &files.log].into_iter().filter_map(|path| rights(path, account)).collect();
    let shown = files.journal.display();
    let size_max = config.journal.size_max;
    findings.extend(match fs::metadata(&files.journal) {
        _ if !faults.is_empty() => faults,
        Ok(found) => {
            let log = fs::metadata(&files.log).map_or(0, |log| log.len());
            vec![size(&shown.to_string(), Bytes(found.len() + log), size_max)]
        }
        Err(error) if error.kind() == ErrorKind::NotFound && is_used => {
            let what = format!("{shown} was removed while the daemon has it open: what it accepts is lost with it");
            vec![fail(what, RESTART)]
        }
        Err(error) if error.kind() == ErrorKind::NotFound => vec![pass("there is none yet; the daemon makes it")],
        Err(error) => vec![warn(format!("{shown} can't be looked at: {error}"), "ask as root: sudo promptd doctor")],
    });
    findings
}

/// What is wrong with who may use a file.
fn rights(path: &Path, account: &Account) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let shown = path.display();
    if let Ok(Some(place)) = account.kept_from(path, Want::Write) {
        let what = kept(account, &shown.to_string(), "write to", &place);
        return Some(fail(what, format!("sudo chown {} {shown}", account.name)));
    }
    (mode & OTHERS != 0).then(|| {
        let what = format!("other users may use {shown}, which has prompts and answers (mode {mode:04o})");
        warn(what, format!("sudo chmod 600 {shown}"))
    })
}

fn size(shown: &str, taken: Bytes, max: Bytes) -> Finding {
    let what = format!("{shown} takes {taken}; journal.size_max is {max}");
    if taken <= max {
        return pass(what);
    }
    // Its pages are used again, but the file keeps its size.
    warn(
        format!("{what}: it was allowed more before"),
        format!("set journal.size_max to {taken} or more, then: {RESTART}"),
    )
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use serde_json::json;

    use super::*;
    use crate::doctor::Level;
    use crate::plan::Profile;

    fn config(folder: &Path) -> Config {
        let mut config = Config::defaults(&Profile::default());
        folder.clone_into(&mut config.service.state_dir);
        config
    }

    fn status(changes: &Value) -> Value {
        let mut journal = json!({
            "open": 2, "outcomes": 5, "unsettled": 0, "missed": 0, "used_bytes": 40960, "max_bytes": 1 << 28,
            "trouble": null,
        });
        for (name, value) in changes.as_object().unwrap() {
            journal[name] = value.clone();
        }
        json!({ "durability": "full", "connected": true, "journal": journal })
    }

    /// Those that are no pass, with their remedies.
    fn wrong(config: &Config, status: Option<&Value>) -> Vec<(Level, String)> {
        let all = journal(config, status, &Account::this());
        let wrong = all.into_iter().filter(|finding| finding.level() != Level::Pass);
        wrong.map(|finding| (finding.level(), format!("{} → {}", finding.what, finding.remedy().unwrap()))).collect()
    }

    /// The only one that is no pass.
    fn only(config: &Config, status: Option<&Value>) -> (Level, String) {
        let [found] = wrong(config, status).try_into().unwrap_or_else(|found| panic!("{found:?}"));
        found
    }

    fn write(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_journal_that_is_well_passes_with_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        assert_eq!(wrong(&config, None), [], "there is none yet");
        write(&folder.path().join("journal.db"), b"x", 0o600);
        let found = journal(&config, Some(&status(&json!({}))), &Account::this());
        assert!(found.iter().all(|finding| finding.level() == Level::Pass), "{found:?}");
        assert!(found.iter().any(|finding| finding.what.contains("40.0 KiB of 256.0 MiB")), "{found:?}");
        assert!(found.iter().any(|finding| finding.what.contains("outlive")), "{found:?}");
    }

    #[test]
    fn what_the_daemon_cannot_keep_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        write(&folder.path().join("journal.db"), b"x", 0o600);
        let mut broken = status(&json!({ "trouble": "journal.db: disk I/O error" }));
        broken["durability"] = "memory".into();
        let (level, text) = only(&config, Some(&broken));
        assert!(level == Level::Fail && text.contains("disk I/O error") && text.contains("storage_full"), "{text}");
        config.journal.on_unwritable = OnUnwritable::Memory;
        assert!(only(&config, Some(&broken)).1.contains("end with the daemon"));
        let mut other = status(&json!({}));
        other["durability"] = "memory".into();
        let (level, text) = only(&config, Some(&other));
        assert!(level == Level::Warn && text.contains("restart"), "{text}");
        config.journal.durability = Durability::Memory;
        assert_eq!(wrong(&config, Some(&other)), []);
        assert_eq!(wrong(&config, None), []);
    }

    #[test]
    fn one_that_fills_and_what_nobody_got_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        write(&folder.path().join("journal.db"), b"x", 0o600);
        let (level, text) = only(&config, Some(&status(&json!({ "used_bytes": 250 << 20 }))));
        assert!(level == Level::Warn && text.contains("size_max"), "{text}");
        let (level, text) = only(&config, Some(&status(&json!({ "missed": 3 }))));
        assert!(level == Level::Warn && text.contains("3 outcomes") && text.contains("promptd fetch"), "{text}");
        let mut away = status(&json!({ "unsettled": 4 }));
        assert_eq!(wrong(&config, Some(&away)), [], "they are on their way");
        away["connected"] = false.into();
        assert!(only(&config, Some(&away)).1.contains("4 outcomes wait"));
    }

    #[test]
    fn its_files_are_private_there_and_no_larger_than_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        let file = folder.path().join("journal.db");
        let (level, text) = only(&config, Some(&status(&json!({}))));
        assert!(level == Level::Fail && text.contains("was removed"), "{text}");
        write(&file, &[0; 4096], 0o644);
        let (level, text) = only(&config, None);
        assert!(level == Level::Warn && text.contains("mode 0644") && text.contains("chmod 600"), "{text}");
        write(&file, &[0; 4096], 0o600);
        write(&folder.path().join("journal.db-wal"), &[0; 8192], 0o600);
        config.journal.size_max = Bytes(12288);
        assert_eq!(wrong(&config, None), []);
        config.journal.size_max = Bytes(12287);
        let (level, text) = only(&config, None);
        assert!(level == Level::Warn && text.contains("size_max"), "{text}");
    }

    #[test]
    fn a_damaged_one_that_was_moved_away_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        for number in [2, 10] {
            write(&folder.path().join(format!("journal.corrupt-{number}")), b"x", 0o600);
        }
        let (level, text) = only(&config, None);
        assert!(level == Level::Warn && text.contains("journal.corrupt-10:") && text.contains("sudo rm"), "{text}");
    }
}
