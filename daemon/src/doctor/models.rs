//! The files of the models: there, readable by the daemon, and what they should be.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::account::Want;
use super::files::{kept, open_up};
use super::{Account, Check, Finding, RELOAD};
use crate::config::{Config, Model, ModelFile};
use crate::engine::{self, EngineError};
use crate::gguf::ModelFacts;
use crate::plan::Bytes;

/// Folders that the packaged unit hides from the service: `ProtectHome=` and `PrivateTmp=`.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Somebody who watches whole files being read: told a file, bytes done and its size.
pub type Hashing<'a> = dyn FnMut(&Path, u64, u64) + 'a;

/// Looks at every file. With somebody who watches, files with a configured SHA-256 are read in whole and compared.
pub fn models(config: &Config, account: &Account, mut hashing: Option<&mut Hashing<'_>>) -> Vec<Finding> {
    if config.models.is_empty() {
        let remedy = format!("sudo promptd model add FILE|URL --sha256 …, then: {RELOAD}");
        return vec![Finding::warn(
            Check::Models,
            "no model is configured: every request is answered with no_model",
            remedy,
        )];
    }
    let mut findings = Vec::new();
    for model in &config.models {
        for file in &model.files {
            findings.push(one(model, file, account, hashing.as_deref_mut()));
        }
    }
    findings
}

fn one(model: &Model, file: &ModelFile, account: &Account, hashing: Option<&mut Hashing<'_>>) -> Finding {
    let (name, path) = (&model.name, file.path.as_path());
    let shown = path.display();
    let fail = |what: String, remedy: String| Finding::fail(Check::Models, format!("{name}: {what}"), remedy);
    match account.kept_from(path, Want::Read) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let remedy = format!("put the file there, or correct model[{name}].files; then: {RELOAD}");
            return fail(format!("there is no file {shown}"), remedy);
        }
        Err(error) => {
            let what = format!("{name}: {shown} can't be looked at: {error}");
            return Finding::warn(Check::Models, what, "ask as root: sudo promptd doctor");
        }
        Ok(Some(place)) => {
            let remedy = format!("{}; then: {RELOAD}", open_up(&place, 'r'));
            return fail(kept(account, &shown.to_string(), "read", &place), remedy);
        }
        Ok(None) => {}
    }
    if account.is_service()
        && let Some(folder) = HIDDEN.iter().find(|folder| path.starts_with(folder))
    {
        let remedy = format!("move it to /var/lib/promptd/models and correct model[{name}].files; then: {RELOAD}");
        return fail(format!("the service can't see {shown}: its unit hides {folder}"), remedy);
    }
    match header(file, hashing) {
        Ok((facts, compared)) => {
            Finding::pass(Check::Models, format!("{name}: {shown}: {}; {compared}", described(&facts, path)))
        }
        Err(error @ EngineError::Unreadable { .. }) => {
            Finding::warn(Check::Models, format!("{name}: {error}"), "ask as root: sudo promptd doctor")
        }
        Err(error) => {
            let remedy = format!("fetch the file again and compare its SHA-256 with its publisher's; then: {RELOAD}");
            fail(error.to_string(), remedy)
        }
    }
}

/// What its header tells, and what is known of its hash.
fn header(file: &ModelFile, hashing: Option<&mut Hashing<'_>>) -> Result<(ModelFacts, &'static str), EngineError> {
    match (hashing, &file.sha256) {
        (Some(hashing), Some(expected)) => {
            let size = size(&file.path);
            let watched = |done| hashing(&file.path, done, size);
            let open = engine::ModelFile::open_watched(&file.path, Some(expected), watched)?;
            Ok((open.facts, "its SHA-256 is the configured one"))
        }
        (None, Some(_)) => Ok((engine::ModelFile::facts(&file.path)?, "its SHA-256 was not compared; --deep does")),
        (_, None) => Ok((engine::ModelFile::facts(&file.path)?, "no SHA-256 is configured")),
    }
}

fn described(facts: &ModelFacts, path: &Path) -> String {
    let millions = facts.parameters as f64 / 1e6;
    let architecture = facts.architecture.replace(char::is_control, "\u{fffd}");
    format!(
        "{architecture}, {millions:.0} M parameters in {} ({}), {}",
        facts.file_type,
        facts.precision,
        Bytes(size(path))
    )
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::job::ModelName;
    use crate::plan::Profile;

    fn look(path: &Path, sha256: Option<[u8; 32]>, hashing: Option<&mut Hashing<'_>>) -> Finding {
        let mut model = Model::of_file(ModelName::new("main").unwrap(), path.to_owned(), &Profile::default());
        model.files[0].sha256 = sha256;
        let config = Config { models: vec![model], ..Config::defaults(&Profile::default()) };
        models(&config, &Account::this(), hashing).remove(0)
    }

    #[test]
    fn nothing_to_serve_is_a_warning_that_says_what_to_do() {
        let none = models(&Config::defaults(&Profile::default()), &Account::this(), None);
        assert_eq!(none[0].level(), Level::Warn);
        assert!(none[0].remedy().unwrap().contains("promptd model add"), "{none:?}");
    }

    #[test]
    fn files_that_are_missing_or_no_models_fail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let missing = look(&path, None, None);
        assert!(missing.level() == Level::Fail && missing.what.contains("there is no file"), "{missing:?}");
        fs::write(&path, "GGUF, but not really").unwrap();
        let broken = look(&path, None, None);
        assert!(broken.level() == Level::Fail && broken.what.contains("not a usable GGUF file"), "{broken:?}");
    }
}
