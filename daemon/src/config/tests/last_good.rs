//! The copy of the last good configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::config::last_good::LastGood;
use crate::plan::Profile;

/// A configuration in a folder of its own, and the place of its copy.
struct Place {
    folder: TempDir,
    last_good: LastGood,
}

impl Place {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::in_folder(folder.path());
        let place = Self { folder, last_good };
        fs::write(place.main(), text).unwrap();
        place
    }

    fn main(&self) -> PathBuf {
        self.folder.path().join("promptd.toml")
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("last-good.json")
    }

    fn save(&self) {
        self.last_good.save(&Config::load(&self.main(), &Profile::default()).unwrap()).unwrap();
    }

    fn refusal(&self, main: &Path) -> String {
        let error = self.last_good.load(main, &Profile::default()).unwrap_err().to_string();
        let start = format!("no last good configuration can stand in for it: {}: ", self.copy().display());
        error.strip_prefix(&start).unwrap_or_else(|| panic!("{error}")).to_owned()
    }
}

#[test]
fn gives_back_what_the_files_said() {
    let place = Place::new("[[model]]\nname = \"main\"\nfiles = [{ path = \"weights/m.gguf\" }]\n");
    fs::create_dir(place.folder.path().join("conf.d")).unwrap();
    fs::write(place.folder.path().join("conf.d/a.toml"), "limits.max_tokens = 7 # \"ä\"\t\\\n").unwrap();
    let loaded = Config::load(&place.main(), &Profile::default()).unwrap();
    place.save();
    fs::write(place.main(), "broken").unwrap();
    fs::remove_file(place.folder.path().join("conf.d/a.toml")).unwrap();
    assert_eq!(place.last_good.load(&place.main(), &Profile::default()).unwrap(), loaded);
    // Relative paths start from where the original files lie.
    assert_eq!(loaded.config.models[0].files[0].path, place.folder.path().join("weights/m.gguf"));
}

#[test]
fn is_for_nobody_else_and_written_only_when_it_is_new() {
    let place = Place::new("limits.max_tokens = 7\n");
    place.save();
    let state = || {
        let copy = fs::metadata(place.copy()).unwrap();
        assert_eq!(copy.permissions().mode() & 0o777, 0o600);
        std::os::unix::fs::MetadataExt::ino(&copy)
    };
    let before = state();
    place.save();
    assert_eq!(state(), before, "the same files are not written again");
    // What a crash has left is no hindrance, nor do its modes matter.
    fs::write(place.copy().with_extension("json.new"), "half").unwrap();
    fs::write(place.main(), "limits.max_tokens = 8\n").unwrap();
    place.save();
    assert_ne!(state(), before);
    assert!(!place.copy().with_extension("json.new").exists());
    assert_eq!(place.last_good.load(&place.main(), &Profile::default()).unwrap().config.limits.max_tokens, 8);
}

#[test]
fn a_copy_that_cannot_be_used_is_none() {
    let place = Place::new("limits.max_tokens = 7\n");
    assert!(place.refusal(&place.main()).contains("No such file"));
    place.save();
    let whole = fs::read(place.copy()).unwrap();
    // However much of it a power cut leaves.
    for length in 0..whole.len() {
        fs::write(place.copy(), &whole[..length]).unwrap();
        assert!(place.refusal(&place.main()).starts_with("it is damaged: "), "{length} bytes of it");
    }
    fs::write(place.copy(), &whole).unwrap();
    let other = place.folder.path().join("other.toml");
    let expected = format!("it is of {}, not of {}", place.main().display(), other.display());
    assert_eq!(place.refusal(&other), expected);
    // After a downgrade.
    let later = String::from_utf8(whole).unwrap().replace("max_tokens", "max_thoughts");
    fs::write(place.copy(), later).unwrap();
    let refusal = place.refusal(&place.main());
    assert!(
        refusal.starts_with("this version cannot use it: 1 problem") && refusal.contains("max_thoughts"),
        "{refusal}"
    );
    fs::write(place.copy(), "{\"files\":[]}").unwrap();
    assert!(place.refusal(&place.main()).starts_with("it is of nothing, not of "));
    fs::write(place.copy(), vec![b' '; 5 << 20]).unwrap();
    assert_eq!(place.refusal(&place.main()), "it has more than 4194304 bytes, the limit");
}

#[test]
fn says_when_it_cannot_be_saved_and_saves_no_defaults() {
    let place = Place::new("");
    let nowhere = LastGood::in_folder(&place.folder.path().join("none"));
    let error = nowhere.save(&Config::load(&place.main(), &Profile::default()).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.contains("none/last-good.json: "), "{error}");
    nowhere.save(&crate::config::Loaded::defaults(&Profile::default())).unwrap();
}
