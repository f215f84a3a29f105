//! Whether the configuration is valid.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::{Check, Finding, RELOAD};
use crate::config::ConfigError;

/// Every problem is a finding. `files` are those that were read.
pub fn configuration(files: &[PathBuf], invalid: Option<&ConfigError>) -> Vec<Finding> {
    let fail = |what: String, remedy: String| Finding::fail(Check::Configuration, what, remedy);
    match invalid {
        None => vec![Finding::pass(Check::Configuration, read(files))],
        Some(ConfigError::Syntax(errors)) => {
            errors.iter().map(|error| fail(error.to_string(), format!("mend the line, then: {RELOAD}"))).collect()
        }
        Some(ConfigError::Invalid(problems)) => problems
            .iter()
            .map(|problem| fail(problem.to_string(), format!("man promptd.toml explains every key; then: {RELOAD}")))
            .collect(),
        Some(error @ ConfigError::Unreadable { path, source }) => {
            let remedy = match source.kind() {
                ErrorKind::PermissionDenied => "ask as root: sudo promptd doctor".to_owned(),
                _ => format!("write {}, or name another file with --config", path.display()),
            };
            vec![fail(error.to_string(), remedy)]
        }
        Some(error) => vec![fail(error.to_string(), format!("mend it, then: {RELOAD}"))],
    }
}

fn read(files: &[PathBuf]) -> String {
    match files {
        [] => "there is no file: every setting has its default".to_owned(),
        files => {
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            format!("valid: {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::doctor::Level;
    use crate::plan::Profile;

    fn found(text: &str) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promptd.toml");
        std::fs::write(&path, text).unwrap();
        match Config::examine(&path, &Profile::default()) {
            Ok((loaded, invalid)) => configuration(&loaded.files(), invalid.as_ref()),
            Err(error) => configuration(&[], Some(&error)),
        }
    }

    #[test]
    fn each_problem_is_a_finding_with_its_place() {
        let problems = found("[mqtt]\nkeep_alive = \"1s\"\nunknown = 1\n[limits]\nrequest = 3\n");
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().all(|finding| finding.level() == Level::Fail && finding.remedy().is_some()));
        assert!(problems.iter().any(|finding| finding.what.contains("promptd.toml:3:1: mqtt.unknown")), "{problems:?}");
    }

    #[test]
    fn files_that_are_no_toml_and_files_that_are_not_there() {
        assert!(found("[mqtt\n")[0].what.contains("promptd.toml:1:"));
        let error = Config::examine(std::path::Path::new("/nowhere/promptd.toml"), &Profile::default()).unwrap_err();
        let missing = configuration(&[], Some(&error));
        assert!(missing[0].what.contains("/nowhere/promptd.toml") && missing[0].level() == Level::Fail);
    }

    #[test]
    fn what_was_read_is_named() {
        assert!(found("").first().unwrap().what.ends_with("promptd.toml"));
        assert_eq!(configuration(&[], None)[0].level(), Level::Pass);
    }
}
